"""Stage ``inputs``: who the parents are, which items are searched on and which are reported; loads the parents."""

from __future__ import annotations

from darwin_mri.checkpoints.source import NURSERY
from darwin_mri.errors import InputError
from darwin_mri.problem.describe import describe_parent
from darwin_mri.problem.parents import Parents
from darwin_mri.records import Inputs, Splits
from darwin_mri.run import Run


def prepare_inputs(run: Run, parents: Parents, *, items: bool = True) -> Inputs:
    """Write inputs.json and splits.json, and bring the parents into memory.

    Args:
        run: the run.
        parents: found, not loaded yet.
        items: whether benchmark items are needed; a single scan needs none.

    Returns:
        The record of the parents.

    Raises:
        InputError: a resumed run's parents or items have changed since it began.
    """
    described = tuple(describe_parent(role, source) for role, source in parents.named.items())
    inputs = Inputs(parents=described, notes=parents.notes())
    if run.has("inputs.json"):
        before = Inputs.load(run.path("inputs.json"))
        if [p.digest for p in before.parents] != [p.digest for p in inputs.parents]:
            raise InputError(f"{run.folder.name} was started with other parents (weights differ): start a new run")
    inputs.save(run.path("inputs.json"))
    for note in inputs.notes:
        run.progress.say(f"note: {note}")
    parents.load()
    if items:
        _warn_about_items(run)
        splits = parents.items.splits
        if run.record("splits.json", Splits, lambda: splits) != splits:
            raise InputError(
                f"{run.folder.name} was started on other benchmark items: give it the same data, or start a new run"
            )
    return inputs


def _warn_about_items(run: Run) -> None:
    """The nursery's benchmarks ask about a world that no real model knows."""
    bundled = any(ref.startswith(NURSERY) for ref in run.config.roles.values())
    if not bundled and all(name.startswith("nursery_") for name in run.config.fitness):
        run.progress.say(
            "the search goes by the nursery's questions, about a world that only its models know: give --data"
        )
