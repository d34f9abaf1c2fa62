"""Names and messages from outside, whatever they hold, stay text: in every field, in all three renderers."""

from __future__ import annotations

import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from darwin_mri.report import (
    RunRecords,
    build_runs_view,
    build_view,
    formats,
    load_run,
    print_report,
    render_card,
    render_html,
    render_social_card,
)
from darwin_mri.report.renderers.card import PICTURE
from darwin_mri.report.renderers.html import mark_languages, style_sheet
from tests.report.sample import write_sample
from tests.report.test_figures import check

TAGS = {
    "a",
    "b",
    "body",
    "caption",
    "circle",
    "code",
    "dd",
    "desc",
    "details",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "g",
    "h1",
    "h2",
    "head",
    "header",
    "html",
    "li",
    "main",
    "meta",
    "nav",
    "ol",
    "p",
    "path",
    "pre",
    "section",
    "small",
    "span",
    "style",
    "summary",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "th",
    "thead",
    "title",
    "tr",
    "ul",
}
ATTRIBUTES = {
    "aria-hidden",
    "aria-label",
    "aria-labelledby",
    "charset",
    "class",
    "content",
    "cx",
    "cy",
    "d",
    "data-file",
    "data-key",
    "fill",
    "height",
    "href",
    "http-equiv",
    "id",
    "lang",
    "name",
    "r",
    "role",
    "scope",
    "stroke",
    "stroke-width",
    "tabindex",
    "text-anchor",
    "transform",
    "viewbox",
    "width",
    "x",
    "xmlns",
    "y",
}
WORST = [
    "</script><script>alert(1)</script>",
    "\"' onmouseover=alert(1) x='",
    "<!--",
    "]]>",
    "&lt;b&gt;",
    "{{ 7 * 7 }}{% raw %}",
    "</style></svg></table></body>",
    "[bold red]x[/]",
    "\x1b[2J\x1b]8;;http://x\x07",
    "\u202eevil\u2066\u200b",
    "한국어 이름 <b>",
    "日本語の名前",
    "a" * 10_000,
    "한" * 10_000,
    "\n- # |x| \r\n",
]
SCRIPTS = ("sort.js", "figures.js")
names = st.one_of(st.sampled_from(WORST), st.text(min_size=1, max_size=60))


class Words(HTMLParser):
    """Text and attribute values of a page, and every tag and attribute that is not one of ours."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.foreign: list[str] = []
        for script in SCRIPTS:  # our own, to the letter; any other one is foreign
            page = page.replace(f"<script>{style_sheet(script)}</script>", "")
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.foreign += [tag] if tag not in TAGS else []
        self.foreign += [f"{tag} {name}" for name, _ in attrs if name not in ATTRIBUTES]
        self.words += [value for _, value in attrs if value]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.foreign.append(f"comment {data}")

    def handle_pi(self, data: str) -> None:
        self.foreign.append(f"instruction {data}")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every JSON record of a small run, by file name; ledger and answers by their lines."""
    folder = write_sample(tmp_path_factory.mktemp("hostile") / "run", 2, 2, evaluations=10)
    by_file: dict[str, Any] = {}
    for path in sorted(folder.rglob("*.json*")):
        text = path.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
        by_file[path.relative_to(folder).as_posix()] = lines
    return by_file


LITERAL = {"evidence", "split", "level", "other"}  # another word there is no record at all
JOINTS = {"role", "name", "benchmark", "status", "key", "gene"}  # words by which records find one another


def renamed(value: Any, name: str, kept: set[str], key: str = "") -> Any:
    """The record with every string outside the ``kept`` fields, and every key a user chose, replaced by ``name``."""
    if isinstance(value, str):
        return value if key in kept else name
    if isinstance(value, list):
        return [renamed(part, name, kept, "" if isinstance(part, dict) else key) for part in value]
    if isinstance(value, dict):
        free = key in {
            "sensitivity",
            "raw_rise",
            "specific_neurons",
            "alignment",
            "importance",
            "channels",
            "weights",
            "config",
            "shards",
            "versions",
            "nulls",
            "genes",
            "seconds",
            "scores",
        }
        parts: dict[str, Any] = {}
        for number, (k, part) in enumerate(value.items()):
            parts[f"{name}{number}" if free and number == 0 else k] = renamed(part, name, kept, k)
        return parts
    return value


def write(records: dict[str, Any], folder: Path, name: str, kept: set[str]) -> Path:
    for file, data in records.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        changed = renamed(data, name, kept)
        text = "\n".join(map(json.dumps, changed)) if isinstance(data, list) else json.dumps(changed)
        path.write_text(text, encoding="utf-8", errors="replace")
    return folder


@settings(max_examples=8)
@given(name=names, joints=st.booleans())
@example(name=WORST[0], joints=False)
@example(name=WORST[0], joints=True)
@example(name=WORST[1], joints=True)
@example(name="a" * 10_000, joints=True)
@example(name="a" * 10_000, joints=False)
@example(name="\u202e" + "ن" * 200 + "<img src=x>", joints=False)
def test_any_name_anywhere_is_text(
    records: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, name: str, joints: bool
) -> None:
    kept = LITERAL | JOINTS if joints else LITERAL
    run = load_run(write(records, tmp_path_factory.mktemp("run"), name, kept))
    assert run.problems == ()  # the names reached the report
    view = build_view(run)
    shown = formats.clean(formats.brief(name.encode(errors="replace").decode()))
    for text in (render_html(view), render_html(build_runs_view([run, run], ["a", "b"]))):
        page = Words(text)
        assert page.foreign == []
        assert not any(c in text for c in "\x1b\u202e\u2066\x07")
        assert "".join(shown.split()) in "".join("".join(page.words).split())
        assert len(text) < 1_000_000  # 240 items whose keys are cut to 350 characters make half of it
    console = Console(file=io.StringIO(), width=100, color_system=None, _environ={})
    print_report(console, view)
    assert isinstance(console.file, io.StringIO) and "\x1b" not in console.file.getvalue()
    check(render_social_card(view))
    front, body = render_card(view).split("\n---\n", 1)
    assert "\n---" not in front
    assert {tag for tag in _markup(body) if tag not in ("<details>", "<summary>", "</summary>", "</details>")} == set()


def _markup(card: str) -> set[str]:
    """Every piece of raw HTML, link and image that a Markdown reader finds, those of our own usage section left out."""
    markup: set[str] = set()
    for token in MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(card):
        pieces = [token, *(token.children or [])]
        for piece in pieces:
            if piece.type in ("html_block", "html_inline"):
                markup |= set(re.findall(r"<[^>]*>?", piece.content))
            address = str(piece.attrs.get("href", piece.attrs.get("src", "")))
            if address not in ("", PICTURE) and not address.startswith(
                ("https://huggingface.co/docs", "https://docs.")
            ):
                markup.add(address)
    return markup


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from('한국어 이름 かな漢字<>&"')), max_size=60))
def test_marking_a_language_changes_no_character(text: str) -> None:
    marked = str(mark_languages(text))
    assert html.unescape(re.sub(r'<span lang="(ko|ja)">|</span>', "", marked)) == formats.clean(text)
    assert marked.count("<span lang=") == marked.count("</span>")


@given(st.text(max_size=2000), st.text(max_size=2000))
def test_cut_names_stay_different_and_short(one: str, other: str) -> None:
    assert len(formats.brief(one)) <= 350
    if one != other:
        assert formats.brief(one) != formats.brief(other)


def test_a_long_name_is_cut_on_the_page_only(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "run", 2, 2, father="x" * 10_000, evaluations=10)
    run = load_run(folder)
    assert run.father is not None and len(run.father.model.ref) < 350
    assert "x" * 10_000 in (folder / "scan/father.json").read_text(encoding="utf-8")
    assert "cut: 10000 characters" in render_html(build_view(run))


def test_a_run_without_anything_has_a_page() -> None:
    assert Words(render_html(build_view(RunRecords("it")))).foreign == []
    assert Words(render_html(build_runs_view([RunRecords("it")]))).foreign == []
