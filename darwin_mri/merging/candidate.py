"""A child in memory: the father's model whose changed tensors are written in place, always from the parents."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from darwin_mri.checkpoints import free_memory
from darwin_mri.merging.blending import Blend
from darwin_mri.merging.donors import Replacement
from darwin_mri.merging.merge import Merge, doses
from darwin_mri.merging.settings import Exceptions, Settings

KEPT_SHARE = 0.6  # of the memory that is free where the model is; the rest is for forwards
AHEAD = 4  # tensors read, masked or shuffled on the host while a device works; bounds the host's memory


class Candidate:
    """Applies genomes to a resident model, touching only tensors whose dose changed since the last call.

    Args:
        model: the father, loaded; its parameters are overwritten.
        tensors: gene name -> parameter names.
        keep_bytes: how much may be kept resident of what does not depend on the ratio; beyond it tensors are made anew from
            the parents' files each time, with the same bits. ``KEPT_SHARE`` of what is free when None.
    """

    def __init__(
        self, model: Any, tensors: Mapping[str, tuple[str, ...]], merge: Merge, *, keep_bytes: int | None = None
    ) -> None:
        self.model, self.tensors, self.merge = model, tensors, merge
        self.parameters = dict(model.named_parameters())
        device = next(iter(self.parameters.values())).device
        self.keep_bytes = int(KEPT_SHARE * free_memory(device)) if keep_bytes is None else keep_bytes
        self.ahead = 0 if device.type == "cpu" else AHEAD
        self.current: dict[str, tuple[float, Settings]] = {}
        self._kept: dict[str, tuple[Settings, Blend | Replacement, int]] = {}  # with its size in bytes
        self._kept_bytes = 0
        self.kept_out: set[str] = set()  # tensors made anew each time for want of room

    @torch.no_grad()
    def apply(self, genes: Mapping[str, float], exceptions: Exceptions | None = None) -> None:
        """Make the model the child of these genes; ``exceptions`` replace the merge's own for this child."""
        changed = {
            name: dose
            for name, dose in doses(self.merge, self.tensors, genes, exceptions).items()
            if dose != self.current.get(name, (0.0, dose[1]) if dose[1].zero_is_father else None)
        }
        anew = {name: dose[1] for name, dose in changed.items() if self._needs_parents(name, *dose)}
        made = self._blends(anew)
        for name, (ratio, settings) in changed.items():
            self._write(name, ratio, settings, next(made) if name in anew else None)
            self.current[name] = (ratio, settings)

    @torch.no_grad()
    def restore(self) -> None:
        """Make the model the father again."""
        for name in self.current:
            self.parameters[name].copy_(self.merge.father.tensor(name))
        self.current.clear()

    def _blends(self, wanted: Mapping[str, Settings]) -> Iterator[Blend | Replacement]:
        """The blends of these tensors in order, made ahead by threads where a device waits for the host."""
        if not self.ahead:
            yield from (self.merge.blend(name, settings) for name, settings in wanted.items())
            return
        with ThreadPoolExecutor(self.ahead) as pool:
            coming = deque[Future[Blend | Replacement]]()
            for name, settings in wanted.items():
                coming.append(pool.submit(self.merge.blend, name, settings))
                if len(coming) > self.ahead:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()

    def _needs_parents(self, name: str, ratio: float, settings: Settings) -> bool:
        """Whether more than the father's own tensor or what is kept must be read."""
        kept = self._kept.get(name)
        known = kept is not None and kept[0] == settings and ratio != 1.0
        return not known and not (ratio == 0.0 and settings.zero_is_father)

    def _write(self, name: str, ratio: float, settings: Settings, made: Blend | Replacement | None) -> None:
        parameter, dtype = self.parameters[name], self.merge.father.dtype(name)
        if made is None:
            if ratio == 0.0 and settings.zero_is_father:
                parameter.copy_(self.merge.father.tensor(name))
            else:
                self._kept[name][1].write(parameter, ratio, dtype)
            return
        kept = self._kept.get(name)
        if ratio in made.known:  # linear's and slerp's mother herself, which kept vectors would round
            parameter.copy_(made.child(ratio, dtype))
            return
        if kept is None or kept[0] != settings:
            size, held = made.kept_bytes(parameter.device), kept[2] if kept else 0
            if self._kept_bytes + size - held > self.keep_bytes:
                self.kept_out.add(name)
            else:
                if kept:  # what is replaced goes first
                    del self._kept[name]
                    kept, self._kept_bytes = None, self._kept_bytes - held
                made = made.kept(parameter.device)
                self._kept[name] = (settings, made, size)
                self._kept_bytes += size
        made.write(parameter, ratio, dtype)
