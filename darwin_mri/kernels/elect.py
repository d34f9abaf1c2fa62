"""TIES' election on a CUDA device: reads the parents once and writes the child, where plain torch makes some thirty fp32 tensors.

Operation for operation what ``merging.operators.elect`` and the splits before it do, without fused multiply-adds: the same bits.
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
    GIVEN: tl.constexpr, TRIM: tl.constexpr, MASK_FATHER: tl.constexpr, MASK_MOTHER: tl.constexpr, ROUNDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = at < count
    b = tl.load(base + at, mask=here).to(tl.float32)
    u = tl.load(father + at, mask=here).to(tl.float32)
    v = tl.load(mother + at, mask=here).to(tl.float32)
    if not GIVEN:
        u = u - b
        v = v - b
        if TRIM:
            u = tl.where(tl.abs(u) <= level_father, 0.0, u)
            v = tl.where(tl.abs(v) <= level_mother, 0.0, v)
        if MASK_FATHER:
            u = u * tl.load(keep_father + at, mask=here).to(tl.float32)
        if MASK_MOTHER:
            v = v * tl.load(keep_mother + at, mask=here).to(tl.float32)
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
    tl.store(out + at, (magnitude * sign + b).to(ROUNDED).to(out.dtype.element_ty), mask=here)


def elect(
    base: Tensor, parents: tuple[Tensor, Tensor], keeps: tuple[Tensor | None, Tensor | None], out: Tensor, dtype: torch.dtype, *,
    given: bool, levels: tuple[float, float] | None, factors: tuple[float, float], weight: float, ratio: float, divide: str, scale: float,
) -> None:  # fmt: skip
    """B + s elected(w u, r v), rounded once to ``dtype``, into ``out`` (which may be wider).

    Args:
        base, parents, keeps, out: contiguous tensors of one shape on one CUDA device.
        keeps: masks or weights of the task vectors; None keeps all.
        given: ``parents`` are u and v themselves; else the models they are made of.
        levels: at or below which a task vector is trimmed away; None trims nothing.
        factors: what kept task vectors are multiplied with.
        weight, ratio, divide, scale: as ``Settings`` has them.
    """
    count = base.numel()
    if count == 0:
        return
    rounded = getattr(tl, str(dtype).removeprefix("torch."))
    # What a value is multiplied with: slope where both parents agree plus share. 0 and 1, which change nothing, unless by weights.
    pairs = [(1 - 1 / w, 1 / w) if divide == "weights" and w not in (0.0, 1.0) else (0.0, 1.0) for w in (weight, ratio)]
    both_share = 0.0 if divide == "none" else 1 / max(weight + ratio, 1e-12) - 1
    bytes_ = [keep.view(torch.uint8) if keep is not None and keep.dtype == torch.bool else keep for keep in keeps]
    masks = [base if keep is None else keep for keep in bytes_]
    with torch.cuda.device(base.device):
        _elect[(triton.cdiv(count, BLOCK),)](
            base, *parents, *masks, out, count,
            *(levels or (0.0, 0.0)), *factors, weight, ratio, *pairs[0], *pairs[1], both_share, scale,
            GIVEN=given, TRIM=levels is not None, MASK_FATHER=keeps[0] is not None, MASK_MOTHER=keeps[1] is not None,
            ROUNDED=rounded, BLOCK=BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
