"""The arithmetic of quantised formats: packed integers and small floats back to fp32, as each format publishes it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# E2M1: sign, two bits of exponent, one of mantissa (OCP Microscaling Formats 1.0, table 5).
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which of eight neighbouring columns each nibble of a word holds, lowest first
WORD = 32  # bits


def unpack_words(packed: Tensor, bits: int, axis: int) -> Tensor:
    """Unsigned integers out of int32 words, lowest bits first.

    Args:
        packed: int32, any shape.
        bits: of each integer; divides 32.
        axis: along which neighbours share a word.

    Returns:
        int32 of the same shape, but 32 / bits times as long along ``axis``.
    """
    shifts = torch.arange(0, WORD, bits, dtype=torch.int32)
    values = (packed.movedim(axis, -1).unsqueeze(-1) >> shifts) & ((1 << bits) - 1)
    return values.flatten(-2).movedim(-1, axis)


def scale_blocks(
    values: Tensor, scales: Tensor, zeros: Tensor | None = None, *, blocks: Sequence[tuple[int, int]] = ()
) -> Tensor:
    """W = scale (value - zero), with one scale and one zero per block of the last two axes.

    Args:
        values: (..., rows, columns).
        scales: (..., block rows, block columns), (rows,), or one number.
        zeros: of the shape of ``scales``; None is zero.
        blocks: rows and columns that a block may have, of which the first that fits is taken; the last blocks of a
            tensor may be smaller. Equal parts when none fits.

    Returns:
        fp32 of the shape of ``values``.

    Raises:
        ValueError: the scales do not cover the values.
    """
    shifted = values.float() if zeros is None else values.float() - _grown(zeros.float(), values.shape, blocks)
    return shifted * _grown(scales.float(), values.shape, blocks)


def _grown(parts: Tensor, shape: Sequence[int], blocks: Sequence[tuple[int, int]]) -> Tensor:
    """One number per block, repeated to one per value."""
    if parts.numel() == 1:
        return parts.reshape(())
    rows, columns = shape[-2:]
    if parts.shape == (rows,):
        parts = parts[:, None]
    counts = tuple(parts.shape[-2:])
    equal = [(rows // counts[0], columns // counts[1])] if not rows % counts[0] and not columns % counts[1] else []
    # One number per row, or per column, has blocks as long as the tensor, whatever is said of the others.
    fitting = [
        (rows if counts[0] == 1 else high, columns if counts[1] == 1 else wide) for high, wide in (*blocks, *equal)
    ]
    for high, wide in fitting:
        if (-(-rows // high), -(-columns // wide)) == counts:
            return parts.repeat_interleave(high, -2)[..., :rows, :].repeat_interleave(wide, -1)[..., :columns]
    raise ValueError(f"scales {tuple(parts.shape)} do not cover weights {tuple(shape)}")


def gptq(qweight: Tensor, qzeros: Tensor, scales: Tensor, groups: Tensor, *, bits: int, stored_less: int) -> Tensor:
    """GPTQ's layout: W[o, i] = scale[g, o] (q[i, o] - zero[g, o]), g the group of input i.

    Args:
        qweight: int32 (in * bits / 32, out).
        qzeros: int32 (groups, out * bits / 32).
        scales: (groups, out).
        groups: group of each input (in,).
        bits: of an integer.
        stored_less: 1 in version 1 of the format, which stores zeros less one; 0 in version 2.

    Returns:
        fp32 (out, in).

    Raises:
        ValueError: the groups are not those of the scales.
    """
    zeros = (unpack_words(qzeros, bits, 1) + stored_less) & ((1 << bits) - 1)
    groups = groups.long()
    if int(groups.min()) < 0 or int(groups.max()) != len(scales) - 1:
        raise ValueError(f"inputs of groups {int(groups.min())} to {int(groups.max())} and scales of {len(scales)}")
    values = unpack_words(qweight, bits, 0)[: len(groups)] - zeros[groups, : scales.shape[1]]
    return (values * scales.float()[groups]).T


def awq(qweight: Tensor, qzeros: Tensor, scales: Tensor) -> Tensor:
    """AWQ's layout for its gemm kernel: 4 bits, eight columns of a word in the order ``AWQ_ORDER``.

    Args:
        qweight: int32 (in, out / 8).
        qzeros: int32 (groups, out / 8).
        scales: (groups, out).

    Returns:
        fp32 (out, in).
    """
    order = torch.tensor([AWQ_ORDER.index(column) for column in range(len(AWQ_ORDER))])
    values, zeros = (
        unpack_words(packed, 4, 1).unflatten(1, (-1, len(AWQ_ORDER)))[..., order].flatten(1)
        for packed in (qweight, qzeros)
    )
    size = values.shape[0] // scales.shape[0]
    return ((values - zeros.repeat_interleave(size, 0)) * scales.float().repeat_interleave(size, 0)).T


def grouped(values: Tensor, zeros: Tensor | None, scales: Tensor, groups: Tensor | None) -> Tensor:
    """compressed-tensors' integers: scale (q - zero), by groups of columns.

    Args:
        values: signed integers (rows, columns).
        zeros: (rows, groups); None is zero.
        scales: (rows or 1, groups).
        groups: group of each column; equal runs of neighbours when None.

    Returns:
        fp32 (rows, columns).

    Raises:
        ValueError: the columns do not fall into equal groups.
    """
    scales = scales.float().reshape(scales.shape[0] if scales.dim() > 1 else -1, -1)
    if groups is None or bool((groups < 0).any()):
        if values.shape[1] % scales.shape[1]:
            raise ValueError(f"{values.shape[1]} columns do not fall into {scales.shape[1]} groups")
        groups = torch.arange(values.shape[1]) // (values.shape[1] // scales.shape[1])
    groups = groups.long()
    shifted = values.float() if zeros is None else values.float() - zeros.float().reshape(scales.shape)[:, groups]
    return shifted * scales[:, groups]


def mxfp4(blocks: Tensor, scales: Tensor) -> Tensor:
    """Microscaling FP4: 32 values of 4 bits, lower nibble first, and one exponent, 2^(scale - 127).

    Args:
        blocks: uint8 (..., blocks, 16).
        scales: uint8 (..., blocks).

    Returns:
        fp32 (..., blocks * 32).
    """
    values = torch.tensor(E2M1)[torch.stack((blocks & 15, blocks >> 4), -1).flatten(-2).long()]
    return torch.ldexp(values, scales.int()[..., None] - 127).flatten(-2)


def by_table(packed: Tensor, table: Tensor, absmax: Tensor, size: int) -> Tensor:
    """Bitsandbytes' 4 bits: entries of a table of 16, higher nibble first, times the largest magnitude of a block.

    Args:
        packed: uint8, any shape.
        table: (16,).
        absmax: fp32, one per block.
        size: values in a block.

    Returns:
        fp32, flat; it may have one value too many.
    """
    values = table.float()[torch.stack((packed.flatten() >> 4, packed.flatten() & 15), -1).flatten().long()]
    return values * absmax.repeat_interleave(size)[: len(values)]
