"""Charts as files: whole SVG, in light colours, the same from the page's buttons as from the command line."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from darwin_mri.errors import InputError
from darwin_mri.report import build_view, load_run, render_html, write_figures
from darwin_mri.report.renderers.figures import charts_of, file_name
from tests.report.browser import chromium, visit
from tests.report.sample import write_sample
from tests.report.sample_siblings import write_siblings

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</style><script>alert(1)</script>&\"'\x1b ../../한국어"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module", params=["two", "eight", "hostile"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A page, the folder of its figures as the command writes them, and their names in order."""
    folder = tmp_path_factory.mktemp("figures")
    run = {
        "two": lambda: write_sample(folder / "run"),
        "eight": lambda: write_siblings(folder / "run", 8, identity=False),
        "hostile": lambda: write_sample(folder / "run", 3, 2, evaluations=10, father=HOSTILE, child=HOSTILE),
    }[request.param]()
    view = build_view(load_run(run))
    (folder / "page.html").write_text(render_html(view), encoding="utf-8")
    names = write_figures(view, folder / "figures")
    assert len(names) == len(charts_of(view)) == len(set(names))
    return folder / "page.html", folder / "figures", names


def check(text: str) -> ET.Element:
    """An SVG that can stand alone: well formed, named, described, with its own styles, and pointing to nothing."""
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg" and root.get("width") and root.get("viewBox")
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and description is not None and title.text and description.text
    assert (root.get("aria-labelledby") or "").split() == [title.get("id"), description.get("id")]
    (style,) = root.iter(f"{SVG}style")
    assert style.text and "var(" not in style.text and "url(" not in style.text and "@" not in style.text
    assert {tag for e in root.iter() if (tag := e.tag.removeprefix(SVG)) not in ("svg", "style", "title", "desc")} <= {
        *("g", "path", "circle", "text", "rect", "line", "tspan")
    }
    assert not [name for e in root.iter() for name in e.attrib if "href" in name or name.startswith("on")]
    assert not [
        value for e in root.iter() for value in e.attrib.values() if "//" in value
    ]  # a name's text may hold one
    return root


def picture(page: Page, file: Path) -> bytes:
    """The file as the browser shows it when it is opened by itself."""
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.localName") == "svg"
    return page.screenshot()


def test_each_file_stands_alone(case: tuple[Path, Path, list[str]]) -> None:
    _, folder, names = case
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for name in names:
        check((folder / name).read_text(encoding="utf-8"))


def test_a_click_saves_what_the_command_writes(
    browser: Browser, case: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    page, folder, names = case
    with visit(browser, page, scheme="dark") as seen, visit(browser, page) as other:
        buttons = seen.page.locator("button.save")
        assert buttons.count() == len(names)
        for number, name in enumerate(names):
            with seen.page.expect_download() as started:
                buttons.nth(number).click() if number % 2 else buttons.nth(number).press("Enter")
            assert started.value.suggested_filename == name
            started.value.save_as(tmp_path / name)
            mine = check((tmp_path / name).read_text(encoding="utf-8"))
            theirs = check((folder / name).read_text(encoding="utf-8"))
            assert [e.text for e in mine.iter() if e.tag != f"{SVG}style"] == [
                e.text for e in theirs.iter() if e.tag != f"{SVG}style"
            ]
            assert picture(other.page, tmp_path / name) == picture(other.page, folder / name)
        assert seen.console == [] and seen.failed == []


def test_a_file_looks_as_on_the_page(browser: Browser, case: tuple[Path, Path, list[str]]) -> None:
    """Every shape has the colours and every text the size that it has on the light page."""
    page, folder, names = case
    styles = """root => [...root.querySelectorAll('path, circle, text')].map(e => {
      const style = getComputedStyle(e);
      const font = e.localName === 'text' ? [style.fontSize, style.fontWeight] : [];
      return [style.fill, style.stroke, style.strokeWidth, style.strokeDasharray, style.fillOpacity, ...font];
    })"""
    with visit(browser, page) as seen, visit(browser, page) as other:
        for number, name in enumerate(names):
            other.page.goto((folder / name).as_uri())
            shown = seen.page.locator(".wide svg").nth(number).evaluate(styles)
            assert shown and other.page.locator(":root").evaluate(styles) == shown
            assert (
                other.page.locator(":root").evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
            )


def test_without_scripts_there_is_no_button(browser: Browser, case: tuple[Path, Path, list[str]]) -> None:
    with visit(browser, case[0], scripts=False) as seen:
        assert seen.page.locator("figure svg:visible").count() > 0
        assert seen.page.get_by_text("SVG", exact=True).count() == 0


def test_names_of_files_are_plain() -> None:
    assert file_name("opus · david · genesis") == "opus-david-genesis"
    assert file_name("../../etc/passwd") == "etc-passwd" and file_name("한국어 모델") == "한국어-모델"
    assert file_name("\u202e/") == "report" and len(file_name("x" * 300)) == 60


def test_the_command_says_how_many(tmp_path: Path) -> None:
    run = write_sample(tmp_path / "genesis", 2, 2, evaluations=10)
    command = [sys.executable, "-m", "darwin_mri", "report", str(run), "--figures", str(tmp_path / "new" / "figures")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    files = list((tmp_path / "new" / "figures").glob("genesis-nursery-*.svg"))
    assert files and f"written: {len(files)} figures as SVG in" in done.stderr
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="--figures"):
        write_figures(build_view(load_run(run)), blocked)
    refused = subprocess.run([*command, "--push", "a/b"], capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2 and "--figures" in refused.stderr
