"""Stage ``repair``: the child's linear maps solved again toward its parents' outputs, and the repaired child."""

from __future__ import annotations

import time

from darwin_mri.merging.genome_child import genome_work
from darwin_mri.merging.repair_child import write_repaired
from darwin_mri.problem.anchors import ScoresByModel
from darwin_mri.problem.health import examine_child
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.repair import RepairRun, kept_figures, trial_name
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Genome, Inputs, RepairRecord
from darwin_mri.run import Run

RECORD, CHILD = "repair.json", "child-repaired"


def repair_child(run: Run, parents: Parents, space: MergeSpace, genome: Genome, scores: ScoresByModel) -> None:
    """Repair the winner at every strength, choose one on search items, and write that child.

    Nothing is done where the config asks for no repair, and no child is written where no repair was better.

    Args:
        run: gets repair.json, state/repair and, where a repair was chosen, child-repaired/, child-repaired.json and
            health-repaired.json.
        parents: the father is resident, and alone so afterwards.
        space: with the genome that was searched.
        genome: the winner.
        scores: of parents on the search items, where limits need them.
    """
    if run.config.repair is None:
        return
    with RepairRun.opened(run, parents, space, genome) as repairs:
        record = run.record(RECORD, RepairRecord, lambda: _repair(repairs, scores))
        if record.strength is None:
            return
        repaired = repairs.folder(trial_name(record.strength)).folder
    out = run.path(CHILD)
    inputs = Inputs.load(run.path("inputs.json"))
    ancestry = tuple(dict.fromkeys(line for parent in inputs.parents for line in parent.genealogy))
    work = genome_work(genome, space.merge, space.written_tensors(), out, ancestry)
    write_repaired(work, space.merge, repaired, out, record.strength, run.progress).save(run.path(f"{CHILD}.json"))
    examine_child(out, parents, expect_change=True).save(run.path("health-repaired.json"))


def _repair(repairs: RepairRun, scores: ScoresByModel) -> RepairRecord:
    began = time.monotonic()
    teachers, maps = repairs.teachers, repairs.maps
    for note in repairs.short_of_text:
        repairs.run.progress.say(note)
    choices = repairs.choices(scores)
    best = choices[0].strength
    figures = kept_figures(repairs.folder(trial_name(best)).folder, list(maps.layers)) if best is not None else ()
    return RepairRecord(
        strength=best,
        choices=tuple(sorted(choices, key=lambda choice: choice.strength or 0.0)),
        items=sum(map(len, repairs.judging_items.values())),
        groups=teachers.groups,
        texts=teachers.texts,
        documents=len(teachers.roles),
        tokens=teachers.tokens,
        maps=figures,
        left_alone={reason: len(names) for reason, names in maps.left_alone.items()},
        notes=repairs.short_of_text,
        seconds=round(time.monotonic() - began, 2),
    )
