"""What tasks of agreement compare with: the parents' predictions, measured once and kept in the run folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from darwin_mri.benchmarks import AgreementItem, Item, Target, item_hash, measure_targets, with_target
from darwin_mri.checkpoints import load_tokenizer
from darwin_mri.config import AgreementTask, Config
from darwin_mri.errors import InputError
from darwin_mri.files import writing
from darwin_mri.problem.fitness import open_scorer
from darwin_mri.problem.items import Items
from darwin_mri.problem.parents import Parents
from darwin_mri.records.roles import FATHER
from darwin_mri.run import Run

FOLDER = "state/targets"
PARTS = ("pool", "search", "fresh", "held_out", "stand_ins")


def partners(config: Config) -> dict[str, tuple[str, ...]]:
    """Task of agreement -> the roles of the parents that it may compare with."""
    tasks = {name: task for name, task in config.tasks.items() if isinstance(task, AgreementTask)}
    return {name: tuple(config.roles) if task.partner == "better" else (task.partner,) for name, task in tasks.items()}


def require_one_vocabulary(parents: Parents) -> None:
    """Raise InputError where predictions of a parent cannot be compared with the child's: it has other tokens."""
    for name, roles in partners(parents.config).items():
        father = load_tokenizer(parents.sources[FATHER]).get_vocab()
        for role in roles:
            if load_tokenizer(parents.sources[role]).get_vocab() != father:
                raise InputError(
                    f"tasks.{name}: {parents.sources[role].ref} has other tokens than the father, so their predictions"
                    " cannot be compared: set with to father"
                )


def find_targets(run: Run, parents: Parents) -> None:
    """Measure what is missing in state/targets, and give the parents' items their targets.

    Args:
        run: gets state/targets.
        parents: whose items have targets afterwards.
    """
    tasks = partners(run.config)
    wanted = {name: roles for name, roles in tasks.items() if not run.has(f"{FOLDER}/{name}.safetensors")}
    items = {name: _items_of(parents.items, name) for name in wanted}
    best: dict[str, list[tuple[Target, float]]] = {}
    roles = [role for role in parents.sources if any(role in wanted[name] for name in wanted)]
    with run.progress.stage("parents' predictions", sum(map(len, wanted.values()))) as advance:
        for role in roles:
            scorer = open_scorer(parents.model(role), run.config)
            for name in (name for name in wanted if role in wanted[name]):
                measured = measure_targets(items[name], scorer)
                kept = best.setdefault(name, measured)
                best[name] = [min(pair, key=lambda one: one[1]) for pair in zip(kept, measured, strict=True)]
                advance(1)
            del scorer
            if role != FATHER:
                parents.release(role)
    for name, targets in best.items():
        tensors: dict[str, np.ndarray] = {}
        for item, (target, _) in zip(items[name], targets, strict=True):
            tensors[f"{item_hash(item)}.tokens"] = target.tokens
            tensors[f"{item_hash(item)}.logs"] = target.log_probabilities
        path = run.path(f"{FOLDER}/{name}.safetensors")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
    parents.items = attach_targets(parents.items, run.config, run.folder)


def attach_targets(items: Items, config: Config, folder: Path) -> Items:
    """Give items their targets.

    Args:
        items: of a run.
        config: of the run.
        folder: of the run, with the targets.

    Returns:
        The items; those of tasks of agreement with their targets.
    """
    known: dict[str, dict[str, np.ndarray]] = {
        name: load_file(folder / FOLDER / f"{name}.safetensors") for name in partners(config)
    }
    if not known:
        return items

    def attach(part: Iterable[Item]) -> tuple[Item, ...]:
        return tuple(_with_kept(item, known) if isinstance(item, AgreementItem) else item for item in part)

    parts = {part: {name: attach(own) for name, own in getattr(items, part).items()} for part in PARTS}
    return replace(items, **parts)


def _with_kept(item: AgreementItem, known: dict[str, dict[str, np.ndarray]]) -> AgreementItem:
    tensors, key = known[item.benchmark], item_hash(item)
    return with_target(item, Target(tensors[f"{key}.tokens"], tensors[f"{key}.logs"]))


def _items_of(items: Items, name: str) -> list[AgreementItem]:
    """Every item of a task that a run may ask, each once."""
    found = {item_hash(item): item for part in PARTS for item in getattr(items, part).get(name, ())}
    return [item for item in found.values() if isinstance(item, AgreementItem)]
