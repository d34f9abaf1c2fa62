"""Merging by a given genome, without a search: a run's, one written by hand, or one read from mergekit's YAML."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from darwin_mri.checkpoints import ModelSource
from darwin_mri.checkpoints.atomic_folder import existing_parent
from darwin_mri.checkpoints.origin import read_ancestry
from darwin_mri.checkpoints.survey import layer_of, survey
from darwin_mri.errors import InputError
from darwin_mri.files import require_folder
from darwin_mri.merging import DonorFolder, Merge, Settings, verify_donors
from darwin_mri.merging.child_form import ChildForm
from darwin_mri.merging.folder_sources import father_source, sibling_source
from darwin_mri.merging.genome_child import write_formed_genome, write_genome
from darwin_mri.merging.settings import SETTINGS, split_key
from darwin_mri.mri.similarity import proportional_map
from darwin_mri.problem.donors import make_donors
from darwin_mri.problem.moments import open_magnitudes, open_moments, require_moments
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.recipes import TensorsByGene, genome_settings, known_genes, sibling_tensors
from darwin_mri.problem.requests import MergeRequest
from darwin_mri.records import ChildFiles, DonorLayer, DonorRecord, Genome
from darwin_mri.records.roles import FATHER, MOTHER
from darwin_mri.run import Progress, Silent

SEARCH_SETTINGS = ("upper",)  # among a genome's settings, but of the search: the box's upper bound


def merge_genome(
    request: MergeRequest,
    parents: Parents,
    out: Path,
    *,
    form: ChildForm | None = None,
    progress: Progress | None = None,
) -> ChildFiles:
    """Write the child of a given genome.

    A genome that names its tensors needs no model in memory; one that does not has them looked up in the father first.
    The donors of a cross-architecture genome are those kept with its run, else they are built again from the parents.

    Args:
        request: the genome: genes, settings and, as a rule, tensors; with the donors and moments kept with it.
        parents: whose config says how donors are built again.
        out: the child's folder.
        form: dtypes and small files of a sibling merge's child; the father's when None.
        progress: where the work reports; nowhere when None.

    Returns:
        sha256 of every shard, and which tensors differ from the father's.

    Raises:
        InputError: the parents do not fit the genome; or donors built again are not those it was bred with.
    """
    genome, donors = request.genome, request.donors
    config, progress = parents.config, progress or Silent()
    _refuse_unknown(genome)
    if donors is not None and not config.cross:
        raise InputError(
            f"--donors {donors.name} is for genomes across architectures, and this one's method is {config.method}"
        )
    if donors is not None and not donors.is_dir():
        raise InputError(f"--donors {donors} is not a folder: give a run's state/donors")
    parents.refuse_as_output(out)
    for folder in (out, out.absolute().parent):
        require_folder(folder)
    if (tuple(genome.roles.values()), genome.base) != (config.parents, config.base):
        # The child says who its parents were, not which models the genome was bred with.
        refs = tuple(source.ref for source in parents.sources.values())
        base = parents.base and parents.base.ref
        genome = genome.model_copy(update={"father": refs[0], "mother": refs[1], "parents": refs, "base": base})
    for note in parents.notes():
        progress.say(f"note: {note}")
    if config.cross:
        return _merge_cross(genome, parents, out, donors, progress)
    if not genome.tensors:
        genome = genome.model_copy(update={"tensors": sibling_tensors(genome, parents)})
    merge, father = _merge_on_disk(genome, parents, request.folder), parents.sources[FATHER].folder
    if form is not None:
        return write_formed_genome(genome, merge, out, form, read_ancestry(father), progress)
    return write_genome(genome, merge, genome.tensors, father, out, read_ancestry(father), progress)


def _refuse_unknown(genome: Genome) -> None:
    """Raise InputError for what a genome says in vain: an unknown setting, a gene or an exception without tensors."""
    names = [name for tensors in genome.tensors.values() for name in tensors]
    known = {*SETTINGS, *SEARCH_SETTINGS}
    if unknown := sorted(key for key in genome.settings if split_key(key)[0] not in known):
        raise InputError(f"the genome's setting '{unknown[0]}' is unknown: choose one of {', '.join(SETTINGS)}")
    if not names:
        return
    if lost := sorted(gene for gene, value in genome.genes.items() if value and gene not in genome.tensors):
        raise InputError(f"the genome has gene {lost[0]}, which names no tensors: add it to tensors, or leave it out")
    for pattern in genome.exceptions:
        if not any(name == pattern or fnmatchcase(name, pattern) for name in names):
            raise InputError(f"the genome's exception '{pattern}' fits no tensor it moves: check the name")


def _merge_on_disk(genome: Genome, parents: Parents, moments: Path | None) -> Merge:
    """The merge of the folders under the father's names on disk; no model is loaded."""
    names = sorted({name for tensors in genome.tensors.values() for name in tensors})
    source = parents.sources[FATHER]
    father = survey(source.folder)
    unknown = [name for name in names if name not in father.tensors]
    if unknown:
        raise InputError(f"the genome moves tensor {unknown[0]}, which {source.ref} does not have: check --father")
    own = father_source(father, names)
    others = tuple(sibling_source(father, other, own) for other in parents.other_sources)
    base = sibling_source(father, parents.base, own) if parents.base else None
    settings, exceptions = genome_settings(genome), genome.exceptions
    measured = open_moments(parents.config, moments, (own, *others))
    require_moments(measured, genome)
    magnitudes = open_magnitudes(parents.config, moments, own, base)
    return Merge(
        own, others, base, genome.method, settings, genome.seed, exceptions, genome.gene_parents, measured, magnitudes
    )


def _merge_cross(genome: Genome, parents: Parents, out: Path, donors: Path | None, progress: Progress) -> ChildFiles:
    if donors is not None:
        _require_donors(genome, donors, f"kept in {donors.name}")
        return _write_cross(genome, parents.sources[FATHER], donors, out, progress)
    with _temporary_folder(out) as folder:
        _build_donors(genome, parents, folder, progress)
        _require_donors(genome, folder, "built again from the parents")
        return _write_cross(genome, parents.sources[FATHER], folder, out, progress)


@contextmanager
def _temporary_folder(out: Path) -> Iterator[Path]:
    """A folder on the disk of the child's, gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.donors-", dir=existing_parent(out)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_donors(genome: Genome, folder: Path, origin: str) -> None:
    """Raise InputError unless the donors are the genome's own; a genome written by hand names none."""
    layers = tuple(
        DonorLayer(index=0, mother_layer=None, file=file, sha256=sha256) for file, sha256 in genome.donors.items()
    )
    if layers and not verify_donors(folder, DonorRecord(arm=genome.method, layers=layers)):
        raise InputError(
            f"the donors {origin} are not those this genome was found with (another machine, other texts or prompts?):"
            " give the run's own state/donors with --donors"
        )


def _write_cross(genome: Genome, father: ModelSource, donors: Path, out: Path, progress: Progress) -> ChildFiles:
    source, own = DonorFolder(donors), father_source(survey(father.folder))
    names = {name: own.disk_names.get(name, "") for name in source.names()}
    for name, disk in names.items():
        if not disk or own.reader.shape(disk) != source.reader.shape(name):
            raise InputError(f"the donor of {name} has another shape than {father.ref}'s tensor: check --father")
    merge = Merge(own, (source,), None, "replace" if source.replacing else "linear", Settings(), genome.seed)
    by_disk = {disk: name for name, disk in names.items()}
    known = known_genes(genome, genome.tensors or _genes_by_layer(source.names(), names))
    tensors = {gene: tuple(by_disk[disk] for disk in disks) for gene, disks in known.items()}
    return write_genome(genome, merge, tensors, father.folder, out, read_ancestry(father.folder), progress)


def _genes_by_layer(donors: tuple[str, ...], disk: dict[str, str]) -> TensorsByGene:
    """The space ``ffn`` by names alone: gene L3.ffn for the donors of layer 3."""
    genes: TensorsByGene = {}
    for name in donors:
        gene = f"L{layer_of(name)}.ffn"
        genes[gene] = (*genes.get(gene, ()), disk[name])
    return genes


def _build_donors(genome: Genome, parents: Parents, folder: Path, progress: Progress) -> None:
    counts = len(parents.father.layers), len(parents.model(MOTHER).layers)
    layer_map = genome.layer_map or proportional_map(*counts)
    if len(layer_map) != counts[0] or not all(0 <= layer < counts[1] for layer in layer_map):
        raise InputError(
            f"the genome maps {len(layer_map)} father layers, these parents have {counts[0]} and {counts[1]}"
        )
    spread = [rms for rms in genome.gate_rms if rms is not None]
    if genome.gate_rms and (len(genome.gate_rms) != counts[1] or min(spread, default=0) < 0):
        raise InputError(
            f"the genome's gate_rms must give each of the mother's {counts[1]} layers a number of at least 0"
        )
    make_donors(folder, parents, layer_map, genome.gate_rms, progress)
