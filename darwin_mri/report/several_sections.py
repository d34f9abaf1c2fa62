"""The sections of a page that compares several runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from darwin_mri.records import Comparison, Contrast, Score
from darwin_mri.report import origins, verdict, words
from darwin_mri.report.charts import (
    Course,
    Courses,
    Forest,
    ForestPanel,
    ForestRow,
    HeatMap,
    HeatPanel,
    Pedigree,
)
from darwin_mri.report.elements import Block, Bullets, Code, Figure, Row, Section, Text, table
from darwin_mri.report.run import Run
from darwin_mri.report.scores import READINGS, benchmark_order
from darwin_mri.report.verdict import better_parent, read_contrast

Named = tuple[str, Run]


def composite_score(comparison: Comparison | None, role: str = "child") -> Score | None:
    """The measured composite of one role, where there is one."""
    if comparison is None:
        return None
    return next((s for s in verdict.measured(comparison, "composite") if s.role == role), None)


def against_better(comparison: Comparison | None, benchmark: str = "composite") -> Contrast | None:
    """The child's contrast with its better parent on a benchmark."""
    better = better_parent(comparison, benchmark) if comparison else None
    if comparison is None or better is None:
        return None
    name = f"child - {better.role}"
    return next((c for c in comparison.contrasts if (c.benchmark, c.name) == (benchmark, name)), None)


def overview_section(named: Sequence[Named]) -> Section:
    """The runs side by side, one line each."""
    rows = []
    for name, run in named:
        child, contrast, genome = composite_score(run.comparison), against_better(run.comparison), run.genome
        gap = None
        if genome and genome.search_score is not None and genome.retest_score is not None:
            gap = genome.retest_score - genome.search_score
        rows.append(
            Row(
                (
                    name,
                    f"{genome.father} × {genome.mother}" if genome else words.ABSENT,
                    genome.method if genome else words.ABSENT,
                    str(genome.seed) if genome else words.ABSENT,
                    str(len(run.ledger)) if run.ledger else words.ABSENT,
                    f"{words.percent(child.value)} {words.percent_interval(child.low, child.high)}"
                    if child
                    else words.ABSENT,
                    words.difference(contrast) if contrast else words.ABSENT,
                    READINGS[read_contrast(contrast)] if contrast else words.ABSENT,
                    words.signed(gap, 3),
                ),
                strong=verdict.judge(run).tone == "gain",
            )
        )
    columns = (
        "run", "parents", "method", "seed", "evaluations", "child, composite", "against the better parent", "reading", "fresh items",
    )  # fmt: skip
    note = "Fresh items: how far the winner's fitness moves on search items that did not choose it."
    return Section(
        "runs", "The runs", (table("Runs", columns, rows, text=(0, 1, 2, 7), note=note),), missing=_missing(named)
    )


def _missing(named: Sequence[Named]) -> str:
    absent = [name for name, run in named if run.comparison is None]
    return f"comparison.json is missing in {words.listing(absent)}: nothing was scored there." if absent else ""


def _benchmarks(named: Sequence[Named]) -> list[str]:
    found = dict.fromkeys(b for _, run in named if run.comparison for b in benchmark_order(run.comparison))
    return sorted(found, key=lambda name: name != "composite")


def scores_section(named: Sequence[Named]) -> Section:
    """Father, mother and child of every run, benchmark by benchmark."""
    panels, rows = [], []
    for benchmark in _benchmarks(named):
        drawn = []
        for name, run in named:
            found = verdict.measured(run.comparison, benchmark) if run.comparison else []
            for s in sorted(
                found,
                key=lambda s: (
                    ("father", "mother", "child").index(s.role) if s.role in ("father", "mother", "child") else 9
                ),
            ):
                if s.role not in ("father", "mother", "child"):
                    continue
                text = f"{words.percent(s.value)} {words.percent_interval(s.low, s.high)}"
                more = f"n = {s.n}" if s.n is not None else ""
                child = s.role == "child"
                drawn.append(ForestRow(f"{name}: {s.role}", s.role, s.value, s.low, s.high, text, more, strong=child))
                rows.append(Row((benchmark, name, s.role, words.score(s)), s.role, child, group=len(drawn) == 1))
        if drawn:
            chances = [
                s.chance
                for _, run in named
                if run.comparison
                for s in run.comparison.scores
                if s.benchmark == benchmark and s.slice == "all"
            ]
            panels.append(ForestPanel(benchmark, tuple(drawn), next((c for c in chances if c is not None), None)))
    if not panels:
        return Section("scores", "Scores", missing="No run has scores.")
    chart = Forest(
        "fig-scores",
        "Accuracy of each run's parents and child, with 95 % intervals",
        "For each benchmark, run by run: father, mother and child with their intervals; chance as a dotted tick.",
        tuple(panels),
    )
    shown = table(
        "Scores by run",
        ("benchmark", "run", "role", "score, 95 % interval"),
        rows,
        text=(0, 1, 2),
        folded=True,
        marked=2,
    )
    return Section("scores", "Scores", (Figure(chart, (shown,)),))


def contrasts_section(named: Sequence[Named]) -> Section:
    """Each child minus its own better parent."""
    panels, rows = [], []
    for benchmark in _benchmarks(named):
        drawn = []
        for name, run in named:
            c = against_better(run.comparison, benchmark)
            if c is None:
                continue
            other = c.name.removeprefix("child - ")
            text = words.difference(c)
            drawn.append(
                ForestRow(
                    f"{name} {words.MINUS} its {other}", "child", c.difference, c.low, c.high, text,
                    f"{c.wins} won, {c.losses} lost", strong=read_contrast(c) == "above", blind=c.detectable,
                )
            )  # fmt: skip
            cells = (benchmark, name, other, text, READINGS[read_contrast(c)], words.probability(c.p_value), str(c.n))
            rows.append(Row(cells, group=len(drawn) == 1))
        if drawn:
            panels.append(ForestPanel(benchmark, tuple(drawn)))
    key, title = "contrasts", "Each child against its better parent"
    if not panels:
        return Section(key, title, missing="No run compares its child with both parents.")
    chart = Forest(
        "fig-contrasts",
        "Child minus its better parent, paired on items, with 95 % intervals",
        "For each benchmark one line per run. The grey band is what that many items could not have shown.",
        tuple(panels),
        signed=True,
        unit="percentage points, child minus its better parent",
    )
    columns = ("benchmark", "run", "better parent", "difference, 95 %", "reading", "p", "n")
    return Section(
        key, title, (Figure(chart, (table("Contrasts by run", columns, rows, text=(0, 1, 2, 4), folded=True),)),)
    )


def genomes_section(named: Sequence[Named]) -> Section:
    """The ratios each search found; runs whose fathers have as many layers stand in one map."""
    found = [(name, run.genome.ratios) for name, run in named if run.genome is not None and run.genome.ratios]
    key, title = "genome", "Genomes"
    if not found:
        return Section(key, title, missing="No run has a genome.")
    blocks: list[Block] = []
    for layers, group in groupby(sorted(found, key=lambda pair: len(pair[1])), key=lambda pair: len(pair[1])):
        same = list(group)
        top = max(max(ratios) for _, ratios in same) or 1.0
        panel = HeatPanel(
            "share of the mother per father layer",
            tuple(name for name, _ in same),
            tuple(name for name, _ in same),
            tuple(tuple(min(max(r / top, 0.0), 1.0) for r in ratios) for _, ratios in same),
            tuple(tuple(words.fixed(r, 2) for r in ratios) for _, ratios in same),
            tuple(tuple(words.fixed(r, 3) for r in ratios) for _, ratios in same),
        )
        chart = HeatMap(
            f"fig-genomes-{layers}",
            f"FFN ratios found, fathers of {words.plural(layers, 'layer')}",
            "Runs as rows, father layers as columns; brighter is a larger share of the mother.",
            tuple(str(i) for i in range(layers)),
            (panel,),
            ("0", words.fixed(top)),
        )
        rows = [Row((name, *(words.fixed(r, 3) for r in ratios))) for name, ratios in same]
        shown = table("FFN ratios by run", ("run", *(str(i) for i in range(layers))), rows, folded=True)
        blocks.append(Figure(chart, (shown,)))
    return Section(key, title, tuple(blocks))


def courses_section(named: Sequence[Named]) -> Section:
    """How fast each search rose."""
    made, rows = [], []
    for name, run in named:
        points: list[tuple[int, float]] = []
        for number, line in enumerate(run.ledger, 1):
            if line.status == "ok" and line.fitness is not None and (not points or line.fitness > points[-1][1]):
                points.append((number, line.fitness))
        if points:
            best = points[-1][1]
            items = sum(line.items for line in run.ledger)
            made.append(Course(name, (*points, (len(run.ledger), best)), words.fixed(best, 3)))
            rows.append(Row((name, str(len(run.ledger)), words.times(items), words.fixed(best, 4), str(points[-1][0]))))
    key, title = "evolution", "Course of the searches"
    if not made:
        return Section(key, title, missing="No run has a ledger.")
    chart = Courses(
        "fig-courses",
        "Best fitness so far against evaluations",
        "One step line per run, numbered at its end. Fitness is measured on each run's own search items.",
        tuple(made),
    )
    columns = ("run", "evaluations", "item evaluations", "best fitness", "found at evaluation")
    return Section(key, title, (Figure(chart, (table("Searches", columns, rows, folded=True),)),))


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = words.ABSENT if value is None else str(value)
    return flat


def differences_section(named: Sequence[Named]) -> Section:
    """The settings in which the runs differ: what the comparison is about."""
    configs = [(name, _flat(run.manifest.config)) for name, run in named if run.manifest is not None]
    key, title = "settings", "What differs"
    if len(configs) < 2:
        return Section(key, title, missing="manifest.json is missing: the runs' settings are not known.")
    keys = dict.fromkeys(k for _, config in configs for k in config)
    rows = []
    for setting in keys:
        values = [config.get(setting, words.ABSENT) for _, config in configs]
        if len(set(values)) > 1 and setting != "name":
            rows.append(Row((setting, *values)))
    if not rows:
        return Section(key, title, (Text("The runs have the same settings."),))
    shown = table(
        "Settings that differ", ("setting", *(name for name, _ in configs)), rows, text=range(len(configs) + 1)
    )
    return Section(key, title, (shown,))


def genealogy_section(named: Sequence[Named]) -> Section:
    """The generations that the runs form together."""
    found = list(dict.fromkeys(birth for _, run in named for birth in origins.births(run)))
    key, title = "genealogy", "Genealogy"
    if not found:
        return Section(key, title, missing="The runs do not name their parents.")
    chain = origins.chain(found)
    rows = [Row((birth.child, birth.father, birth.mother, birth.method)) for birth in found]
    shown = table("Births", ("child", "father", "mother", "method"), rows, text=range(4), folded=len(chain) > 1)
    if len(chain) < 2:
        return Section(key, title, (shown,))
    chart = Pedigree(
        "fig-genealogy",
        f"{words.plural(len(chain), 'generation')} down to {chain[-1].child}",
        "Each child stands after the parents it was bred from; its method stands above the line.",
        tuple(chain),
    )
    return Section(key, title, (Figure(chart, (shown,)),))


def commands_section(named: Sequence[Named]) -> Section:
    """The commands that repeat the runs."""
    commands = [origins.command(run.manifest) for _, run in named if run.manifest is not None]
    if not commands:
        return Section("provenance", "Provenance", missing="manifest.json is missing: the commands are not known.")
    return Section("provenance", "Provenance", (Code("Commands to reproduce", "\n".join(commands)),))


def limits_section(named: Sequence[Named]) -> Section:
    """What a careful reader would object to a choice among runs."""
    found = [
        "Each interval holds for its own run. The best of several runs is partly luck: a claim chosen after looking at all of them"
        " needs a new run, or a correction for their number.",
        "Runs are compared side by side, not tested against one another; the tests inside each run are paired on its own items.",
    ]
    seeds = {run.genome.seed for _, run in named if run.genome is not None}
    if len(seeds) == 1 and len(named) > 1:
        found.append("All runs share one seed: how much another seed would change is not known.")
    return Section("limits", "Limits", (Bullets(tuple(found)),))
