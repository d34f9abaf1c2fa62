"""A search while it goes: its ledger, of which every look reads only what was appended since the last one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

from darwin_mri.records import LedgerLine
from darwin_mri.report.model.run_records import parse_ledger_line
from darwin_mri.report.sections.search_course import is_ranked, summarise


@dataclass(frozen=True)
class LiveGeneration:
    """A generation so far.

    Attributes:
        number: its number; 0 is the opening.
        tried: candidates that ended.
        failed: those that could not be scored.
        raced: those that were stopped early.
        best: the highest fitness that keeps the limits; None where there is none, as below.
        mean: of the candidates that were scored on all items.
        spread: standard deviation of these.
        sigma: the step size it was drawn with.
        best_so_far: the best up to its end.
        items: item evaluations up to its end.
    """

    number: int
    tried: int
    failed: int
    raced: int
    best: float | None
    mean: float | None
    spread: float | None
    sigma: float | None
    best_so_far: float | None
    items: int


@dataclass(frozen=True)
class LiveMember:
    """A member of the front so far.

    Attributes:
        evaluation: its number in the ledger.
        generation: it was drawn in.
        scores: task -> score on search items.
    """

    evaluation: int
    generation: int
    scores: dict[str, float]


class LedgerTail:
    """The lines of a ledger, read on from where the last look ended.

    Args:
        path: of the ledger; it may not be there yet.
        objectives: tasks of the front; none where one fitness is searched by.
    """

    def __init__(self, path: Path, objectives: Sequence[str] = ()) -> None:
        self.path, self.objectives = path, tuple(objectives)
        self._forget()

    def _forget(self) -> None:
        self.offset, self.file = 0, 0
        self.lines: list[LedgerLine] = []  # without genes, which are many and not shown
        self.members: list[LedgerLine] = []

    def read(self) -> None:
        """Take what was appended. A line that is being written waits; a ledger that was begun anew is read anew."""
        try:
            with self.path.open("rb") as stream:
                known = os.fstat(stream.fileno())
                if known.st_size < self.offset or (self.file and known.st_ino != self.file):
                    self._forget()
                self.file = known.st_ino
                stream.seek(self.offset)
                added = stream.read()
        except FileNotFoundError:
            self._forget()
            return
        whole = added[: added.rfind(b"\n") + 1]
        self.offset += len(whole)
        new = [
            line
            for text in whole.decode("utf-8", "replace").split("\n")
            if (line := parse_ledger_line(text)) is not None
        ]
        if self.objectives and new:
            self._find_front(new)
        self.lines += [line.model_copy(update={"genes": {}}) for line in new]

    def _find_front(self, new: Sequence[LedgerLine]) -> None:
        """The front of all lines is that of its members so far and the new lines."""
        scored = [line for line in new if is_ranked(line) and set(self.objectives) <= set(line.scores)]
        distinct = {tuple(line.genes.values()): line for line in reversed([*self.members, *scored])}
        among = sorted(distinct.values(), key=lambda line: line.evaluation)
        if among:
            import numpy as np  # a report does not load it

            from darwin_mri.stats.domination import non_dominated

            points = np.array([[line.scores[name] for name in self.objectives] for line in among])

            self.members = [line for line, stays in zip(among, non_dominated(points), strict=True) if stays]

    def generations(self) -> tuple[LiveGeneration, ...]:
        """The search by generation."""
        raced: dict[int, int] = {}
        for line in self.lines:
            raced[line.generation] = raced.get(line.generation, 0) + (line.status == "raced")
        return tuple(
            LiveGeneration(
                number=own.number,
                tried=own.evaluations,
                failed=own.failed,
                raced=raced[own.number],
                best=own.best,
                mean=fmean(own.fitness) if own.fitness else None,
                spread=pstdev(own.fitness) if own.fitness else None,
                sigma=own.sigma,
                best_so_far=own.best_so_far,
                items=own.items,
            )
            for own in summarise(self.lines)
        )

    def front(self) -> tuple[LiveMember, ...]:
        """Candidates that no other one dominates, by their first objective, highest first."""
        named = self.objectives[:1]
        ranked = sorted(self.members, key=lambda line: ([-line.scores[name] for name in named], line.evaluation))
        return tuple(
            LiveMember(line.evaluation, line.generation, {name: line.scores[name] for name in self.objectives})
            for line in ranked
        )
