"""One generation of candidates: all are scored block after block, and those that cannot win are dropped on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from darwin_mri.breeding.callbacks import SearchCallbacks
from darwin_mri.breeding.estimate import Estimate
from darwin_mri.breeding.ledger import Ledger
from darwin_mri.breeding.race import clearly_worse
from darwin_mri.breeding.ranking import violation
from darwin_mri.breeding.workers import ItemScores, Outcome, Task, Workers
from darwin_mri.records import LedgerLine


@dataclass
class _Candidate:
    """A candidate while it is scored.

    Attributes:
        number: within its generation.
        genes: by name.
        scores: of the items so far.
        seconds: spent on it so far.
    """

    number: int
    genes: dict[str, float]
    scores: ItemScores = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def items(self) -> int:
        return sum(map(len, self.scores.values()))


class GenerationRunner:
    """Scores generations and writes a ledger line for every candidate.

    Args:
        names: of the genes, in the order of a vector.
        workers: evaluate candidates on blocks of items.
        estimate: turns item scores into a fitness.
        ledger: takes every evaluation, and knows those of an earlier part of the search.
        callbacks: called on the way.
    """

    def __init__(
        self,
        names: Sequence[str],
        workers: Workers,
        estimate: Estimate,
        ledger: Ledger,
        callbacks: SearchCallbacks,
    ) -> None:
        self.names, self.workers, self.estimate = names, workers, estimate
        self.ledger, self.callbacks = ledger, callbacks

    def run(
        self, generation: int, vectors: Sequence[np.ndarray], sigma: float | None, *, racing: bool
    ) -> list[LedgerLine]:
        """Score the candidates of one generation.

        Args:
            generation: its number.
            vectors: genes of each candidate, (genes,).
            sigma: the strategy's step size, for the ledger.
            racing: drop candidates that are clearly worse than the better half; else all are scored on all items.

        Returns:
            A line for every candidate, in the order of ``vectors``.

        Raises:
            KeyboardInterrupt: ``callbacks.interrupted`` returned True after a block.
        """
        candidates = [
            _Candidate(number, dict(zip(self.names, map(float, vector), strict=True)))
            for number, vector in enumerate(vectors)
        ]
        lines: dict[int, LedgerLine] = {}

        def finish(candidate: _Candidate, status: str, reason: str = "") -> None:
            lines[candidate.number] = self._write(candidate, generation, sigma, status, reason)

        running = candidates
        for block in range(self.estimate.blocks):
            last = block == self.estimate.blocks - 1
            tasks = [Task(generation, candidate.number, block, candidate.genes) for candidate in running]
            for outcome in self._outcomes(tasks):
                candidate = candidates[outcome.task.candidate]
                candidate.seconds += outcome.seconds
                if outcome.scores is None:
                    finish(candidate, "failed", outcome.reason)
                    continue
                for name, scores in outcome.scores.items():
                    candidate.scores.setdefault(name, []).extend(scores)
                if last:
                    finish(candidate, "ok")
            if racing and not last:
                scores_of = {c.number: c.scores for c in running if c.number not in lines}
                for number in sorted(clearly_worse(scores_of, len(vectors) // 2, self.estimate.weights)):
                    items = candidates[number].items
                    finish(
                        candidates[number],
                        "raced",
                        f"worse than the better half by more than chance after {items} items",
                    )
            running = [candidate for candidate in running if candidate.number not in lines]
        return [lines[number] for number in range(len(vectors))]

    def _write(
        self, candidate: _Candidate, generation: int, sigma: float | None, status: str, reason: str
    ) -> LedgerLine:
        fitness, scores = (None, {}) if status == "failed" else self.estimate(candidate.scores)
        line = self.ledger.append(
            LedgerLine(
                evaluation=len(self.ledger.lines),
                generation=generation,
                candidate=candidate.number,
                genes=candidate.genes,
                fitness=fitness,
                scores=scores,
                items=candidate.items,
                seconds=round(candidate.seconds, 4),
                status=status,
                reason=reason,
                sigma=sigma,
                violation=violation(scores, self.estimate.limits) if scores else 0.0,
            )
        )
        self.callbacks.on_line(line)
        return line

    def _outcomes(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Outcomes in the order of the tasks, whichever worker is first; known ones are not evaluated again."""
        outcomes = {task.key: known for task in tasks if (known := self.ledger.known(task)) is not None}
        arriving = self.workers.run([task for task in tasks if task.key not in outcomes])
        for task in tasks:
            while task.key not in outcomes:
                outcome = next(arriving)
                self.ledger.keep(outcome)
                outcomes[outcome.task.key] = outcome
                if self.callbacks.interrupted():
                    raise KeyboardInterrupt
            yield outcomes[task.key]
