"""Where candidates are evaluated: this process, a thread per device, or Ray's actors, each with its own parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from darwin_mri.benchmarks import Item, item_hash
from darwin_mri.breeding import Devices, InProcess, ObservedWorkers, Workers, WorkerStates
from darwin_mri.config import Config
from darwin_mri.errors import InputError
from darwin_mri.problem.donors import DONORS
from darwin_mri.problem.fitness import Fitness
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.served import open_evaluator
from darwin_mri.problem.space import donor_space, sibling_space
from darwin_mri.problem.targets import attach_targets
from darwin_mri.records import DonorRecord, Prior
from darwin_mri.run import Run


def open_workers(run: Run, fitness: Fitness, prior: Prior, offline: bool) -> Workers:
    """The workers a config asks for.

    Args:
        run: whose config and folder other workers build their evaluation from.
        fitness: this process' own evaluation; other workers identify its items by their hashes.
        prior: of the run.
        offline: never ask the hub.

    Returns:
        Workers that the search gives candidates to; what each does is in the run's live state.
    """
    search = run.config.search
    places = {
        "here": ["this process"],
        "devices": list(search.devices),
        "ray": ["Ray actor"] * search.actors,
    }
    states = WorkerStates(places[search.workers], run.live.set_workers)
    return ObservedWorkers(_open(run, fitness, prior, offline, states), states)


def _open(run: Run, fitness: Fitness, prior: Prior, offline: bool, states: WorkerStates) -> Workers:
    search = run.config.search
    if search.workers == "here":
        fitness.evaluator.start()
        return InProcess(fitness, search.limit)
    fitness.evaluator.stop()  # its device may be a worker's
    build = partial(
        build_evaluate,
        run.config.model_dump(mode="json"),
        str(run.folder.resolve()),
        prior.model_dump(mode="json", by_alias=True),
        {name: tuple(map(item_hash, part)) for name, part in fitness.items.items()},
        offline=offline,
        allow_task_code=run.config.code_allowed,
    )
    if search.workers == "devices":
        with ExitStack() as started:
            evaluates = []
            for device in search.devices:
                evaluates.append(build(device=device))
                started.callback(evaluates[-1].evaluator.stop)
            return Devices(evaluates, started.pop_all().close)
    from darwin_mri.breeding.cluster import RayWorkers

    return RayWorkers(
        partial(build, device="cuda" if search.gpus else run.config.device),
        actors=search.actors,
        gpus=search.gpus,
        address=search.address,
        limit=search.limit,
        on_replaced=states.replace,
    )


def build_evaluate(
    config_data: dict[str, Any],
    folder: str,
    prior_data: dict[str, Any],
    hashes: Mapping[str, Sequence[str]],
    *,
    device: str,
    offline: bool,
    allow_task_code: bool = False,
) -> Fitness:
    """The evaluation of a run, built from its config and folder: what another device or machine needs.

    Args:
        config_data: the run's config.
        folder: of the run, for kept donors.
        prior_data: the run's prior.
        hashes: of the items, by benchmark, in the order they are asked.
        device: where this worker computes.
        offline: never ask the hub.
        allow_task_code: whether code of task files may run.

    Returns:
        The evaluation, with a started engine where the config asks for one.

    Raises:
        InputError: the benchmark files there are not those the run began with, or the engine does not start.
    """
    config = Config(**config_data).allowing_code(allow_task_code)
    if device == "cpu" and torch.get_num_threads() > 1:
        torch.set_num_threads(1)  # several workers of one machine share its cores
    parents = Parents.find(config, device=device, offline=offline)
    father = parents.father
    if config.cross:
        record = DonorRecord.load(Path(folder) / "donors.json")
        space = donor_space(config, father, Path(folder) / DONORS, record)
    else:
        space = sibling_space(config, father, parents.other_sources, parents.base, Path(folder))
    space = space.for_search(config, Prior.model_validate(prior_data), len(father.layers))
    known = attach_targets(parents.items, config, Path(folder))
    items = {name: _by_hash(name, known.search[name], part) for name, part in hashes.items()}
    fitness = open_evaluator(config, father, space).on(items, blocks=config.search.blocks)
    del father, parents  # an engine needs their place
    fitness.evaluator.start()
    return fitness


def _by_hash(benchmark: str, items: Sequence[Item], hashes: Sequence[str]) -> tuple[Item, ...]:
    known = {item_hash(item): item for item in items}
    if any(digest not in known for digest in hashes):
        raise InputError(
            f"{benchmark}: a worker has other benchmark files than the run began with: give it the same data"
        )
    return tuple(known[digest] for digest in hashes)
