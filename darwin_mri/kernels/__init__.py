"""CUDA kernels in Triton, which comes with torch's CUDA builds. Everywhere else plain torch does the same.

The modules are imported where ``fit`` says yes, and nowhere else.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from torch import Tensor


def fit(*tensors: Tensor) -> bool:
    """Whether the kernels can read these: dense, all on one CUDA device, and Triton is there."""
    device = tensors[0].device
    return device.type == "cuda" and all(t.device == device and t.is_contiguous() for t in tensors) and _has_triton()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
