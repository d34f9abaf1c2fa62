"""Stage ``child``: from a genome to a model folder."""

from __future__ import annotations

from darwin_mri.merging.genome_child import write_genome
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import ChildFiles, Genome, Inputs
from darwin_mri.records.roles import FATHER
from darwin_mri.run import Run


def write_run_child(run: Run, parents: Parents, space: MergeSpace, genome: Genome) -> ChildFiles:
    """Write the winner into child/.

    Args:
        run: gets child/ and child.json; inputs.json names the ancestors.
        parents: whose files are read.
        space: with the genome that was searched.
        genome: the winner.

    Returns:
        sha256 of every shard, and which tensors differ from the father's.
    """
    inputs = Inputs.load(run.path("inputs.json"))
    ancestry = tuple(dict.fromkeys(line for parent in inputs.parents for line in parent.genealogy))
    father = parents.sources[FATHER].folder
    files = write_genome(
        genome, space.merge, space.written_tensors(), father, run.path("child"), ancestry, run.progress
    )
    files.save(run.path("child.json"))
    return files
