"""Merge operators for two parents of one architecture: pure functions of tensors, each after its paper.

Everywhere F, M, B are father, mother and their common base, dF = F - B and dM = M - B their task vectors, and the ratio r
is how much of the mother the child takes. Without a base, B = F. An operator returns a ``Blend``, the child's tensor as a
function of r: what does not depend on r (masks, thresholds) is done once, and a search that keeps the vectors computes
the same bits as a writer that streams them. Arithmetic is fp32, rounded once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.blending import Blend, Election, toward
from darwin_mri.merging.blocks import blocks, total
from darwin_mri.merging.masks import keep_mask, magprune, trim_level, uniform
from darwin_mri.merging.settings import METHODS, Settings

DEFAULTS = Settings()
NEARLY_PARALLEL = 0.9995  # |cosine| above which the slerp's sine is too small to divide by


class Draw(Protocol):
    """The random numbers of one tensor; they depend on (seed, tensor name, parent) only."""

    def keep(self, parent: str, density: float) -> Tensor: ...

    def uniform(self, parent: str) -> Tensor: ...


def linear(father: Tensor, mother: Tensor) -> Blend:
    """(1 - r) F + r M, computed as F + r (M - F): the weighted average of model soups (arXiv 2203.05482)."""
    return Blend(father, (mother,), toward, _add, {0.0: father, 1.0: mother}, linear=True)


def slerp(father: Tensor, mother: Tensor) -> Blend:
    """sin((1 - r) w) / sin(w) F + sin(r w) / sin(w) M, w the angle between F and M as flat vectors (Shoemake 1985).

    Falls back to ``linear`` where the vectors are nearly parallel or opposite, or one of them is zero.
    """
    dot = father_square = mother_square = 0.0
    for f, m in blocks(father, mother):
        dot, father_square, mother_square = (
            dot + total(f * m),
            father_square + total(f * f),
            mother_square + total(m * m),
        )
    norms = math.sqrt(father_square * mother_square)
    cosine = dot / norms if norms > 0 else 1.0
    if not abs(cosine) < NEARLY_PARALLEL:
        return linear(father, mother)
    angle = math.acos(cosine)

    def join(ratio: float, f: Tensor, m: Tensor) -> Tensor:
        shares = (math.sin(share * angle) / math.sin(angle) for share in (1 - ratio, ratio))
        return (f * next(shares)).add_(m * next(shares))

    return Blend(father, (mother,), lambda f, m: (m,), join, {0.0: father, 1.0: mother})


def task_arithmetic(father: Tensor, mother: Tensor, base: Tensor | None, settings: Settings = DEFAULTS) -> Blend:
    """B + w dF + r dM: task vectors added to their base (arXiv 2212.04089); the father whole at w = 1. r may exceed 1."""
    if base is None or settings.father_whole:
        return _from_father(father, mother, father if base is None else base, lambda m, b: m - b)
    weight = settings.weight_father
    return _from_base(base, (father, mother), lambda b, f, m: ((f - b).mul_(weight), m - b), settings)


def dare_linear(
    father: Tensor, mother: Tensor, base: Tensor | None, draw: Draw, settings: Settings = DEFAULTS
) -> Blend:
    """B + w c_F (k_F * dF) + r c_M (k_M * dM): task vectors dropped and rescaled (arXiv 2311.03099: k ~ Bernoulli(density),
    c = 1 / density). At ``density_father`` 1 the father stays whole."""
    origin = father if base is None else base
    keep = draw.keep("mother", settings.density).to(father.device)
    factor = rescale_factor(mother, origin, keep, settings)
    if base is None or settings.father_whole:
        return _from_father(father, mother, origin, lambda m, b, k: (m - b).mul_(k).mul_(factor), keep)
    keep_father = draw.keep("father", settings.density_father).to(father.device)
    factor_father = rescale_factor(father, base, keep_father, settings, settings.density_father)
    split = _weighted(factor_father * settings.weight_father, factor)
    return _from_base(base, (father, mother, keep_father, keep), split, settings)


def ties(father: Tensor, mother: Tensor, base: Tensor, settings: Settings = DEFAULTS) -> Blend:
    """B + elected(trim(w dF), r trim(dM)): trim, elect sign, disjoint merge (arXiv 2306.01708, algorithm 1).

    Trimming keeps the ``density`` largest magnitudes of each task vector; for the merge see ``elect``.
    At r = w = 1 this is the paper's TIES.
    """
    levels = [
        trim_level(parent, base, density)
        for parent, density in ((father, settings.density_father), (mother, settings.density))
    ]

    def split(b: Tensor, f: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        return torch.hardshrink(f - b, levels[0]), torch.hardshrink(m - b, levels[1])

    return _electing(father, base, (father, mother), split, settings, levels=(levels[0], levels[1]))


def dare_ties(father: Tensor, mother: Tensor, base: Tensor, draw: Draw, settings: Settings = DEFAULTS) -> Blend:
    """B + elected(w c_F (k_F * dF), r c_M (k_M * dM)): TIES' election after DARE's dropping (arXiv 2311.03099 with 2306.01708)."""
    keeps = [
        draw.keep(name, density).to(father.device)
        for name, density in (("father", settings.density_father), ("mother", settings.density))
    ]
    factors = [
        rescale_factor(parent, base, keep, settings, density)
        for parent, keep, density in zip(
            (father, mother), keeps, (settings.density_father, settings.density), strict=True
        )
    ]
    split = _weighted(factors[0], factors[1])
    return _electing(father, base, (father, mother, *keeps), split, settings, factors=(factors[0], factors[1]))


def della(father: Tensor, mother: Tensor, base: Tensor, draw: Draw, settings: Settings = DEFAULTS) -> Blend:
    """B + elected(w p_F * dF, r p_M * dM): drop by magnitude's rank, elect, fuse (arXiv 2406.11617); p from ``magprune``."""
    weights = []
    for name, parent, density in (("father", father, settings.density_father), ("mother", mother, settings.density)):
        if 0 < density < 1:
            drawn = draw.uniform(name).to(father.device)
            weights.append(magprune(parent.float() - base.float(), density, settings.epsilon, drawn, settings.rescale))
        else:
            weights.append(draw.keep(name, density).to(father.device))
    return _electing(father, base, (father, mother, *weights), _weighted(1.0, 1.0), settings)


def elect(father: Tensor, mother: Tensor, weight_father: float, ratio: float, divide: str) -> tuple[Tensor, Tensor]:
    """TIES' election by summed mass and the mean over the parents that agree (arXiv 2306.01708, steps 2 and 3).

    The elected sign is sgn(father + mother). Where one parent has it, that parent's value stands, divided under ``weights`` by
    his own weight; where both have it, their sum over the sum of their weights. ``ratio`` differs from the paper's mean off r = 1
    alone: a mean divided by the mother's weight would hand her value over whole at any r > 0.

    Args:
        father: w times the trimmed or masked dF.
        mother: r times the trimmed or masked dM.
        weight_father, ratio: w and r.
        divide: ratio, weights or none (``Settings``).

    Returns:
        magnitude and sign, whose product is the merged vector.
    """
    # Arithmetic throughout, as where() on random conditions costs ten times more.
    sign = (father + mother).sign_()
    father, mother = (father * sign).clamp_(min=0), (mother * sign).clamp_(min=0)
    both = torch.minimum(father, mother).sign_()
    if divide == "weights":
        for value, weight in ((father, weight_father), (mother, ratio)):
            if weight not in (0.0, 1.0):
                value.mul_(both.mul(1 - 1 / weight).add_(1 / weight))
    magnitude = father.add_(mother)
    if divide != "none":
        magnitude.addcmul_(magnitude, both, value=1 / max(weight_father + ratio, 1e-12) - 1)
    return magnitude, sign


def rescale_factor(
    vector: Tensor, origin: Tensor, mask: Tensor, settings: Settings, density: float | None = None
) -> float:
    """c: what a masked task vector ``vector - origin`` is multiplied with to make up for what was dropped (``Settings.rescale``)."""
    density = settings.density if density is None else density
    if settings.rescale == "none" or density >= 1:
        return 1.0
    if settings.rescale == "inverse_density":
        return 1 / density if density > 0 else 0.0
    before = after = 0.0
    for v, o, keep in blocks(vector, origin, mask):
        magnitude = (v - o).abs_()
        before += total(magnitude, np.float32)
        after += total(magnitude.mul_(keep), np.float32)
    return before / after if after > 0 else 0.0


def blend(
    method: str, father: Tensor, mother: Tensor, base: Tensor | None, settings: Settings, *, seed: int, name: str
) -> Blend:
    """One tensor of the child by a named method.

    Args:
        method: one of METHODS; those of NEEDS_BASE compare two task vectors and need a base.
        father, mother, base: tensors of one shape and device, any floating dtype.
        seed, name: the run's seed and the tensor's name, on which (with the parent) random masks depend.

    Raises:
        ConfigError: unknown method, or a missing base.
        InputError: the tensors differ in shape or are not floating.
    """
    if method not in METHODS:
        raise ConfigError(f"merge method '{method}' is unknown: choose one of {', '.join(METHODS)}")
    _check_tensors(method, father, mother, base, name)
    if base is None and settings.scale != 1:
        raise ConfigError(f"scale {settings.scale} of tensor '{name}' multiplies the change from a base: give one")
    draw = _NamedDraw(father.shape, seed, name)
    match method:
        case "linear":
            return linear(father, mother)
        case "slerp":
            return slerp(father, mother)
        case "task_arithmetic":
            return task_arithmetic(father, mother, base, settings)
        case "dare_linear":
            return dare_linear(father, mother, base, draw, settings)
    if base is None:
        raise ConfigError(f"{method} of tensor '{name}' needs a base model: give one, or use dare_linear")
    if method == "ties":
        return ties(father, mother, base, settings)
    return (dare_ties if method == "dare_ties" else della)(father, mother, base, draw, settings)


@dataclass(frozen=True)
class _NamedDraw:
    shape: torch.Size
    seed: int
    name: str

    def keep(self, parent: str, density: float) -> Tensor:
        return keep_mask(self.shape, density, self.seed, self.name, parent)

    def uniform(self, parent: str) -> Tensor:
        return uniform(self.shape, self.seed, self.name, parent)


def _add(ratio: float, origin: Tensor, vector: Tensor) -> Tensor:
    """origin + r v, one rounding per operation: fused kernels round by device and length."""
    return (vector * ratio).add_(origin)


def _from_father(
    father: Tensor, mother: Tensor, origin: Tensor, vector: Callable[..., Tensor], *masks: Tensor
) -> Blend:
    """F + r v, v of the mother, the origin and masks."""
    return Blend(father, (mother, origin, *masks), lambda f, *rest: (vector(*rest),), _add, {0.0: father}, linear=True)


def _from_base(
    base: Tensor, inputs: tuple[Tensor, ...], split: Callable[..., tuple[Tensor, ...]], settings: Settings
) -> Blend:
    """B + s (u + r v)."""

    def join(ratio: float, b: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (v * ratio).add_(u).mul_(settings.scale).add_(b)

    return Blend(base, inputs, split, join)


def _weighted(factor_father: float, factor_mother: float) -> Callable[..., tuple[Tensor, Tensor]]:
    """Task vectors times their masks or weights, times a factor each."""

    def split(b: Tensor, f: Tensor, m: Tensor, keep_f: Tensor, keep_m: Tensor) -> tuple[Tensor, Tensor]:
        vectors = (f - b).mul_(keep_f), (m - b).mul_(keep_m)
        for vector, factor in zip(vectors, (factor_father, factor_mother), strict=True):
            if factor != 1.0:
                vector.mul_(factor)
        return vectors

    return split


def _electing(
    father: Tensor, base: Tensor, inputs: tuple[Tensor, ...], split: Callable[..., tuple[Tensor, Tensor]], settings: Settings,
    levels: tuple[float, float] | None = None, factors: tuple[float, float] = (1.0, 1.0),
) -> Blend:  # fmt: skip
    """B + s elected(w u, r v); ``levels`` and ``factors`` say in numbers what the split trims away and multiplies with."""
    weight, scale = settings.weight_father, settings.scale

    def join(ratio: float, b: Tensor, u: Tensor, v: Tensor) -> Tensor:
        u, v = (x if factor == 1.0 else x * factor for x, factor in ((u, weight), (v, ratio)))
        magnitude, sign = elect(u, v, weight, ratio, settings.divide)
        if scale != 1.0:
            magnitude.mul_(scale)
        return magnitude.mul_(sign).add_(b)

    known = {0.0: father} if settings.father_whole else {}
    return Blend(base, inputs, split, join, known, election=Election(weight, settings.divide, scale, levels, factors))


def _check_tensors(method: str, father: Tensor, mother: Tensor, base: Tensor | None, name: str) -> None:
    """Refuse tensors that do not belong to one architecture."""
    for parent, tensor in (("father", father), ("mother", mother), ("base", base)):
        if tensor is None:
            continue
        if tensor.shape != father.shape:
            shapes = f"{tuple(tensor.shape)}, not the father's {tuple(father.shape)}"
            raise InputError(f"tensor '{name}' of the {parent} has shape {shapes}: {method} needs one architecture")
        if not tensor.is_floating_point() or tensor.element_size() == 1:
            raise InputError(f"tensor '{name}' of the {parent} is {tensor.dtype}: only floating tensors are merged")
