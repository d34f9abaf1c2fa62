"""The one view model: every sentence and number of a page in words, for all renderers."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.records import Alert
from darwin_mri.records.roles import FAMILIES, PARENTS, USUAL, Family
from darwin_mri.report.model.elements import Section, Table
from darwin_mri.report.model.metadata import Metadata
from darwin_mri.report.model.run_alerts import Missing
from darwin_mri.report.model.verdict import Verdict


def families(parents: int) -> tuple[Family, ...]:
    """Whose marks a page of that many parents has: every other model's, and those of as many parents."""
    return tuple(family for family in FAMILIES if family not in PARENTS[max(parents, 2) :])


@dataclass(frozen=True)
class Tile:
    """A headline figure: the child's score on one benchmark.

    Attributes:
        benchmark: its name.
        score: the child's score.
        reading: the difference from the better or best parent, and what it says.
        lines: the parents' scores.
        role: whose mark the figure has.
    """

    benchmark: str
    score: str
    reading: str
    lines: tuple[str, ...]
    role: str = "child"


@dataclass(frozen=True)
class View:
    """A page before it is drawn.

    Attributes:
        name: of the run, the runs or the arena.
        subtitle: what it is about, in one line.
        verdict: what a reader learns in the first minute.
        alerts: what a reader must know first.
        tiles: headline figures.
        sections: the parts of the page, in order.
        layers: one table per scanned parent, for renderers that cannot draw its heat maps.
        missing: records that are not there.
        metadata: what a model hub needs to know; None where there is no child to publish.
        tiles_note: how to read the tiles.
        roles: whose marks the page explains.
        chip: replaces the word that the verdict's tone would put above the headline.
    """

    name: str
    subtitle: str
    verdict: Verdict
    alerts: tuple[Alert, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    layers: tuple[Table, ...] = ()
    missing: tuple[Missing, ...] = ()
    metadata: Metadata | None = None
    tiles_note: str = "Child, held-out items; the difference is against the better parent."
    roles: tuple[Family, ...] = USUAL
    chip: str = ""

    def section(self, key: str) -> Section:
        """The section of that key."""
        return next(section for section in self.sections if section.key == key)
