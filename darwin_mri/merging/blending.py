"""One tensor of a child as a function of the mother's ratio: what a search keeps resident and what a writer streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from darwin_mri.errors import ConfigError
from darwin_mri.merging.blocks import by_blocks


@dataclass(frozen=True)
class Blend:
    """One tensor of the child as a function of the ratio.

    Args:
        origin: what the parents' contributions are added to.
        inputs: tensors of the origin's shape that ``split`` reads.
        split: fp32 blocks of origin and inputs -> fp32 blocks of the contributions. It does not know the ratio.
        join: ratio, then fp32 blocks of origin and contributions -> fp32 block of the child.
        known: children that need no arithmetic, by ratio.
        linear: whether the child is origin + r * contribution.
    """

    origin: Tensor
    inputs: tuple[Tensor, ...]
    split: Callable[..., tuple[Tensor, ...]]
    join: Callable[..., Tensor]
    known: Mapping[float, Tensor] = field(default_factory=dict)
    linear: bool = False

    def child(self, ratio: float, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at a ratio, a new one, rounded once to ``dtype``.

        Raises:
            ConfigError: the ratio is negative or no number.
        """
        if not 0 <= ratio < math.inf:
            raise ConfigError(f"ratio {ratio} must be a number of at least 0")
        if ratio in self.known:
            return self.known[ratio].detach().to(dtype, copy=True)
        out = torch.empty(self.origin.shape, dtype=dtype, device=self.origin.device)
        self.write(out, ratio, dtype)
        return out

    def kept(self, device: torch.device) -> Blend:
        """The same function with its contributions computed and held in fp32 on a device: fast at every ratio.

        It knows no child without arithmetic any more: ask the original for those of ``known``.
        """
        count = len(self.split(*(tensor.flatten()[:1].float() for tensor in (self.origin, *self.inputs))))
        vectors = [
            by_blocks(lambda *parts, i=index: self.split(*parts)[i], self.origin, *self.inputs).to(device)
            for index in range(count)
        ]
        return Blend(self.origin.to(device), tuple(vectors), lambda o, *rest: rest, self.join, linear=self.linear)

    def write(self, target: Tensor, ratio: float, dtype: torch.dtype) -> None:
        """Write the child, rounded once to ``dtype``, into ``target`` (which may be wider) without a whole tensor in between."""
        if self.linear and self.origin.device == target.device != torch.device("cpu") and target.dtype == dtype:
            # Two kernels, each rounding as the CPU's do; one fused multiply-add would not.
            (vector,) = self.split(self.origin, *(tensor.float() for tensor in self.inputs))
            torch.add(self.origin, vector * ratio, out=target)
            return
        narrow = target.dtype != dtype

        def kernel(o: Tensor, *rest: Tensor) -> Tensor:
            made = self.join(ratio, o, *self.split(o, *rest))
            return made.to(dtype) if narrow else made

        by_blocks(kernel, self.origin, *self.inputs, out=target)
