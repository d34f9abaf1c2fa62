"""A genome's child as an adapter of the common base, or of the father."""

from __future__ import annotations

import tempfile
from pathlib import Path

from darwin_mri.checkpoints.atomic_folder import existing_parent
from darwin_mri.checkpoints.source import read_parent_note
from darwin_mri.errors import InputError
from darwin_mri.merging.as_adapter import AdapterFit, write_adapter
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.requests import MergeRequest
from darwin_mri.records.roles import FATHER
from darwin_mri.run import Progress
from darwin_mri.stages.merge import merge_genome


def merge_as_adapter(
    request: MergeRequest, parents: Parents, out: Path, *, rank: int, progress: Progress
) -> AdapterFit:
    """Write the child of a genome as a PEFT folder; the child itself is written beside it and removed.

    Args:
        request: the genome, and where its donors and moments are.
        parents: the base, or the father where there is none, is what the adapter is for.
        out: the adapter's folder.
        rank: of every matrix.
        progress: where the work reports.

    Returns:
        What the rank costs.

    Raises:
        InputError: the adapter would be for a model that is no plain one; as ``merge_genome`` and ``write_adapter``.
    """
    base = parents.base or parents.sources[FATHER]
    if rank < 1:
        raise InputError(f"--as-adapter {rank}: give a rank of at least 1")
    if read_parent_note(base.folder):
        raise InputError(f"an adapter of {base.ref} loads nowhere, as it was unpacked: give a plain --base")
    parents.refuse_as_output(out)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.child-", dir=existing_parent(out)) as folder:
        child = Path(folder) / out.name
        merge_genome(request, parents, child, progress=progress)
        return write_adapter(base.folder, child, out, ref=base.ref, rank=rank)
