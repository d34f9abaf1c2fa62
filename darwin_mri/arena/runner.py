"""Runs the cells of an arena one after the other, a record each, so that an interrupted arena goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from darwin_mri.arena.cells import CellFactory
from darwin_mri.arena.general_text import GeneralText
from darwin_mri.arena.judging import judge
from darwin_mri.arena.retrieval import show_texts
from darwin_mri.arena.settings import FINETUNE, RETRIEVAL, ArenaConfig, Entry, nulls_of
from darwin_mri.benchmarks import (
    Item,
    Prepared,
    Scorer,
    item_hash,
    load_benchmark,
    sample_items,
    split_items,
    to_answers,
    with_choices,
)
from darwin_mri.checkpoints import LoadedModel, file_digests, find_model, load, resolve_device, weights_digest
from darwin_mri.config import ArmConfig
from darwin_mri.files import require_output
from darwin_mri.merging import Candidate, Donors
from darwin_mri.merging.arms import Context
from darwin_mri.mri.similarity import proportional_map
from darwin_mri.probes import Probe, load_probes, select_probes
from darwin_mri.problem.donors import named_prompts
from darwin_mri.problem.items import gpqa_password
from darwin_mri.records import CHILD, Answer, ArenaCell, ArenaResult
from darwin_mri.run import Progress, Silent

ItemsByTask = Mapping[str, Sequence[Item]]
AnswersByTask = dict[str, tuple[Answer, ...]]
PARENTS = "parents"  # the folder of father's and mother's own cells
WRITTEN = ("arena.json", "arena.html", "cells/seed-*/*/*.json")
FEW = 4  # composites that a line of progress shows
GENE = "donors"  # the one gene of a cell: the ratio of all donors


def run_arena(
    config: ArenaConfig, out: Path, *, offline: bool = False, progress: Progress | None = None
) -> ArenaResult:
    """Every arm and null at every seed; the ratio is chosen on search items, held-out items are scored at it once.

    Args:
        config: the pair and what is tried.
        out: folder of the records ``cells/seed-N/ARM/NULL.json`` and ``arena.json``; cells that are there and were made
            from the same inputs are not run again.
        offline: never ask the hub.
        progress: where the work reports; nowhere when None.

    Returns:
        The table, the comparison of the best arm with its nulls, and the verdict.

    Raises:
        ConfigError, InputError: a model, benchmark or prompt cannot be used.
    """
    progress = progress or Silent()
    require_output(out, WRITTEN)
    arena = _Arena(config, out, offline)
    plan = [(seed, name, null) for seed in config.seeds for name, null in arena.plan()]
    cells: list[ArenaCell] = []
    with progress.stage(f"arena {config.name}: {len(plan)} cells", len(plan)) as advance:
        for seed, name, null in plan:
            cell, known = arena.cell(seed, name, null)
            cells.append(cell)
            if not known:
                progress.say(f"seed {seed} {name} {null}: search {_searched(cell.search)}; {cell.seconds:.0f} s")
            advance(1)
    result = judge(config, cells, {task: arena.items[task] for task in config.tasks})
    result.save(out / "arena.json")
    return result


def _searched(search: Mapping[str, float]) -> str:
    """The composites on search items in a line: all of a few, the best of many."""
    if len(search) <= FEW:
        return ", ".join(f"{setting}: {value:.3f}" for setting, value in search.items())
    best = max(search, key=lambda setting: search[setting])
    return f"{search[best]:.3f} ({best}), the best of {len(search)}"


class _Arena:
    """The pair in memory, the items, and the folder of cells."""

    def __init__(self, config: ArenaConfig, out: Path, offline: bool) -> None:
        self.config, self.out = config, out
        device = resolve_device(config.device)
        refs = {"father": config.father, "mother": config.mother, "ignorant": config.ignorant}
        self.models: dict[str, LoadedModel] = {}
        for role, ref in refs.items():
            if ref is not None:
                source = find_model(ref, offline=offline)
                digest = weights_digest(file_digests(source.folder))
                self.models[role] = load(source, digest, device=device, dtype=config.dtype)
        data = Path(config.data) if config.data else None
        self.items = {
            task: load_benchmark(task, data, offline=offline, password=gpqa_password(), own=config.own)
            for task in config.tasks
        }
        self._bench: SeedBench | None = None

    def plan(self) -> Iterator[tuple[str, str]]:
        """(arm, null) of every cell of a seed; the parents first."""
        yield from ((PARENTS, role) for role in ("father", "mother"))
        for name, entry in self.config.arms.items():
            yield name, CHILD
            yield from ((name, null) for null in nulls_of(entry, self.config))

    def cell(self, seed: int, name: str, null: str) -> tuple[ArenaCell, bool]:
        """The cell's record, and whether it was there already."""
        path = self.out / "cells" / f"seed-{seed}" / _plain(name) / f"{null}.json"
        identity = self._identity(seed, name, null)
        if path.is_file():
            kept = ArenaCell.load(path)
            if kept.identity == identity:
                return kept, True
        if self._bench is None or self._bench.seed != seed:
            self._bench = SeedBench(self.config, self.models, self.items, seed)
        bench = self._bench
        fields = bench.parent(null) if name == PARENTS else bench.run(self.config.arms[name], null)
        cell = ArenaCell(arm=name, null=null, seed=seed, identity=identity, **fields)
        cell.save(path)
        return cell, False

    def _identity(self, seed: int, name: str, null: str) -> str:
        """Hash of all that a cell depends on; other arms and seeds are no part of it."""
        config = self.config.model_dump(
            mode="json", exclude_defaults=True, exclude={"arms", "nulls", "seeds", "name", "device"}
        )
        arm = None
        if name != PARENTS:
            arm = self.config.arms[name].model_dump(mode="json", exclude_defaults=True, exclude={"nulls"})
        own = {task: [item_hash(item) for item in self.items[task]] for task in self.config.own}
        digests = {role: model.digest for role, model in self.models.items()}
        text = json.dumps([config, arm, digests, seed, null, *([own] if own else [])], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class SeedBench:
    """One seed's split of the items, its texts and prompts, and the scorer of candidates written into the father.

    Args:
        config: of the arena.
        models: role -> model in memory.
        items: by task.
        seed: of splits, texts, prompts and nulls.
    """

    def __init__(self, config: ArenaConfig, models: Mapping[str, LoadedModel], items: ItemsByTask, seed: int) -> None:
        self.config, self.models, self.seed = config, models, seed
        father, mother = models["father"], models["mother"]
        parts = {task: split_items(tuple(part), seed, config.search_share) for task, part in items.items()}
        self.held_out = {task: part.held_out for task, part in parts.items()}
        size = config.search_items
        self.search = {
            task: sample_items(part.search, size, seed) if size else part.search for task, part in parts.items()
        }
        context = Context(
            father,
            mother,
            proportional_map(len(father.layers), len(mother.layers)),
            ArmConfig(),
            seed,
            (),
            named_prompts(config.prompts, config.forms, seed),
            config.protect,
        )
        self.factory = CellFactory(context, models.get("ignorant"), self._texts)
        self.general = GeneralText(config.languages)
        self.scorer = Scorer(father.model, father.tokenizer)
        self.prepared = {"search": _prepare(self.scorer, self.search), "held_out": _prepare(self.scorer, self.held_out)}

    def _texts(self, settings: ArmConfig) -> tuple[Probe, ...]:
        """What both parents read for an arm with these settings."""
        texts = load_probes(Path(settings.texts) if settings.texts else None)
        return select_probes(texts, self.config.languages, settings.documents, self.seed)

    def parent(self, role: str) -> dict[str, Any]:
        """Fields of a parent's own cell."""
        model = self.models[role]
        scorer = Scorer(model.model, model.tokenizer)
        search, held_out = (_answers(scorer, items, _prepare(scorer, items)) for items in (self.search, self.held_out))
        return {"ratio": 0.0, "search": {"0": self._composite(search)}, "seconds": 0.0, "answers": held_out}

    def run(self, entry: Entry, null: str) -> dict[str, Any]:
        """Fields of an arm's or a null's cell; the father has its own weights afterwards.

        Args:
            entry: the arm and its settings; of several learning rates and ranks the best on search items is taken.
            null: ``child`` or a null's name.

        Returns:
            Fields of ``ArenaCell``.
        """
        if entry.method == RETRIEVAL:
            return self._retrieve(entry, null)
        father, read = self.models["father"], self._texts(entry.arm)
        self.general.measure_father(father, read)
        trials = [self._try(variant, null) for variant in entry.variants()]
        best = max(trials, key=lambda trial: trial.value)
        best.candidate.apply({GENE: best.ratio})
        answers = _answers(self.scorer, self.held_out, self.prepared["held_out"])
        rises = self.general.rises(father, read)
        best.candidate.restore()
        return {
            "ratio": best.ratio,
            "search": {key: value for trial in trials for key, value in trial.search.items()},
            "fit": best.fit,
            "seconds": round(sum(trial.seconds for trial in trials) / len(trials), 2),
            "rises": rises,
            "answers": answers,
        }

    def _try(self, entry: Entry, null: str) -> _Trial:
        """One variant at every ratio, on search items."""
        began = time.process_time()
        merge, donors = self.factory.merge(entry, null)
        seconds = time.process_time() - began + self.factory.reused
        candidate = Candidate(self.models["father"].model, {GENE: donors.names()}, merge)
        values = {}
        for ratio in self.config.ratios:
            candidate.apply({GENE: ratio})
            values[ratio] = self._composite(_answers(self.scorer, self.search, self.prepared["search"]))
        candidate.restore()
        best = max(self.config.ratios, key=lambda r: (values[r], -r))
        chosen = _settings(entry)
        label = "".join(f"{key} {value:g}, " for key, value in chosen.items())
        search = {f"{label}{ratio:g}": value for ratio, value in values.items()}
        return _Trial(candidate, best, values[best], search, chosen | _mean_fit(donors), seconds)

    def _retrieve(self, entry: Entry, null: str) -> dict[str, Any]:
        """Fields of the father's cell with written texts before each question."""
        began = time.process_time()
        texts = self.factory.written(entry, null)
        seconds = time.process_time() - began + self.factory.reused
        search, held_out = (
            _answers(
                self.scorer,
                part,
                _prepare(self.scorer, {task: show_texts(own, texts, entry.shown) for task, own in part.items()}),
            )
            for part in (self.search, self.held_out)
        )
        value = self._composite(search)
        return {"ratio": 1.0, "search": {"1": value}, "seconds": round(seconds, 2), "answers": held_out}

    def _composite(self, answers: AnswersByTask) -> float:
        means = {task: float(np.mean([a.credit for a in part])) for task, part in answers.items()}
        return sum(weight * means[task] for task, weight in self.config.weights.items())


@dataclass(frozen=True)
class _Trial:
    """A variant of an entry: its candidate, the ratio with the best composite on search items, and figures."""

    candidate: Candidate
    ratio: float
    value: float
    search: dict[str, float]
    fit: dict[str, float]
    seconds: float


def _settings(entry: Entry) -> dict[str, float]:
    """What tells the variants of an entry apart."""
    if entry.method != FINETUNE:
        return {}
    assert isinstance(entry.learning_rate, float) and isinstance(entry.rank, int)
    rank = {"rank": float(entry.rank)} if entry.train == "lora" else {}
    return {"learning_rate": entry.learning_rate} | rank


def _mean_fit(donors: Donors) -> dict[str, float]:
    """The figures of how the donors were made, in the mean over layers."""
    figures: dict[str, list[float]] = {}
    for layer in donors.layers:
        for key, value in layer.fit.items():
            figures.setdefault(key, []).append(value)
    return {key: float(np.mean(values)) for key, values in figures.items()}


def _prepare(scorer: Scorer, items: ItemsByTask) -> dict[str, Prepared]:
    return {task: scorer.prepare(with_choices(part)) for task, part in items.items()}


def _answers(scorer: Scorer, items: ItemsByTask, prepared: Mapping[str, Prepared]) -> AnswersByTask:
    """Credits without log-probabilities: a cell's record is kept small."""
    answers = {}
    for task, part in items.items():
        scored = to_answers(with_choices(part), scorer.log_probabilities(prepared[task]))
        answers[task] = tuple(answer.model_copy(update={"log_probabilities": (), "metrics": {}}) for answer in scored)
    return answers


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
