"""One generation of candidates: all are scored block after block, and those that cannot win are dropped on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from darwin_mri.breeding.candidates import Candidate, Recorder
from darwin_mri.breeding.race import clearly_worse
from darwin_mri.breeding.workers import Outcome, Task, Workers, evaluate_all
from darwin_mri.records import LedgerLine


class GenerationRunner:
    """Scores generations and writes a ledger line for every candidate.

    Args:
        names: of the genes, in the order of a vector.
        workers: evaluate candidates on blocks of items.
        recorder: writes the lines.
    """

    def __init__(self, names: Sequence[str], workers: Workers, recorder: Recorder) -> None:
        self.names, self.workers, self.recorder = names, workers, recorder
        self.estimate, self.ledger = recorder.estimate, recorder.ledger

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
            Candidate(generation, number, dict(zip(self.names, map(float, vector), strict=True)), sigma)
            for number, vector in enumerate(vectors)
        ]
        lines: dict[int, LedgerLine] = {}
        running = candidates
        for block in range(self.estimate.blocks):
            last = block == self.estimate.blocks - 1
            for outcome in self._outcomes([candidate.next_task for candidate in running]):
                candidate = candidates[outcome.task.candidate]
                candidate.take(outcome)
                if outcome.scores is None:
                    lines[candidate.number] = self.recorder.write(candidate, "failed", outcome.reason)
                elif last:
                    lines[candidate.number] = self.recorder.write(candidate, "ok")
            if racing and not last:
                scores_of = {c.number: c.scores for c in running if c.number not in lines}
                for number in sorted(clearly_worse(scores_of, len(vectors) // 2, self.estimate.weights)):
                    lines[number] = self.recorder.write_raced(candidates[number])
            running = [candidate for candidate in running if candidate.number not in lines]
        return [lines[number] for number in range(len(vectors))]

    def _outcomes(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Outcomes in the order of the tasks, whichever worker is first; known and equal ones are not evaluated."""
        outcomes = {task.key: known for task in tasks if (known := self.ledger.known(task)) is not None}
        unknown = [task for task in tasks if task.key not in outcomes and self.ledger.equal(task) is None]
        distinct = {tuple(task.genes.values()): task for task in reversed(unknown)}
        arriving = evaluate_all(self.workers, list(reversed(distinct.values())))
        for task in tasks:
            if task.key not in outcomes and (equal := self.ledger.equal(task)) is not None:
                self.ledger.keep(equal)
                outcomes[task.key] = equal
            while task.key not in outcomes:
                outcome = next(arriving)
                self.ledger.keep(outcome)
                outcomes[outcome.task.key] = outcome
                if self.recorder.callbacks.interrupted():
                    raise KeyboardInterrupt
            yield outcomes[task.key]
