"""Operators that add up task vectors, trimmed, dropped or elected: pure functions of tensors, each after its paper.

Notation and rounding are those of ``operators``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from darwin_mri.merging.blending import Election, TaskVector
from darwin_mri.merging.blocks import of_blocks, total
from darwin_mri.merging.masks import keep_mask, magprune, trim_level, uniform
from darwin_mri.merging.methods.sparse import two_sided
from darwin_mri.merging.settings import Settings
from darwin_mri.merging.streaming import Contribution, Ratios
from darwin_mri.parallel import spread
from darwin_mri.records.roles import FATHER, PARENTS


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
    if base is None or settings.father_whole:
        return _beside_father(father, _dropped(draw, named_tensors(others), origin, settings))
    own, *dropped = _dropped(draw, named_tensors(others, father), base, settings)
    return TaskVector(base, (replace(own, factor=own.factor * settings.weight_father), *dropped), settings.scale)


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
        for role, tensor in named_tensors(others, father)
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
    return _election(father, base, _dropped(draw, named_tensors(others, father), base, settings), settings)


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
    contributions = tuple(_pruned(draw, role, tensor, base, settings) for role, tensor in named_tensors(others, father))
    return _election(father, base, contributions, settings)


def della_linear(father: Tensor, others: Sequence[Tensor], base: Tensor, draw: Draw, settings: Settings) -> TaskVector:
    """B + s (w p_F * dF + sum r p_M * dM): ``della`` without the election (arXiv 2406.11617).

    Args:
        father: F, any shape and floating dtype.
        others: every M, of the same shape.
        base: B, of the same shape.
        draw: the tensor's random numbers, from which ``magprune`` makes the weights p.
        settings: densities, epsilon, rescale, weight_father and scale.

    Returns:
        The child's tensor as a function of the ratios.
    """
    return _added(
        father, base, settings, [_pruned(draw, *own, base, settings) for own in named_tensors(others, father)]
    )


def breadcrumbs(father: Tensor, others: Sequence[Tensor], base: Tensor, settings: Settings) -> TaskVector:
    """B + s (w trim(dF) + sum r trim(dM)): the largest and the smallest elements dropped (arXiv 2312.06795, eq. 3).

    Args:
        father: F, any shape and floating dtype.
        others: every M, of the same shape.
        base: B, of the same shape.
        settings: densities, gamma, rescale, weight_father and scale; for the trim see ``methods.sparse.two_sided``.

    Returns:
        The child's tensor as a function of the ratios.
    """
    return _added(father, base, settings, [_trimmed(*own, base, settings) for own in named_tensors(others, father)])


def breadcrumbs_ties(father: Tensor, others: Sequence[Tensor], base: Tensor, settings: Settings) -> Election:
    """B + s elected(w trim(dF), r trim(dM), ...): ``breadcrumbs``' trim, then TIES' election.

    The trim is that of arXiv 2312.06795, the election that of 2306.01708.

    Args:
        father: F, any shape and floating dtype.
        others: every M, of the same shape.
        base: B, of the same shape.
        settings: densities, gamma, rescale, weight_father, divide and scale.

    Returns:
        The child's tensor as a function of the ratios.
    """
    contributions = tuple(_trimmed(*own, base, settings) for own in named_tensors(others, father))
    return _election(father, base, contributions, settings)


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

    def sizes(v: Tensor, o: Tensor, keep: Tensor) -> tuple[float, float]:
        magnitude = (v - o).abs_()
        return total(magnitude, np.float32), total(magnitude.mul_(keep), np.float32)

    before, after = (sum(column) for column in zip(*of_blocks(sizes, vector, origin, mask), strict=True))
    return before / after if after > 0 else 0.0


def named_tensors(others: Sequence[Tensor], father: Tensor | None = None) -> list[tuple[str, Tensor]]:
    """(role, tensor) of the other parents, after the father's where it is given."""
    own = [] if father is None else [(FATHER, father)]
    return [*own, *zip(PARENTS[1:], others, strict=False)]


def _beside_father(father: Tensor, others: Sequence[Contribution]) -> TaskVector:
    """F + sum r v."""
    return TaskVector(father, tuple(others), known={(0.0,) * len(others): father})


def _election(father: Tensor, base: Tensor, contributions: tuple[Contribution, ...], settings: Settings) -> Election:
    """B + s elected(w u, r v, ...)."""
    known: dict[Ratios, Tensor] = {(0.0,) * (len(contributions) - 1): father} if settings.father_whole else {}
    return Election(base, contributions, settings.weight_father, settings.divide, settings.scale, known=known)


def _added(father: Tensor, base: Tensor, settings: Settings, contributions: Sequence[Contribution]) -> TaskVector:
    """B + s (w u + sum r v), the father's u first; F + sum r v where it stays whole."""
    own, *others = contributions
    if settings.father_whole:
        return _beside_father(father, others)
    return TaskVector(base, (replace(own, factor=own.factor * settings.weight_father), *others), settings.scale)


def _pruned(draw: Draw, role: str, tensor: Tensor, base: Tensor, settings: Settings) -> Contribution:
    """One parent's p * (tensor - B): DELLA's dropping by the rank of magnitudes."""
    density = settings.density_of(role)
    if 0 < density < 1:
        drawn = draw.uniform(role).to(tensor.device)
        epsilon = settings.of("epsilon", role)
        mask = magprune(tensor.float() - base.float(), density, epsilon, drawn, settings.rescale)
    else:
        mask = draw.keep(role, density).to(tensor.device)
    return Contribution(tensor, base, mask=mask)


def _trimmed(role: str, tensor: Tensor, base: Tensor, settings: Settings) -> Contribution:
    """One parent's c trim(tensor - B): Breadcrumbs' trim of the largest and the smallest elements."""
    density = settings.density_of(role)
    mask = two_sided(tensor.float() - base.float(), density, settings.of("gamma", role))
    return Contribution(tensor, base, mask=mask, factor=rescale_factor(tensor, base, mask, density, settings.rescale))


def _dropped(
    draw: Draw, named: Sequence[tuple[str, Tensor]], base: Tensor, settings: Settings
) -> tuple[Contribution, ...]:
    """Each parent's c (k * (tensor - B)): DARE's dropping and rescaling of task vectors."""

    def keep(role: str) -> Tensor:  # one parent's numbers come one after the other, so each parent has a thread
        return draw.keep(role, settings.density_of(role)).to(base.device)

    dropped = []
    for (role, tensor), mask in zip(named, spread(keep, [role for role, _ in named]), strict=True):
        factor = rescale_factor(tensor, base, mask, settings.density_of(role), settings.rescale)
        dropped.append(Contribution(tensor, base, mask=mask, factor=factor))
    return tuple(dropped)
