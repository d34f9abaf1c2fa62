"""What a scan adds up over the rows and the columns of a matrix of activations on a CUDA device, without a copy of it in fp32.

Plain torch reads and writes eight such copies; these kernels read the matrix twice in the model's own dtype.
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
    here = row < count
    start = tl.load(rows + row, mask=here, other=0) * WIDTH
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    square = tl.zeros((ROWS, COLUMNS), tl.float32)
    cube = tl.zeros((ROWS, COLUMNS), tl.float32)
    fourth = tl.zeros((ROWS, COLUMNS), tl.float32)
    largest = tl.zeros((ROWS, COLUMNS), tl.float32)
    positive = tl.zeros((ROWS, COLUMNS), tl.float32)
    dot = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, WIDTH, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = here[:, None] & (column < WIDTH)[None, :]
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
    tl.store(out + row, tl.sum(total, 1), mask=here)
    tl.store(out + count + row, tl.sum(square, 1), mask=here)
    tl.store(out + 2 * count + row, tl.sum(cube, 1), mask=here)
    tl.store(out + 3 * count + row, tl.sum(fourth, 1), mask=here)
    tl.store(out + 4 * count + row, tl.max(largest, 1), mask=here)
    tl.store(out + 5 * count + row, tl.sum(positive, 1), mask=here)
    tl.store(out + 6 * count + row, tl.sum(dot, 1), mask=here)


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
        here = row < count
        start = tl.load(rows + row, mask=here, other=0) * WIDTH
        at = start[:, None] + column[None, :]
        x = tl.load(values + at, mask=here[:, None] & inside[None, :], other=0.0).to(tl.float32)
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
    found = tl.zeros((TALL, NARROW), tl.float32)
    for first in range(tl.load(bounds + tl.program_id(1)), end, TALL):
        row = first + tl.arange(0, TALL)
        here = row < end
        start = tl.load(rows + row, mask=here, other=0) * WIDTH
        at = start[:, None] + column[None, :]
        x = tl.load(values + at, mask=here[:, None] & inside[None, :], other=0.0).to(tl.float32)
        if POSITIVE:
            x = (x > 0).to(tl.float32)
        found += x
    mine = out + tl.program_id(1) * WIDTH + column
    tl.store(mine, tl.load(mine, mask=inside) + tl.sum(found, 0), mask=inside)


def along_rows(values: Tensor, rows: Tensor, other: Tensor | None = None) -> Tensor:
    """Per row sums of x, x^2, x^3 and x^4, the largest |x|, how many x > 0, and sum of x y: (7, rows) in the order of ``OF_ROW``.

    Args:
        values: (all rows, width), contiguous, any floating dtype, on a CUDA device.
        rows: (rows,) int64, which of them.
        other: y, like ``values``; the last row is 0 without.
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
    """Add each column's sums of x and x^2, and raise its largest |x|: three vectors (width,) of fp32. Arguments as ``along_rows``."""
    width = values.shape[1]
    with torch.cuda.device(values.device):
        _down_columns[(triton.cdiv(width, NARROW),)](
            values, rows, len(rows), total, square, peak, WIDTH=width, TALL=TALL, NARROW=NARROW
        )


def add_groups(total: Tensor, values: Tensor, rows: Tensor, bounds: Tensor, *, positive: bool) -> None:
    """total[g, column] += the sum over the rows of group g, in an order that is always the same.

    Args:
        values: as for ``along_rows``.
        total: (groups, width) fp32.
        rows: (rows,) int64, sorted by group; bounds: (groups + 1,) where each group begins among them.
        positive: count where x > 0, in place of adding x.
    """
    width = values.shape[1]
    with torch.cuda.device(values.device):
        _by_group[(triton.cdiv(width, NARROW), len(total))](
            values, rows, bounds, total, POSITIVE=positive, WIDTH=width, TALL=TALL, NARROW=NARROW
        )
