"""The one view model: every sentence and number of the report in words, for all three renderers."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.records import Alert
from darwin_mri.report import (
    alerts,
    genomes,
    items,
    languages,
    layers,
    origins,
    scans,
    scores,
    search,
    similarity,
    validation,
    verdict,
    words,
)  # fmt: skip
from darwin_mri.report.alerts import Missing
from darwin_mri.report.elements import Section, Table
from darwin_mri.report.facts import Facts, gather
from darwin_mri.report.run import Run, load_run
from darwin_mri.report.verdict import Verdict

__all__ = ["Run", "Tile", "View", "build_view", "load_run"]


@dataclass(frozen=True)
class Tile:
    """A headline figure: the child's score on one benchmark, read against the better parent, with the parents' below."""

    benchmark: str
    score: str
    reading: str
    lines: tuple[str, ...]
    role: str = "child"


@dataclass(frozen=True)
class View:
    """A report before it is drawn.

    ``layers`` holds one table per scanned parent for renderers that cannot draw its heat maps; ``facts`` is what a model hub is told; ``chip`` replaces the word that
    the verdict's tone would put above the headline.
    """

    name: str
    subtitle: str
    verdict: Verdict
    alerts: tuple[Alert, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    layers: tuple[Table, ...] = ()
    missing: tuple[Missing, ...] = ()
    facts: Facts | None = None
    tiles_note: str = "Child, held-out items; the difference is against the better parent."
    chip: str = ""

    def section(self, key: str) -> Section:
        """The section of that key."""
        return next(section for section in self.sections if section.key == key)


def build_view(run: Run) -> View:
    """Put a run into words.

    Args:
        run: the records that are there; each missing one is named where its part would stand.

    Returns:
        the view; the same run gives an equal view.
    """
    facts = gather(run)
    return View(
        name=run.name,
        subtitle=_subtitle(run, facts),
        verdict=verdict.judge(run),
        alerts=alerts.find_alerts(run),
        tiles=tuple(
            Tile(name, score, reading, tuple(lines)) for name, score, reading, lines in scores.tiles(run.comparison)
        ),
        sections=(
            scores.scores_section(run.comparison),
            scores.contrasts_section(run.comparison),
            scans.scans_section(run.father, run.mother, run.pair),
            languages.languages_section(run.father, run.mother, run.pair, run.prior),
            similarity.similarity_section(run.pair),
            *([validation.validation_section(run.pair)] if run.pair and run.pair.validation else []),
            genomes.genome_section(run.prior, run.genome),
            search.evolution_section(run.ledger, run.genome),
            search.fresh_section(run.genome, run.comparison, run.manifest),
            scores.slices_section(run.comparison),
            items.items_section(run.answers, run.comparison.headline if run.comparison else ()),
            origins.genealogy_section(run),
            origins.provenance_section(run),
            origins.limits_section(run),
        ),
        layers=(
            *([layers.layer_table(run.father, run.pair, run.prior)] if run.father else []),
            *([layers.layer_table(run.mother)] if run.mother else []),
        ),
        missing=alerts.find_missing(run),
        facts=facts,
    )


def _subtitle(run: Run, facts: Facts) -> str:
    refs = {kin.role: kin.ref for kin in facts.kin}
    family = " × ".join(refs[role] for role in ("father", "mother") if role in refs)
    method = (
        f"{run.genome.method} over {words.plural(len(run.genome.genes), 'gene')} ({run.genome.space})"
        if run.genome
        else ""
    )
    return "  ·  ".join(filter(None, (family, method, facts.created[:10])))
