"""Scores, contrasts and slices as sections: the numbers in words, the forest plots as data."""

from __future__ import annotations

from collections.abc import Sequence

from darwin_mri.records import Comparison, Contrast, Score
from darwin_mri.report import words
from darwin_mri.report.charts import Forest, ForestPanel, ForestRow
from darwin_mri.report.elements import (
    Bullets,
    Figure,
    Row,
    Section,
    Table,
    Text,
    role_family,
    role_label,
    role_order,
    table,
)
from darwin_mri.report.verdict import better_parent, read_contrast

READINGS = {"above": "gain", "below": "loss", "within noise of": "within noise"}


def benchmark_order(comparison: Comparison) -> list[str]:
    """Composite first, then the headline's order, then what else was scored."""
    names = dict.fromkeys((*comparison.headline, *(s.benchmark for s in comparison.scores)))
    scored = {s.benchmark for s in comparison.scores}
    return sorted((n for n in names if n in scored), key=lambda name: name != "composite")


def sorted_scores(comparison: Comparison, benchmark: str) -> list[Score]:
    """Scores on the whole of a benchmark: father, mother, child, base, nulls, baselines."""
    found = [s for s in comparison.scores if s.benchmark == benchmark and s.slice == "all"]
    return sorted(found, key=lambda s: role_order(s.role))


def score_table(comparison: Comparison, folded: bool = False) -> Table:
    """Every score on a whole benchmark, one line each."""
    rows = []
    for benchmark in benchmark_order(comparison):
        for index, s in enumerate(sorted_scores(comparison, benchmark)):
            split = "" if s.split == "held-out" or s.evidence != "measured" else s.split
            source = "; ".join(filter(None, (s.evidence, split, s.source)))
            role = s.model if s.role == "child" and not bred(comparison) else role_label(s.role, s.model)
            cells = (benchmark, role, s.model, words.score(s), words.percent(s.chance), source)
            rows.append(Row(cells, role_family(s.role), s.role == "child", index == 0))
    made = table(
        "Scores",
        ("benchmark", "role", "model", "score, 95 % interval", "chance", "evidence"),
        rows,
        text=(0, 1, 2, 5),
        folded=folded,
        marked=1,
        note="Measured scores are on held-out items unless the last column says otherwise. " + _protocols(comparison),
    )
    return made if any(row.cells[1] != row.cells[2] for row in rows) else made.without(2)


def bred(comparison: Comparison) -> bool:
    """Whether parents were scored: without them the "child" is only the model that the others are compared with."""
    return any(s.role in ("father", "mother") for s in comparison.scores)


def _protocols(comparison: Comparison) -> str:
    protocols = list(dict.fromkeys(s.protocol for s in comparison.scores if s.evidence == "measured" and s.protocol))
    return f"Protocol: {'; '.join(protocols)}." if protocols else ""


def contrast_table(comparison: Comparison, folded: bool = False) -> Table:
    """Every contrast with its tests and the smallest difference it could have seen."""
    rows = []
    for benchmark in benchmark_order(comparison):
        for index, c in enumerate(_contrasts_on(comparison, benchmark)):
            cells = (
                benchmark,
                role_label(_other(c)),
                words.difference(c),
                READINGS[read_contrast(c)],
                words.probability(c.p_value),
                words.probability(c.p_holm),
                f"{c.wins}/{c.losses}",
                words.probability(c.p_mcnemar),
                str(c.n),
                words.fixed(100 * c.detectable, 1),
            )
            rows.append(Row(cells, role_family(_other(c)), c.name in ("child - father", "child - mother"), index == 0))
    first = next((s.model for s in comparison.scores if s.role == "child"), "child")
    columns = (
        "benchmark",
        "child minus" if bred(comparison) else f"{first} minus",
        "difference, 95 %",
        "reading",
        "p",
        "Holm",
        "won/lost",
        "McNemar",
        "n",
        "visible",
    )
    return table(
        "Contrasts",
        columns,
        rows,
        text=(0, 1, 3),
        folded=folded,
        marked=1,
        spare=(7, 6, 9),
        note="Paired on the same items. p by cluster sign flips; Holm over the declared family; McNemar is exact on items won and"
        " lost. Visible: the smallest difference, in pp, that this many items show with 80 % power.",
    )


def scores_section(comparison: Comparison | None) -> Section:
    """Section 'scores': forest plot with every value printed, the full table folded under it."""
    key, title = "scores", "Scores"
    if comparison is None:
        return Section(key, title, missing="comparison.json is missing: nothing was scored. Run darwin-mri breed.")
    panels = []
    for benchmark in benchmark_order(comparison):
        scores = sorted_scores(comparison, benchmark)
        reference = better_parent(comparison, benchmark)
        chance = next((s.chance for s in scores if s.chance is not None), None)
        rows = tuple(_forest_row(s) for s in scores)
        panels.append(ForestPanel(benchmark, rows, chance, reference.value if reference else None))
    if not panels:
        return Section(key, title, missing="comparison.json holds no score.")
    chart = Forest(
        "fig-scores",
        "Accuracy with 95 % intervals",
        "For each benchmark one line per model: its accuracy as a mark, the 95 % interval as a whisker, chance as a dotted tick."
        " Every value is printed beside it and in the table below.",
        tuple(panels),
        legend=True,
    )
    note = (
        "Filled marks are measured here, hollow ones are published or estimated elsewhere and take no part in any test."
    )
    note += _composite(comparison)
    return Section(key, title, (Figure(chart, (score_table(comparison, folded=True),), note),))


def _composite(comparison: Comparison) -> str:
    parts = [f"{words.fixed(weight, 2)} {name}" for name, weight in comparison.composite.items()]
    return f" Composite = {' + '.join(parts)}." if parts else ""


def _forest_row(s: Score) -> ForestRow:
    label = role_label(s.role, s.model)
    if s.split not in ("held-out", "unknown"):
        label += f" ({s.split} items)"
    measured = s.evidence == "measured"
    text = f"{words.percent(s.value)} {words.percent_interval(s.low, s.high)}".rstrip()
    more = words.score(s).removeprefix(text).strip() + (f": {s.source}" if s.source and not measured else "")
    return ForestRow(
        label, role_family(s.role), s.value, s.low, s.high, text, more, hollow=not measured, strong=s.role == "child"
    )


def contrasts_section(comparison: Comparison | None) -> Section:
    """Section 'contrasts': the child minus each other model."""
    key, title = "contrasts", "Child against the others"
    if comparison is None:
        return Section(key, title, missing="comparison.json is missing: nothing was compared. Run darwin-mri breed.")
    panels = []
    for benchmark in benchmark_order(comparison):
        rows = tuple(_contrast_row(c) for c in _contrasts_on(comparison, benchmark))
        if rows:
            panels.append(ForestPanel(benchmark, rows))
    if not panels:
        return Section(key, title, missing="comparison.json holds no contrast: there was no measured child to compare.")
    chart = Forest(
        "fig-contrasts",
        "Child minus each other model, paired on items, with 95 % intervals",
        "For each benchmark one line per other model: how many percentage points the child is above (right) or below (left)."
        " The grey band is what this many items could not have shown.",
        tuple(panels),
        signed=True,
        unit="percentage points, child minus the other",
    )
    note = "Grey bands: differences too small for this many items to show (80 % power). An interval that crosses zero is no result."
    sentence = (Text(comparison.vigor.sentence),) if comparison.vigor else ()
    return Section(key, title, (*sentence, Figure(chart, (contrast_table(comparison),), note)))


def _contrasts_on(comparison: Comparison, benchmark: str) -> list[Contrast]:
    return sorted((c for c in comparison.contrasts if c.benchmark == benchmark), key=lambda c: role_order(_other(c)))


def _other(contrast: Contrast) -> str:
    return contrast.name.removeprefix("child - ")


def _contrast_row(c: Contrast) -> ForestRow:
    headline = c.name in ("child - father", "child - mother")
    return ForestRow(
        f"{words.MINUS} {role_label(_other(c))}",
        role_family(_other(c)),
        c.difference,
        c.low,
        c.high,
        words.difference(c),
        f"{c.wins} won, {c.losses} lost",
        strong=headline,
        blind=c.detectable,
    )


def slices_section(comparison: Comparison | None) -> Section:
    """Section 'slices': measured scores on parts of each benchmark, exploratory."""
    key, title = "slices", "Slices"
    scores = [s for s in comparison.scores if s.slice != "all" and s.evidence == "measured"] if comparison else []
    if not scores:
        return Section(key, title, missing="No benchmark was scored by slice in this run.")
    roles = [r for r in ("father", "mother", "child") if any(s.role == r for s in scores)]
    values = {(s.benchmark, s.slice, s.role): s for s in scores}
    rows, last = [], ""
    for benchmark, name in dict.fromkeys((s.benchmark, s.slice) for s in scores):
        here = [values.get((benchmark, name, role)) for role in roles]
        n = next((s.n for s in here if s is not None), None)
        chance = next((s.chance for s in here if s is not None), None)
        cells = (benchmark, name, *(_slice_score(s) for s in here), str(n or words.ABSENT), words.percent(chance))
        rows.append(Row(cells, group=benchmark != last))
        last = benchmark
    shown = table("Scores by slice", ("benchmark", "slice", *roles, "n", "chance"), rows, text=(0, 1))
    return Section(
        key,
        title,
        (Bullets(("Exploratory: intervals but no tests; the more slices, the more of them differ by luck.",)), shown),
    )


def _slice_score(s: Score | None) -> str:
    return words.ABSENT if s is None else f"{words.percent(s.value)} {words.percent_interval(s.low, s.high)}"


def tiles(comparison: Comparison | None) -> tuple[tuple[str, str, str, Sequence[str]], ...]:
    """The head's figures: (benchmark, child's score, reading, lines) per benchmark with a measured child."""
    if comparison is None:
        return ()
    found = []
    for benchmark in benchmark_order(comparison):
        scores = [s for s in sorted_scores(comparison, benchmark) if s.evidence == "measured" and s.split != "search"]
        child = next((s for s in scores if s.role == "child"), None)
        if child is None:
            continue
        lines = [f"{s.role} {words.percent(s.value)}" for s in scores if s.role in ("father", "mother")]
        better = better_parent(comparison, benchmark)
        contrast = next(
            (
                c
                for c in comparison.contrasts
                if better and c.benchmark == benchmark and c.name == f"child - {better.role}"
            ),
            None,
        )
        reading = f"{words.points(contrast.difference)}, {READINGS[read_contrast(contrast)]}" if contrast else ""
        found.append((benchmark, words.percent(child.value), reading, lines))
    return tuple(found)
