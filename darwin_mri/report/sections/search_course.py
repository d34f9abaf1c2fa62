"""The course of the search, and what its winner is worth on items that did not choose it, as sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from darwin_mri.records import Comparison, Genome, LedgerLine, Manifest, Score
from darwin_mri.report import formats
from darwin_mri.report.charts import Evolution, Forest, ForestPanel, ForestRow, Generation
from darwin_mri.report.model.elements import Figure, Row, Section, Text, table
from darwin_mri.report.model.findings import measured_score
from darwin_mri.report.record_words import benchmark_label, status_label
from darwin_mri.report.sections import axes
from darwin_mri.report.sections.accuracy import benchmark_order, figures
from darwin_mri.translation import labels, say, say_count

MOST_GENERATIONS = 200  # rows of the evolution table


def is_ranked(line: LedgerLine) -> bool:
    """Whether a candidate competes by its fitness: it was scored whole, and keeps the run's limits."""
    return line.status == "ok" and line.fitness is not None and line.violation <= 0


def summarise(ledger: Sequence[LedgerLine]) -> tuple[Generation, ...]:
    """The ledger by generation; candidates raced, failed or beyond a limit count in neither best nor median."""
    by_number: dict[int, list[LedgerLine]] = {}
    for line in ledger:
        by_number.setdefault(line.generation, []).append(line)
    result: list[Generation] = []
    best_so_far: float | None = None
    items = 0
    for number in sorted(by_number):
        lines = by_number[number]
        fitness = [line.fitness for line in lines if line.fitness is not None and line.status == "ok"]
        ranked = [line.fitness for line in lines if line.fitness is not None and is_ranked(line)]
        best = max(ranked, default=None)
        if best is not None:
            best_so_far = best if best_so_far is None else max(best, best_so_far)
        sigmas = [line.sigma for line in lines if line.sigma is not None]
        items += sum(line.items for line in lines)
        result.append(
            Generation(
                number,
                best,
                median(ranked) if ranked else None,
                best_so_far,
                sigmas[-1] if sigmas else None,
                evaluations=len(lines),
                failed=sum(line.status == "failed" for line in lines),
                items=items,
                fitness=tuple(fitness),
            )
        )
    return tuple(result)


def _spent(account: Mapping[str, int]) -> str:
    """Item evaluations of the search in a sentence; nothing for genomes that keep no account."""
    if not account:
        return ""
    parts = [say("{number} by candidates", number=formats.count(account["asked"]))]
    if account.get("logged"):
        parts.append(say("{number} to choose anchors", number=formats.count(account["logged"])))
    if account.get("retest"):
        parts.append(say("{number} to re-test finalists", number=formats.count(account["retest"])))
    if account.get("saved", 0) > 0:
        saved = formats.count(account["saved"])
        return " " + say(
            "Item evaluations: {parts}; racing and anchors saved {saved}.", parts=", ".join(parts), saved=saved
        )
    return " " + say("Item evaluations: {parts}.", parts=", ".join(parts))


def evolution_section(ledger: Sequence[LedgerLine], genome: Genome | None = None) -> Section:
    """Section 'evolution': fitness, step size and items spent by generation."""
    key, title = "evolution", say("Course of the search")
    if not ledger:
        return Section(
            key, title, missing=say("ledger.jsonl is missing or empty: nothing was searched. Run darwin-mri breed.")
        )
    generations = summarise(ledger)
    states = {
        state: sum(line.status == state for line in ledger) for state in dict.fromkeys(line.status for line in ledger)
    }
    text = say(
        "{evaluations} in {generations}: {states}; {items} item evaluations and {seconds} seconds.",
        evaluations=say_count("{count} evaluation", "{count} evaluations", len(ledger)),
        generations=say_count("{count} generation", "{count} generations", len(generations)),
        states=", ".join(f"{count} {status_label(state)}" for state, count in states.items()),
        items=formats.count(generations[-1].items),
        seconds=formats.fixed(sum(line.seconds for line in ledger), 0),
    )
    text += " " + say("Fitness is measured on search items only.")
    beyond = sum(line.violation > 0 for line in ledger)
    if beyond:
        text += " " + say_count(
            "{count} candidate broke a limit on search items: they rank behind those that kept it, and count in neither"
            " best nor median.",
            "{count} candidates broke a limit on search items: they rank behind those that kept it, and count in"
            " neither best nor median.",
            beyond,
        )
    if genome is not None:
        text += _spent(genome.account)
    chart = Evolution(
        "fig-evolution",
        say("Fitness, step size and items spent by generation"),
        say(
            "Step line: best fitness so far; diamonds: best of each generation; dots: every candidate; dashed: median;"
            " crosses: failed candidates. Below: the search's sigma, and the items answered so far.",
        ),
        generations,
    )
    every = max(1, -(-len(generations) // MOST_GENERATIONS))
    rows = [
        Row(
            (
                str(g.number),
                str(g.evaluations),
                str(g.failed),
                formats.fixed(g.best, 4),
                formats.fixed(g.median, 4),
                formats.fixed(g.best_so_far, 4),
                formats.fixed(g.sigma, 3),
                formats.count(g.items),
            )
        )
        for i, g in enumerate(generations)
        if i % every == 0 or i == len(generations) - 1
    ]
    columns = labels("generation", "evaluations", "failed", "best", "median", "best so far", "sigma", "items so far")
    note = say("Every {every}th generation; ledger.jsonl has them all.", every=every) if every > 1 else ""
    shown = table(say("Course of the search by generation"), columns, rows, note=note, folded=True)
    return Section(key, title, (Text(text), Figure(chart, (shown,))))


def fresh_section(genome: Genome | None, comparison: Comparison | None, manifest: Manifest | None) -> Section:
    """Section 'fresh': the winner on the items that chose it, beside items the search never saw.

    Args:
        genome: the search's winner.
        comparison: scores on search and held-out items.
        manifest: says whether fitness is smooth.

    Returns:
        the section; it says what is missing.
    """
    key, title = "fresh", say("Search against held-out")
    panels: dict[str, list[ForestPanel]] = {}  # by unit
    rows: list[Row] = []
    whole = measured_score(comparison, "child") if comparison else None
    if genome is not None and genome.search_score is not None:
        fitness = [(say("on its own items"), genome.search_score)]
        fitness += [(say("on fresh items"), genome.retest_score)] if genome.retest_score is not None else []
        fitness += [(say("on held-out items"), genome.held_out_score)] if genome.held_out_score is not None else []
        panels.setdefault(whole.unit if whole else "", []).append(
            ForestPanel(
                say("winner's fitness"),
                tuple(
                    ForestRow(label, "child", value, None, None, formats.fixed(value, 3), hollow=number == 0)
                    for number, (label, value) in enumerate(fitness)
                ),
            )
        )
        rows += [
            Row((say("winner's fitness"), label, formats.fixed(value, 3)), group=not i)
            for i, (label, value) in enumerate(fitness)
        ]
    for benchmark, pair in _both_splits(comparison).items():
        parts = [(say("on search items"), pair[0]), (say("on held-out items"), pair[1])]
        panels.setdefault(pair[1].unit, []).append(
            ForestPanel(
                say("child, {benchmark}", benchmark=benchmark_label(benchmark)),
                tuple(
                    ForestRow(label, "child", s.value, s.low, s.high, formats.score(s), hollow=s.split == "search")
                    for label, s in parts
                ),
            )
        )
        rows += [
            Row((benchmark_label(benchmark), label, formats.score(s)), group=not i)
            for i, (label, s) in enumerate(parts)
        ]
    if not panels:
        return Section(
            key, title, missing=say("The winner's score on its own search items is not recorded: the gap is not known.")
        )
    charts = [
        Forest(
            axes.chart_key("fig-fresh", unit),
            say("The winner on the items that chose it and on items it never met") + axes.in_unit(unit),
            say("Hollow: on the items the search used, which flatters the winner; filled: on others."),
            tuple(group),
            unit=axes.score_axis(unit) if unit else say("fitness or score, as a fraction"),
            scale=1.0,
        )
        for unit, group in panels.items()
    ]
    shown = table(say("Search against held-out"), labels("measure", "where", "value"), rows, text=(0, 1), folded=True)
    return Section(key, title, (Text(_gap_sentence(genome, manifest, comparison)), *figures(charts, shown)))


def _both_splits(comparison: Comparison | None) -> dict[str, tuple[Score, Score]]:
    """The child's scores on search and held-out items, of benchmarks that were scored on both."""
    scores = comparison.scores if comparison else ()
    child = [s for s in scores if s.role == "child" and s.slice == "all" and s.evidence == "measured"]
    known = {(s.benchmark, s.split): s for s in child}
    names = dict.fromkeys(s.benchmark for s in child)
    return {
        name: (known[name, "search"], known[name, "held-out"])
        for name in names
        if (name, "search") in known and (name, "held-out") in known
    }


def _gap_sentence(genome: Genome | None, manifest: Manifest | None, comparison: Comparison | None) -> str:
    text = say("The best of many tries is partly luck: its fitness on the items that chose it tends to be too high.")
    if genome is not None and genome.search_score is not None and genome.retest_score is not None:
        gap = genome.search_score - genome.retest_score
        text += (
            " " + say("On fresh search items it falls by {gap}.", gap=formats.fixed(gap, 3))
            if gap > 0
            else " " + say("On fresh search items it holds.")
        )
    elif genome is not None:
        text += " " + say("No fresh search items were left to re-score it on.")
    smooth = manifest.config.get("search", {}).get("smooth") if manifest else None
    if smooth:
        text += _smooth(comparison)
    return text + " " + say("The scores above are on held-out items, which the search never saw.")


def _smooth(comparison: Comparison | None) -> str:
    """Of tasks with choices fitness counts a probability in place of right answers; of others it is their score."""
    if comparison is None:
        return ""
    composite = tuple(comparison.composite) or benchmark_order(comparison)
    with_choices = {s.benchmark for s in comparison.scores if s.chance is not None}
    if not with_choices & {*composite}:
        return ""
    if with_choices.issuperset(composite):
        return " " + say(
            "Fitness is the probability given to the right choice, so it is not comparable with the accuracies above."
        )
    names = formats.listing([name for name in composite if name in with_choices])
    return " " + say(
        "On {tasks} fitness counts the probability given to the right choice, so it is not comparable with the"
        " composite above.",
        tasks=names,
    )
