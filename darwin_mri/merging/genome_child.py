"""A genome's child on disk: which tensors it changes, and what its note says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from darwin_mri.merging.child import write_child
from darwin_mri.merging.merge import Merge, tensor_ratios
from darwin_mri.records import ChildFiles, Genome
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
    ratios = tensor_ratios(merge, tensors, genome.genes, genome.exceptions)
    moved = {name: ratio for name, ratio in ratios.items() if any(ratio[0]) or not ratio[1].zero_is_father}
    on_disk = {merge.on_disk(name): name for name in moved}
    # A loader ties a copy again and may take either for the truth.
    on_disk |= {copy: on_disk[name] for copy, name in merge.father.copies.items() if name in on_disk}
    name = out.parent.name or out.name
    note = {
        "schema": 1,
        "genealogy": [*ancestry, f"{name} = {' x '.join(genome.roles.values())} ({genome.method})"],
        "genome": genome.model_dump(mode="json", by_alias=True),
    }
    with progress.stage("write child", len(on_disk)) as advance:
        return write_child(
            father,
            out,
            sorted(on_disk),
            lambda name: merge.tensor(on_disk[name], *moved[on_disk[name]]),
            note=note,
            on_tensor=lambda _: advance(1),
        )
