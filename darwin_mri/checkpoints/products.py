"""Float32 products on AMD processors by oneDNN, which is about twice as fast there as MKL and as exact.

PyTorch computes float32 products with MKL, which leaves AVX-512 unused on AMD. It hands them to oneDNN only where that
may lower their precision, which oneDNN does only on processors with tiles for it (AMX). AMD's have none: there it
computes float32 with AVX-512. Whether it does is tried out first (docs/PERFORMANCE.md, "Products on AMD").
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch

SHAPES = ((64, 576, 1536), (300, 1536, 576), (16, 4096, 64))  # rows, inputs, outputs of the products that are tried
TOLERANCE = 1e-5  # of ``product_error``: float32 has 2e-6 with either library, inputs in bfloat16 some 1e-2


@cache
def use_fast_products() -> bool:
    """Let oneDNN compute this process's float32 products where it is faster and as exact; what the user set stays.

    Returns:
        Whether it does now.
    """
    # PyTorch has one setting for CPU and GPU: a process that could use CUDA keeps its own.
    if torch.cuda.is_available() or not is_amd() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    if not untouched():
        return False
    torch.set_float32_matmul_precision("medium")
    if product_error() > TOLERANCE:
        torch.set_float32_matmul_precision("highest")
        return False
    return True


def untouched() -> bool:
    """Whether nobody has said how exact float32 products must be."""
    products = getattr(torch.backends.mkldnn, "matmul", None)  # of torch 2.9 and newer
    try:
        exact = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set for one library alone
        return False
    return exact and getattr(products, "fp32_precision", "none") == "none"


def product_error() -> float:
    """The largest error of float32 products as they are computed now, relative to the root of their mean square."""
    generator, errors = torch.Generator().manual_seed(0), list[float]()
    for rows, inputs, outputs in SHAPES:
        left, right = torch.randn(rows, inputs, generator=generator), torch.randn(outputs, inputs, generator=generator)
        exact = left.double() @ right.double().T
        error = (torch.nn.functional.linear(left, right) - exact).abs().max()
        errors.append(float(error / exact.square().mean().sqrt()))
    return max(errors)


def is_amd() -> bool:
    """Whether the processor is AMD's."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return "AuthenticAMD" in platform.processor()
