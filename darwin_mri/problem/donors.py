"""Donors of an arm: built once from the mother, kept in a folder, read from there by the search and by ``merge``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from darwin_mri.benchmarks import ChoiceItem, Item, OpenItem
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import Config
from darwin_mri.errors import ConfigError
from darwin_mri.merging import keep_donors, verify_donors
from darwin_mri.merging.arms import Context, build_donors, count_steps, settle
from darwin_mri.merging.folder_sources import father_source
from darwin_mri.nursery.prompts import world_prompts
from darwin_mri.nursery.world import WORLD_SEED, World
from darwin_mri.probes import Probe, load_probes, select_probes
from darwin_mri.probes.languages import guess_language
from darwin_mri.problem.parents import Parents
from darwin_mri.records import DonorRecord
from darwin_mri.records.roles import MOTHER
from darwin_mri.run import Progress, Run

DONORS = "state/donors"  # in the run folder; never published, and verified by sha256 against donors.json


def run_donors(run: Run, parents: Parents, layer_map: Sequence[int], gate_rms: tuple[float | None, ...]) -> DonorRecord:
    """The donors of a run: those in its folder where a resumed run finds them whole, else built now.

    Args:
        run: gets donors.json and state/donors.
        parents: father and mother.
        layer_map: mother layer of each father layer.
        gate_rms: per mother layer the measured rms of its gate.

    Returns:
        The record of the donors in ``state/donors``.
    """
    folder, path = run.path(DONORS), run.path("donors.json")
    record = DonorRecord.load(path) if run.has("donors.json") else None
    if record is None or record.arm != run.config.method or not verify_donors(folder, record):
        record = make_donors(folder, parents, layer_map, gate_rms, run.progress)
        record.save(path)
    return record


def make_donors(
    folder: Path,
    parents: Parents,
    layer_map: Sequence[int],
    gate_rms: tuple[float | None, ...],
    progress: Progress,
) -> DonorRecord:
    """Build the donors of a config's arm into a folder. The same inputs give the same bytes on one machine.

    Args:
        folder: where the tensors are kept.
        parents: father and mother.
        layer_map: mother layer of each father layer.
        gate_rms: per mother layer the measured rms of its gate; empty where no scan measured it.
        progress: where the work reports.

    Returns:
        The record of what was built.

    Raises:
        InputError: the pair cannot be crossed by this arm.
    """
    config, father = parents.config, parents.father
    context = Context(
        father,
        parents.model(MOTHER),
        tuple(layer_map),
        config.arm,
        config.seed,
        arm_texts(config),
        arm_prompts(parents),
        config.prior.protect,
        gate_rms,
        mother_on_device=lambda: parents.on_device(MOTHER),
    )
    if config.method == "competence":
        context = settle(context)
    dtypes = father_source(survey(father.source.folder)).dtype
    steps = count_steps(config.method, context)
    with progress.stage(f"donors ({config.method})", steps) as advance, torch.inference_mode():
        donors = build_donors(config.method, replace(context, advance=advance))
        return keep_donors(folder, donors, dtypes, arm=config.method)


def arm_texts(config: Config) -> tuple[Probe, ...]:
    """What both parents read while donors are built."""
    folder = config.arm.texts or config.scan.probes
    probes = load_probes(Path(folder) if folder else None)
    return select_probes(probes, config.scan.languages, config.arm.documents, config.seed)


def arm_prompts(parents: Parents) -> tuple[Probe, ...]:
    """What the parents complete: a folder's texts, else the search items' questions; nothing where no parent writes."""
    config = parents.config
    if config.arm.prompts:
        return named_prompts(config.arm.prompts, config.arm.forms, config.seed)
    if config.method != "competence" or config.arm.writer == "nobody":
        return ()
    return item_prompts(parents.items.search)


def item_prompts(items: Mapping[str, Sequence[Item]], option: str = "arm.prompts") -> tuple[Probe, ...]:
    """The questions of items, which the search sees anyway, each in the language its script suggests.

    Raises ConfigError where no item has one; ``option`` is where the user can name other texts.
    """
    asked = {
        (name, item.key): item.context if isinstance(item, ChoiceItem) else item.prompt
        for name in sorted(items)
        for item in items[name]
        if isinstance(item, ChoiceItem | OpenItem)
    }
    if not asked:
        raise ConfigError(f"no task has questions that could be read as texts: name a folder in {option}")
    return tuple(Probe(text, guess_language(text), "knowledge", key) for (_, key), text in asked.items())


def named_prompts(name: str, forms: int, seed: int) -> tuple[Probe, ...]:
    """Prompts without answers, by name.

    Args:
        name: ``nursery`` or ``nursery@SEED``, questions about everything in that world; else a folder of texts.
        forms: wordings of each fact and habit of the nursery.
        seed: chooses the wordings.

    Returns:
        The prompts; wordings of one question share ``pair``.

    Raises:
        ConfigError: SEED is no number.
        InputError: the folder holds no texts.
    """
    kind, _, world = name.partition("@")
    if kind != "nursery":
        return load_probes(Path(name))
    if world and not world.isdecimal():
        raise ConfigError(f"prompts: {name} names no world: give its seed, as in nursery@{WORLD_SEED}")
    prompts = world_prompts(World(int(world or WORLD_SEED)), forms, seed)
    return tuple(Probe(text, language, "knowledge", doc, doc.rpartition("-")[0]) for text, language, doc in prompts)
