"""Sums and products of whole tensors in fp64, block by block, which the merge methods share.

fp64 holds the square of any fp32 number; on a CPU numpy sums on one thread, so that no number of threads changes a bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from darwin_mri.errors import ConfigError
from darwin_mri.merging.blocks import BLOCK, by_blocks, of_blocks, total


def task_vectors(tensors: Sequence[Tensor], base: Tensor | None) -> list[Tensor]:
    """Each tensor minus the base's, in fp32; the tensors themselves, in fp32, without a base."""
    if base is None:
        return [tensor.float() for tensor in tensors]
    return [tensor.float() - base.float() for tensor in tensors]


def gram(vectors: Sequence[Tensor]) -> np.ndarray:
    """The inner products of tensors as flat vectors.

    Args:
        vectors: N tensors of one shape, fp32.

    Returns:
        (N, N) fp64.
    """
    count = len(vectors)

    def lower(*parts: Tensor) -> np.ndarray:
        products, wide = np.zeros((count, count)), [part.double() for part in parts]
        for i in range(count):
            for j in range(i + 1):
                products[i, j] = total(wide[i] * wide[j])
        return products

    products = sum(of_blocks(lower, *vectors), start=np.zeros((count, count)))
    return products + np.tril(products, -1).T


def row_inner(one: Tensor, two: Tensor) -> Tensor:
    """Inner products of the rows of two tensors, along their last dimension.

    Args:
        one: (..., length), fp32.
        two: of the same shape.

    Returns:
        (..., 1) fp64.
    """
    length = one.shape[-1]
    rows, others = one.reshape(-1, length), two.reshape(-1, length)
    step = max(1, BLOCK // max(length, 1))
    sums = torch.empty(rows.shape[0], dtype=torch.float64, device=one.device)
    for start in range(0, rows.shape[0], step):
        product = rows[start : start + step].double() * others[start : start + step].double()
        if product.device.type == "cpu":
            sums[start : start + step] = torch.from_numpy(product.numpy().sum(axis=-1))
        else:
            sums[start : start + step] = product.sum(dim=-1)
    return sums.reshape(*one.shape[:-1], 1)


def combine(vectors: Sequence[Tensor], coefficients: Sequence[float], base: Tensor | None = None) -> Tensor:
    """The sum of coefficient times vector, plus the base, computed in fp64 and rounded once.

    Args:
        vectors: of one shape, any floating dtype.
        coefficients: one for each.
        base: of the same shape, or None.

    Returns:
        fp32, of that shape.
    """

    def joined(*parts: Tensor) -> Tensor:
        mass = torch.zeros_like(parts[0], dtype=torch.float64) if base is None else parts[-1].double()
        for part, coefficient in zip(parts, coefficients, strict=False):
            if coefficient != 0:  # a parent without weight adds nothing, whatever its values
                mass = mass.add(part.double(), alpha=coefficient)
        return mass

    return by_blocks(joined, *vectors, *(() if base is None else (base,)))


def order_statistics(values: Tensor, ranks: Sequence[int]) -> list[float]:
    """The values of 0-based ranks by rising size, exactly.

    Args:
        values: any shape, fp32.
        ranks: each within the number of elements.

    Returns:
        One number for each rank.
    """
    if values.device.type == "cpu":
        ordered = np.partition(values.flatten().numpy(), sorted(set(ranks)))
        return [float(ordered[rank]) for rank in ranks]
    return [float(values.flatten().kthvalue(rank + 1).values) for rank in ranks]


def normalized(weights: Sequence[float]) -> list[float]:
    """Weights divided by their sum; raises ConfigError where that is 0."""
    whole, size = sum(weights), sum(abs(weight) for weight in weights)
    if abs(whole) <= 1e-12 * size or whole == 0:
        raise ConfigError(f"the weights {[*weights]} sum to 0: give weights with another sum, or do not normalize them")
    return [weight / whole for weight in weights]
