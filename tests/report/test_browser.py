"""The report in a real browser: offline, light and dark, on a telephone, by keyboard, on paper, for screen readers."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from pypdf import PdfReader

from darwin_mri.report import write_report, write_runs_report
from darwin_mri.report.renderers.html import style_sheet
from tests.report.browser import chromium, faults, visit
from tests.report.sample import write_sample
from tests.report.sample_siblings import write_siblings

HOSTILE = "<img src=x onerror=alert(1)>\"'--></style><script>alert(2)</script>\u202e{{7*7}}${8*8}한국어 이름"
PAGES = ("whole", "deep", "hostile", "bare", "siblings", "runs", "example")
EXAMPLE = Path(__file__).parents[2] / "reports" / "nursery" / "genesis" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole run, one as deep as the real pair, hostile names, eight parents, a nearly empty run, a page of runs."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [
        write_sample(folder / "whole"),
        write_sample(folder / "deep", 42, 32, languages=("ko", "en", "ja", "zh", "de", "fr", "es"), evaluations=300),
        write_sample(folder / "hostile", father=HOSTILE * 3, child=HOSTILE),
        write_siblings(folder / "siblings", 8, identity=False),
    ]
    bare = folder / "bare"
    bare.mkdir()
    (bare / "genome.json").write_bytes((runs[0] / "genome.json").read_bytes())
    for run in [*runs, bare]:
        write_report(run)
    write_runs_report(runs, folder / "runs.html")
    results = {run.name: run / "report.html" for run in [*runs, bare]}
    return results | {"runs": folder / "runs.html", "example": EXAMPLE}


@pytest.mark.parametrize(
    ("name", "scheme"),
    [*((name, "light") for name in PAGES), ("whole", "dark"), ("siblings", "dark"), ("runs", "dark")],
)
def test_opens_from_disk_offline_without_a_word(
    browser: Browser, pages: dict[str, Path], name: str, scheme: str
) -> None:
    with visit(browser, pages[name], scheme=scheme) as seen:
        assert seen.requests == [pages[name].as_uri()]  # the page itself and nothing else
        assert seen.failed == [] and seen.console == []
        assert seen.page.locator("h1").inner_text()
        ink, paper = seen.page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert (ink, paper) == {
            "light": ("rgb(27, 31, 36)", "rgb(255, 255, 255)"),
            "dark": ("rgb(231, 234, 237)", "rgb(20, 23, 26)"),
        }[scheme]  # the style sheet was applied under the page's own policy


@pytest.mark.parametrize("name", PAGES)
def test_nothing_overlaps_or_is_cut(browser: Browser, pages: dict[str, Path], name: str) -> None:
    with visit(browser, pages[name]) as seen:
        for width in (1280, 768, 400):
            seen.page.set_viewport_size({"width": width, "height": 900})
            assert faults(seen.page) == [], f"at {width} pixels"


def test_the_geometric_check_finds_faults(browser: Browser, pages: dict[str, Path]) -> None:
    """The check itself is checked: a label moved onto another, one out of its chart, and a paragraph too wide."""
    with visit(browser, pages["whole"]) as seen:
        seen.page.evaluate("""() => {
          const [a, b, c] = document.querySelectorAll('#scores .wide text.value');
          b.setAttribute('y', a.getAttribute('y'));
          c.setAttribute('x', 5000);
          document.querySelector('dd').style.whiteSpace = 'nowrap';
        }""")
        results = " ".join(faults(seen.page))
        for fault in ("texts collide", "outside 'Accuracy", "text cut or spilled"):
            assert fault in results


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("whole", 1280, "light"),
        ("whole", 1280, "dark"),
        ("whole", 400, "light"),
        ("bare", 1280, "light"),
        ("siblings", 1280, "light"),
        ("siblings", 400, "dark"),
        ("runs", 1280, "light"),
        ("runs", 400, "dark"),
    ],
)
def test_no_serious_accessibility_fault(
    browser: Browser, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    with visit(browser, pages[name], width=width, scheme=scheme) as seen:
        seen.page.evaluate("document.querySelectorAll('svg.chart > :not(title, desc)').forEach(part => part.remove())")
        seen.page.evaluate(axe)  # to a screen reader a chart is one image; its thousands of shapes would only take time
        result = seen.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            f"{fault['id']} ({fault['impact']}): {node['html'][:120]}"
            for fault in result["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]
        assert serious == []
        assert len(result["passes"]) > 10


def test_readable_without_scripts_and_with_korean_marked(browser: Browser, pages: dict[str, Path]) -> None:
    with visit(browser, pages["whole"], scripts=False) as seen:
        assert "Hybrid vigor" in seen.page.locator("h1").inner_text()
        korean = seen.page.locator("td :lang(ko)").first
        assert korean.inner_text() == "문화"
        assert seen.page.locator("svg text:lang(ko)").count() > 0
    with visit(browser, pages["whole"]) as seen:
        assert seen.page.evaluate("getComputedStyle(document.querySelector('span:lang(ko)')).wordBreak") == "keep-all"


def test_the_keyboard_reaches_everything(browser: Browser, pages: dict[str, Path]) -> None:
    with visit(browser, pages["whole"]) as seen:
        page = seen.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate("document.activeElement.getBoundingClientRect().left") > 0
        page.keyboard.press("Enter")
        assert page.url.endswith("#scores")
        page.locator("summary").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("details").first.evaluate("e => e.open")
        assert page.locator("details table").first.is_visible()


def test_hostile_names_run_nothing(browser: Browser, pages: dict[str, Path]) -> None:
    with visit(browser, pages["hostile"]) as seen:
        dialogs: list[str] = []
        seen.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        assert seen.page.evaluate("document.querySelectorAll('img, iframe, object, embed, link').length") == 0
        assert seen.page.locator("script").all_text_contents() == [style_sheet("figures.js")]
        assert "<script>alert(2)</script>" in seen.page.locator("body").inner_text()
        assert "{{7*7}}" in seen.page.locator("body").inner_text()
        assert dialogs == []


def test_the_policy_stops_what_the_page_does_not_need(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    """Were markup ever to slip through, the browser would still refuse to act on it."""
    page = pages["whole"].read_text(encoding="utf-8")
    slipped = (
        '<script>document.title = "taken"</script><img src="http://127.0.0.1:9/x">'
        '<p style="color:red" id="styled">x</p><style>#styled{font-size:99px}</style>'
    )
    broken = tmp_path / "slipped.html"
    broken.write_text(page.replace("<main>", f"<main>{slipped}", 1), encoding="utf-8")
    with visit(browser, broken) as seen:
        assert seen.page.title() != "taken"
        assert [reason.split()[-1] for reason in seen.failed] == ["csp"]
        assert seen.page.evaluate("getComputedStyle(document.getElementById('styled')).fontSize") == "16px"
        assert seen.page.evaluate("getComputedStyle(document.getElementById('styled')).color") == "rgb(27, 31, 36)"


def plain(text: str) -> str:
    """Without spaces and ligatures, which a PDF sets as it likes."""
    return "".join(unicodedata.normalize("NFKC", text).split())


@pytest.mark.parametrize("name", ["whole", "runs"])
def test_prints_with_every_chart(browser: Browser, pages: dict[str, Path], name: str) -> None:
    with visit(browser, pages[name], width=400, scheme="dark") as seen:
        page = seen.page
        shown = page.evaluate(
            "[...document.querySelectorAll('.wide svg')].map(e => [e.querySelector('title').textContent,"
            " [...e.querySelectorAll('text')].map(t => t.lastChild.textContent)])"
        )
        printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True, print_background=True)))
        text = plain("".join(part.extract_text() for part in printed.pages))
        for title, labels in shown:
            assert plain(title) in text, title
            missing = [label for label in labels if label.strip() and plain(label) not in text]
            assert len(missing) <= 0.05 * len(labels), (title, missing)
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 688, "height": 1017})  # what A4 leaves between its margins
        sizes = page.evaluate(
            "[...document.querySelectorAll('.wide svg')].map(e => e.getBoundingClientRect()).map(r => [r.width,"
            " r.height])"
        )
        assert all(0 < w <= 690 and 0 < h <= 1017 for w, h in sizes)
        assert page.locator(".narrow svg:visible").count() == 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
