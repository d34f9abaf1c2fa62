"""Methods that thin out task vectors before they add them or elect among them: DELLA's drop, Breadcrumbs' trim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darwin_mri.errors import ConfigError
from darwin_mri.merging.blocks import of_blocks, total
from darwin_mri.merging.masks import magprune
from darwin_mri.merging.methods.election import elect
from darwin_mri.merging.methods.vectors import order_statistics

NO_SUM = 1e-8  # weights whose sum is nearer to 0 are not normalized, as in mergekit


@dataclass(frozen=True, eq=False)
class Part:
    """What one parent puts into a merge of task vectors.

    Attributes:
        tensor: the parent's, any floating dtype.
        weight: of its task vector; negative takes it away.
        density: share of its task vector that is kept, in [0, 1].
        gamma: breadcrumbs: share of the largest magnitudes that is dropped, in [0, 1].
        epsilon: della_linear: width of the window of probabilities.
        draws: della_linear: uniform numbers in [0, 1) of the tensor's shape; needed where the density is below 1.
    """

    tensor: Tensor
    weight: float = 1.0
    density: float = 1.0
    gamma: float = 0.01
    epsilon: float = 0.1
    draws: Tensor | None = None


def della_linear(
    parts: Sequence[Part],
    base: Tensor,
    *,
    rescale: str = "inverse_density",
    normalize: bool = False,
    scale: float = 1.0,
) -> Tensor:
    """B + s sum_k w_k p_k * v_k, with p_k drawn by ``masks.magprune`` (arXiv 2406.11617, without the election).

    The window and the ranks are those of ``della``: mergekit's ``epsilon`` is half of ours, its lowest and highest
    ranks lie on the window's ends, and it ranks a stack of matrices by its second dimension, not the last.

    Args:
        parts: what each parent puts in.
        base: of the tensors' shape.
        rescale: inverse_density (by each element's own probability), l1 (mergekit's ``rescale: true``) or none.
        normalize: divide by the sum of the weights, where that is not 0.
        scale: s, mergekit's ``lambda``.

    Returns:
        fp32, of that shape.

    Raises:
        ConfigError: a density below 1 without draws.
    """
    return _added([_dropped(part, base, rescale) for part in parts], parts, base, normalize, scale)


def breadcrumbs(
    parts: Sequence[Part], base: Tensor, *, rescale: str = "none", normalize: bool = False, scale: float = 1.0
) -> Tensor:
    """B + s sum_k w_k trim(v_k), the trim on both sides of ``two_sided`` (arXiv 2312.06795, equation 3).

    Args:
        parts: what each parent puts in.
        base: of the tensors' shape.
        rescale: what makes up for the dropped: none (the paper), inverse_density or l1.
        normalize: divide by the sum of the weights, where that is not 0.
        scale: s, the paper's alpha, mergekit's ``lambda``.

    Returns:
        fp32, of that shape.
    """
    return _added([_trimmed(part, base, rescale) for part in parts], parts, base, normalize, scale)


def breadcrumbs_ties(
    parts: Sequence[Part], base: Tensor, *, rescale: str = "none", divide: str = "ratio", scale: float = 1.0
) -> Tensor:
    """B + s elected(w_k trim(v_k)): the trim of ``breadcrumbs``, then the election of TIES (``election.elect``).

    Args:
        parts: what each parent puts in.
        base: of the tensors' shape.
        rescale: what makes up for the dropped: none, inverse_density or l1.
        divide: how agreeing vectors are averaged: ratio, weights or none.
        scale: s, mergekit's ``lambda``.

    Returns:
        fp32, of that shape.
    """
    vectors = [_trimmed(part, base, rescale).mul_(part.weight) for part in parts]
    return elect(vectors, [part.weight for part in parts], divide).mul_(scale).add_(base.float())


def two_sided(vector: Tensor, density: float, gamma: float) -> Tensor:
    """Breadcrumbs' mask: 0 for the ``gamma`` largest magnitudes, and for the smallest until ``density`` are left.

    Of n elements floor(density n) are kept, under the floor(gamma n) largest; with density + gamma > 1 fewer outliers
    are dropped. Equal magnitudes at either edge are kept together (mergekit: some of them).

    Args:
        vector: a task vector, fp32.
        density: share to keep, in [0, 1]; 1 keeps all.
        gamma: share of the largest to drop, in [0, 1].

    Returns:
        Booleans of its shape.
    """
    count = vector.numel()
    kept = int(density * count)
    if density >= 1:
        return torch.ones((), dtype=torch.bool, device=vector.device).expand(vector.shape)  # no memory
    if kept <= 0:
        return torch.zeros_like(vector, dtype=torch.bool)
    below = max(0, count - kept - int(gamma * count))
    magnitudes = vector.abs()
    low, high = order_statistics(magnitudes, [below, below + kept - 1])
    return (magnitudes >= low) & (magnitudes <= high)


def _trimmed(part: Part, base: Tensor, rescale: str) -> Tensor:
    vector = part.tensor.float() - base.float()
    mask = two_sided(vector, part.density, part.gamma)
    return _rescaled(vector, mask, part.density, rescale)


def _dropped(part: Part, base: Tensor, rescale: str) -> Tensor:
    vector = part.tensor.float() - base.float()
    if part.density >= 1:
        return vector
    if part.density <= 0:
        return vector.zero_()
    if part.draws is None:
        raise ConfigError(f"density {part.density} drops at random: give the random numbers of each parent")
    return vector.mul_(magprune(vector, part.density, part.epsilon, part.draws, rescale))


def _rescaled(vector: Tensor, mask: Tensor, density: float, rescale: str) -> Tensor:
    """The kept elements, times what makes up for the dropped."""
    kept = vector * mask
    if density >= 1 or rescale == "none":
        return kept
    if rescale == "inverse_density":
        return kept.div_(density) if density > 0 else kept
    sums = of_blocks(lambda *parts: [total(part.abs()) for part in parts], vector, kept)
    before, after = (sum(column) for column in zip(*sums, strict=True))
    return kept.mul_(before / after) if after > 0 else kept


def _added(vectors: Sequence[Tensor], parts: Sequence[Part], base: Tensor, normalize: bool, scale: float) -> Tensor:
    whole = sum(part.weight for part in parts)
    merged = torch.zeros_like(vectors[0])
    for vector, part in zip(vectors, parts, strict=True):
        merged.add_(vector, alpha=part.weight)
    if normalize and abs(whole) >= NO_SUM:
        merged.div_(whole)
    return merged.mul_(scale).add_(base.float())
