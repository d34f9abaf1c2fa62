"""Sums over the rows and columns of a matrix of activations on a CUDA device, as a scan needs them.

Plain torch reads and writes eight fp32 copies of the matrix; these kernels read it twice in the model's own dtype.
"""
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

triton: Any = import_module("triton")
tl: Any = import_module("triton.language")

ROWS, COLUMNS = 4, 512  # tile of the kernel that goes along rows
TALL, NARROW = 128, 16  # and of those that go down columns: 16 values of two bytes are what memory hands out at once
OF_ROW = ("sum", "square", "cube", "fourth", "largest", "positive", "dot")


@triton.jit
def _along_rows(
    values, other, rows, count, out, WIDTH: tl.constexpr, DOT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    chosen = row < count
    start = tl.load(rows + row, mask=chosen, other=0) * WIDTH
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    square = tl.zeros((ROWS, COLUMNS), tl.float32)
    cube = tl.zeros((ROWS, COLUMNS), tl.float32)
    fourth = tl.zeros((ROWS, COLUMNS), tl.float32)
    largest = tl.zeros((ROWS, COLUMNS), tl.float32)
    positive = tl.zeros((ROWS, COLUMNS), tl.float32)
    dot = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, WIDTH, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = chosen[:, None] & (column < WIDTH)[None, :]
        at = start[:, None] + column[None, :]
        x = tl.load(values + at, mask=inside, other=0.0).to(tl.float32)
        x2 = x * x
        total += x
        square += x2
        cube += x2 * x
        fourth += x2 * x2
        largest = tl.maximum(largest, tl.abs(x))
        positive += (x > 0).to(tl.float32)
        if DOT:
            dot += x * tl.load(other + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row, tl.sum(total, 1), mask=chosen)
    tl.store(out + count + row, tl.sum(square, 1), mask=chosen)
    tl.store(out + 2 * count + row, tl.sum(cube, 1), mask=chosen)
    tl.store(out + 3 * count + row, tl.sum(fourth, 1), mask=chosen)
    tl.store(out + 4 * count + row, tl.max(largest, 1), mask=chosen)
    tl.store(out + 5 * count + row, tl.sum(positive, 1), mask=chosen)
    tl.store(out + 6 * count + row, tl.sum(dot, 1), mask=chosen)


@triton.jit
def _down_columns(
    values, rows, count, total, square, peak, WIDTH: tl.constexpr, TALL: tl.constexpr, NARROW: tl.constexpr
):
    column = tl.program_id(0) * NARROW + tl.arange(0, NARROW)
    inside = column < WIDTH
    sums = tl.zeros((TALL, NARROW), tl.float32)
    squares = tl.zeros((TALL, NARROW), tl.float32)
    largest = tl.zeros((TALL, NARROW), tl.float32)
    for first in range(0, count, TALL):
        row = first + tl.arange(0, TALL)
        chosen = row < count
        start = tl.load(rows + row, mask=chosen, other=0) * WIDTH
        at = start[:, None] + column[None, :]
        x = tl.load(values + at, mask=chosen[:, None] & inside[None, :], other=0.0).to(tl.float32)
        sums += x
        squares += x * x
        largest = tl.maximum(largest, tl.abs(x))
    tl.store(total + column, tl.load(total + column, mask=inside) + tl.sum(sums, 0), mask=inside)
    tl.store(square + column, tl.load(square + column, mask=inside) + tl.sum(squares, 0), mask=inside)
    tl.store(peak + column, tl.maximum(tl.load(peak + column, mask=inside), tl.max(largest, 0)), mask=inside)


@triton.jit
def _by_group(
    values, rows, bounds, out, POSITIVE: tl.constexpr, WIDTH: tl.constexpr, TALL: tl.constexpr, NARROW: tl.constexpr
):
    column = tl.program_id(0) * NARROW + tl.arange(0, NARROW)
    inside = column < WIDTH
    end = tl.load(bounds + tl.program_id(1) + 1)
    sums = tl.zeros((TALL, NARROW), tl.float32)
    for first in range(tl.load(bounds + tl.program_id(1)), end, TALL):
        row = first + tl.arange(0, TALL)
        chosen = row < end
        start = tl.load(rows + row, mask=chosen, other=0) * WIDTH
        at = start[:, None] + column[None, :]
        x = tl.load(values + at, mask=chosen[:, None] & inside[None, :], other=0.0).to(tl.float32)
        if POSITIVE:
            x = (x > 0).to(tl.float32)
        sums += x
    target = out + tl.program_id(1) * WIDTH + column
    tl.store(target, tl.load(target, mask=inside) + tl.sum(sums, 0), mask=inside)


def along_rows(values: Tensor, rows: Tensor, other: Tensor | None = None) -> Tensor:
    """For each row the sums of x, x^2, x^3, x^4 and x y, the largest |x|, and how many x > 0.

    Args:
        values: x, (all rows, width), contiguous, any floating dtype, on a CUDA device.
        rows: (rows,) int64, which of them.
        other: y, like ``values``; the last row of the result is 0 without.

    Returns:
        (7, rows) fp32, in the order of ``OF_ROW``.
    """
    count, width = len(rows), values.shape[1]
    out = torch.empty(len(OF_ROW), count, device=values.device)
    if count:
        with torch.cuda.device(values.device):
            _along_rows[(triton.cdiv(count, ROWS),)](
                values, values if other is None else other, rows, count, out,
                WIDTH=width, DOT=other is not None, ROWS=ROWS, COLUMNS=COLUMNS,
            )  # fmt: skip
    return out


def add_columns(total: Tensor, square: Tensor, peak: Tensor, values: Tensor, rows: Tensor) -> None:
    """Add each column's sums of x and x^2 to two vectors, and raise its largest |x| in a third.

    Args:
        total: (width,) fp32, gets the sums of x.
        square: (width,) fp32, gets the sums of x^2.
        peak: (width,) fp32, gets the largest |x|.
        values: x, (all rows, width), contiguous, any floating dtype, on a CUDA device.
        rows: (rows,) int64, which of them.
    """
    width = values.shape[1]
    with torch.cuda.device(values.device):
        _down_columns[(triton.cdiv(width, NARROW),)](
            values, rows, len(rows), total, square, peak, WIDTH=width, TALL=TALL, NARROW=NARROW
        )


def add_groups(total: Tensor, values: Tensor, rows: Tensor, bounds: Tensor, *, positive: bool) -> None:
    """Add to ``total[g]`` each column's sum over the rows of group g, in an order that is always the same.

    Args:
        total: (groups, width) fp32.
        values: x, (all rows, width), contiguous, any floating dtype, on a CUDA device.
        rows: (rows,) int64, sorted by group.
        bounds: (groups + 1,) int64, where each group begins among ``rows``.
        positive: count where x > 0, in place of adding x.
    """
    width = values.shape[1]
    with torch.cuda.device(values.device):
        _by_group[(triton.cdiv(width, NARROW), len(total))](
            values, rows, bounds, total, POSITIVE=positive, WIDTH=width, TALL=TALL, NARROW=NARROW
        )
