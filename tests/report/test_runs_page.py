"""Several runs on one page: told apart, never subtracted where they cannot be, through the same renderers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from darwin_mri.records import Comparison, Genome, Manifest
from darwin_mri.report import RunRecords, build_runs_view, load_run, render_html, render_text, write_runs_report
from darwin_mri.report.charts import Courses, HeatMap
from darwin_mri.report.charts.svg import apart
from darwin_mri.report.model.elements import Figure, Table
from darwin_mri.report.pages.runs_page import labels
from tests.report.sample import write_sample


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("several")
    return [write_sample(folder / name, 4, 3, evaluations=20) for name in ("seed-1", "seed-2")]


def test_one_page_beside_the_runs(runs: list[Path]) -> None:
    view, page = write_runs_report(runs)
    assert page == runs[0].parent.resolve() / "runs.html"
    html = page.read_text(encoding="utf-8")
    assert "2 runs" in html and page.with_suffix(".txt").is_file()
    assert view.verdict.headline == "2 of 2 judged runs show hybrid vigor: seed-1 and seed-2."
    before = page.read_bytes()
    write_runs_report(runs)
    assert page.read_bytes() == before


def test_runs_of_one_name_go_by_their_folders() -> None:
    assert labels([RunRecords("a"), RunRecords("b")], ["x", "y"]) == ["a", "b"]
    assert labels([RunRecords("a"), RunRecords("a"), RunRecords("b")], ["x", "y", "z"]) == ["x", "y", "b"]
    assert labels([RunRecords("a"), RunRecords("a")]) == ["a (1)", "a (2)"]


def test_each_run_has_its_line_everywhere(runs: list[Path]) -> None:
    view = build_runs_view([load_run(run) for run in runs], ["one", "two"])
    overview = view.section("runs").blocks[0]
    assert isinstance(overview, Table) and [row.cells[0] for row in overview.rows] == ["one", "two"]
    comparison = Comparison.load(runs[0] / "comparison.json")
    child = next(s for s in comparison.scores if s.role == "child" and s.benchmark == "composite")
    assert f"{100 * child.value:.1f} %" in overview.rows[0].cells[2]
    genomes = view.section("genome").blocks[0]
    assert isinstance(genomes, Figure) and isinstance(genomes.chart, HeatMap)
    assert genomes.chart.panels[0].rows == ("one", "two")
    searches = view.section("evolution").blocks[0]
    assert isinstance(searches, Figure) and isinstance(searches.chart, Courses)
    assert [course.points[-1][0] for course in searches.chart.courses] == [20, 20]
    heights = [y for _, y in searches.chart.courses[0].points]
    assert heights == sorted(heights)  # the best so far never falls


def test_what_differs_is_listed(runs: list[Path]) -> None:
    one = load_run(runs[0])
    assert one.manifest is not None
    other = replace(one, manifest=one.manifest.model_copy(update={"config": {**one.manifest.config, "method": "raw"}}))
    section = build_runs_view([one, other], ["one", "two"]).section("settings")
    (table,) = section.blocks
    assert isinstance(table, Table) and [row.cells for row in table.rows] == [("method", "folded", "raw")]


def test_other_items_and_other_protocols_raise_warnings(runs: list[Path]) -> None:
    one = load_run(runs[0])
    assert one.comparison is not None
    assert not [
        a for a in build_runs_view([one, one]).alerts if "different protocols" in a.text or "same items" in a.text
    ]
    scores = tuple(s.model_copy(update={"protocol": "another v2"}) for s in one.comparison.scores)
    fewer = {role: {b: marks[:-1] for b, marks in by.items()} for role, by in one.answers.items()}
    other = replace(one, comparison=one.comparison.model_copy(update={"scores": scores}), answers=fewer)
    texts = " ".join(a.text for a in build_runs_view([one, other]).alerts if a.level == "warning")
    assert "scored nursery_click under different protocols (cloze-logprob-sum v1; another v2)" in texts
    assert "not scored on the same items of nursery_musr" in texts


def test_runs_with_missing_parts_render_and_say_so(runs: list[Path]) -> None:
    whole = load_run(runs[0])
    bare = RunRecords(
        "bare", genome=Genome(space="ffn", method="raw", seed=2, father="f", mother="m", genes={}, ratios=())
    )
    scanned = replace(whole, name="scanned", comparison=None, genome=None, ledger=(), answers={}, child=None)
    view = build_runs_view([whole, bare, scanned])
    html = render_html(view)
    assert "comparison.json is missing in bare and scanned" in html
    assert "No verdict: a genome was found" in html
    empty = build_runs_view([RunRecords("a"), RunRecords("b")])
    assert empty.verdict.headline.startswith("None of these runs can be judged")
    assert all(section.missing or section.key in ("runs", "limits", "glossary") for section in empty.sections)
    assert "no child was compared" in render_text(empty)


def test_generations_form_one_family(runs: list[Path]) -> None:
    whole = load_run(runs[0])
    birth = whole.child
    assert birth is not None
    view = build_runs_view([whole])
    figure = view.section("genealogy").blocks[0]
    assert isinstance(figure, Figure)
    assert "2 generations down to genesis-nursery" in figure.chart.title


def test_a_seed_shared_by_all_is_a_limit(runs: list[Path]) -> None:
    one = load_run(runs[0])
    assert "share one random seed" in render_text(build_runs_view([one, one]))
    assert one.genome is not None
    other = replace(one, genome=one.genome.model_copy(update={"seed": 2}))
    assert "share one random seed" not in render_text(build_runs_view([one, other]))


def test_labels_at_the_ends_of_lines_standapart() -> None:
    moved = apart([50.0, 50.0, 51.0, 10.0])
    assert sorted(moved) == [10.0, 50.0, 62.0, 74.0] and moved[3] == 10.0


def test_manifests_alone_make_a_page() -> None:
    manifest = Manifest(
        created="", argv=(), config={}, commit=None, dirty=None, versions={}, device="cpu", seed=1, status="failed"
    )
    text = render_text(build_runs_view([RunRecords("a", manifest=manifest), RunRecords("b", manifest=manifest)]))
    assert "The runs have the same settings." in text
