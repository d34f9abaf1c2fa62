"""What a study needs of siblings: one base, specialists with their items, and text like what they learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from darwin_mri.benchmarks import ChoiceItem
from darwin_mri.probes import Probe

SEARCH_SHARE = 0.3  # of each share's items, that choices are made on


class Siblings(Protocol):
    """Specialists of one base, with one split of their items.

    Attributes:
        seed: of the split, of searches and of what else is drawn.
        base: the model that all were trained from; the father of the merges.
    """

    @property
    def seed(self) -> int: ...

    @property
    def base(self) -> str: ...

    def model(self, number: int) -> Path | str:
        """A specialist, as darwin_mri takes models."""
        ...

    def items(self, number: int) -> tuple[ChoiceItem, ...]:
        """What a specialist knows, in wordings that it never read."""
        ...

    def texts(self, count: int) -> tuple[Probe, ...]:
        """Unlabelled text of the base and of the first ``count`` specialists; it states nothing that is held out."""
        ...
