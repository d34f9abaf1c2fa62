"""The HTML report: self-contained, deterministic, safe, and complete whatever is missing."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from darwin_mri.records import Comparison
from darwin_mri.report import View, build_view, formats, load_run, render_html, render_text, write_report
from darwin_mri.report.charts import HeatMap, colours
from darwin_mri.report.model.elements import Figure
from darwin_mri.report.renderers.html import style_sheet
from darwin_mri.report.sections.glossary import TERMS
from tests.report.sample import FILES, write_sample
from tests.report.sample_scores import make_comparison

CHARTS = 16  # each drawn wide and narrow
QUOTED_NONE = "'none'"
HOSTILE = "<script>alert(1)</script>\"'[red]&{{ 7*7 }}|`\x1b[31m\u202e"


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, text, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def html(view: View) -> str:
    return render_html(view)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of few layers, to be copied and spoilt."""
    return write_sample(tmp_path_factory.mktemp("small") / "genesis", 3, 2, evaluations=20)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    folders = [write_sample(tmp_path / name) for name in ("one", "two")]
    for folder in folders:
        write_report(folder)
    write_report(folders[0])
    for name in ("report.html", "report.txt", "card.md", "card.svg"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_every_tag_is_closed_and_ids_are_unique(page: Page) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_one_style_sheet_its_own_scripts_and_nothing_else(page: Page, html: str) -> None:
    policy = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == sum(tag == "script" for tag, _ in page.tags)
    allowed = f"style-src {source(style[1])}; script-src {' '.join(map(source, scripts)) or QUOTED_NONE}"
    assert policy == [f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"]
    assert not {"link", "iframe", "object", "embed", "img"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "style" not in attributes, tag
        assert not {"src", "srcset", "action", "data"} & set(attributes), tag
        assert (attributes.get("href") or "#").startswith("#"), tag


def test_nothing_points_to_another_host(html: str) -> None:
    assert set(re.findall(r"https?://[^\s\"'<>)]+", html)) == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert "url(" not in html and "@import" not in html


def test_words_are_explained_and_the_head_links_to_them(page: Page, view: View) -> None:
    assert "#glossary" in [a.get("href") for tag, a in page.tags if tag == "a" and a.get("href") != "#verdict"]
    assert view.sections[-1].key == "glossary"
    for term, explanation in TERMS.items():
        assert term in page.text and explanation in page.text
        assert term in render_text(view)


def test_sections_stand_in_the_order_of_the_design(page: Page) -> None:
    keys = [a["id"] for tag, a in page.tags if tag == "section"]
    assert keys == [
        "verdict",
        "alerts",
        "scores",
        "contrasts",
        "mri",
        "language",
        "similarity",
        "genome",
        "evolution",
        "fresh",
        "slices",
        "items",
        "genealogy",
        "provenance",
        "limits",
        "glossary",
    ]


def test_every_score_of_the_record_is_printed(page: Page, run: Path) -> None:
    for score in Comparison.load(run / "comparison.json").scores:
        printed = formats.score(score) if score.slice == "all" else formats.percent(score.value)
        assert " ".join(printed.split()) in page.text


def test_every_difference_is_printed(page: Page, run: Path) -> None:
    for contrast in Comparison.load(run / "comparison.json").contrasts:
        assert formats.difference(contrast) in page.text


def test_charts_have_a_name_a_description_and_a_table(html: str, page: Page) -> None:
    drawn = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawn) == 2 * CHARTS
    for chart in drawn:
        assert re.match(
            r'<svg class="chart" role="img" aria-labelledby="(\S+)-t \1-d".*?'
            r'<title id="\1-t">[^<]+</title><desc id="\1-d">[^<]+',
            chart,
        )
    for figure in re.findall(r"<figure>.*?</figure>", html, re.DOTALL):
        assert "<table>" in figure
    assert all(a.get("scope") in ("col", "row") for tag, a in page.tags if tag == "th")
    assert all(a.get("tabindex") == "0" for _, a in page.tags if a.get("class") == "scroll")


def test_heat_map_cells_say_their_number(html: str) -> None:
    assert re.search(r"<title>0, ko: \+\d+\.\d %</title>", html)
    assert re.search(r"<title>0, 0: 0\.\d\d</title>", html)


@pytest.mark.parametrize("field", ["father", "child"])
def test_hostile_names_are_text(tmp_path: Path, field: str) -> None:
    names: dict[str, Any] = {field: HOSTILE}
    html = render_html(build_view(load_run(write_sample(tmp_path / "run", **names))))
    page = Page(html)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert scripts == [style_sheet("figures.js")] and sum(tag == "script" for tag, _ in page.tags) == 1
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\x1b" not in html and "\u202e" not in html


@pytest.mark.parametrize("name", FILES)
def test_each_missing_part_still_renders_and_is_named(tmp_path: Path, small: Path, name: str) -> None:
    folder = tmp_path / "genesis"
    shutil.copytree(small, folder)
    shutil.rmtree(folder / name) if name.endswith("/") else (folder / name).unlink()
    view = write_report(folder)
    assert name in [part.file for part in view.missing]
    assert name in Page((folder / "report.html").read_text(encoding="utf-8")).text
    assert name in (folder / "report.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("kept", [None, *FILES])
def test_one_part_alone_renders(tmp_path: Path, small: Path, kept: str | None) -> None:
    folder = tmp_path / "genesis"
    folder.mkdir()
    if kept:
        (folder / kept).parent.mkdir(exist_ok=True)
        (shutil.copytree if kept.endswith("/") else shutil.copy)(small / kept, folder / kept)
    view = write_report(folder)
    assert len(view.missing) == len(FILES) - bool(kept)
    assert view.verdict.headline in (folder / "report.html").read_text(encoding="utf-8")


def test_a_damaged_record_is_an_alert_without_folders(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "run")
    (folder / "prior.json").write_text('{"schema": 1, "preset"', encoding="utf-8")
    with (folder / "ledger.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"evaluation": 60, "gener')
    html = render_html(build_view(load_run(folder)))
    assert "prior.json cannot be read as JSON" in html and "1 of 61 lines" in html
    assert str(tmp_path) not in html


def test_no_absolute_path_is_shown(html: str) -> None:
    assert "/home/someone" not in html and "…/it" in html


def test_the_page_stays_small(tmp_path: Path, html: str) -> None:
    assert len(html.encode()) < 500_000
    languages = ("ko", "en", "ja", "zh", "de", "fr", "es")
    deep = write_sample(tmp_path / "deep", 64, 64, languages=languages, evaluations=2000)
    write_report(deep)
    assert (deep / "report.html").stat().st_size < 2_000_000


def test_parents_of_one_layer_are_drawn_and_paired(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "tiny", layers=1, mother_layers=1)
    view = write_report(folder)
    (rise,) = [
        block.chart
        for block in view.section("mri").blocks
        if isinstance(block, Figure) and block.chart.key == "fig-rise"
    ]
    assert isinstance(rise, HeatMap) and [len(panel.rows) for panel in rise.panels] == [1, 1]
    assert [(father, mother) for father, mother, _ in rise.links] == [(0, 0)]
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.open == [] and "Layer map" in page.text


def test_colours_can_be_told_from_the_paper() -> None:
    css = (Path(formats.__file__).parent / "templates/report.css").read_text(encoding="utf-8")
    light, dark = css[: css.index("@media")], css[css.index("@media") : css.index("* {")]
    for part in (light, dark):
        palette = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", part))
        for name in ("father", "mother", "child", "base", "null", "baseline"):
            assert colours.contrast(palette[name], palette["paper"]) >= 3
        for name in ("ink", "soft", "good", "bad", "warn", "link"):
            assert colours.contrast(palette[name], palette["paper"]) >= 4.5


def test_text_on_heat_maps_can_be_read() -> None:
    for step in range(101):
        for scale in (colours.CIVIDIS, colours.DIVERGING):
            fill = colours.colour(step / 100, scale)
            ink = "#ffffff" if colours.ink_on(fill) == "on-dark" else "#111111"
            assert colours.contrast(fill, ink) >= 4


def test_published_scores_are_hollow_and_untested(html: str) -> None:
    comparison = make_comparison()
    row = next(s for s in comparison.scores if s.evidence == "published")
    assert 'class="mark baseline hollow"' in html
    assert f"{row.model}: 79.4 %  published" in html
    assert not [c for c in comparison.contrasts if c.against(row)] and f"{formats.MINUS} {row.model}" not in html
