"""A child in memory: the father's model whose changed tensors are written in place, always from the parents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from darwin_mri.merging.blending import Blend
from darwin_mri.merging.donors import Replacement
from darwin_mri.merging.merge import Merge, doses
from darwin_mri.merging.settings import Exceptions, Settings

KEPT_SHARE = 0.6  # of a device's free memory; the rest is for forwards


class Candidate:
    """Applies genomes to a resident model, touching only tensors whose dose changed since the last call.

    Args:
        model: the father, loaded; its parameters are overwritten.
        tensors: gene name -> parameter names.
        keep_bytes: how much may be kept resident of what does not depend on the ratio; beyond it tensors are made anew from
            the parents' files each time, with the same bits. None keeps all on a CPU, and on a device ``KEPT_SHARE`` of what is free.
    """

    def __init__(
        self, model: Any, tensors: Mapping[str, tuple[str, ...]], merge: Merge, *, keep_bytes: int | None = None
    ) -> None:
        self.model, self.tensors, self.merge = model, tensors, merge
        self.parameters = dict(model.named_parameters())
        device = next(iter(self.parameters.values())).device
        if keep_bytes is None and device.type == "cuda":
            keep_bytes = int(KEPT_SHARE * torch.cuda.mem_get_info(device)[0])
        self.keep_bytes = keep_bytes
        self.current: dict[str, tuple[float, Settings]] = {}
        self._kept: dict[str, tuple[Settings, Blend | Replacement]] = {}
        self._kept_bytes = 0

    @torch.no_grad()
    def apply(self, genes: Mapping[str, float], exceptions: Exceptions | None = None) -> None:
        """Make the model the child of these genes; ``exceptions`` replace the merge's own for this child."""
        for name, (ratio, settings) in doses(self.merge, self.tensors, genes, exceptions).items():
            if (ratio, settings) == self.current.get(name, (0.0, settings) if settings.zero_is_father else None):
                continue
            self._write(name, ratio, settings)
            self.current[name] = (ratio, settings)

    @torch.no_grad()
    def restore(self) -> None:
        """Make the model the father again."""
        for name in self.current:
            self.parameters[name].copy_(self.merge.father.tensor(name))
        self.current.clear()

    def _write(self, name: str, ratio: float, settings: Settings) -> None:
        parameter, dtype = self.parameters[name], self.merge.father.dtype(name)
        if ratio == 0.0 and settings.zero_is_father:
            parameter.copy_(self.merge.father.tensor(name))
            return
        kept = self._kept.get(name)
        if kept is None or kept[0] != settings:
            made = self.merge.blend(name, settings)
            if ratio in made.known:
                parameter.copy_(made.child(ratio, dtype))
                return
            size = 4 * parameter.numel() * (3 if self.merge.base is not None else 2)
            if self.keep_bytes is not None and self._kept_bytes + size > self.keep_bytes:
                made.write(parameter, ratio, dtype)
                return
            self._kept_bytes += 0 if kept else size
            kept = self._kept[name] = (settings, made.kept(parameter.device))
        elif ratio == 1.0:  # linear's and slerp's mother herself, which kept vectors would round
            parameter.copy_(self.merge.tensor(name, ratio, settings))
            return
        kept[1].write(parameter, ratio, dtype)
