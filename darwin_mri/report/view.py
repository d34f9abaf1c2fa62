"""The one view model: every sentence and number of the report in words, for all three renderers."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.records import Alert
from darwin_mri.report import alerts, languages, origins, scans, scores, search, verdict, words
from darwin_mri.report.alerts import Missing
from darwin_mri.report.elements import Section, Table
from darwin_mri.report.run import Run, load_run
from darwin_mri.report.verdict import Verdict

__all__ = ["Result", "Run", "Tile", "View", "build_view", "load_run"]


@dataclass(frozen=True)
class Tile:
    """A headline figure: the child's score on one benchmark, read against the better parent, with the parents' below."""

    benchmark: str
    score: str
    reading: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """A measured held-out score of the child, as model cards publish it. ``value`` is a fraction."""

    benchmark: str
    value: float
    text: str


@dataclass(frozen=True)
class View:
    """A report before it is drawn.

    ``parents`` are (role, ref) pairs, ``languages`` those the MRI read, ``layers`` one table per scanned parent for renderers
    that cannot draw its heat maps.
    """

    name: str
    subtitle: str
    verdict: Verdict
    alerts: tuple[Alert, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    layers: tuple[Table, ...]
    missing: tuple[Missing, ...]
    parents: tuple[tuple[str, str], ...]
    method: str
    languages: tuple[str, ...]
    results: tuple[Result, ...]
    created: str

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
    parents = _parents(run)
    return View(
        name=run.name,
        subtitle=_subtitle(run, parents),
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
            languages.similarity_section(run.pair),
            search.genome_section(run.prior, run.genome),
            search.evolution_section(run.ledger),
            scores.slices_section(run.comparison),
            origins.genealogy_section(run),
            origins.provenance_section(run),
            origins.limits_section(run),
        ),
        layers=(
            *([scans.layer_table(run.father, run.pair, run.prior)] if run.father else []),
            *([scans.layer_table(run.mother)] if run.mother else []),
        ),
        missing=alerts.find_missing(run),
        parents=parents,
        method=run.genome.method if run.genome else "",
        languages=run.father.probes.languages if run.father else (),
        results=_results(run),
        created=run.manifest.created if run.manifest else "",
    )


def _parents(run: Run) -> tuple[tuple[str, str], ...]:
    if run.inputs is not None:
        return tuple((parent.role, parent.ref) for parent in run.inputs.parents)
    if run.genome is not None:
        known = (("father", run.genome.father), ("mother", run.genome.mother), ("base", run.genome.base))
        return tuple((role, ref) for role, ref in known if ref)
    scanned = (("father", run.father), ("mother", run.mother))
    return tuple((role, scan.model.ref) for role, scan in scanned if scan)


def _subtitle(run: Run, parents: tuple[tuple[str, str], ...]) -> str:
    refs = dict(parents)
    family = " × ".join(refs[role] for role in ("father", "mother") if role in refs)
    method = (
        f"{run.genome.method} over {words.plural(len(run.genome.genes), 'gene')} ({run.genome.space})"
        if run.genome
        else ""
    )
    date = run.manifest.created[:10] if run.manifest else ""
    return "  ·  ".join(filter(None, (family, method, date)))


def _results(run: Run) -> tuple[Result, ...]:
    held_out = [
        s
        for s in (run.comparison.scores if run.comparison else ())
        if s.role == "child" and s.slice == "all" and s.evidence == "measured" and s.split == "held-out"
    ]
    return tuple(Result(s.benchmark, s.value, words.score(s)) for s in held_out if s.benchmark != "composite")
