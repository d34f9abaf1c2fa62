"""CUDA kernels in Triton, which comes with torch's CUDA builds. Everywhere else plain torch does the same.

Their modules are imported only where ``fit`` says that they can run.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


def fit(*tensors: Tensor) -> bool:
    """Whether the kernels can read these: dense, all on one CUDA device, and Triton works there."""
    device = tensors[0].device
    dense = device.type == "cuda" and all(t.device == device and t.is_contiguous() for t in tensors)
    return dense and _works(device)


@cache
def _works(device: torch.device) -> bool:
    """Whether Triton is installed and can compile: that takes a C compiler too, which slim images lack."""
    if find_spec("triton") is None:
        return False
    one = torch.zeros(1, device=device)
    try:
        from darwin_mri.kernels.blend import blend

        blend(one, one, 1.0, one, torch.float32, toward=False)
    except Exception:  # of Triton, its compiler or the driver: many classes, and torch does the same without
        return False
    return True
