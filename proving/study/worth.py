"""H3: what each gene is worth, measured, and what the presets say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from proving.methods.bench import Bench
from proving.methods.cells import Cell
from proving.methods.fitted import gene_truth
from proving.methods.rows import BASELINE, Done, Plain


@dataclass(frozen=True)
class Worth(Plain):
    """Change of the smooth fitness on held-out items when one gene alone leaves the tuned uniform merge."""

    judged: ClassVar[bool] = False

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``; no child is left."""
        changes = gene_truth(bench, float(done[BASELINE].chosen["ratio"]), lambda _: None)
        return Cell({"changes": changes})
