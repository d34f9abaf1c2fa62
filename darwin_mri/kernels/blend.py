"""origin + r v on a CUDA device: reads both once and writes the child.

Plain torch makes two fp32 tensors on the way.
"""
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

triton: Any = import_module("triton")
tl: Any = import_module("triton.language")

BLOCK = 2048  # elements of one program


@triton.jit
def _blend(origin, other, out, ratio, count, TOWARD: tl.constexpr, ROUNDED: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    start = tl.load(origin + at, mask=inside).to(tl.float32)
    vector = tl.load(other + at, mask=inside).to(tl.float32)
    if TOWARD:
        vector = vector - start
    tl.store(out + at, (vector * ratio + start).to(ROUNDED).to(out.dtype.element_ty), mask=inside)


def blend(origin: Tensor, other: Tensor, ratio: float, out: Tensor, dtype: torch.dtype, *, toward: bool) -> None:
    """Write origin + r v, in fp32 and rounded once, with the bits that plain torch gives.

    Args:
        origin: contiguous, on a CUDA device, any shape and floating dtype.
        other: of the same shape and device, any floating dtype.
        ratio: r.
        out: where the result goes, of the same shape and device; its dtype may be wider than ``dtype``.
        dtype: what the result is rounded to.
        toward: v is other - origin; other itself when false.
    """
    count = origin.numel()
    if count == 0:
        return
    rounded = getattr(tl, str(dtype).removeprefix("torch."))
    with torch.cuda.device(origin.device):
        # Without fused multiply-adds: a CPU rounds the product before it adds.
        _blend[(triton.cdiv(count, BLOCK),)](
            origin, other, out, ratio, count, TOWARD=toward, ROUNDED=rounded, BLOCK=BLOCK, enable_fp_fusion=False
        )
