"""From what a user gives on the command line to a config, a genome and what goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwin_mri.checkpoints import find_model
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import Config, load_config
from darwin_mri.files import require_file
from darwin_mri.merging.compatibility import sibling_fault
from darwin_mri.problem.donors import DONORS
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.recipes import genome_config, read_genome, sibling_tensors, write_genome_recipe
from darwin_mri.records import Genome


@dataclass(frozen=True)
class MergeRequest:
    """A child to be written.

    Attributes:
        genome: its recipe.
        config: names the parents.
        donors: folder of kept donors, across architectures.
        folder: of the genome, where its moments are.
        notes: sentences on what of the recipe cannot be kept.
    """

    genome: Genome
    config: Config
    donors: Path | None = None
    notes: tuple[str, ...] = ()
    folder: Path | None = None


def read_merge(
    genome_file: Path | None,
    mergekit: Path | None,
    overrides: Mapping[str, Any],
    *,
    donors: Path | None = None,
    seed: int = 1,
    member: int | None = None,
    offline: bool = False,
) -> MergeRequest:
    """Read a genome or a mergekit recipe; exactly one of both is given.

    Args:
        genome_file: genome.json of a run, or one written by hand.
        mergekit: a recipe.
        overrides: fields of the config that replace the genome's; None replaces nothing.
        donors: kept with a run; those beside the genome when None.
        seed: of the masks of a recipe.
        member: of the genome's front; the chosen one when None.
        offline: never ask the hub.

    Returns:
        The genome with its config.

    Raises:
        ConfigError: a recipe that cannot be honoured; an override no config can have.
        InputError: the genome cannot be read or has no such member, or the recipe's parents are no siblings.
    """
    if mergekit is not None:
        recipe = read_genome(mergekit, seed, offline)
        own = {key: value for key, value in overrides.items() if value is not None}
        config = genome_config(recipe.genome, str(mergekit), **{**recipe.refs, **own})
        return MergeRequest(recipe.genome, config, donors, recipe.notes)
    assert genome_file is not None
    genome = Genome.load(genome_file)
    if member is not None:
        genome = genome.of_member(member)
    config = genome_config(genome, str(genome_file), **overrides)
    kept = genome_file.parent / DONORS
    if donors is None and config.cross and kept.is_dir():
        donors = kept
    return MergeRequest(genome, config, donors, folder=genome_file.parent)


def export_recipe(request: MergeRequest, path: Path, *, offline: bool = False) -> tuple[str, ...]:
    """Write a genome as mergekit's YAML.

    Args:
        request: the genome and its parents.
        path: of the YAML.
        offline: never ask the hub.

    Returns:
        Sentences on where mergekit's child will differ.

    Raises:
        ConfigError: mergekit has no such method.
        CheckpointError: a parent is not found.
        InputError: the genome does not fit the parents, or no file can be made there.
        OutputError: the file cannot be written.
    """
    require_file(path, "--export-mergekit")
    genome, tensors = request.genome, request.genome.tensors
    if not tensors and not request.config.cross:
        tensors = sibling_tensors(genome, Parents.find(request.config, offline=offline))
    return write_genome_recipe(genome, request.config, tensors, path, offline)


def scan_config(config_file: Path | None, overrides: dict[str, Any], *, offline: bool = False) -> Config:
    """The config of a scan: a run's own, or one for the models that are named.

    Args:
        config_file: of a run; None where models are named.
        overrides: as ``load_config``. Without a method, parents of the same tensors are siblings, others are crossed by
            ``folded``; a single model stands for both parents.
        offline: never ask the hub.

    Returns:
        The config.
    """
    if config_file is not None:
        return load_config(config_file, overrides)
    father, mother, method = overrides["father"], overrides["mother"], overrides["method"]
    cross = mother is not None and method is None and not _same_tensors(father, mother, offline)
    method = method or ("folded" if cross else "task_arithmetic")
    return load_config(None, {**overrides, "name": "scan", "mother": mother or father, "method": method})


def _same_tensors(first: str, second: str, offline: bool) -> bool:
    """Whether two models are siblings, as far as headers and configurations tell."""
    father, other = (survey(find_model(ref, offline=offline).folder) for ref in (first, second))
    return sibling_fault(father, other, "mother") is None
