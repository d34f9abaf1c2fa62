"""Building a mergekit file: its documents in order, the earlier ones into folders that are gone in the end."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from darwin_mri.checkpoints.atomic_folder import existing_parent, refuse_occupied
from darwin_mri.checkpoints.find import find_model, local_paths
from darwin_mri.checkpoints.origin import read_ancestry
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import ConfigError
from darwin_mri.files import require_folder
from darwin_mri.merging.child_form import same_form, write_formed
from darwin_mri.merging.mergekit import Document, build_order, read_documents
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.recipe_models import BASE, RecipeMerge, Workshop, prepare_recipe
from darwin_mri.problem.recipes import genome_config
from darwin_mri.problem.requests import MergeRequest
from darwin_mri.records import ChildFiles
from darwin_mri.records.roles import FATHER
from darwin_mri.run import Progress, Silent
from darwin_mri.stages.merge import merge_genome


def merge_recipe(
    path: Path,
    out: Path,
    *,
    seed: int = 1,
    overrides: Mapping[str, Any] | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> ChildFiles:
    """Write the child of a mergekit file.

    Where the file has several documents, those that the child needs are built first, one after the other, into a
    hidden folder beside ``out``, and read from there. The folder is removed in the end, also after an error.

    Args:
        path: of the YAML.
        out: the child's folder.
        seed: of the masks; a recipe has none.
        overrides: fields of the config; ``father``, ``mother`` and ``base`` replace the child's own models.
        offline: never ask the hub.
        progress: where the work reports; nowhere when None.

    Returns:
        sha256 of every shard, and which tensors differ from the father's.

    Raises:
        ConfigError: the recipe asks for what is not done here, or an override replaces no model of it.
        CheckpointError: a model is not found.
        InputError: the models are no siblings, a stack cannot be, or ``out`` is in use.
        DarwinError: the disk is too small.
    """
    progress = progress or Silent()
    every = read_documents(path)
    documents = build_order(every)
    for document in every:
        if document not in documents:
            progress.say(f"note: {document.where} is no part of the child and is not built")
    for folder in (out, out.absolute().parent):
        require_folder(folder)
    workshop = Workshop(offline=offline)
    with _hidden_folder(out) as root:
        for number, document in enumerate(documents[:-1], start=1):
            # A child's genealogy calls a model by the folder above it.
            own = re.sub(r"[^\w.-]", "_", Path(str(document.name)).name).strip(".")
            folder = root / str(number) / (own or str(number)) / "child"
            _build(document, workshop, folder, seed, {}, progress)
            workshop = replace(workshop, made={**workshop.made, str(document.name): folder})
        return _build(documents[-1], workshop, out, seed, overrides or {}, progress)


@contextmanager
def _hidden_folder(out: Path) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix=f".{out.name}.recipe-", dir=existing_parent(out)))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _build(
    document: Document, workshop: Workshop, out: Path, seed: int, overrides: Mapping[str, Any], progress: Progress
) -> ChildFiles:
    """Write one document's model."""
    ready = prepare_recipe(document, workshop, seed)
    for ref in document.refs:  # what the recipe names is read, whatever is made of it
        for path in (workshop.find(ref).folder.resolve(), *local_paths(ref)):
            refuse_occupied(path, out)
    for note in ready.notes:
        progress.say(f"note: {note}")
    if ready.genome is None:
        if given := sorted(role for role in (FATHER, "mother", BASE) if overrides.get(role)):
            raise ConfigError(f"{document.where} merges nothing, so --{given[0]} replaces nothing: leave it out")
        return _copy(document, ready, out, progress)
    sources = dict(ready.sources)
    if ready.form is not None and (overrides.get(FATHER) or overrides.get(BASE)):
        raise ConfigError(
            f"{document.where}: the child's files are made from its own models, so --father and --base replace none:"
            " name them in the recipe"
        )
    replaced = {role: ref for role in (FATHER, "mother", BASE) if (ref := overrides.get(role))}
    sources |= {role: find_model(ref, offline=workshop.offline) for role, ref in replaced.items()}
    base = sources.pop(BASE, None)
    refs = [source.ref for source in sources.values()]
    common = {key: value for key, value in overrides.items() if key not in replaced}
    genome = ready.genome.model_copy(
        update={"father": refs[0], "mother": refs[1], "parents": tuple(refs), "base": base and base.ref}
    )
    config = genome_config(genome, document.where, **common)
    parents = Parents(config, sources, base, "cpu", workshop.offline)
    return merge_genome(MergeRequest(genome, config), parents, out, form=ready.form, progress=progress)


def _copy(document: Document, ready: RecipeMerge, out: Path, progress: Progress) -> ChildFiles:
    """Write a model that is nothing but one model, or a stack of layers."""
    source = ready.sources[FATHER]
    form = ready.form or same_form(survey(source.folder))
    with CheckpointReader(source.folder) as reader:
        note = {
            "genealogy": [
                *read_ancestry(source.folder),
                f"{out.parent.name or out.name} = {source.ref} ({document.method})",
            ]
        }

        def scaled(name: str, dtype: torch.dtype) -> torch.Tensor:
            return (reader.tensor(name).float() * ready.factors[name]).to(dtype)

        with progress.stage("write child", len(ready.factors)) as advance:
            return write_formed(
                source.folder,
                out,
                sorted(ready.factors),
                scaled,
                form,
                note=note,
                on_tensor=lambda _: advance(1),
            )
