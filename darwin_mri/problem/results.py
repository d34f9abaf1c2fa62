"""What a run returns to whoever called it from Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from darwin_mri.records import Comparison, Genome, Health


@dataclass(frozen=True)
class BreedResult:
    """What came out of a run.

    Attributes:
        folder: the run folder.
        genome: the winner.
        health: the gates of the child.
        comparison: scores, contrasts and vigor.
    """

    folder: Path
    genome: Genome
    health: Health
    comparison: Comparison
