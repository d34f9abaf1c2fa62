"""What stands in a cell: an arm's donors, or those of the arm broken on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from darwin_mri.merging import DonorFFN
from darwin_mri.merging.arms import Context, Side, build_donors
from darwin_mri.merging.arms.writing import Written, write_texts
from darwin_mri.mri.similarity import proportional_map
from darwin_mri.records import CHILD
from darwin_mri.stages.arena.finetune import finetune
from darwin_mri.stages.arena.settings import FINETUNE, Entry


@dataclass
class Bench:
    """Everything the cells of one seed share. ``context`` is the pair's; texts that were written are kept for every cell of the
    same writers."""

    context: Context
    ignorant: Side | None
    written: dict[str, tuple[Written, ...]]
    built: dict[str, tuple[DonorFFN, ...]]

    def donors(self, name: str, entry: Entry, null: str) -> tuple[DonorFFN, ...]:
        """The donors of a cell. The controls ``random`` and ``shuffled`` break the arm's own donors, the others its making."""
        if null in ("random", "shuffled"):
            if name not in self.built:
                self.built[name] = self._make(entry, CHILD)
            seed = self.context.seed
            return tuple(broken(donor, self.context.father, null, seed, entry.method) for donor in self.built[name])
        made = self._make(entry, null)
        if null == CHILD:
            self.built = {name: made}  # of one arm at a time: donors are as large as the father's FFNs
        return made

    def _make(self, entry: Entry, null: str) -> tuple[DonorFFN, ...]:
        settings = entry.arm
        context = replace(self.context, settings=settings)
        writes = entry.method == FINETUNE or (entry.method == "competence" and settings.writer != "nobody")
        mother = "mother"
        if null == "ignorant":
            assert self.ignorant is not None
            context, mother = replace(context, mother=self.ignorant), "ignorant"
            if self.ignorant.anatomy != self.context.mother.anatomy:
                layers = len(context.father.layers), len(self.ignorant.layers)
                context = replace(context, layer_map=proportional_map(*layers), gate_rms=())
        elif null == "father-writes":
            context, mother = replace(context, settings=settings.model_copy(update={"writer": "father"})), "father"
        elif null == "outside-text":
            alone = settings.model_copy(update={"writer": "nobody"})
            context, writes = replace(context, settings=alone, mother=context.father), False
        elif null in ("mask", "layers"):
            context = replace(context, nulls=frozenset({null}))
        if writes:
            context = replace(context, written=self._written(context, mother))
        if entry.method == FINETUNE:
            return tuple(finetune(context, entry))
        return tuple(build_donors(entry.method, context))

    def _written(self, context: Context, mother: str) -> tuple[Written, ...]:
        how = context.settings.model_dump(include={"writer", "trust", "new_tokens", "max_tokens"})
        key = f"{mother} {sorted(how.items())}"
        if key not in self.written:
            self.written[key] = write_texts(context)
        return self.written[key]


def broken(donor: DonorFFN, father: Side, null: str, seed: int, method: str) -> DonorFFN:
    """The donor with its content taken away and its sizes kept: random numbers of each tensor's norm, or its own values shuffled.

    Arms that carry matrices over have the whole matrix broken, those that edit the father's the edit alone.
    """
    parameters: Mapping[str, torch.Tensor] = dict(father.model.named_parameters())
    tensors = {}
    for number, (name, tensor) in enumerate(sorted(donor.tensors.items())):
        generator = torch.Generator().manual_seed((seed << 20) + (donor.layer << 4) + number)
        kept = parameters[name].detach().float().cpu() if method == "competence" else torch.zeros_like(tensor).float()
        content = tensor.float().cpu() - kept
        if null == "shuffled":
            content = content.flatten()[torch.randperm(content.numel(), generator=generator)].reshape(content.shape)
        else:
            noise = torch.randn(content.shape, generator=generator)
            content = noise * (content.norm() / noise.norm().clamp_min(1e-12))
        tensors[name] = kept + content
    return replace(donor, tensors=tensors)
