"""The overview of runs: a row per run, in the order given until a reader sorts it; from 2 to 100 runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from darwin_mri.records import Comparison, Genome
from darwin_mri.report import RunRecords, build_runs_view, formats, load_run, render_html, render_text
from darwin_mri.report.model.elements import Table
from darwin_mri.report.sections.runs_scores import FEW
from tests.report.browser import chromium, faults, visit
from tests.report.sample import write_sample
from tests.report.sample_siblings import write_siblings

SIZES = (2, 9, 100)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunRecords]:
    """A hundred runs whose children, searches and times differ; every seventh was never compared."""
    folder, rng = tmp_path_factory.mktemp("runs"), random.Random(5)
    known = [load_run(write_sample(folder / "two", 4, 3, evaluations=20)), load_run(write_siblings(folder / "more", 3))]
    made = []
    for number in range(max(SIZES)):
        run = known[number % 5 == 4]
        assert run.comparison is not None and run.manifest is not None
        gain = round(rng.uniform(-0.1, 0.1), 2)  # two digits: some runs are alike
        seconds = {"search": float(rng.choice([9, 80, 700, 12_000]))}
        made.append(
            replace(
                run,
                name=f"run-{number}",
                comparison=shifted(run.comparison, gain) if number % 7 != 6 else None,
                manifest=run.manifest.model_copy(update={"seconds": seconds}),
                ledger=run.ledger[: 3 + number % 11],
            )
        )
    return made


@pytest.fixture(scope="module")
def pages(runs: list[RunRecords], tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {count: folder / f"{count}.html" for count in SIZES}
    for count, page in made.items():
        page.write_text(render_html(build_runs_view(runs[:count])), encoding="utf-8")
    return made


def shifted(comparison: Comparison, gain: float) -> Comparison:
    """The same with the child's composite, and its differences from others, moved by that much."""
    scores = [
        s.model_copy(update={"value": s.value + gain, "low": s.low + gain, "high": s.high + gain})
        if (s.role, s.benchmark) == ("child", "composite") and s.low is not None and s.high is not None
        else s
        for s in comparison.scores
    ]
    contrasts = [
        c.model_copy(update={"difference": c.difference + gain, "low": c.low + gain, "high": c.high + gain})
        if c.benchmark == "composite"
        else c
        for c in comparison.contrasts
    ]
    return comparison.model_copy(update={"scores": tuple(scores), "contrasts": tuple(contrasts)})


def overview(runs: list[RunRecords]) -> Table:
    (table,) = build_runs_view(runs).section("runs").blocks
    assert isinstance(table, Table)
    return table


def column(page: Page, number: int) -> list[str]:
    return page.locator(f"#runs tbody tr > :nth-child({number + 1})").all_inner_texts()


def header(page: Page, name: str) -> tuple[int, str | None]:
    """Number of the column of that name, and how it is sorted."""
    heads = page.locator("#runs thead th")
    number = next(i for i, text in enumerate(heads.all_text_contents()) if text == name)
    return number, heads.nth(number).get_attribute("aria-sort")


def test_a_row_says_what_the_records_say(runs: list[RunRecords]) -> None:
    table = overview(runs[:7])
    row = dict(zip(table.columns, table.rows[0].cells, strict=True))
    genome = runs[0].genome
    assert isinstance(genome, Genome) and genome.search_score is not None and genome.retest_score is not None
    assert row["run"] == "run-0" and row["verdict"] == "vigor" and row["evaluations"] == "3"
    assert runs[0].comparison is not None
    contrast = next(c for c in runs[0].comparison.contrasts if (c.other, c.benchmark) == ("father", "composite"))
    assert row["best parent"] == "father 61.4 %" and row["child minus best parent"] == formats.difference(contrast)
    assert row["best null"] == "prior-mean 64.0 %" and row["alerts"] == "1 warning"
    assert row["frozen layers"] == "1 of 4" and row["date, UTC"] == "2026-11-20 09:30"
    assert row["fresh items"] == formats.signed(genome.retest_score - genome.search_score, 3)
    assert row["method"] == genome.method and row["seed"] == str(genome.seed)
    assert all(len(row.keys) == len(row.cells) for row in table.rows) and table.sortable
    last = dict(zip(table.columns, zip(table.rows[6].cells, table.rows[6].keys, strict=True), strict=True))
    assert last["child, composite"] == last["best null"] == (formats.ABSENT, None)
    assert last["verdict"][0] == "no verdict"


def test_a_single_run_is_not_sorted(runs: list[RunRecords]) -> None:
    assert not overview(runs[:1]).sortable
    assert "sortable" not in render_html(build_runs_view(runs[:1])).partition("</style>")[2]


def test_numbers_sort_as_numbers_and_ties_keep_their_order(
    browser: Browser, pages: dict[int, Path], runs: list[RunRecords]
) -> None:
    table = overview(runs)
    number = table.columns.index("child, composite")
    given = [row.cells[0] for row in table.rows]
    keys = {row.cells[0]: row.keys[number] for row in table.rows}
    scored = [name for name in given if keys[name] is not None]
    assert len(set(keys.values())) < len(scored) < len(given)  # there are ties, and runs without a score
    absent = [name for name in given if keys[name] is None]
    with visit(browser, pages[100]) as seen:
        assert column(seen.page, 0) == given and header(seen.page, "child, composite") == (number, None)
        button = seen.page.locator("#runs").get_by_role("button", name="child, composite")
        button.click()
        assert header(seen.page, "child, composite")[1] == "descending"
        assert column(seen.page, 0) == sorted(scored, key=lambda name: -(keys[name] or 0)) + absent
        button.press("Enter")
        assert header(seen.page, "child, composite")[1] == "ascending"
        up = [key for name in column(seen.page, 0) if (key := keys[name]) is not None]
        assert up == sorted(up) and column(seen.page, 0)[-len(absent) :] == absent
        button.press("Space")
        assert header(seen.page, "child, composite")[1] is None and column(seen.page, 0) == given
        assert seen.console == []


def test_texts_sort_by_letters_and_one_column_at_a_time(browser: Browser, pages: dict[int, Path]) -> None:
    with visit(browser, pages[9]) as seen:
        page = seen.page
        page.locator("#runs").get_by_role("button", name="seconds").click()
        number, _ = header(page, "seconds")
        cells = page.locator(f"#runs tbody tr > :nth-child({number + 1})")
        shown = cells.evaluate_all("cells => cells.map(cell => Number(cell.dataset.key))")
        assert shown == sorted(shown, reverse=True) and 12_000 in shown and 9 in shown
        page.locator("#runs").get_by_role("button", name="method").click()
        number, state = header(page, "method")
        assert state == "ascending" and header(page, "seconds")[1] is None
        assert column(page, number) == sorted(column(page, number))
        page.locator("#runs").get_by_role("button", name="verdict").click()
        number, state = header(page, "verdict")
        order = ["vigor", "no vigor", "below", "no verdict"]
        places = [order.index(text) for text in column(page, number)]
        assert state == "descending" and places == sorted(places) and len(set(places)) > 1


def test_without_scripts_it_is_a_table_as_given(browser: Browser, pages: dict[int, Path]) -> None:
    with visit(browser, pages[9], scripts=False) as seen:
        assert column(seen.page, 0) == [f"run-{number}" for number in range(9)]
        assert seen.page.locator("#runs button").count() == 0


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_any_number_of_runs_is_laid_out(browser: Browser, pages: dict[int, Path], count: int, scheme: str) -> None:
    with visit(browser, pages[count], scheme=scheme) as seen:
        assert seen.requests == [pages[count].as_uri()] and seen.console == []
        for width in (1280, 400):
            seen.page.set_viewport_size({"width": width, "height": 900})
            assert faults(seen.page) == [], f"at {width} pixels"
        box = seen.page.locator("#runs .scroll")
        box.evaluate("e => e.scrollLeft = 300")
        edges = box.evaluate(
            "e => [e, ...e.querySelectorAll('tbody tr:first-child > :nth-child(-n+2)')]"
            ".map(part => part.getBoundingClientRect().left)"
        )
        assert edges[0] == edges[1] > edges[2]  # the run's name stays in sight


def test_many_runs_take_a_table_and_not_a_list(runs: list[RunRecords]) -> None:
    few, many = build_runs_view(runs[:FEW]), build_runs_view(runs)
    assert len(few.verdict.answers) == FEW and len(few.tiles) == FEW - 1  # one was never compared
    assert many.verdict.answers == many.tiles == ()
    assert many.name.endswith("run-7 and 92 more") and len(many.verdict.headline) < 160
    assert len(many.alerts) < 12
    assert "comparison.json is missing in run-6, run-13, run-20" in render_text(many)
    assert len(render_html(many).encode()) < 1_000_000
    settings = build_runs_view([replace(runs[0], name="a"), replace(runs[4], name="b")]).section("settings").blocks[0]
    assert isinstance(settings, Table) and settings.columns[0] == "setting"
    settings = many.section("settings").blocks[0]
    assert isinstance(settings, Table) and settings.columns[0] == "run" and len(settings.rows) == len(runs)
