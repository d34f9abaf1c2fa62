"""Runs the cells of an arena one after the other, a record each, so that an interrupted arena goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darwin_mri.benchmarks import Item, Prepared, Scorer, load_benchmark, sample_items, split_items, to_answers
from darwin_mri.checkpoints import resolve_device
from darwin_mri.merging import DonorFFN
from darwin_mri.merging.arms import Context, Side
from darwin_mri.mri.similarity import proportional_map
from darwin_mri.probes import load_probes, select_probes
from darwin_mri.records import CHILD, Answer, ArenaCell, ArenaResult
from darwin_mri.stages.arena.cells import Bench
from darwin_mri.stages.arena.judging import judge
from darwin_mri.stages.arena.settings import ArenaConfig, Entry, nulls_of
from darwin_mri.stages.items import gpqa_password
from darwin_mri.stages.merging import named_prompts
from darwin_mri.stages.parents import Loaded, digest, find, load
from darwin_mri.stages.run import Progress, Silent

ItemsByTask = Mapping[str, Sequence[Item]]
AnswersByTask = dict[str, tuple[Answer, ...]]
PARENTS = "parents"  # the folder of father's and mother's own cells


def run_arena(
    config: ArenaConfig, out: Path, *, offline: bool = False, progress: Progress | None = None
) -> ArenaResult:
    """Every arm and null at every seed; the ratio is chosen on search items, held-out items are scored at it once.

    Args:
        config: the pair and what is tried.
        out: folder of the records ``cells/seed-N/ARM/NULL.json`` and ``arena.json``; cells that are there and were made from the
            same inputs are not run again.

    Raises:
        ConfigError, InputError: a model, benchmark or prompt cannot be used.
    """
    progress = progress or Silent()
    arena = _Arena(config, out, offline)
    plan = [(seed, name, null) for seed in config.seeds for name, null in arena.plan()]
    cells: list[ArenaCell] = []
    with progress.stage(f"arena {config.name}: {len(plan)} cells", len(plan)) as advance:
        for seed, name, null in plan:
            cell, known = arena.cell(seed, name, null)
            cells.append(cell)
            if not known:
                search = ", ".join(f"{ratio}: {value:.3f}" for ratio, value in cell.search.items())
                progress.say(f"seed {seed} {name} {null}: search {search}; {cell.seconds:.0f} s")
            advance(1)
    result = judge(config, cells, {task: arena.items[task] for task in config.tasks})
    result.save(out / "arena.json")
    return result


class _Arena:
    """The pair in memory, and the seed under way."""

    def __init__(self, config: ArenaConfig, out: Path, offline: bool) -> None:
        self.config, self.out = config, out
        device = resolve_device(config.device)
        refs = {"father": config.father, "mother": config.mother, "ignorant": config.ignorant}
        self.loaded: dict[str, Loaded] = {}
        for role, ref in refs.items():
            if ref is not None:
                source = find(ref, offline)
                self.loaded[role] = load(source, digest(source), device=device, dtype=config.dtype)
        self.sides = {role: Side(one.model, one.tokenizer, one.anatomy) for role, one in self.loaded.items()}
        self.items = {
            task: load_benchmark(task, Path(config.data) if config.data else None, offline=offline, password=gpqa_password())
            for task in config.tasks
        }  # fmt: skip
        self.seed: int | None = None

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
        self._enter(seed)
        made = self._parent(null) if name == PARENTS else self._run(name, self.config.arms[name], null)
        cell = ArenaCell(arm=name, null=null, seed=seed, identity=identity, **made)
        cell.save(path)
        return cell, False

    def _identity(self, seed: int, name: str, null: str) -> str:
        """Hash of all that a cell depends on; other arms and seeds are no part of it."""
        config = self.config.model_dump(
            mode="json", exclude_defaults=True, exclude={"arms", "nulls", "seeds", "name", "device"}
        )
        arm = (
            None
            if name == PARENTS
            else self.config.arms[name].model_dump(mode="json", exclude_defaults=True, exclude={"nulls"})
        )
        digests = {role: one.digest for role, one in self.loaded.items()}
        text = json.dumps([config, arm, digests, seed, null], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _enter(self, seed: int) -> None:
        if seed == self.seed:
            return
        self.seed, config = seed, self.config
        parts = {task: split_items(items, seed, config.search_share) for task, items in self.items.items()}
        self.held_out = {task: part.held_out for task, part in parts.items()}
        size = config.search_items
        self.search = {
            task: sample_items(part.search, size, seed) if size else part.search for task, part in parts.items()
        }
        father, mother = self.sides["father"], self.sides["mother"]
        settings = next(iter(config.arms.values())).arm
        texts = load_probes(Path(settings.texts) if settings.texts else None)
        texts = select_probes(texts, config.languages, settings.documents, seed)
        layers = proportional_map(len(father.layers), len(mother.layers))
        prompts = named_prompts(config.prompts, config.forms, seed)
        context = Context(father, mother, layers, settings, seed, texts, prompts, config.protect)
        self.bench = Bench(context, self.sides.get("ignorant"), {}, {})
        scorer = Scorer(father.model, father.tokenizer)
        self.prepared = {"search": _prepare(scorer, self.search), "held_out": _prepare(scorer, self.held_out)}
        self.scorer = scorer

    def _parent(self, role: str) -> dict[str, Any]:
        side = self.sides[role]
        scorer = Scorer(side.model, side.tokenizer)
        search, held_out = (_answers(scorer, items, _prepare(scorer, items)) for items in (self.search, self.held_out))
        return {"ratio": 0.0, "search": {"0": self._composite(search)}, "seconds": 0.0, "answers": held_out}

    def _run(self, name: str, entry: Entry, null: str) -> dict[str, Any]:
        began = time.process_time()
        donors = self.bench.donors(name, entry, null)
        seconds = time.process_time() - began
        found: dict[str, float] = {}
        for ratio in self.config.ratios:
            with applied(self.sides["father"], donors, ratio):
                found[f"{ratio:g}"] = self._composite(_answers(self.scorer, self.search, self.prepared["search"]))
        ratio = max(self.config.ratios, key=lambda r: (found[f"{r:g}"], -r))
        with applied(self.sides["father"], donors, ratio):
            answers = _answers(self.scorer, self.held_out, self.prepared["held_out"])
        figures: dict[str, list[float]] = {}
        for donor in donors:
            for key, value in donor.fit.items():
                figures.setdefault(key, []).append(value)
        fit = {key: float(np.mean(values)) for key, values in figures.items()}
        return {"ratio": ratio, "search": found, "fit": fit, "seconds": round(seconds, 2), "answers": answers}

    def _composite(self, answers: AnswersByTask) -> float:
        means = {task: float(np.mean([a.credit for a in found])) for task, found in answers.items()}
        return sum(weight * means[task] for task, weight in self.config.weights.items())


@contextmanager
def applied(father: Side, donors: Sequence[DonorFFN], ratio: float) -> Iterator[None]:
    """While open, the father is the child of these donors at a ratio: father + r (donor - father), or a share r of neurons."""
    parameters = dict(father.model.named_parameters())
    kept: dict[str, torch.Tensor] = {}
    try:
        with torch.no_grad():
            for donor in donors:
                for name, tensor in donor.tensors.items():
                    own = kept[name] = parameters[name].detach().clone()
                    tensor = tensor.to(own.device, own.dtype)
                    order = donor.orders.get(name)
                    if order is not None:
                        parameters[name].copy_(torch.where(order.to(own.device) < ratio, tensor, own))
                    else:
                        parameters[name].copy_(own + ratio * (tensor - own))
        yield
    finally:
        with torch.no_grad():
            for name, own in kept.items():
                parameters[name].copy_(own)


def _prepare(scorer: Scorer, items: ItemsByTask) -> dict[str, Prepared]:
    return {task: scorer.prepare(part) for task, part in items.items()}


def _answers(scorer: Scorer, items: ItemsByTask, prepared: Mapping[str, Prepared]) -> AnswersByTask:
    """Credits without log-probabilities: a cell's record is kept small."""
    found = {}
    for task, part in items.items():
        scores = scorer.log_probabilities(prepared[task])
        answers = to_answers(tuple(part), scores)
        found[task] = tuple(answer.model_copy(update={"log_probabilities": (), "metrics": {}}) for answer in answers)
    return found


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
