"""A candidate while it is scored, and the ledger's line once it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from darwin_mri.breeding.callbacks import SearchCallbacks
from darwin_mri.breeding.estimate import Estimate
from darwin_mri.breeding.ledger import Ledger
from darwin_mri.breeding.ranking import violation
from darwin_mri.breeding.workers import ItemScores, Outcome, Task
from darwin_mri.records import LedgerLine


@dataclass
class Candidate:
    """A candidate while it is scored.

    Attributes:
        generation: its generation.
        number: within its generation.
        genes: by name.
        sigma: the strategy's step size when it was drawn.
        scores: of the items so far.
        blocks: how many it has been scored on.
        seconds: spent on it so far.
    """

    generation: int
    number: int
    genes: Mapping[str, float]
    sigma: float | None
    scores: ItemScores = field(default_factory=dict[str, list[float]])
    blocks: int = 0
    seconds: float = 0.0

    @property
    def items(self) -> int:
        """Number of items it has been scored on."""
        return sum(map(len, self.scores.values()))

    @property
    def next_task(self) -> Task:
        """The candidate on the block after those it has been scored on."""
        return Task(self.generation, self.number, self.blocks, self.genes)

    def take(self, outcome: Outcome) -> None:
        """Add a block's outcome; blocks come in their order."""
        self.seconds += outcome.seconds
        if outcome.scores is None:
            return
        self.blocks += 1
        for name, scores in outcome.scores.items():
            self.scores.setdefault(name, []).extend(scores)


class Recorder:
    """Writes the lines of finished candidates.

    Args:
        estimate: turns item scores into a fitness.
        ledger: takes every evaluation, and knows those of an earlier part of the search.
        callbacks: called on the way.
    """

    def __init__(self, estimate: Estimate, ledger: Ledger, callbacks: SearchCallbacks) -> None:
        self.estimate, self.ledger, self.callbacks = estimate, ledger, callbacks

    def write(self, candidate: Candidate, status: str, reason: str = "") -> LedgerLine:
        """Write a candidate's line.

        Args:
            candidate: it is not scored any further.
            status: ok, failed or raced.
            reason: why it failed or was stopped.

        Returns:
            The line that holds: of an earlier part of the search where it has one.
        """
        fitness, scores = (None, {}) if status == "failed" else self.estimate(candidate.scores)
        line = self.ledger.append(
            LedgerLine(
                evaluation=len(self.ledger.lines),
                generation=candidate.generation,
                candidate=candidate.number,
                genes=dict(candidate.genes),
                fitness=fitness,
                scores=scores,
                items=candidate.items,
                seconds=round(candidate.seconds, 4),
                status=status,
                reason=reason,
                sigma=candidate.sigma,
                violation=violation(scores, self.estimate.limits) if scores else 0.0,
            )
        )
        self.callbacks.on_line(line)
        return line

    def write_raced(self, candidate: Candidate) -> LedgerLine:
        """Write the line of a candidate that lost the race."""
        reason = f"worse than the better half by more than chance after {candidate.items} items"
        return self.write(candidate, "raced", reason)
