"""Genomes, searches, settings, genealogy and limits on a page that compares several runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from darwin_mri.report import formats
from darwin_mri.report.charts import Course, Courses, HeatMap, HeatPanel, Pedigree
from darwin_mri.report.model.elements import Block, Bullets, Code, Figure, Row, Section, Text, table
from darwin_mri.report.sections import provenance
from darwin_mri.report.sections.runs_scores import FEW, Named
from darwin_mri.report.sections.search_course import is_ranked
from darwin_mri.translation import labels, say, say_count


def genomes_section(named: Sequence[Named]) -> Section:
    """The ratios each search found; runs whose fathers have the same number of layers share one map."""
    key, title = "genome", say("Genomes")
    several = any(len(run.others) > 1 for _, run in named)
    other = say("the other parents together") if several else say("the mother")
    genomes = [(name, run.genome.ratios) for name, run in named if run.genome is not None and run.genome.ratios]
    if not genomes:
        return Section(key, title, missing=say("No run has a genome."))
    blocks: list[Block] = []
    for layers, group in groupby(sorted(genomes, key=lambda pair: len(pair[1])), key=lambda pair: len(pair[1])):
        same = list(group)
        top = max(max(ratios) for _, ratios in same) or 1.0
        panel = HeatPanel(
            say("share of {parent} per father layer", parent=other),
            tuple(name for name, _ in same),
            tuple(name for name, _ in same),
            tuple(tuple(min(max(r / top, 0.0), 1.0) for r in ratios) for _, ratios in same),
            tuple(tuple(formats.fixed(r, 2) for r in ratios) for _, ratios in same),
            tuple(tuple(formats.fixed(r, 3) for r in ratios) for _, ratios in same),
        )
        chart = HeatMap(
            f"fig-genomes-{layers}",
            say_count(
                "FFN ratios found, fathers of {count} layer", "FFN ratios found, fathers of {count} layers", layers
            ),
            say("Runs as rows, father layers as columns; brighter is a larger share of {parent}.", parent=other),
            tuple(str(i) for i in range(layers)),
            (panel,),
            ("0", formats.fixed(top)),
        )
        rows = [Row((name, *(formats.fixed(r, 3) for r in ratios))) for name, ratios in same]
        shown = table(
            say("FFN ratios by run"),
            (
                say("run"),
                *(str(i) for i in range(layers)),
            ),
            rows,
            folded=True,
        )
        blocks.append(Figure(chart, (shown,)))
    return Section(key, title, tuple(blocks))


def courses_section(named: Sequence[Named]) -> Section:
    """How fast each search rose."""
    courses, rows = [], []
    for name, run in named:
        points: list[tuple[int, float]] = []
        for number, line in enumerate(run.ledger, 1):
            better = line.fitness is not None and (not points or line.fitness > points[-1][1])
            if line.fitness is not None and better and is_ranked(line):
                points.append((number, line.fitness))
        if points:
            best = points[-1][1]
            items = sum(line.items for line in run.ledger)
            courses.append(Course(name, (*points, (len(run.ledger), best)), formats.fixed(best, 3)))
            rows.append(
                Row((name, str(len(run.ledger)), formats.count(items), formats.fixed(best, 4), str(points[-1][0])))
            )
    key, title = "evolution", say("Course of the searches")
    if not courses:
        return Section(key, title, missing=say("No run has a ledger."))
    chart = Courses(
        "fig-courses",
        say("Best fitness so far against evaluations"),
        say("One step line per run, numbered at its end. Fitness is measured on each run's own search items."),
        tuple(courses),
    )
    columns = labels("run", "evaluations", "item evaluations", "best fitness", "found at evaluation")
    return Section(key, title, (Figure(chart, (table(say("Searches"), columns, rows, folded=True),)),))


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = formats.ABSENT if value is None else str(value)
    return flat


def differences_section(named: Sequence[Named]) -> Section:
    """The settings in which the runs differ: what the comparison is about."""
    configs = [(name, _flat(run.manifest.config)) for name, run in named if run.manifest is not None]
    key, title = "settings", say("What differs")
    if len(configs) < 2:
        return Section(key, title, missing=say("manifest.json is missing: the runs' settings are not known."))
    rows: list[Row] = []
    for setting in dict.fromkeys(k for _, config in configs for k in config):
        values = [config.get(setting, formats.ABSENT) for _, config in configs]
        if len(set(values)) > 1 and setting != "name":
            rows.append(Row((setting, *values)))
    if not rows:
        return Section(key, title, (Text(say("The runs have the same settings.")),))
    lines = [(say("setting"), *(name for name, _ in configs)), *(row.cells for row in rows)]
    if len(configs) > FEW:  # a row for each run, as in the overview
        lines = list(zip(*lines, strict=True))
        lines[0] = (say("run"), *lines[0][1:])
    columns, *cells = lines
    keys = (None,) * len(columns) if len(configs) > FEW else ()
    rows = [Row(line, keys=keys) for line in cells]
    return Section(key, title, (table(say("Settings that differ"), columns, rows, text=range(len(columns))),))


def genealogy_section(named: Sequence[Named]) -> Section:
    """The generations that the runs form together."""
    births = list(dict.fromkeys(birth for _, run in named for birth in provenance.births(run)))
    key, title = "genealogy", say("Genealogy")
    if not births:
        return Section(key, title, missing=say("The runs do not name their parents."))
    chain = provenance.chain(births)
    shown = provenance.births_table(say("Births"), births, folded=len(chain) > 1)
    if len(chain) < 2:
        return Section(key, title, (shown,))
    chart = Pedigree(
        "fig-genealogy",
        say_count(
            "{count} generation down to {child}",
            "{count} generations down to {child}",
            len(chain),
            child=chain[-1].child,
        ),
        say("Each child stands after the parents it was bred from; its method stands above the line."),
        tuple(chain),
    )
    return Section(key, title, (Figure(chart, (shown,)),))


def commands_section(named: Sequence[Named]) -> Section:
    """The commands that repeat the runs."""
    commands = [provenance.command(run.manifest) for _, run in named if run.manifest is not None]
    if not commands:
        return Section(
            "provenance", say("Provenance"), missing=say("manifest.json is missing: the commands are not known.")
        )
    return Section("provenance", say("Provenance"), (Code(say("Commands to reproduce"), "\n".join(commands)),))


def limits_section(named: Sequence[Named]) -> Section:
    """What a careful reader would object to a choice among runs."""
    limits = [
        say(
            "Each interval holds for its own run. The best of several runs is partly luck: a claim chosen after looking"
            " at all of them needs a new run, or a correction for their number.",
        ),
        say(
            "Runs are compared side by side, not tested against one another; the tests inside each run are paired on"
            " its own items.",
        ),
    ]
    seeds = {run.genome.seed for _, run in named if run.genome is not None}
    if len(seeds) == 1 and len(named) > 1:
        limits.append(say("All runs share one random seed: how much another seed would change is not known."))
    return Section("limits", say("Limits"), (Bullets(tuple(limits)),))
