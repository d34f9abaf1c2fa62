"""The repairs of one run: of its child at several strengths, and of what the repaired child is compared with."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from darwin_mri.benchmarks import Item, open_grader
from darwin_mri.breeding import ItemScores
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.config import RepairConfig
from darwin_mri.errors import InputError
from darwin_mri.merging.repair import Repair
from darwin_mri.merging.repair_child import RepairFolder
from darwin_mri.merging.repair_maps import RepairMaps, find_maps
from darwin_mri.probes import Batch, TokenizedProbes
from darwin_mri.problem.anchors import ScoresByModel
from darwin_mri.problem.fitness import item_scores, least_scores, open_scorer, weighted
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.repair_models import CHILD, RepairModels
from darwin_mri.problem.repair_texts import choose_teachers, lessons, repair_texts, shuffle_words, tokenize_texts
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Genome, RepairChoice, RepairedMap, RepairTeachers, RepairTrial
from darwin_mri.run import Run

STATE = "state/repair"
NULLS = {
    "repair-father": "the father in place of the merged child, repaired toward the same teachers on the same text",
    "repair-shuffled-text": "the child repaired toward the same teachers on the same documents, their words shuffled",
}


class RepairRun:
    """Repairs the child of a run in memory, keeping every layer.

    Args:
        run: gets state/repair.
        parents: the father is resident.
        space: with the genome that was searched.
        genome: of the child.
    """

    def __init__(self, run: Run, parents: Parents, space: MergeSpace, genome: Genome) -> None:
        self.run, self.parents, self.space, self.genome = run, parents, space, genome
        self.settings = run.config.repair or RepairConfig()
        self.models = RepairModels(parents, space, genome)

    @classmethod
    @contextmanager
    def opened(cls, run: Run, parents: Parents, space: MergeSpace, genome: Genome) -> Iterator[RepairRun]:
        """While open, the child may be in memory; afterwards the father alone is.

        Args:
            run: as the class's.
            parents: as the class's.
            space: as the class's.
            genome: as the class's.

        Yields:
            The repairs.
        """
        own = cls(run, parents, space, genome)
        try:
            yield own
        finally:
            own.models.close()

    @cached_property
    def tokenized(self) -> TokenizedProbes:
        """The documents in the father's tokens."""
        texts = repair_texts(self.run.config, self.settings, lambda: self.parents.items.pool)
        return tokenize_texts(texts, self.parents.father.tokenizer, self.settings, self.parents.device)

    @cached_property
    def teachers(self) -> RepairTeachers:
        """Which parent teaches which document."""
        roles, protect = tuple(self.parents.sources), self.run.config.prior.protect

        def make() -> RepairTeachers:
            return choose_teachers(self.models, roles, self.tokenized, protect)

        return self.run.record(f"{STATE}/teachers.json", RepairTeachers, make)

    @cached_property
    def maps(self) -> RepairMaps:
        """The maps that are repaired."""
        movable = {name for names in self.space.tensors().values() for name in names}
        first = min(self.tokenized.batches, key=lambda batch: batch.ids.numel())
        with self.models.on_device(CHILD) as child:
            maps = find_maps(child, first, movable)
        if not maps.layers:
            raise InputError(
                f"repair: {self.parents.father.source.ref} has no linear map that reads every token once and that this"
                " search may change: leave repair out"
            )
        return maps

    @cached_property
    def digest(self) -> str:
        """Of all that a repair depends on but its strength."""
        content = [
            self.parents.father.digest,
            *(self.genome.roles, self.genome.method, self.genome.settings, self.genome.genes),
            self.teachers.model_dump(mode="json"),
            self.settings.max_tokens,
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    @cached_property
    def short_of_text(self) -> tuple[str, ...]:
        """A warning where there are fewer tokens than inputs of some map; else nothing."""
        with self.models.on_device(CHILD) as child:
            weights = dict(child.model.named_parameters())
        widths = [weights[name].shape[1] for layer in self.maps.layers for name in self.maps.tensors(layer)]
        read = sum(int(batch.attention.sum()) for batch in self.tokenized.batches)
        short = sum(width > read for width in widths)
        if not short:
            return ()
        return (
            f"repair: {read} tokens are fewer than the {max(widths)} inputs of the widest maps: the second moments of"
            f" {short} of {len(widths)} maps have rank {read} at most, and in all other directions they stay as merged:"
            " give more text by repair.documents, repair.max_tokens or repair.texts",
        )

    def folder(self, name: str) -> RepairFolder:
        """Where the layers of a repair are kept."""
        return RepairFolder(self.run.path(f"{STATE}/{self.digest[:8]}-{name}"))

    def repair(self, name: str, strength: float, null: str | None = None) -> tuple[RepairedMap, ...]:
        """Repair the child in memory, or what a null starts from.

        Args:
            name: of the folder that keeps its layers.
            strength: of the merged weights.
            null: one of ``NULLS``.

        Returns:
            Figures of every map; the model in memory is repaired.
        """
        self.models.become(self.maps, merged=null != "repair-father")
        dtype = self.space.merge.father.dtype
        budget = int(self.settings.memory_gb * 2**30)
        with self.run.progress.stage(f"repair ({name})", len(self.maps.layers)) as advance:
            taught = self._lessons(shuffled=null == "repair-shuffled-text")
            repair = Repair(self.models, taught, self.maps, dtype, budget, lambda: advance(1))
            return repair.run(strength, self.folder(name))

    def null(self, null: str, strength: float) -> LoadedModel:
        """A null in memory, on the device; its layers are kept until ``forget``."""
        self.repair(null, strength, null)
        with self.models.on_device(CHILD) as child:
            return child

    def choices(self, scores: ScoresByModel) -> list[RepairChoice]:
        """Every strength, and no repair where that is optional, with what the child then scores on search items.

        Only the layers of the best are kept.

        Args:
            scores: of parents on the search items, where limits need them.

        Returns:
            The choices, the best first; of equal ones the first that was tried.
        """
        limits = least_scores(self.run.config, scores)
        tried: list[RepairChoice] = []
        for strength in (*([None] if self.settings.optional else []), *self.settings.strengths):
            path = f"{STATE}/{self.digest[:8]}-{trial_name(strength)}.json"
            trial = self.run.record(path, RepairTrial, lambda own=strength: self._try(own, limits))
            tried.append(trial.choice)
            tried.sort(key=lambda choice: (choice.violation, -choice.fitness))
            for choice in tried[1:]:
                self.folder(trial_name(choice.strength)).remove()
        return tried

    def _try(self, strength: float | None, limits: Mapping[str, float]) -> RepairTrial:
        began = time.monotonic()
        if strength is None:
            self.models.become(self.maps)
        else:
            self.repair(trial_name(strength), strength)
        with self.models.on_device(CHILD) as child:
            scores = self._score(child, self.judging_items)
            kept = self._score(child, self.parents.items.search) if limits else {}
        violation = sum(max(0.0, least - float(np.mean(kept[task]))) for task, least in limits.items())
        choice = RepairChoice(
            strength=strength,
            fitness=weighted(scores, self.run.config.weights),
            scores={task: float(np.mean(own)) for task, own in scores.items()},
            violation=violation,
            seconds=round(time.monotonic() - began, 2),
        )
        return RepairTrial(choice=choice)

    @property
    def judging_items(self) -> Mapping[str, Sequence[Item]]:
        """Search items that the genome was not fitted to, where there are any: as the finalists are chosen."""
        items = self.parents.items
        return {name: items.fresh.get(name) or items.search[name] for name in self.run.config.weights}

    def _score(self, child: LoadedModel, items: Mapping[str, Sequence[Item]]) -> ItemScores:
        scorer, smooth = open_scorer(child, self.run.config), self.run.config.search.smooth
        table = ItemScores()
        for name, part in items.items():
            table[name] = item_scores(open_grader(tuple(part), scorer), range(len(part)), smooth=smooth)
        return table

    def _lessons(self, *, shuffled: bool) -> Mapping[str, Sequence[Batch]]:
        tokenized, roles, device = self.tokenized, self.teachers.roles, self.parents.device
        if shuffled:
            numbered = [replace(probe, doc=str(number)) for number, probe in enumerate(tokenized.probes)]
            texts = shuffle_words(numbered, self.run.config.seed)
            tokenized = tokenize_texts(texts, self.parents.father.tokenizer, self.settings, device)
            roles = tuple(roles[int(probe.doc)] for probe in tokenized.probes)
        return lessons(tokenized, roles, device)


def trial_name(strength: float | None) -> str:
    """What a trial's files are called."""
    return "none" if strength is None else f"{strength:g}"


def kept_figures(folder: Path, layers: Sequence[int]) -> tuple[RepairedMap, ...]:
    """Figures of all maps of a repair that is kept whole."""
    kept = RepairFolder(folder)
    return tuple(one for layer in layers if (known := kept.load(layer)) for one in known[1])
