"""What of a task vector is kept: seeded masks that depend on names alone, and the level that trims by magnitude."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from darwin_mri import seeds
from darwin_mri.merging.blocks import BLOCK, of_blocks, total

STEPS = 2**16  # keep_mask draws 16 bits per element, so a density is met to 1/65536
SMALL = 2**16  # elements up to which a trim level is selected outright
SAMPLED = 61  # of so many elements one brackets the level; a prime, so that it meets all columns of a matrix


def keep_mask(shape: Sequence[int], density: float, seed: int, tensor_name: str, parent: str) -> Tensor:
    """A boolean CPU mask that is True with probability ``density``, element by element and independently.

    It depends on (seed, tensor name, parent) alone: order, device, threads and shards never change it. The mask of a
    smaller density is a subset of that of a larger one.

    Args:
        shape: shape of the tensor.
        density: share to keep, in [0, 1].
        seed: the run's.
        tensor_name: the tensor's, on the father's disk.
        parent: the role of the parent whose task vector is masked.

    Returns:
        Booleans of that shape; an expanded single element where everything is kept.
    """
    count = math.prod(shape)
    level = round(density * STEPS)
    if level >= STEPS:
        return torch.ones((), dtype=torch.bool).expand(tuple(shape))  # no memory
    # Raw bits of the generator: torch's CPU generator took about six times as long per mask.
    bits, keep = seeds.named(seed, tensor_name, parent).bit_generator, np.empty(count, dtype=bool)
    for start in range(0, count, BLOCK):  # a block's words stay in a core's cache
        part = keep[start : start + BLOCK]
        np.less(bits.random_raw((part.size + 3) // 4).view(np.uint16)[: part.size], np.uint16(level), out=part)
    return torch.from_numpy(keep).reshape(tuple(shape))


def uniform(shape: Sequence[int], seed: int, tensor_name: str, parent: str) -> Tensor:
    """Uniform fp32 CPU numbers in [0, 1) that depend on (seed, tensor name, parent) alone.

    Args:
        shape: shape of the tensor.
        seed: the run's.
        tensor_name: the tensor's, on the father's disk.
        parent: the role of the parent whose task vector they are for.

    Returns:
        fp32 numbers of that shape.
    """
    count = math.prod(shape)
    words = seeds.named(seed, tensor_name, parent).bit_generator.random_raw((count + 1) // 2).view(np.uint32)[:count]
    # fp32 holds 24 bits exactly: with more, a draw could round up to 1.
    return torch.from_numpy((words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)).reshape(tuple(shape))


def magprune(delta: Tensor, density: float, epsilon: float, draws: Tensor, rescale: str) -> Tensor:
    """Draw DELLA's MAGPRUNE as fp32 weights to multiply a task vector with (arXiv 2406.11617).

    Within each row, the element of rank i of n by rising magnitude is kept with probability
    p_i = density - h + 2 h (i + 1/2) / n, which averages to ``density``; h = epsilon / 2, narrowed where p_i would
    leave (0, 1]. The kept are rescaled by 1 / p_i; ``l1`` and ``none`` as for DARE.

    Args:
        delta: fp32 task vector; its last dimension is the row.
        density: mean share to keep, in [0, 1].
        epsilon: width of the window of probabilities.
        draws: uniform numbers in [0, 1) of delta's shape.
        rescale: inverse_density, l1 or none.

    Returns:
        Weights of delta's shape, 0 where an element is dropped.
    """
    half = min(epsilon / 2, 1 - density, density / 2)
    length = delta.shape[-1] if delta.dim() else 1
    magnitudes = delta.reshape(-1, length).abs()  # (rows, length)
    order = magnitudes.argsort(dim=-1, stable=True)
    by_rank = density - half + 2 * half * (torch.arange(length, device=delta.device) + 0.5) / max(length, 1)
    probability = torch.empty_like(magnitudes).scatter_(1, order, by_rank.float().expand_as(order))
    kept = (draws.to(delta.device).reshape_as(probability) < probability).float()
    if rescale == "inverse_density":
        kept.div_(probability.clamp_(min=torch.finfo(torch.float32).tiny))
    elif rescale == "l1":
        kept.mul_(total(magnitudes) / max(total(magnitudes * kept), torch.finfo(torch.float32).tiny))
    return kept.reshape(delta.shape)


def trim_level(vector: Tensor, origin: Tensor, density: float) -> float:
    """The magnitude up to which a trim of ``vector - origin`` to its ``density`` largest magnitudes drops.

    The level lies just under the k-th largest magnitude, k = round(density n) but at least 1, so that equal magnitudes
    are kept together (bf16 parents differ by few distinct amounts). Found by selection, never by a full sort.

    Args:
        vector: a parent's tensor, any shape and floating dtype.
        origin: the base's, of the same shape.
        density: share to keep, in [0, 1].

    Returns:
        The level for ``torch.hardshrink``; 0 keeps all, infinity nothing.
    """
    count = vector.numel()
    if density >= 1 or count == 0:
        return 0.0
    if density <= 0:
        return math.inf
    rank = count - max(1, round(density * count))  # from the smallest, 0-based
    if vector.device.type != "cpu":
        smallest_kept = float((vector.float() - origin.float()).abs_().flatten().kthvalue(rank + 1).values)
    else:
        smallest_kept = _select(vector.reshape(-1), origin.reshape(-1), rank)
    return float(np.nextafter(np.float32(smallest_kept), np.float32(0)))


def _select(vector: Tensor, origin: Tensor, rank: int) -> float:
    """The magnitude of 0-based ``rank`` from the smallest, exactly.

    A sample brackets it, so that one pass of comparisons leaves a few per cent of the elements to select from; where
    the bracket misses, the selection runs over all of them.
    """

    def magnitudes(v: Tensor, o: Tensor) -> np.ndarray:
        return v.sub(o).abs_().numpy()

    count, low, high = vector.numel(), np.float32(0), np.float32(math.inf)
    if count > SMALL:
        sample = np.sort(np.concatenate(of_blocks(magnitudes, vector[::SAMPLED], origin[::SAMPLED])))
        share = rank / count
        margin = 4 * math.sqrt(sample.size * share * (1 - share)) + 2  # four standard errors: a miss is rare
        low = sample[max(0, int(share * sample.size - margin))]
        high = sample[min(sample.size - 1, int(share * sample.size + margin))]

    def bracketed(v: Tensor, o: Tensor) -> tuple[int, np.ndarray]:
        sizes = magnitudes(v, o)
        under = sizes < low
        return int(np.count_nonzero(under)), sizes.take(np.flatnonzero(under ^ (sizes <= high)))

    counts, brackets = zip(*of_blocks(bracketed, vector, origin), strict=True)
    below, inside = sum(counts), np.concatenate(brackets)
    if 0 <= rank - below < inside.size:
        return float(np.partition(inside, rank - below)[rank - below])
    return float(np.partition(np.concatenate(of_blocks(magnitudes, vector, origin)), rank)[rank])
