"""Who evaluates the candidates of a run: this process, a thread per device, or Ray's actors, each with parents of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from darwin_mri.benchmarks import Item, Scorer, item_hash
from darwin_mri.breeding import Devices, Evaluate, InProcess, Workers
from darwin_mri.checkpoints import resolve_device
from darwin_mri.config import Config
from darwin_mri.errors import InputError
from darwin_mri.merging import Candidate
from darwin_mri.records import DonorRecord, Prior
from darwin_mri.stages import merging, parents
from darwin_mri.stages.fitness import Fitness
from darwin_mri.stages.items import choose_items
from darwin_mri.stages.run import Run


def open_workers(run: Run, here: Fitness, prior: Prior, asked: Mapping[str, Sequence[Item]], offline: bool) -> Workers:
    """The workers a config asks for.

    Args:
        here: this process' own evaluation.
        asked: items in the order asked; other workers find them again by their hashes.
    """
    config = run.config
    if config.search.workers == "here":
        return InProcess(here, config.search.limit)
    hashes = {name: tuple(map(item_hash, part)) for name, part in asked.items()}
    build = partial(
        build_evaluate, config.model_dump(mode="json"), str(run.folder.resolve()), prior.model_dump(mode="json", by_alias=True),
        hashes, offline=offline,
    )  # fmt: skip
    if config.search.workers == "devices":
        return Devices([build(device=device) for device in config.search.devices])
    from darwin_mri.breeding.cluster import RayWorkers

    return RayWorkers(
        partial(build, device="cuda" if config.search.gpus else config.device),
        actors=config.search.actors, gpus=config.search.gpus, address=config.search.address, limit=config.search.limit,
    )  # fmt: skip


def build_evaluate(
    config_data: dict[str, Any], folder: str, prior_data: dict[str, Any], asked: Mapping[str, Sequence[str]], *,
    device: str, offline: bool,
) -> Evaluate:  # fmt: skip
    """The evaluation of a run, built from its config and folder: what another device or machine needs.

    Raises:
        InputError: the benchmark files there are not those the run began with.
    """
    config, run_folder = Config(**config_data), Path(folder)
    if device == "cpu" and torch.get_num_threads() > 1:
        torch.set_num_threads(1)  # several workers of one machine share its cores
    sources = {
        role: parents.find(ref, offline) for role in ("father", "mother", "base") if (ref := getattr(config, role))
    }
    father = parents.load(sources["father"], "", device=resolve_device(device), dtype=config.dtype)
    if config.cross:
        record = DonorRecord.load(run_folder / "donors.json")
        breed = merging.cross(config, father, run_folder / merging.DONORS, record, ())
    else:
        breed = merging.breed_siblings(config, father, sources["mother"], sources.get("base"))
    breed = breed.searching(config, Prior.model_validate(prior_data), len(father.anatomy.layers))
    items = choose_items(config, {role: source for role, source in sources.items() if role != "base"}, offline=offline)
    found = {}
    for name, wanted in asked.items():
        known = {item_hash(item): item for item in items.search[name]}
        missing = [digest for digest in wanted if digest not in known]
        if missing:
            raise InputError(
                f"{name}: a worker has other benchmark files than the run began with: give it the same data"
            )
        found[name] = tuple(known[digest] for digest in wanted)
    scorer = Scorer(father.model, father.tokenizer, beyond_context=config.bench.long_items == "beyond")
    candidate = Candidate(father.model, breed.tensors(), breed.merge)
    return Fitness(candidate, breed, scorer, found, blocks=config.search.blocks, smooth=config.search.smooth)
