"""Merge operators for parents of one architecture: pure functions of tensors, each after its paper.

Everywhere F, M, B are the father, another parent and their common base, dF = F - B and dM = M - B their task vectors,
and the ratio r is how much of M the child takes. Without a base, B = F. An operator returns a ``Blend``, the child's
tensor as a function of r: what does not depend on r (masks, thresholds) is done once, and a search that keeps the
vectors computes the same bits as a writer that streams them. Arithmetic is fp32, rounded once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.blending import Blend, Election, Interpolation, TaskVector
from darwin_mri.merging.blocks import blocks, total
from darwin_mri.merging.masks import keep_mask, magprune, trim_level, uniform
from darwin_mri.merging.settings import Settings
from darwin_mri.merging.streaming import Contribution

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


def linear(father: Tensor, mother: Tensor) -> Interpolation:
    """(1 - r) F + r M, computed as F + r (M - F): the weighted average of model soups (arXiv 2203.05482)."""
    return Interpolation(father, (Contribution(mother, base=father),), known={0.0: father, 1.0: mother})


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
        return linear(father, mother)
    known = {0.0: father, 1.0: mother}
    return Interpolation(father, (Contribution(mother),), math.acos(cosine), known=known)


def task_arithmetic(father: Tensor, mother: Tensor, base: Tensor | None, settings: Settings) -> TaskVector:
    """B + w dF + r dM: task vectors added to their base (arXiv 2212.04089); r may exceed 1.

    Args:
        father: F, any shape and floating dtype.
        mother: M, of the same shape.
        base: B, of the same shape, or None.
        settings: ``weight_father`` w and ``scale``; at 1 the father stays whole.

    Returns:
        The child's tensor as a function of r.
    """
    if base is None or settings.father_whole:
        return _beside_father(father, Contribution(mother, base=father if base is None else base))
    own = Contribution(father, base, factor=settings.weight_father)
    return TaskVector(base, (own, Contribution(mother, base)), settings.scale)


def dare_linear(father: Tensor, mother: Tensor, base: Tensor | None, draw: Draw, settings: Settings) -> TaskVector:
    """B + w c_F (k_F * dF) + r c_M (k_M * dM): task vectors dropped and rescaled (arXiv 2311.03099).

    k ~ Bernoulli(density), c = 1 / density. At ``density_father`` 1 the father stays whole.

    Args:
        father: F, any shape and floating dtype.
        mother: M, of the same shape.
        base: B, of the same shape, or None.
        draw: the tensor's random masks.
        settings: densities, rescale, weight_father and scale.

    Returns:
        The child's tensor as a function of r.
    """
    other = _dropped(draw, "mother", mother, father if base is None else base, settings)
    if base is None or settings.father_whole:
        return _beside_father(father, other)
    own = _dropped(draw, "father", father, base, settings, settings.weight_father)
    return TaskVector(base, (own, other), settings.scale)


def ties(father: Tensor, mother: Tensor, base: Tensor, settings: Settings) -> Election:
    """B + elected(trim(w dF), r trim(dM)): trim, elect sign, disjoint merge (arXiv 2306.01708, algorithm 1).

    Trimming keeps the ``density`` largest magnitudes of each task vector; for the merge see ``blending.elect``.
    At r = w = 1 this is the paper's TIES.

    Args:
        father: F, any shape and floating dtype.
        mother: M, of the same shape.
        base: B, of the same shape.
        settings: densities, weight_father, divide and scale.

    Returns:
        The child's tensor as a function of r.
    """
    contributions = tuple(
        Contribution(tensor, base, level=trim_level(tensor, base, settings.density_of(parent)))
        for parent, tensor in (("father", father), ("mother", mother))
    )
    return _election(father, base, contributions, settings)


def dare_ties(father: Tensor, mother: Tensor, base: Tensor, draw: Draw, settings: Settings) -> Election:
    """B + elected(w c_F (k_F * dF), r c_M (k_M * dM)): TIES' election after DARE's dropping.

    The dropping is that of arXiv 2311.03099, the election that of 2306.01708.

    Args:
        father: F, any shape and floating dtype.
        mother: M, of the same shape.
        base: B, of the same shape.
        draw: the tensor's random masks.
        settings: densities, rescale, weight_father, divide and scale.

    Returns:
        The child's tensor as a function of r.
    """
    contributions = tuple(
        _dropped(draw, parent, tensor, base, settings) for parent, tensor in (("father", father), ("mother", mother))
    )
    return _election(father, base, contributions, settings)


def della(father: Tensor, mother: Tensor, base: Tensor, draw: Draw, settings: Settings) -> Election:
    """B + elected(w p_F * dF, r p_M * dM): drop by magnitude's rank, elect, fuse (arXiv 2406.11617).

    Args:
        father: F, any shape and floating dtype.
        mother: M, of the same shape.
        base: B, of the same shape.
        draw: the tensor's random numbers, from which ``magprune`` makes the weights p.
        settings: densities, epsilon, rescale, weight_father, divide and scale.

    Returns:
        The child's tensor as a function of r.
    """
    contributions = []
    for parent, tensor in (("father", father), ("mother", mother)):
        density = settings.density_of(parent)
        if 0 < density < 1:
            drawn = draw.uniform(parent).to(father.device)
            mask = magprune(tensor.float() - base.float(), density, settings.epsilon, drawn, settings.rescale)
        else:
            mask = draw.keep(parent, density).to(father.device)
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
    father, mother = two_parents(method, parents)
    _check_tensors(method, {"father": father, "mother": mother, "base": base}, name)
    if base is None and settings.scale != 1:
        raise ConfigError(f"scale {settings.scale} of tensor '{name}' multiplies the change from a base: give one")
    draw = Draw(father.shape, seed, name)
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


def two_parents(method: str, parents: Sequence[Any]) -> tuple[Any, Any]:
    """The father and the one other parent that every method merges; raises ConfigError for another number."""
    if len(parents) != 2:
        raise ConfigError(f"{method} merges the father with one other parent, not with {len(parents) - 1}: give one")
    return parents[0], parents[1]


def _beside_father(father: Tensor, other: Contribution) -> TaskVector:
    """F + r v."""
    return TaskVector(father, (other,), known={0.0: father})


def _election(father: Tensor, base: Tensor, contributions: tuple[Contribution, ...], settings: Settings) -> Election:
    """B + s elected(w u, r v)."""
    known = {0.0: father} if settings.father_whole else {}
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
