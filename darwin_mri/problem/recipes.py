"""Genomes from recipes and recipes from genomes: mergekit's YAML, and the config a genome was bred with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwin_mri.checkpoints.find import NURSERY, find_model
from darwin_mri.checkpoints.survey import Survey, survey
from darwin_mri.config import Config, make_config
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging import Settings
from darwin_mri.merging.child_form import ChildForm
from darwin_mri.merging.mergekit import plain_values, read_documents, write_recipe
from darwin_mri.merging.settings import SETTINGS, make_settings, settings_for, split_key
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.recipe_models import Workshop, prepare_recipe
from darwin_mri.problem.space import sibling_space
from darwin_mri.quantities import quantity_fault
from darwin_mri.records import Genome, write_text
from darwin_mri.records.roles import FATHER
from darwin_mri.roles import BASE

TensorsByGene = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class RecipeGenome:
    """A mergekit recipe of one document as a genome.

    Attributes:
        genome: the recipe's ratios and settings, tensor by tensor.
        refs: what the config takes: ``parents``, the father first, and ``base``; folders of what had to be made.
        notes: sentences on what the child has from whom.
        form: of the child, where it is not the father's folder with other values.
    """

    genome: Genome
    refs: Mapping[str, Any]
    notes: tuple[str, ...]
    form: ChildForm | None


def read_genome(path: Path, seed: int, offline: bool) -> RecipeGenome:
    """Read a mergekit recipe of one document that merges two models or more.

    Args:
        path: of the YAML.
        seed: of the masks; a recipe has none.
        offline: never ask the hub.

    Returns:
        The genome and what goes with it.

    Raises:
        ConfigError: the recipe asks for what is not done here; says what.
        InputError: the parents are no siblings.
    """
    documents = list(read_documents(path))
    if len(documents) > 1:
        raise ConfigError(f"{path.name} holds {len(documents)} documents: as one genome there can be only one of them")
    document = documents[0]
    ready = prepare_recipe(document, Workshop(offline=offline), seed)
    if ready.genome is None:
        raise ConfigError(f"{path.name} merges nothing, so it is no genome: give --out alone for its child")
    folders = {role: str(source.folder) for role, source in ready.sources.items()}
    base = folders.pop(BASE, None)
    return RecipeGenome(ready.genome, {"parents": list(folders.values()), "base": base}, ready.notes, ready.form)


def write_genome_recipe(
    genome: Genome, config: Config, tensors: Mapping[str, tuple[str, ...]], path: Path, offline: bool
) -> tuple[str, ...]:
    """Write a genome as mergekit's YAML.

    Args:
        genome: genes and exceptions.
        config: names the parents.
        tensors: gene -> tensors on the father's disk.
        path: of the YAML.
        offline: never ask the hub.

    Returns:
        Sentences on where mergekit's child will differ.

    Raises:
        ConfigError: mergekit has no such method.
        CheckpointError: a parent is not found.
        OutputError: the file cannot be written.
    """
    refs = {**config.roles, BASE: config.base}
    sources = {role: find_model(ref, offline=offline) for role, ref in refs.items() if ref}
    father = survey(sources[FATHER].folder)
    common, values = genome_settings(genome), {}
    for gene, names in tensors.items():
        for name in names:
            settings, own = settings_for(name, common, genome.exceptions)
            role = genome.parent_of(gene)
            ratio = own.get(role, own.get("", genome.genes.get(gene, 0.0)))
            values.setdefault(name, plain_values(settings, tuple(config.roles)[1:]))[f"ratio@{role}"] = ratio
    # mergekit knows hub ids and folders, not the nursery.
    named = {role: str(sources[role].folder) if ref and ref.startswith(NURSERY) else ref for role, ref in refs.items()}
    text, notes = write_recipe(genome.method, named, father, values, main_dtype(father))
    write_text(path, text)
    return notes


def genome_settings(genome: Genome) -> Settings:
    """The operator's settings a genome was bred with."""
    return make_settings({key: value for key, value in genome.settings.items() if split_key(key)[0] in SETTINGS})


def genome_config(genome: Genome, where: str, **overrides: object) -> Config:
    """The config a genome was bred with, as far as the genome says.

    Args:
        genome: the genome.
        where: it is from, for an error's line.
        **overrides: fields of the config that replace the genome's; None replaces nothing. ``further`` lists those of
            the parents after the second.

    Returns:
        The config.

    Raises:
        ConfigError: a value that no config can have, or another number of further parents than the genome's.
    """
    try:
        common = genome_settings(genome)
        for name in genome.exceptions:
            settings_for(name, common, genome.exceptions)
        for gene, ratio in genome.genes.items():
            if fault := quantity_fault("ratio", ratio):
                raise ConfigError(f"gene {gene}: {fault}")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    own = {key: genome.settings[key] for key in ("density", "density_father", "rescale") if key in genome.settings}
    data: dict[str, Any] = {
        "name": "merge",
        "parents": list(genome.roles.values()),
        "base": genome.base,
        "tokenizer": genome.tokenizer,
        "method": genome.method,
        "seed": genome.seed,
        "towers": "merge" if genome.moves_tower else "father",
        **own,
        "settings": {key: value for key, value in genome.settings.items() if key not in {*own, "upper"}},
        **genome.arm,
    }
    data["search"] = {**data.get("search", {}), "space": genome.space}
    further = overrides.pop("further", None)
    data |= {key: value for key, value in overrides.items() if value is not None}
    if isinstance(further, list | tuple) and further:
        named = list(data["parents"])
        if len(further) != len(named) - 2:
            raise ConfigError(
                f"{where}: give --parent once for each of {len(named) - 2} further parents, not {len(further)} times"
            )
        data["parents"] = [*named[:2], *further]
    return make_config(data, where)


def main_dtype(father: Survey) -> str:
    """The dtype that most of a model's bytes have, by its name in configurations; ``other`` where it has none."""
    sizes = Counter[str]()
    for stored in father.tensors.values():
        sizes[stored.dtype] += stored.size
    names = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
    return names.get(sizes.most_common(1)[0][0], "other")


def sibling_tensors(genome: Genome, parents: Parents) -> TensorsByGene:
    """Gene -> tensors on the father's disk, looked up in the father.

    Raises:
        InputError: the genome has a gene that these parents and this space do not have.
    """
    space = sibling_space(parents.config, parents.father, parents.other_sources, parents.base)
    on_disk = {gene: tuple(map(space.merge.on_disk, names)) for gene, names in space.written_tensors().items()}
    return known_genes(genome, on_disk)


def known_genes(genome: Genome, tensors: TensorsByGene) -> TensorsByGene:
    """The tensors by gene, once every gene of the genome is among them; raises InputError where one is not."""
    unknown = sorted(set(genome.genes) - set(tensors))
    if unknown:
        raise InputError(
            f"the genome has gene {unknown[0]}, which this pair and space do not have: check parents and method"
        )
    return tensors
