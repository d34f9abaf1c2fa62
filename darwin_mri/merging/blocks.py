"""Element-wise arithmetic on whole tensors, in fp32, block by block, so that temporaries stay in a core's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

BLOCK = 2**16  # elements: three fp32 inputs and the temporaries of a block fit in a core's cache
DEVICE_BLOCK = 2**24  # on an accelerator: enough to fill it, and 64 MB for each fp32 copy


def blocks(*tensors: Tensor, device: torch.device | None = None) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of one shape into aligned flat fp32 blocks.

    Args:
        tensors: of one shape, any dtype and device.
        device: where the blocks lie; that of the first tensor when None.

    Yields:
        One block of each tensor, (up to ``BLOCK`` or ``DEVICE_BLOCK``,) fp32, a copy or a view.
    """
    flats = [tensor.detach().reshape(-1) for tensor in tensors]
    device = device or flats[0].device
    step = BLOCK if device.type == "cpu" else DEVICE_BLOCK
    for start in range(0, flats[0].numel(), step):
        yield tuple(_fp32(flat[start : start + step].to(device, non_blocking=True)) for flat in flats)


def by_blocks(kernel: Callable[..., Tensor], *tensors: Tensor, out: Tensor | None = None) -> Tensor:
    """Compute a tensor block by block.

    Args:
        kernel: flat fp32 blocks of ``tensors`` -> block of the result.
        tensors: of one shape, any dtype and device.
        out: where the result goes, contiguous, of that shape; a new fp32 tensor on the first one's device when None.

    Returns:
        ``out``, or the new tensor.
    """
    if out is None:
        out = torch.empty(tensors[0].shape, dtype=torch.float32, device=tensors[0].device)
    flat, start = out.view(-1), 0
    for parts in blocks(*tensors, device=out.device):
        flat[start : start + parts[0].numel()].copy_(kernel(*parts))
        start += parts[0].numel()
    return out


def total(values: Tensor, dtype: type[np.floating] = np.float64) -> float:
    """The sum, the same with any number of threads: numpy adds pairwise on one.

    In fp32 it is seven times faster, and for a block good to a few units in the seventh digit.
    """
    if values.device.type == "cpu":
        return float(np.sum(values.numpy(), dtype=dtype))
    return float(values.double().sum())


def _fp32(block: Tensor) -> Tensor:
    """fp32 of a block; a mask goes through its bytes, which convert seven times faster than booleans."""
    return block.view(torch.uint8).float() if block.dtype == torch.bool else block.float()
