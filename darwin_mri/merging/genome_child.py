"""A genome's child on disk: which tensors it changes, and what its note says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from darwin_mri.merging.child import write_child
from darwin_mri.merging.child_form import ChildForm, write_formed
from darwin_mri.merging.merge import Merge, tensor_ratios
from darwin_mri.merging.settings import Settings
from darwin_mri.merging.streaming import Ratios
from darwin_mri.records import ChildFiles, Genome
from darwin_mri.records.genealogy import Birth
from darwin_mri.run import Progress


def write_genome(
    genome: Genome,
    merge: Merge,
    tensors: Mapping[str, tuple[str, ...]],
    father: Path,
    out: Path,
    ancestry: tuple[str, ...],
    progress: Progress,
) -> ChildFiles:
    """Write the child of a genome; only tensors that are not the father's own are computed.

    Args:
        genome: genes and exceptions.
        merge: turns a ratio into a tensor.
        tensors: gene -> names the merge knows its tensors by.
        father: the father's folder.
        out: the child's folder.
        ancestry: of its parents, eldest first.
        progress: where the work reports.

    Returns:
        sha256 of every shard, and which tensors differ from the father's.

    Raises:
        CheckpointError, InputError, DarwinError: as ``write_child``.
    """
    work = genome_work(genome, merge, tensors, out, ancestry)
    with progress.stage("write child", len(work.on_disk)) as advance:
        return write_child(
            father,
            out,
            sorted(work.on_disk),
            lambda name: merge.tensor(*work.arguments(name)),
            note=work.note,
            on_tensor=lambda _: advance(1),
        )


def write_formed_genome(
    genome: Genome, merge: Merge, out: Path, form: ChildForm, ancestry: tuple[str, ...], progress: Progress
) -> ChildFiles:
    """Write the child of siblings in another dtype, or with other small files, than the father has.

    Args:
        genome: genes, exceptions and tensors.
        merge: turns a ratio into a tensor; knows its tensors by their names on the father's disk.
        out: the child's folder.
        form: dtypes and small files.
        ancestry: of its parents, eldest first.
        progress: where the work reports.

    Returns:
        As ``write_genome``.

    Raises:
        CheckpointError, InputError, DarwinError: as ``write_formed``.
    """
    work = genome_work(genome, merge, genome.tensors, out, ancestry)
    with progress.stage("write child", len(work.on_disk)) as advance:
        return write_formed(
            merge.father.reader.folder,
            out,
            sorted(work.on_disk),
            lambda name, dtype: merge.tensor(*work.arguments(name), dtype),
            form,
            note=work.note,
            on_tensor=lambda _: advance(1),
        )


class GenomeWork(NamedTuple):
    """What is to be written.

    Attributes:
        moved: tensor, as the merge names it -> its ratios and settings.
        on_disk: name on the father's disk -> the merge's.
        note: of the child.
    """

    moved: Mapping[str, tuple[Ratios, Settings]]
    on_disk: Mapping[str, str]
    note: dict[str, Any]

    def arguments(self, name: str) -> tuple[str, Ratios, Settings]:
        """What ``Merge.tensor`` takes for a tensor on disk."""
        own = self.on_disk[name]
        return own, *self.moved[own]


def genome_work(
    genome: Genome, merge: Merge, tensors: Mapping[str, tuple[str, ...]], out: Path, ancestry: tuple[str, ...]
) -> GenomeWork:
    """What of a genome's child is to be computed, and its note; arguments as ``write_genome``'s.

    Args:
        genome: genes and exceptions.
        merge: turns a ratio into a tensor.
        tensors: gene -> names the merge knows its tensors by.
        out: the child's folder.
        ancestry: of its parents, eldest first.

    Returns:
        The work.
    """
    ratios = tensor_ratios(merge, tensors, genome.genes, genome.exceptions)
    moved = {name: ratio for name, ratio in ratios.items() if any(ratio[0]) or not ratio[1].zero_is_father}
    on_disk = {merge.on_disk(name): name for name in moved}
    # A loader ties a copy again and may take either for the truth.
    on_disk |= {copy: on_disk[name] for copy, name in merge.father.copies.items() if name in on_disk}
    name = out.parent.name or out.name
    note = {
        "schema": 1,
        "genealogy": [*ancestry, Birth(name, tuple(genome.roles.values()), genome.method).line],
        "genome": genome.model_dump(mode="json", by_alias=True, exclude={"front", "references"}),
    }
    return GenomeWork(moved, on_disk, note)
