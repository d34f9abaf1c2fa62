"""A child in memory: the father's model whose changed tensors are written in place, always from the parents."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from darwin_mri.batch_sizes import KEPT_SHARE
from darwin_mri.checkpoints import free_memory, stored_tensors
from darwin_mri.merging.blending import Blend
from darwin_mri.merging.merge import Merge, tensor_ratios
from darwin_mri.merging.settings import Exceptions, Settings
from darwin_mri.merging.streaming import Ratios, StreamedBlend

AHEAD = 4  # tensors read, masked or shuffled on the host while a device works; bounds the host's memory


@dataclass(frozen=True)
class _Kept:
    """A blend that is kept, with the settings it was made with, its size in bytes, and whether it is on the device."""

    settings: Settings
    blend: Blend
    size: int
    resident: bool


class Candidate:
    """Applies genomes to a resident model, touching only tensors whose ratio or settings changed since the last call.

    Args:
        model: the father, loaded; its parameters are overwritten.
        tensors: gene name -> parameter names.
        merge: what the child's tensors are.
        keep_bytes: how much may be kept resident of what does not depend on the ratio; ``KEPT_SHARE`` of what is free
            when None.
        wait_bytes: how much of the rest an accelerator may keep in host memory, by the same rule. Beyond both, tensors
            are made anew from the parents' files each time; the bits are the same.
    """

    def __init__(
        self,
        model: Any,
        tensors: Mapping[str, tuple[str, ...]],
        merge: Merge,
        *,
        keep_bytes: int | None = None,
        wait_bytes: int | None = None,
    ) -> None:
        self.model, self.tensors, self.merge = model, tensors, merge
        self.parameters = stored_tensors(model)
        self._assembly_of = {part: whole for whole in merge.father.assemblies for part in whole.names}
        self._parts: dict[str, torch.Tensor] = {}  # of assemblies, until all of one are there
        device = next(iter(self.parameters.values())).device
        self.keep_bytes = int(KEPT_SHARE * free_memory(device)) if keep_bytes is None else keep_bytes
        self.ahead = 0 if device.type == "cpu" else AHEAD
        self.wait_bytes = int(KEPT_SHARE * free_memory("cpu")) if wait_bytes is None else wait_bytes
        self.current: dict[str, tuple[Ratios, Settings]] = {}
        self._zero: Ratios = (0.0,) * len(merge.roles)
        self._kept: dict[str, _Kept] = {}
        self._held = {True: 0, False: 0}  # bytes, on the device and waiting for it
        self._to_round = self._rounded()
        self.kept_out: set[str] = set()  # tensors made anew each time for want of memory

    @torch.no_grad()
    def apply(self, genes: Mapping[str, float], exceptions: Exceptions | None = None) -> None:
        """Make the model the child of these genes; ``exceptions`` replace the merge's own for this child."""
        ratios = tensor_ratios(self.merge, self.tensors, genes, exceptions)
        names = {
            name
            for name, (own, settings) in ratios.items()
            if (own, settings) != self.current.get(name, (self._zero, settings) if settings.zero_is_father else None)
        }
        names |= {part for name in names & self._assembly_of.keys() for part in self._assembly_of[name].names}
        changed = {name: own for name, own in ratios.items() if name in names}
        anew = {name: settings for name, (own, settings) in changed.items() if self._needs_parents(name, own, settings)}
        blends = self._blends(anew)
        for name in self._to_round:  # first, as an unpacked father's child has no tensor of the wider dtype
            self._target(name).copy_(self.merge.father.in_child(name))
        for name, (own, settings) in changed.items():
            if name in anew:
                self._write_anew(name, own, settings, next(blends))
            elif not any(own) and settings.zero_is_father:
                self._target(name).copy_(self.merge.father.in_child(name))
            else:
                self._kept[name].blend.write(self._target(name), own, self.merge.father.dtype(name))
            self.current[name] = (own, settings)
        self._assemble()
        self._to_round = ()

    @torch.no_grad()
    def restore(self) -> None:
        """Make the model the father again."""
        for name in {*self.current, *self._rounded()}:
            self._target(name).copy_(self.merge.father.tensor(name))
        self._assemble()
        self.current.clear()
        self._to_round = self._rounded()

    def release(self) -> None:
        """Let go of what is kept: it would stay until the garbage collector comes, on a device that others need."""
        self._kept.clear()
        self._held = {True: 0, False: 0}

    def _rounded(self) -> tuple[str, ...]:
        """Parameters of the model that a child has rounded, whatever its genes; of an unpacked father only."""
        known = self.parameters.keys() | self._assembly_of.keys()
        return tuple(name for name in self.merge.father.rounded_names() if name in known)

    def _target(self, name: str) -> torch.Tensor:
        """What a tensor is written into: the parameter, or a part that is assembled with the others later."""
        if name not in self._assembly_of:
            return self.parameters[name]
        whole, shape = self.parameters[self._assembly_of[name].first], self.merge.father.tensor(name).shape
        self._parts[name] = torch.empty(shape, dtype=whole.dtype, device=whole.device)
        return self._parts[name]

    def _assemble(self) -> None:
        """Put the parts that were written into their parameters."""
        for assembly in dict.fromkeys(self._assembly_of[name] for name in self._parts):
            for name, tensor in assembly.build([self._parts[part] for part in assembly.names]).items():
                self.parameters[name].copy_(tensor)
        self._parts.clear()

    def _blends(self, settings_of: Mapping[str, Settings]) -> Iterator[Blend]:
        """The blends of these tensors in order, made ahead by threads where a device waits for the host."""
        if not self.ahead:
            yield from (self.merge.blend(name, settings) for name, settings in settings_of.items())
            return
        with ThreadPoolExecutor(self.ahead) as pool:
            queue = deque[Future[Blend]]()
            for name, settings in settings_of.items():
                queue.append(pool.submit(self.merge.blend, name, settings))
                if len(queue) > self.ahead:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()

    def _needs_parents(self, name: str, ratios: Ratios, settings: Settings) -> bool:
        """Whether more than the father's own tensor or what is kept must be read."""
        kept = self._kept.get(name)
        another = sorted(ratios)[-1] == 1.0 and sum(map(bool, ratios)) == 1  # the child may be another parent itself
        resident = kept is not None and kept.settings == settings and not another
        return not resident and (any(ratios) or not settings.zero_is_father)

    def _write_anew(self, name: str, ratios: Ratios, settings: Settings, blend: Blend) -> None:
        """Write a tensor from a blend that was just made, and keep the blend where there is memory for it."""
        parameter, dtype = self._target(name), self.merge.father.dtype(name)
        if ratios in blend.known:  # another parent itself of linear and slerp, which kept vectors would round
            parameter.copy_(blend.child(ratios, dtype))
            return
        kept = self._kept.get(name)
        if kept is None or kept.settings != settings:
            del kept
            blend = self._keep(name, settings, blend, parameter.device)
        blend.write(parameter, ratios, dtype)

    def _keep(self, name: str, settings: Settings, blend: Blend, device: torch.device) -> Blend:
        """Keep a blend on the device, or else waiting in host memory, as far as there is room; returns what is kept."""
        if old := self._kept.pop(name, None):  # what is replaced is freed first
            self._held[old.resident] -= old.size
            del old
        size = blend.kept_bytes(device)
        if self._held[True] + size <= self.keep_bytes:
            held, resident = blend.kept(device), True
        elif device.type == "cpu" or not isinstance(blend, StreamedBlend):
            held, resident = None, False
        else:
            size, resident = blend.waiting_bytes(), False
            held = blend.waiting(device) if self._held[False] + size <= self.wait_bytes else None
        if held is None:
            self.kept_out.add(name)
            return blend
        self._kept[name] = _Kept(settings, held, size, resident)
        self._held[resident] += size
        return held
