"""Scores that are no fractions: NLL, KL divergence, composites of several units, and limits, as a reader meets them."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

import pytest
import yaml

from darwin_mri.config import LimitConfig
from darwin_mri.records import Answer, BenchmarkInfo, Comparison, Genome, LedgerLine, Manifest, Protocol
from darwin_mri.report import build_runs_view, build_view, render_card, render_html, render_text
from darwin_mri.report.charts import Forest, Front
from darwin_mri.report.charts.forest import forest
from darwin_mri.report.hub import eval_files
from darwin_mri.report.model.elements import Figure, Section, Table, Text
from darwin_mri.report.model.item_answers import Mark
from darwin_mri.report.model.metadata import Metadata, Result, gather
from darwin_mri.report.model.run_alerts import find_alerts
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.report.model.verdict import judge
from darwin_mri.report.renderers.command_tables import bench_notes
from darwin_mri.report.sections.front import front_section
from darwin_mri.report.sections.item_wins import items_section
from darwin_mri.report.sections.search_course import evolution_section, fresh_section, summarise
from darwin_mri.stats.compare import compare
from tests.report.test_front import make_genome

UNITS = {"ko": "nats/byte", "alike": "nats/token", "facts": "", "quiz": ""}
MEANS = {  # by role: the mean score on each task
    "father": {"ko": -0.13, "alike": -0.43, "facts": 0.9, "quiz": 0.6},
    "mother": {"ko": -0.39, "alike": -1.03, "facts": 0.5, "quiz": 0.4},
    "child": {"ko": -0.15, "alike": -0.06, "facts": 0.8, "quiz": 0.7},
    "null:uniform": {"ko": -0.16, "alike": -0.07, "facts": 0.8, "quiz": 0.6},
}
MIXED = {"ko": 0.5, "alike": 0.3, "facts": 0.2}
CHANCE = {"ko": None, "alike": None, "facts": None, "quiz": 0.25}
PROTOCOL = Protocol(name="any", kind="loglikelihood", metric="acc", prompt="")


def answers_of(task: str, mean: float, n: int = 30) -> list[Answer]:
    """Answers around a mean: right and wrong ones, or scores that scatter by a tenth of it."""
    rng, items = random.Random(task), []
    for i in range(n):
        scatter = 1 + 0.2 * (rng.random() - 0.5)
        credit = mean * scatter if UNITS[task] else float(i < round(mean * n))
        choices = 4 if CHANCE[task] else 0
        items.append(
            Answer(
                key=f"{task}-{i}",
                cluster=str(i // 2),
                slice=("even", "odd")[i % 2],
                gold=0 if choices else -1,
                choice=(0 if credit else 1) if choices else -1,
                credit=credit,
                choices=choices,
                protocol=PROTOCOL.hash,
            )
        )
    return items


def compared(weights: Mapping[str, float], limits: Mapping[str, LimitConfig] | None = None) -> Comparison:
    return compare(
        {role: {task: answers_of(task, mean) for task, mean in means.items()} for role, means in MEANS.items()},
        {role: (role.removeprefix("null:"), role) for role in MEANS},
        [PROTOCOL],
        CHANCE,
        weights,
        1,
        benchmarks=tuple(BenchmarkInfo(name=name, title=name, unit=unit) for name, unit in UNITS.items()),
        resamples=199,
        limits=limits or {},
    )


def marks() -> dict[str, dict[str, list[Mark]]]:
    return {
        role: {t: [Mark(a.key, a.slice, a.credit) for a in answers_of(t, mean)] for t, mean in MEANS[role].items()}
        for role in ("father", "mother", "child")
    }


def limit(worsen_by: float, against: str = "father") -> LimitConfig:
    return LimitConfig(against=against, worsen_by=worsen_by)


@pytest.fixture(scope="module")
def run() -> RunRecords:
    return RunRecords("own", comparison=compared(MIXED, {"ko": limit(0.05)}), answers=marks())


def words(run: RunRecords) -> str:
    return " ".join(answer for _, answer in judge(run).answers)


def rows_of(text: str, group: str) -> list[str]:
    """The marked lines below each group of that name in a terminal report."""
    rows, inside = list[str](), False
    for line in text.splitlines():
        marked = line.startswith(("●", "■", "◆", "×"))
        inside = line == group or (inside and marked)
        rows += [line] if inside and marked else []
    return rows


def test_a_mixed_composite_is_a_plain_number_and_says_why(run: RunRecords) -> None:
    text = words(run)
    child = 0.5 * -0.15 + 0.3 * -0.06 + 0.2 * 0.8
    scored = re.search(
        r"On the composite the child scores (0\.\d{4}): \+0\.\d{4} \[\S+, \S+\] against the better", text
    )
    assert scored is not None and float(scored[1]) == pytest.approx(child, abs=0.01)
    assert "Its tasks have different units, so their weighted sum has none." in text
    assert "%" not in text and " pp" not in text.partition("on facts")[0]


def test_a_composite_of_one_unit_has_it() -> None:
    text = words(RunRecords("own", comparison=compared({"ko": 1.0})))
    assert re.search(r"the child scores −0\.1\d{3} nats/byte: −0\.0\d{3} nats/byte \[", text)
    assert re.search(r"Differences from the father under 0\.0\d{3} nats/byte could not have been seen", text)
    assert "different units" not in text


def test_fractions_stay_per_cent_and_points() -> None:
    text = words(RunRecords("own", comparison=compared({"quiz": 1.0})))
    assert "the child scores 70.0 %: +10.0 pp [" in text and "nats" not in text.partition("on quiz")[0]


@pytest.mark.parametrize(
    ("allowed", "headline", "sentence", "cell"),
    [
        (0.05, "", "Limit kept: on ko the child is at −0.02", "kept"),
        (0.02, "", "Limit kept, but within noise: on ko", "kept, within noise"),
        (
            0.0199,
            " The child breaks the limit on ko (within noise).",
            "Limit broken, but within",
            "broken, within noise",
        ),
        (0.0, " The child breaks the limit on ko.", "Limit broken: on ko", "broken"),
    ],
)
def test_limits_are_kept_or_broken_everywhere(allowed: float, headline: str, sentence: str, cell: str) -> None:
    comparison = compared(MIXED)
    difference = next(c.difference for c in comparison.contrasts if (c.benchmark, c.other) == ("ko", "father"))
    # A limit at the measured difference itself cannot be told from it.
    exact = -difference + (allowed - 0.02) if 0 < allowed < 0.05 else allowed
    run = RunRecords("own", comparison=compared(MIXED, {"ko": limit(exact)}))
    view = build_view(run)
    assert view.verdict.headline.endswith(headline or ".") and ("limit" in view.verdict.headline) == bool(headline)
    assert sentence in dict(view.verdict.answers)["Are the limits kept?"]
    (row,) = next(t for t in tables(view.section("contrasts")) if t.caption == "Limits").rows
    assert row.cells[:3] == ("ko", cell, "the father") and "nats/byte" in row.cells[3]
    broken = [alert.level for alert in view.alerts if alert.kind == "limit-broken"]
    assert broken == ([] if not headline else ["warning" if "noise" in cell else "serious"])
    notebook = (run.comparison and run.comparison._repr_html_()) or ""
    for page in (render_html(view), render_text(view), render_card(view), notebook):
        assert cell in " ".join(page.split())


def test_without_limits_nothing_is_said_of_them() -> None:
    view = build_view(RunRecords("own", comparison=compared(MIXED)))
    assert "Are the limits kept?" not in dict(view.verdict.answers)
    assert not [t for t in tables(view.section("contrasts")) if t.caption == "Limits"]


def tables(section: Section) -> list[Table]:
    return [
        t for b in section.blocks for t in ((b,) if isinstance(b, Table) else b.tables if isinstance(b, Figure) else ())
    ]


def charts(section: Section) -> dict[str, Forest]:
    """Forest plots by the word under their axis."""
    found = [b.chart for b in section.blocks if isinstance(b, Figure)]
    return {chart.unit: chart for chart in found if isinstance(chart, Forest)}


def test_values_of_one_unit_share_an_axis(run: RunRecords) -> None:
    view = build_view(run)
    scores, contrasts = charts(view.section("scores")), charts(view.section("contrasts"))
    assert {axis: [panel.title for panel in chart.panels] for axis, chart in scores.items()} == {
        "weighted sum, higher is better": ["composite"],
        "nats/byte, higher is better": ["ko"],
        "nats/token, higher is better": ["alike"],
        "per cent right": ["facts", "quiz"],
    }
    assert [chart.scale for chart in scores.values()] == [1.0, 1.0, 1.0, 100.0]
    assert [panel.chance for panel in scores["per cent right"].panels] == [None, 0.25]
    assert [axis.partition(", ")[0] for axis in contrasts] == [
        "weighted sum",
        "nats/byte",
        "nats/token",
        "percentage points",
    ]
    assert len({chart.key for chart in (*scores.values(), *contrasts.values())}) == 8
    assert all("%" not in row.text for row in scores["nats/byte, higher is better"].panels[0].rows)
    assert "higher" in contrasts["nats/byte, child minus the other"].panels[0].rows[0].more
    assert "won" in contrasts["percentage points, child minus the other"].panels[0].rows[0].more


def test_guessing_is_explained_only_where_a_task_has_choices(run: RunRecords) -> None:
    legends = {axis: forest(chart) for axis, chart in charts(build_view(run).section("scores")).items()}
    assert "guessing" in legends["per cent right"]
    composite = legends["weighted sum, higher is better"]
    assert "guessing" not in composite and "better parent" in composite


def test_no_number_of_another_unit_is_shown_in_per_cent(run: RunRecords) -> None:
    text = render_text(build_view(run))
    for group in ("composite", "ko, nats/byte", "alike, nats/token"):
        rows = rows_of(text, group)
        assert len(rows) == 7 and not [row for row in rows if "%" in row or " pp" in row]  # 4 scores, 3 contrasts
    assert len([row for row in rows_of(text, "facts") if "%" in row or " pp" in row]) >= 7
    said = "NLL and KL divergence are shown negated, so that higher is better for every score."
    assert said in " ".join(text.split()) and said in render_html(build_view(run))
    slices = {row.cells[0] for row in tables(build_view(run).section("slices"))[0].rows}
    assert slices == {"ko, nats/byte", "alike, nats/token", "facts", "quiz"}


def test_items_are_won_only_where_answers_are_right_or_wrong(run: RunRecords) -> None:
    units = {name: unit for name, unit in UNITS.items() if unit}
    section = items_section(run.answers, tuple(UNITS), units)
    assert isinstance(section.blocks[0], Text) and "ko and alike" in section.blocks[0].text
    assert {row.cells[0] for t in tables(section) for row in t.rows} == {"facts", "quiz"}
    assert items_section(run.answers, tuple(UNITS)) == section  # negated scores tell themselves without a record
    only = {role: {"ko": marks["ko"]} for role, marks in run.answers.items()}
    (text,) = items_section(only, ("ko",), units).blocks
    assert isinstance(text, Text) and "no item is won or lost" in text.text


def line(number: int, fitness: float, violation: float = 0.0) -> LedgerLine:
    return LedgerLine(
        evaluation=number,
        generation=number // 2,
        candidate=number % 2,
        genes={},
        fitness=fitness,
        scores={},
        items=10,
        seconds=1.0,
        status="ok",
        violation=violation,
    )


def test_candidates_beyond_a_limit_are_not_the_best() -> None:
    ledger = (line(0, -0.223), line(1, -0.1, violation=0.02), line(2, -0.2231), line(3, -0.3))
    assert [g.best_so_far for g in summarise(ledger)] == [-0.223, -0.223]
    assert summarise(ledger)[0].fitness == (-0.223, -0.1)  # drawn all the same
    text = next(b.text for b in evolution_section(ledger).blocks if isinstance(b, Text))
    assert "1 candidate broke a limit on search items" in text
    assert "broke a limit" not in str(evolution_section(ledger[:1]).blocks[0])


def genome(search_score: float, retest_score: float) -> Genome:
    return Genome(
        space="ffn",
        method="m",
        seed=1,
        father="f",
        mother="m",
        genes={},
        ratios=(),
        search_score=search_score,
        retest_score=retest_score,
    )


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"quiz": 1.0}, "Fitness is the probability given to the right choice"),
        ({"quiz": 0.5, "ko": 0.5}, "On quiz fitness counts the probability given to the right choice"),
        ({"ko": 0.5, "facts": 0.5}, ""),
    ],
)
def test_fitness_is_called_a_probability_only_where_it_is_one(weights: dict[str, float], said: str) -> None:
    manifest = Manifest(
        created="2026-11-20T09:30:00Z",
        argv=(),
        config={"search": {"smooth": True}},
        commit="",
        dirty=False,
        versions={},
        device="cpu",
        seed=1,
        seconds={},
        status="done",
    )
    section = fresh_section(genome(search_score=-0.1, retest_score=-0.12), compared(weights), manifest)
    text = next(b.text for b in section.blocks if isinstance(b, Text))
    assert said in text and ("probability" in text) == bool(said)
    assert "falls by 0.020" in text


@pytest.mark.parametrize(("fresh", "level"), [(-0.151, "note"), (-0.4, "warning")])
def test_a_fall_on_fresh_items_is_judged_by_the_noise_of_its_unit(fresh: float, level: str) -> None:
    run = RunRecords("own", comparison=compared({"ko": 1.0}), genome=genome(search_score=-0.15, retest_score=fresh))
    assert next(alert.level for alert in find_alerts(run) if alert.kind == "fitness-gap") == level


def test_the_card_names_each_metric_and_the_hub_gets_accuracies_alone(run: RunRecords) -> None:
    front = yaml.safe_load(render_card(build_view(run)).split("---\n")[1])
    metrics = {r["dataset"]["name"]: r["metrics"][0] for r in front["model-index"][0]["results"]}
    assert metrics["quiz"]["type"] == "accuracy" and metrics["quiz"]["value"] == pytest.approx(0.7)
    assert metrics["ko"]["value"] < 0 and "nats/byte" in metrics["ko"]["name"]
    assert {result.unit for result in gather(run).results} == {"", "nats/byte", "nats/token"}
    results = (Result("click", 0.7, "70 %", "p"), Result("musr", -0.2, "−0.2", "p", "-nll/byte", "nats/byte"))
    assert set(eval_files(Metadata(results=results))) == {".eval_results/click.yaml"}


def test_several_runs_share_a_page_by_unit(run: RunRecords) -> None:
    other = RunRecords("plain", comparison=compared({"quiz": 1.0}))
    view = build_runs_view([run, other])
    panels = {axis: {p.title for p in c.panels} for axis, c in charts(view.section("scores")).items()}
    assert panels["weighted sum, higher is better"] == panels["per cent right"] - {"facts", "quiz"} == {"composite"}
    assert view.tiles[1].score == "70.0 %" and not view.tiles[0].score.endswith("%")
    ids = re.findall(r'\bid="([^"]*)"', render_html(view))
    assert len(ids) == len(set(ids))


def test_a_front_names_the_units_of_its_axes() -> None:
    section = front_section(make_genome(("ko", "maths")), 60, {"ko": "nats/byte"})
    figure = next(b for b in section.blocks if isinstance(b, Figure))
    assert isinstance(figure.chart, Front) and figure.chart.axes == ("ko, nats/byte", "maths")
    assert "(ko, nats/byte)" in figure.note


def test_other_metrics_of_a_bench_have_their_unit() -> None:
    comparison = compared(MIXED)
    other = next(s for s in comparison.scores if (s.benchmark, s.role, s.slice) == ("ko", "child", "all"))
    (note,) = (n for n in bench_notes(comparison.model_copy(update={"secondary": (other,)})) if n.startswith("ko by"))
    assert re.search(r"child −0\.1\d{3} nats/byte \[−0\.\d{4}, −0\.\d{4}\]$", note)
