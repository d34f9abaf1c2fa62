"""TIES' election on a CUDA device: reads the parents once and writes the child.

Plain torch makes some thirty fp32 tensors on the way. Operation for operation this is what ``merging.blending.elect``
and ``merging.streaming.Contribution`` do, without fused multiply-adds: the same bits.
"""
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

triton: Any = import_module("triton")
tl: Any = import_module("triton.language")

BLOCK = 1024  # elements of one program


@triton.jit
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, tl.where(x == 0, 0.0, x)))


@triton.jit
def _elect(
    base, father, mother, keep_father, keep_mother, out, count,
    level_father, level_mother, factor_father, factor_mother, weight, ratio,
    slope_father, share_father, slope_mother, share_mother, both_share, scale,
    GIVEN: tl.constexpr, TRIM: tl.constexpr, MASK_FATHER: tl.constexpr, MASK_MOTHER: tl.constexpr,
    ROUNDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    b = tl.load(base + at, mask=inside).to(tl.float32)
    u = tl.load(father + at, mask=inside).to(tl.float32)
    v = tl.load(mother + at, mask=inside).to(tl.float32)
    if not GIVEN:
        u = u - b
        v = v - b
        if TRIM:
            u = tl.where(tl.abs(u) <= level_father, 0.0, u)
            v = tl.where(tl.abs(v) <= level_mother, 0.0, v)
        if MASK_FATHER:
            u = u * tl.load(keep_father + at, mask=inside).to(tl.float32)
        if MASK_MOTHER:
            v = v * tl.load(keep_mother + at, mask=inside).to(tl.float32)
        u = u * factor_father
        v = v * factor_mother
    u = u * weight
    v = v * ratio
    sign = _sign(u + v)
    u = u * sign
    v = v * sign
    u = tl.where(u < 0, 0.0, u)
    v = tl.where(v < 0, 0.0, v)
    both = tl.where((u > 0) & (v > 0), 1.0, 0.0)
    u = u * (both * slope_father + share_father)
    v = v * (both * slope_mother + share_mother)
    magnitude = u + v
    magnitude = magnitude + both_share * magnitude * both
    magnitude = magnitude * scale
    tl.store(out + at, (magnitude * sign + b).to(ROUNDED).to(out.dtype.element_ty), mask=inside)


def elect(
    base: Tensor,
    parents: tuple[Tensor, Tensor],
    keeps: tuple[Tensor | None, Tensor | None],
    out: Tensor,
    dtype: torch.dtype,
    *,
    given: bool,
    levels: tuple[float, float] | None,
    factors: tuple[float, float],
    weight: float,
    ratio: float,
    divisors: tuple[float, float, float],
    scale: float,
) -> None:
    """Write B + s elected(w u, r v), in fp32 and rounded once, with the bits that plain torch gives.

    Args:
        base: B, contiguous, on a CUDA device, any shape and floating dtype.
        parents: the tensors of the father and the other parent, of the same shape and device, any floating dtype.
        keeps: masks (booleans) or weights (fp32) of the task vectors, of the same shape and device; None keeps all.
        out: where the result goes, of the same shape and device; its dtype may be wider than ``dtype``.
        dtype: what the result is rounded to.
        given: ``parents`` are u and v themselves, to which ``keeps``, ``levels`` and ``factors`` no longer apply.
        levels: magnitudes up to which the task vectors are trimmed away; None trims nothing.
        factors: what the task vectors are multiplied with after that.
        weight: w, the father's.
        ratio: r, the other parent's.
        divisors: of a value where the father alone is elected, where the other alone is, and where both are; none is 0.
        scale: s.
    """
    count = base.numel()
    if count == 0:
        return
    rounded = getattr(tl, str(dtype).removeprefix("torch."))
    # A value is multiplied with slope * (1 where both parents agree, else 0) + share.
    # Where nothing is divided these are 0 and 1, which change nothing.
    *alone, shared = divisors
    pairs, both_share = [(1 - 1 / own, 1 / own) for own in alone], 1 / shared - 1
    as_bytes = [keep.view(torch.uint8) if keep is not None and keep.dtype == torch.bool else keep for keep in keeps]
    masks = [base if keep is None else keep for keep in as_bytes]
    with torch.cuda.device(base.device):
        _elect[(triton.cdiv(count, BLOCK),)](
            base, *parents, *masks, out, count,
            *(levels or (0.0, 0.0)), *factors, weight, ratio, *pairs[0], *pairs[1], both_share, scale,
            GIVEN=given, TRIM=levels is not None, MASK_FATHER=keeps[0] is not None, MASK_MOTHER=keeps[1] is not None,
            ROUNDED=rounded, BLOCK=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
