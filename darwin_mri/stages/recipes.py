"""Merging by a given genome, without a search: a genome of a run, one written by hand, or one read from mergekit's YAML."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from darwin_mri.checkpoints import CheckpointReader, ModelSource
from darwin_mri.checkpoints.find import NURSERY, find_model
from darwin_mri.checkpoints.survey import Survey, survey
from darwin_mri.config import Config, make_config
from darwin_mri.errors import InputError
from darwin_mri.merging import DonorFolder, FolderSource, Merge, Settings
from darwin_mri.merging.fits import FLOATING, counterparts, require_siblings
from darwin_mri.merging.landing import existing_parent, refuse_occupied
from darwin_mri.merging.mergekit import genome_fields, read_recipe, tensor_values, write_recipe
from darwin_mri.merging.settings import SETTINGS, settings_for
from darwin_mri.records import ChildFiles, DonorLayer, DonorRecord, Genome, write_text
from darwin_mri.stages.genealogy import genealogy
from darwin_mri.stages.run import Progress, Silent
from darwin_mri.stages.writing import write_genome

TOLD_BESIDE = ("upper",)  # among a genome's settings, but of the search: the box's upper bound


def merge_genome(
    config: Config, genome: Genome, out: Path, *, donors: Path | None = None, offline: bool = False,
    progress: Progress | None = None,
) -> ChildFiles:  # fmt: skip
    """Write the child of a given genome.

    A genome that names its tensors needs no model in memory; one that does not has them found in the father first. The donors
    of a cross-architecture genome are those kept with its run, else they are built again from the parents.

    Args:
        config: says who the parents are and, for donors to be built again, how.
        donors: folder of kept donors (a run's ``state/donors``).

    Raises:
        InputError: the parents do not fit the genome; or donors built again are not those it was found with.
    """
    progress = progress or Silent()
    _known_settings(genome)
    if donors is not None and not config.cross:
        raise InputError(
            f"--donors {donors.name} is for genomes across architectures, and this one's method is {config.method}"
        )
    if donors is not None and not donors.is_dir():
        raise InputError(f"--donors {donors} is not a folder: give a run's state/donors")
    father = find_model(config.father, offline=offline)
    others = [find_model(ref, offline=offline) for ref in (config.mother, config.base) if ref]
    for other in others:
        refuse_occupied(other.folder.resolve(), out)
    if (genome.father, genome.mother, genome.base) != (config.father, config.mother, config.base):
        told = {"father": father.ref, "mother": others[0].ref, "base": others[1].ref if config.base else None}
        genome = genome.model_copy(
            update=told
        )  # the child says who its parents were, not whom the genome was found with
    ancestry = genealogy(father.folder)
    if config.cross:
        return _merge_cross(config, genome, father, out, donors, ancestry, offline, progress)
    mother = find_model(config.mother, offline=offline)
    base = find_model(config.base, offline=offline) if config.base else None
    if not genome.tensors:
        genome = genome.model_copy(update={"tensors": _tensors_of_siblings(config, genome, father, mother, base)})
    merge = siblings_on_disk(config, genome, father, mother, base)
    return write_genome(genome, merge, genome.tensors, father, out, ancestry, progress)


def genome_config(genome: Genome, where: str, **overrides: object) -> Config:
    """The config a genome was found with, as far as the genome says; None among the overrides is none."""
    own = {key: genome.settings[key] for key in ("density", "density_father", "rescale") if key in genome.settings}
    told: dict[str, Any] = {
        "name": "merge", "father": genome.father, "mother": genome.mother, "base": genome.base, "method": genome.method,
        "seed": genome.seed, **own, **genome.arm,
    }  # fmt: skip
    told["search"] = {**told.get("search", {}), "space": genome.space}
    told |= {key: value for key, value in overrides.items() if value is not None}
    return make_config(told, where)


def from_mergekit(path: Path, seed: int, offline: bool) -> tuple[Genome, dict[str, str | None], tuple[str, ...]]:
    """A mergekit recipe as a genome, the parents it names as a user would write them, and what it cannot keep.

    Raises:
        ConfigError: the recipe asks for what is not done here; says what.
        InputError: the parents are no siblings.
    """
    recipe = read_recipe(path)
    refs = {"father": recipe.father, "mother": recipe.mother, "base": recipe.base}
    sources = {role: find_model(ref, offline=offline) for role, ref in refs.items() if ref}
    father, mother = survey(sources["father"].folder), survey(sources["mother"].folder)
    require_siblings(father, mother, sources["mother"].ref)
    names = [name for name in counterparts(father, mother) if father.tensors[name].dtype in FLOATING]
    fields = genome_fields(recipe, tensor_values(recipe, father, names))
    genome = Genome(
        seed=seed, father=sources["father"].ref, mother=sources["mother"].ref, base=sources["base"].ref if recipe.base else None,
        ratios=(), **fields,
    )  # fmt: skip
    kept = _main_dtype(father)
    notes = (
        (f"the child keeps the father's dtype, {kept}, not {recipe.dtype}",) if recipe.dtype not in (None, kept) else ()
    )
    return genome, refs, notes


def to_mergekit(genome: Genome, config: Config, path: Path, offline: bool) -> tuple[str, ...]:
    """Write a genome as mergekit's YAML; returns sentences on where mergekit's child will differ.

    Raises:
        ConfigError: mergekit has no such method.
        CheckpointError: a parent is not found.
        InputError: the genome does not fit the parents.
    """
    refs = {"father": config.father, "mother": config.mother, "base": config.base}
    sources = {role: find_model(ref, offline=offline) for role, ref in refs.items() if ref}
    if not genome.tensors and not config.cross:
        found = _tensors_of_siblings(config, genome, sources["father"], sources["mother"], sources.get("base"))
        genome = genome.model_copy(update={"tensors": found})
    father = survey(sources["father"].folder)
    merge = siblings_settings(genome)
    values = {}
    for gene, names in genome.tensors.items():
        for name in names:
            own, ratio = settings_for(name, merge, genome.exceptions)
            values[name] = {"ratio": genome.genes.get(gene, 0.0) if ratio is None else ratio, **asdict(own)}
    # mergekit knows hub ids and folders, not the nursery
    parents = {
        role: str(sources[role].folder) if ref and ref.startswith(NURSERY) else ref for role, ref in refs.items()
    }
    text, notes = write_recipe(genome.method, parents, father, values, _main_dtype(father))
    try:
        write_text(path, text)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another --export-mergekit") from None
    return notes


def _known_settings(genome: Genome) -> None:
    """Raise InputError for what a genome says and nothing hears: a setting nobody knows, a gene or an exception without tensors."""
    names = [name for tensors in genome.tensors.values() for name in tensors]
    if unknown := sorted(set(genome.settings) - {*SETTINGS, *TOLD_BESIDE}):
        raise InputError(f"the genome's setting '{unknown[0]}' is unknown: choose one of {', '.join(SETTINGS)}")
    if not names:
        return
    if lost := sorted(gene for gene, value in genome.genes.items() if value and gene not in genome.tensors):
        raise InputError(f"the genome has gene {lost[0]}, which names no tensors: add it to tensors, or leave it out")
    for pattern in genome.exceptions:
        if not any(name == pattern or fnmatchcase(name, pattern) for name in names):
            raise InputError(f"the genome's exception '{pattern}' fits no tensor it moves: check the name")


def siblings_settings(genome: Genome) -> Settings:
    """The operator's settings a genome was found with."""
    known = {key: value for key, value in genome.settings.items() if key in SETTINGS}
    return Settings(**known)  # type: ignore[arg-type]


def _main_dtype(father: Survey) -> str:
    sizes = Counter[str]()
    for stored in father.tensors.values():
        sizes[stored.dtype] += stored.size
    return {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}.get(
        sizes.most_common(1)[0][0], "other"
    )


def siblings_on_disk(
    config: Config, genome: Genome, father: ModelSource, mother: ModelSource, base: ModelSource | None
) -> Merge:
    """The merge of two folders under the father's names on disk; no model is loaded."""
    names = sorted({name for tensors in genome.tensors.values() for name in tensors})
    own = survey(father.folder)
    unknown = [name for name in names if name not in own.tensors]
    if unknown:
        raise InputError(f"the genome moves tensor {unknown[0]}, which {father.ref} does not have: check --father")
    sources = []
    for other in (mother, base):
        if other is None:
            sources.append(None)
            continue
        theirs = survey(other.folder)
        require_siblings(own, theirs, other.ref)
        sources.append(_source(own, theirs, names, other.ref))
    own_tensors = FolderSource(CheckpointReader(father.folder), {name: name for name in names})
    settings = siblings_settings(genome)
    return Merge(own_tensors, sources[0], sources[1], genome.method, settings, genome.seed, genome.exceptions)


def _source(father: Survey, other: Survey, names: list[str], ref: str) -> FolderSource:
    found = counterparts(father, other, names)
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{ref} lacks tensor {missing[0]}, which the genome moves: not a sibling of the father")
    return FolderSource(CheckpointReader(other.folder), found)


def _tensors_of_siblings(
    config: Config, genome: Genome, father: ModelSource, mother: ModelSource, base: ModelSource | None
) -> dict[str, tuple[str, ...]]:
    from darwin_mri.checkpoints import resolve_device
    from darwin_mri.stages.merging import breed_siblings
    from darwin_mri.stages.parents import load

    loaded = load(father, "", device=resolve_device(config.device), dtype=config.dtype)
    breed = breed_siblings(config, loaded, mother, base)
    return _known_genes(
        genome, {gene: tuple(map(breed.merge.on_disk, names)) for gene, names in breed.tensors().items()}
    )


def _known_genes(genome: Genome, tensors: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    unknown = sorted(set(genome.genes) - set(tensors))
    if unknown:
        raise InputError(
            f"the genome has gene {unknown[0]}, which this pair and space do not have: check parents and method"
        )
    return tensors


def _merge_cross(
    config: Config, genome: Genome, father: ModelSource, out: Path, donors: Path | None, ancestry: tuple[str, ...],
    offline: bool, progress: Progress,
) -> ChildFiles:  # fmt: skip
    if donors is not None:
        _same_donors(genome, donors, "kept in")
        return _write_cross(genome, father, donors, out, ancestry, progress)
    place = Path(tempfile.mkdtemp(prefix=f".{out.name}.donors-", dir=existing_parent(out)))
    try:
        _rebuild(config, genome, father, place, offline, progress)
        _same_donors(genome, place, "built again from")
        return _write_cross(genome, father, place, out, ancestry, progress)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _same_donors(genome: Genome, folder: Path, how: str) -> None:
    """Raise InputError unless the donors are the genome's own; a genome written by hand names none."""
    from darwin_mri.merging import verify_donors

    layers = tuple(DonorLayer(index=0, mother_layer=None, file=file, sha256=sha) for file, sha in genome.donors.items())
    if layers and not verify_donors(folder, DonorRecord(arm=genome.method, layers=layers)):
        raise InputError(
            f"the donors {how} {folder.name if how.startswith('kept') else 'the parents'} are not those this genome was found "
            "with (another machine, other texts or prompts?): give the run's own state/donors with --donors"
        )


def _write_cross(
    genome: Genome, father: ModelSource, donors: Path, out: Path, ancestry: tuple[str, ...], progress: Progress
) -> ChildFiles:
    source = DonorFolder(donors)
    from darwin_mri.checkpoints import disk_names

    with CheckpointReader(father.folder) as reader:
        names = disk_names(source.names(), reader.names())
    own = FolderSource(CheckpointReader(father.folder), names)
    for name in source.names():
        if own.reader.shape(names[name]) != source.reader.shape(name):
            raise InputError(f"the donor of {name} has another shape than {father.ref}'s tensor: check --father")
    merge = Merge(own, source, None, "replace" if source.replacing else "linear", Settings(), genome.seed)
    by_disk = {disk: name for name, disk in names.items()}
    on_disk = genome.tensors or _by_layer(source.names(), names)
    known = _known_genes(genome, on_disk)
    tensors = {gene: tuple(by_disk[disk] for disk in disks) for gene, disks in known.items()}
    return write_genome(genome, merge, tensors, father, out, ancestry, progress)


def _by_layer(donors: tuple[str, ...], disk: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """The space ``ffn`` by names alone: gene L3.ffn for the donors of layer 3."""
    from darwin_mri.checkpoints.survey import layer_of

    genes: dict[str, tuple[str, ...]] = {}
    for name in donors:
        gene = f"L{layer_of(name)}.ffn"
        genes[gene] = (*genes.get(gene, ()), disk[name])
    return genes


def _rebuild(
    config: Config, genome: Genome, father: ModelSource, place: Path, offline: bool, progress: Progress
) -> None:
    from darwin_mri.checkpoints import resolve_device
    from darwin_mri.mri.similarity import proportional_map
    from darwin_mri.stages.items import choose_items
    from darwin_mri.stages.merging import make_donors
    from darwin_mri.stages.parents import load

    device = resolve_device(config.device)
    mother = find_model(config.mother, offline=offline)
    first, second = (load(source, "", device=device, dtype=config.dtype) for source in (father, mother))
    counts = len(first.anatomy.layers), len(second.anatomy.layers)
    layer_map = genome.layer_map or proportional_map(*counts)
    if len(layer_map) != counts[0] or not all(0 <= layer < counts[1] for layer in layer_map):
        raise InputError(
            f"the genome maps {len(layer_map)} father layers, these parents have {counts[0]} and {counts[1]}"
        )
    if genome.gate_rms and (len(genome.gate_rms) != counts[1] or min(genome.gate_rms) < 0):
        raise InputError(
            f"the genome's gate_rms must give each of the mother's {counts[1]} layers a number of at least 0"
        )
    asks = config.method == "competence" and config.arm.writer != "nobody" and not config.arm.prompts
    sources = {"father": father, "mother": mother}
    items = choose_items(config, sources, offline=offline).search if asks else {}
    make_donors(place, config, first, second, layer_map, genome.gate_rms, items, progress)
