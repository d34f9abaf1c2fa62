"""Merge operators for parents of one architecture: pure functions of tensors, each after its paper.

Everywhere F, M, B are the father, another parent and their common base, dF = F - B and dM = M - B their task vectors,
and the ratio r is how much of M the child takes; with several other parents sums run over all of them. Without a base,
B = F. An operator returns a ``Blend``, the child's tensor as a function of the ratios: what does not depend on them
(masks, thresholds) is done once, and a search that keeps the vectors computes the same bits as a writer that streams
them. Arithmetic is fp32, rounded once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.blending import Blend, Election, Interpolation, TaskVector
from darwin_mri.merging.blocks import blocks, total
from darwin_mri.merging.masks import keep_mask, magprune, trim_level, uniform
from darwin_mri.merging.settings import OF_TWO, Settings
from darwin_mri.merging.streaming import Contribution, Ratios
from darwin_mri.records.roles import FATHER, PARENTS

NEARLY_PARALLEL = 0.9995  # |cosine| above which the slerp's sine is too small to divide by


@dataclass(frozen=True)
class Draw:
    """The random numbers of one tensor; they depend on (seed, tensor name, parent) only.

    Attributes:
        shape: of the tensor.
        seed: the run's.
        name: the tensor's, on the father's disk.
    """

    shape: torch.Size
    seed: int
    name: str

    def keep(self, parent: str, density: float) -> Tensor:
        """A boolean CPU mask that keeps a share ``density`` of a parent's task vector."""
        return keep_mask(self.shape, density, self.seed, self.name, parent)

    def uniform(self, parent: str) -> Tensor:
        """Uniform fp32 CPU numbers in [0, 1) for a parent's task vector."""
        return uniform(self.shape, self.seed, self.name, parent)


def linear(father: Tensor, others: Sequence[Tensor]) -> Interpolation:
    """(1 - sum r) F + sum r M, computed as F + sum r (M - F): the average of model soups (arXiv 2203.05482)."""
    return Interpolation(
        father, tuple(Contribution(other, base=father) for other in others), known=_ends(father, others)
    )


def slerp(father: Tensor, mother: Tensor) -> Interpolation:
    """sin((1 - r) w) / sin(w) F + sin(r w) / sin(w) M, w the angle between F and M as flat vectors (Shoemake 1985).

    Falls back to ``linear`` where the vectors are nearly parallel or opposite, or one of them is zero.
    """
    dot = father_square = mother_square = 0.0
    for f, m in blocks(father, mother):
        dot += total(f * m)
        father_square += total(f * f)
        mother_square += total(m * m)
    norms = math.sqrt(father_square * mother_square)
    cosine = dot / norms if norms > 0 else 1.0
    if not abs(cosine) < NEARLY_PARALLEL:
        return linear(father, [mother])
    return Interpolation(father, (Contribution(mother),), math.acos(cosine), known=_ends(father, [mother]))


def task_arithmetic(father: Tensor, others: Sequence[Tensor], base: Tensor | None, settings: Settings) -> TaskVector:
    """B + w dF + sum r dM: task vectors added to their base (arXiv 2212.04089); r may exceed 1.

    Args:
        father: F, any shape and floating dtype.
        others: every M, of the same shape.
        base: B, of the same shape, or None.
        settings: ``weight_father`` w and ``scale``; at 1 the father stays whole.

    Returns:
        The child's tensor as a function of the ratios.
    """
    if base is None or settings.father_whole:
        origin = father if base is None else base
        return _beside_father(father, [Contribution(other, base=origin) for other in others])
    own = Contribution(father, base, factor=settings.weight_father)
    return TaskVector(base, (own, *(Contribution(other, base) for other in others)), settings.scale)


def dare_linear(
    father: Tensor, others: Sequence[Tensor], base: Tensor | None, draw: Draw, settings: Settings
) -> TaskVector:
    """B + w c_F (k_F * dF) + sum r c_M (k_M * dM): task vectors dropped and rescaled (arXiv 2311.03099).

    k ~ Bernoulli(density), c = 1 / density. At ``density_father`` 1 the father stays whole.

    Args:
        father: F, any shape and floating dtype.
        others: every M, of the same shape.
        base: B, of the same shape, or None.
        draw: the tensor's random masks.
        settings: densities, rescale, weight_father and scale.

    Returns:
        The child's tensor as a function of the ratios.
    """
    origin = father if base is None else base
    dropped = [_dropped(draw, role, other, origin, settings) for role, other in _named(others)]
    if base is None or settings.father_whole:
        return _beside_father(father, dropped)
    own = _dropped(draw, FATHER, father, base, settings, settings.weight_father)
    return TaskVector(base, (own, *dropped), settings.scale)


def ties(father: Tensor, others: Sequence[Tensor], base: Tensor, settings: Settings) -> Election:
    """B + elected(trim(w dF), r trim(dM), ...): trim, elect sign, disjoint merge (arXiv 2306.01708, algorithm 1).

    Trimming keeps the ``density`` largest magnitudes of each task vector; for the merge see ``election``.
    At r = w = 1 this is the paper's TIES.

    Args:
        father: F, any shape and floating dtype.
        others: every M, of the same shape.
        base: B, of the same shape.
        settings: densities, weight_father, divide and scale.

    Returns:
        The child's tensor as a function of the ratios.
    """
    contributions = tuple(
        Contribution(tensor, base, level=trim_level(tensor, base, settings.density_of(role)))
        for role, tensor in _named(others, father)
    )
    return _election(father, base, contributions, settings)


def dare_ties(father: Tensor, others: Sequence[Tensor], base: Tensor, draw: Draw, settings: Settings) -> Election:
    """B + elected(w c_F (k_F * dF), r c_M (k_M * dM), ...): TIES' election after DARE's dropping.

    The dropping is that of arXiv 2311.03099, the election that of 2306.01708.

    Args:
        father: F, any shape and floating dtype.
        others: every M, of the same shape.
        base: B, of the same shape.
        draw: the tensor's random masks.
        settings: densities, rescale, weight_father, divide and scale.

    Returns:
        The child's tensor as a function of the ratios.
    """
    contributions = tuple(_dropped(draw, role, tensor, base, settings) for role, tensor in _named(others, father))
    return _election(father, base, contributions, settings)


def della(father: Tensor, others: Sequence[Tensor], base: Tensor, draw: Draw, settings: Settings) -> Election:
    """B + elected(w p_F * dF, r p_M * dM, ...): drop by magnitude's rank, elect, fuse (arXiv 2406.11617).

    Args:
        father: F, any shape and floating dtype.
        others: every M, of the same shape.
        base: B, of the same shape.
        draw: the tensor's random numbers, from which ``magprune`` makes the weights p.
        settings: densities, epsilon, rescale, weight_father, divide and scale.

    Returns:
        The child's tensor as a function of the ratios.
    """
    contributions = []
    for role, tensor in _named(others, father):
        density = settings.density_of(role)
        if 0 < density < 1:
            drawn = draw.uniform(role).to(father.device)
            epsilon = settings.of("epsilon", role)
            mask = magprune(tensor.float() - base.float(), density, epsilon, drawn, settings.rescale)
        else:
            mask = draw.keep(role, density).to(father.device)
        contributions.append(Contribution(tensor, base, mask=mask))
    return _election(father, base, tuple(contributions), settings)


def rescale_factor(vector: Tensor, origin: Tensor, mask: Tensor, density: float, rescale: str) -> float:
    """c: what a masked task vector is multiplied with to make up for what was dropped.

    Args:
        vector: a parent's tensor, any shape and floating dtype.
        origin: what its task vector ``vector - origin`` is measured from, of the same shape.
        mask: which elements are kept, booleans of the same shape.
        density: share that was to be kept, in [0, 1].
        rescale: inverse_density, l1 or none (``Settings``).

    Returns:
        c; 0 where nothing is kept.
    """
    if rescale == "none" or density >= 1:
        return 1.0
    if rescale == "inverse_density":
        return 1 / density if density > 0 else 0.0
    before = after = 0.0
    for v, o, keep in blocks(vector, origin, mask):
        magnitude = (v - o).abs_()
        before += total(magnitude, np.float32)
        after += total(magnitude.mul_(keep), np.float32)
    return before / after if after > 0 else 0.0


def blend(
    method: str, parents: Sequence[Tensor], base: Tensor | None, settings: Settings, *, seed: int, name: str
) -> Blend:
    """One tensor of the child by a named method.

    Args:
        method: one of ``config.OPERATORS``; those of NEEDS_BASE compare two task vectors and need a base.
        parents: the father's tensor, then those of the other parents, of one shape and device, any floating dtype.
        base: the base's, of the same shape and device, or None.
        settings: the operator's.
        seed: the run's, on which (with ``name`` and the parent) random masks depend.
        name: the tensor's name on the father's disk.

    Returns:
        The child's tensor as a function of the ratio.

    Raises:
        ConfigError: an unknown method, a number of parents that it does not merge, or a missing base.
        InputError: the tensors differ in shape or are not floating.
    """
    if method not in OPERATORS:
        raise ConfigError(f"merge method '{method}' is unknown: choose one of {', '.join(OPERATORS)}")
    require_parents(method, len(parents))
    father, *others = parents
    _check_tensors(method, {**dict(_named(others, father)), "base": base}, name)
    if base is None and settings.scale != 1:
        raise ConfigError(f"scale {settings.scale} of tensor '{name}' multiplies the change from a base: give one")
    draw = Draw(father.shape, seed, name)
    match method:
        case "linear":
            return linear(father, others)
        case "slerp":
            return slerp(father, *others)
        case "task_arithmetic":
            return task_arithmetic(father, others, base, settings)
        case "dare_linear":
            return dare_linear(father, others, base, draw, settings)
    if base is None:
        raise ConfigError(f"{method} of tensor '{name}' needs a base model: give one, or use dare_linear")
    if method == "ties":
        return ties(father, others, base, settings)
    return (dare_ties if method == "dare_ties" else della)(father, others, base, draw, settings)


def require_parents(method: str, count: int) -> None:
    """Raise ConfigError unless a method merges this many parents, the father among them."""
    most = 2 if method in OF_TWO else len(PARENTS)
    if not 2 <= count <= most:
        few = "one other parent" if most == 2 else f"1 to {most - 1} other parents"
        raise ConfigError(f"{method} merges the father with {few}, not with {count - 1}")


def _named(others: Sequence[Tensor], father: Tensor | None = None) -> list[tuple[str, Tensor]]:
    """(role, tensor) of the other parents, after the father's where it is given."""
    own = [] if father is None else [(FATHER, father)]
    return [*own, *zip(PARENTS[1:], others, strict=False)]


def _ends(father: Tensor, others: Sequence[Tensor]) -> dict[Ratios, Tensor]:
    """The parents themselves, by the ratios that give them."""
    ends = {tuple(float(place == own) for place in range(len(others))): other for own, other in enumerate(others)}
    return {(0.0,) * len(others): father, **ends}


def _beside_father(father: Tensor, others: Sequence[Contribution]) -> TaskVector:
    """F + sum r v."""
    return TaskVector(father, tuple(others), known={(0.0,) * len(others): father})


def _election(father: Tensor, base: Tensor, contributions: tuple[Contribution, ...], settings: Settings) -> Election:
    """B + s elected(w u, r v, ...)."""
    known: dict[Ratios, Tensor] = {(0.0,) * (len(contributions) - 1): father} if settings.father_whole else {}
    return Election(base, contributions, settings.weight_father, settings.divide, settings.scale, known=known)


def _dropped(
    draw: Draw, parent: str, tensor: Tensor, base: Tensor, settings: Settings, weight: float = 1.0
) -> Contribution:
    """One parent's w c (k * (tensor - B)): DARE's dropping and rescaling of a task vector."""
    density = settings.density_of(parent)
    keep = draw.keep(parent, density).to(tensor.device)
    factor = rescale_factor(tensor, base, keep, density, settings.rescale)
    return Contribution(tensor, base, mask=keep, factor=factor * weight)


def _check_tensors(method: str, tensors: dict[str, Tensor | None], name: str) -> None:
    """Refuse tensors, by role with the father's first, that do not belong to one architecture."""
    shape = next(tensor.shape for tensor in tensors.values() if tensor is not None)
    for role, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.shape != shape:
            shapes = f"{tuple(tensor.shape)}, not the father's {tuple(shape)}"
            raise InputError(f"tensor '{name}' of the {role} has shape {shapes}: {method} needs one architecture")
        if not tensor.is_floating_point() or tensor.element_size() == 1:
            raise InputError(f"tensor '{name}' of the {role} is {tensor.dtype}: only floating tensors are merged")
