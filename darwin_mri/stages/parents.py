"""Find, describe and load the parents of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from darwin_mri.checkpoints import (
    ModelSource,
    disk_names,
    file_digests,
    find_anatomy,
    find_model,
    free_memory,
    load_model,
    load_tokenizer,
    require_ffn,
    weights_digest,
)
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import Config, ScanConfig
from darwin_mri.errors import CheckpointError, InputError
from darwin_mri.merging import FolderSource
from darwin_mri.mri import Parent, model_info
from darwin_mri.probes import Probe, load_probes, read, require_tokens, select_probes
from darwin_mri.records import Anatomy, FileDigest, ParentInput
from darwin_mri.stages.genealogy import genealogy
from darwin_mri.stages.memory import can_wait, scan_tokens, stage_bytes


@dataclass(frozen=True)
class Loaded:
    """A parent in memory."""

    source: ModelSource
    digest: str
    model: Any
    tokenizer: Any
    anatomy: Anatomy


def describe(role: str, source: ModelSource) -> ParentInput:
    """Files with size and sha256, family and ancestors: everything about a parent that needs no torch."""
    files: tuple[FileDigest, ...] = file_digests(source.folder)
    config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    return ParentInput(
        role=role,
        ref=source.ref,
        revision=source.revision,
        digest=weights_digest(files),
        files=files,
        family=str(config.get("model_type", "")),
        genealogy=genealogy(source.folder),
        license=stated_license(source.folder),
    )


def stated_license(folder: Path) -> str:
    """The licence in the front matter of the folder's model card (README.md); one called ``other`` by its own name."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        front = yaml.safe_load(text.split("---", 2)[1]) if text.startswith("---") else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, IndexError):
        return ""
    if not isinstance(front, dict):
        return ""
    stated = front.get("license")
    if stated == "other":
        stated = front.get("license_name") or stated
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated or "")


def digest(source: ModelSource) -> str:
    """sha256 over the weight files' digests."""
    return weights_digest(file_digests(source.folder))


def load(source: ModelSource, digest: str, *, device: str, dtype: str, computes_on: str | None = None) -> Loaded:
    """Load a parent with its tokenizer and anatomy; refuses one without any FFN.

    Args:
        device: where it is kept.
        computes_on: the device it will be read on, which settles the dtype, where it waits on another.
    """
    computes_on = computes_on or device
    model: Any = load_model(source, device=computes_on, dtype=working_dtype(computes_on, dtype))
    anatomy = find_anatomy(model)  # a forward, for which kernels of other packages want the device
    require_ffn(anatomy, source.ref)
    return Loaded(source, digest, model.to(device), load_tokenizer(source), anatomy)


def working_dtype(device: str, dtype: str) -> str:
    """float32 on a CPU, where half precision is slow; the checkpoint's own elsewhere."""
    return "float32" if dtype == "auto" and device == "cpu" else dtype


def waiting_place(config: Config, father: ModelSource, mother: ModelSource, device: str) -> str:
    """Where the mother is kept: on the device, or in host memory where both parents do not fit beside one another and she can wait."""
    if device == "cpu" or not can_wait(config):
        return device
    each = 4 if config.dtype == "float32" else 2
    stages = stage_bytes(config, survey(father.folder), survey(mother.folder), each, accelerator=True)
    free = free_memory(device)
    return "cpu" if max(stages[name] for name in ("scan", "donors") if name in stages) > free else device


@contextmanager
def exchanged(leaving: Any, coming: Any, device: str) -> Iterator[None]:
    """While open, ``coming`` is on the device and ``leaving`` in host memory; nothing moves where ``coming`` is there already."""
    if str(next(coming.parameters()).device) == device:
        yield
        return
    leaving.to("cpu")
    coming.to(device)
    try:
        yield
    finally:
        coming.to("cpu")
        leaving.to(device)


def parent_for_scan(loaded: Loaded, probes: tuple[Probe, ...], config: ScanConfig, device: str | None = None) -> Parent:
    """A parent with its probes read; ``device`` is where it will be scanned, where it is when absent."""
    device = device or str(next(loaded.model.parameters()).device)
    budget = scan_tokens(device)
    reading = read(probes, loaded.tokenizer, max_tokens=config.max_tokens, device=device, token_budget=budget)
    if not reading.probes:
        raise InputError(f"{loaded.source.ref}: no probe text has two tokens: give longer probe texts")
    require_tokens(loaded.model, (*reading.ids, reading.prefix))
    info = model_info(loaded.source.ref, loaded.digest, loaded.model, loaded.anatomy)
    return Parent(info, loaded.model, loaded.anatomy, reading)


def probe_folder(config: ScanConfig) -> Path | None:
    """The folder of the user's probe texts, None for the built-in set."""
    return Path(config.probes) if config.probes else None


def chosen_probes(config: ScanConfig, seed: int) -> tuple[Probe, ...]:
    """The probes of this run: from ``config.probes`` or the built-in set, cut to the languages and documents asked for."""
    probes = load_probes(probe_folder(config))
    return select_probes(probes, config.languages, config.documents, seed)


def folder_source(source: ModelSource, names: list[str]) -> FolderSource:
    """A folder's tensors under the father's in-memory names.

    Raises:
        InputError: the folder lacks some of the father's parameters, so it is no sibling.
    """
    reader = CheckpointReader(source.folder)
    try:
        return FolderSource(reader, disk_names(names, reader.names()))
    except CheckpointError as error:
        raise InputError(
            f"{source.ref} is no sibling of the father ({error}): for another architecture use an arm, such as folded"
        ) from None


def find(ref: str, offline: bool) -> ModelSource:
    return find_model(ref, offline=offline)


def same_shape(first: ModelSource, second: ModelSource) -> bool:
    """Whether two folders hold the same tensors in the same shapes: siblings, as far as headers can tell."""
    with CheckpointReader(first.folder) as one, CheckpointReader(second.folder) as other:
        return one.names() == other.names() and all(tuple(one.shape(n)) == tuple(other.shape(n)) for n in one.names())
