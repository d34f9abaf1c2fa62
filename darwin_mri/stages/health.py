"""Stage ``health``: does the child still work as a model."""

from __future__ import annotations

from darwin_mri.problem.health import examine_child
from darwin_mri.problem.parents import Parents
from darwin_mri.records import Genome, Health
from darwin_mri.run import Run


def check_run_child(run: Run, parents: Parents, genome: Genome) -> Health:
    """Run the gates on the child of a run.

    Args:
        run: whose child/ is checked; gets health.json.
        parents: the father is resident.
        genome: the winner, which says whether any tensor should differ.

    Returns:
        The gates.
    """
    expect_change = any(value != 0.0 for value in genome.genes.values())
    health = examine_child(run.path("child"), parents, expect_change=expect_change)
    health.save(run.path("health.json"))
    return health
