"""What stands in a cell: the merge of an arm, or of the arm broken on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from darwin_mri.arena.finetune import finetune
from darwin_mri.arena.settings import FINETUNE, Entry
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import ArmConfig
from darwin_mri.merging import DonorFFN, Donors, Merge, RandomSource, Settings, ShuffledSource
from darwin_mri.merging.arms import Context, build_donors, competence
from darwin_mri.merging.arms.context import SynthesizedText
from darwin_mri.merging.arms.synthesis import synthesize_texts
from darwin_mri.merging.folder_sources import father_source
from darwin_mri.mri.similarity import proportional_map
from darwin_mri.probes import Probe
from darwin_mri.records import CHILD


class CellFactory:
    """Builds the merges of one seed's cells; what several cells share is built once.

    Args:
        context: the pair's; settings and texts are those of each entry.
        ignorant: a model that does not know what is tested, in the mother's place; None leaves that null out.
        texts: an arm's settings -> what both parents read.
    """

    def __init__(
        self, context: Context, ignorant: LoadedModel | None, texts: Callable[[ArmConfig], tuple[Probe, ...]]
    ) -> None:
        self.context, self.ignorant, self.texts = context, ignorant, texts
        self.father = father_source(survey(context.father.source.folder))
        self._written: dict[str, tuple[tuple[SynthesizedText, ...], float]] = {}  # with the seconds that they took
        self.reused = 0.0  # seconds that the texts of the last cell had taken in an earlier one
        self._built: tuple[Entry, Donors] | None = None  # one arm at a time: donors are as large as the father's FFNs

    def merge(self, entry: Entry, null: str) -> tuple[Merge, Donors]:
        """The merge of a cell, and the donors of the arm or null it moves toward.

        The nulls ``random`` and ``shuffled`` break the arm's own donors, the others their making. Arms that carry
        matrices over have whole matrices broken, ``competence``, which edits the father's, the edit alone.

        Args:
            entry: the arm and its settings.
            null: ``child`` or a null's name.

        Returns:
            (merge, donors).
        """
        self.reused = 0.0
        donors = self._arm(entry) if null in (CHILD, "random", "shuffled") else self._make(entry, null)
        origin, seed = self.father if entry.method == "competence" else None, self.context.seed
        source = donors
        if null == "random":
            source = RandomSource(donors, origin, seed=seed)
        elif null == "shuffled":
            source = ShuffledSource(donors, origin, seed=seed)
        method = "replace" if donors.replacing else "linear"
        return Merge(self.father, (source,), None, method, Settings(), seed), donors

    def _arm(self, entry: Entry) -> Donors:
        if self._built is None or self._built[0] != entry:
            self._built = None
            self._built = entry, self._make(entry, CHILD)
        return self._built[1]

    def _make(self, entry: Entry, null: str) -> Donors:
        """An arm's donors, or those of a null that breaks their making."""
        settings = entry.arm
        context = replace(self.context, settings=settings, texts=self.texts(settings))
        writes = entry.method == FINETUNE or (entry.method == "competence" and settings.writer != "nobody")
        writer = "mother"
        if null == "ignorant":
            context, writer = self._with_ignorant(context), "ignorant"
        elif null == "father-writes":
            context, writer = _father_writes(context), "father"
        elif null == "outside-text":
            alone = settings.model_copy(update={"writer": "nobody"})
            context, writes = replace(context, settings=alone, mother=context.father), False
        elif null == "layers":
            order = torch.randperm(len(context.layer_map), generator=context.generator("layers")).tolist()
            context = replace(context, layer_map=tuple(context.layer_map[i] for i in order))
        if writes:
            context = replace(context, synthesized=self._synthesized(context, writer))
        if entry.method == FINETUNE:
            return self._donors(finetune(context, entry))
        if null == "mask":
            return self._donors(competence.build(context, lambda marks: _shuffled(context, marks)))
        return self._donors(build_donors(entry.method, context))

    def _donors(self, layers: Iterable[DonorFFN]) -> Donors:
        """Donors in the father's dtypes, as a run keeps them."""
        rounded = []
        for layer in layers:
            tensors = {name: tensor.to(self.father.dtype(name)) for name, tensor in layer.tensors.items()}
            rounded.append(replace(layer, tensors=tensors))
        return Donors(rounded)

    def _with_ignorant(self, context: Context) -> Context:
        assert self.ignorant is not None
        context = replace(context, mother=self.ignorant)
        if self.ignorant.anatomy == self.context.mother.anatomy:
            return context
        layer_map = proportional_map(len(context.father.layers), len(self.ignorant.layers))
        return replace(context, layer_map=layer_map, gate_rms=())

    def written(self, entry: Entry, null: str) -> list[str]:
        """What the parents write for an entry; in the null ``ignorant`` with another mother, else the father alone.

        Args:
            entry: with the settings of the writing.
            null: ``child``, ``ignorant`` or ``father-writes``.

        Returns:
            Prompts with their completions.
        """
        self.reused = 0.0
        context, writer = replace(self.context, settings=entry.arm), "mother"
        if null == "ignorant":
            context, writer = self._with_ignorant(context), "ignorant"
        elif null == "father-writes":
            context, writer = _father_writes(context), "father"
        return [written.text.text for written in self._synthesized(context, writer)]

    def _synthesized(self, context: Context, writer: str) -> tuple[SynthesizedText, ...]:
        settings = context.settings.model_dump(include={"writer", "trust", "new_tokens", "max_tokens"})
        key = f"{writer} {sorted(settings.items())}"
        if key in self._written:
            self.reused += self._written[key][1]
        else:
            began = time.process_time()
            texts = synthesize_texts(context)
            self._written[key] = texts, time.process_time() - began
        return self._written[key][0]


def _father_writes(context: Context) -> Context:
    return replace(context, settings=context.settings.model_copy(update={"writer": "father"}))


def _shuffled(context: Context, marks: torch.Tensor) -> torch.Tensor:
    """The marks in a random order, the same for every batch of their number."""
    return marks[torch.randperm(len(marks), generator=context.generator("mask")).to(marks.device)]
