"""The picture of a model card: 1200 by 630, all of it in sight, the verdict with what speaks against it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from darwin_mri.records import Alert
from darwin_mri.report import RunRecords, build_view, load_run, render_card, render_social_card, write_report
from tests.report.browser import ARGUMENTS, chromium, find_chromium
from tests.report.sample import write_sample
from tests.report.sample_siblings import write_siblings
from tests.report.test_figures import HOSTILE, check

GEOMETRY = """() => {
  const boxes = [...document.querySelectorAll('text, .mark, path')].map(e => [e, e.getBoundingClientRect()]);
  const faults = boxes.filter(([_, b]) => b.left < 40 || b.right > 1160 || b.top < 20 || b.bottom > 610);
  const texts = boxes.filter(([e]) => e.localName === 'text');
  for (const [i, [a, x]] of texts.entries()) for (const [b, y] of texts.slice(i + 1)) {
    const across = Math.min(x.right, y.right) - Math.max(x.left, y.left);
    const down = Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top);
    if (across > 1 && down > 3) faults.push([a, x]);
  }
  return faults.map(([e, b]) => [e.textContent, b.left, b.right, b.top, b.bottom]);
}"""
CASES: dict[str, Any] = {
    "two": lambda folder: write_sample(folder),
    "deep": lambda folder: write_sample(folder, 42, 32, evaluations=20),
    "eight": lambda folder: write_siblings(folder, 8),
    "long": lambda folder: write_sample(folder, 3, 2, evaluations=10, father="한국어" * 200, child="W" * 400),
    "hostile": lambda folder: write_sample(folder, 3, 2, evaluations=10, father=HOSTILE, child=HOSTILE),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def shown(picture: str) -> list[str]:
    """Texts of a picture from top to bottom."""
    return ["".join(e.itertext()) for e in check(picture).iter() if e.tag.endswith("}text")]


@pytest.mark.parametrize("name", CASES)
def test_everything_is_in_sight(browser: Browser, tmp_path: Path, name: str) -> None:
    write_report(CASES[name](tmp_path / "run"))
    page = browser.new_page(viewport={"width": 1200, "height": 630})
    page.goto((tmp_path / "run" / "card.svg").as_uri())
    assert page.evaluate("[innerWidth, document.documentElement.getBoundingClientRect().width]") == [1200, 1200]
    assert page.evaluate(GEOMETRY) == []
    page.close()


@pytest.mark.parametrize("count", [2, 4])
def test_it_says_what_the_page_says(tmp_path: Path, count: int) -> None:
    view = build_view(load_run(write_sample(tmp_path / "r") if count == 2 else write_siblings(tmp_path / "r", count)))
    texts = shown(render_social_card(view))
    assert texts[1] == view.name and texts[2] == view.verdict.headline
    assert "66.8 % [62.3, 71.3]" in texts and "61.4 % [56.7, 66.1]" in texts
    assert view.metadata is not None
    for kin in view.metadata.kin:
        if kin.role != "base":
            assert any(text.startswith(kin.role) and text.endswith(kin.ref) for text in texts)
    assert texts[-1].startswith("Share of the mother" if count == 2 else "Share of each other parent")


def test_a_serious_alert_stands_under_the_verdict(view: Any) -> None:
    assert not [text for text in shown(render_social_card(view)) if text.startswith("Serious")]
    alert = Alert(level="serious", text="A null child does as well.")
    texts = shown(render_social_card(replace(view, alerts=(alert, alert))))
    assert texts[3] == "Serious  (1 more): A null child does as well."


def test_the_card_shows_it_with_words(view: Any) -> None:
    card = render_card(view)
    line = next(line for line in card.splitlines() if line.startswith("!["))
    assert line.endswith("](card.svg)") and "66.8 %" in line and "Hybrid vigor" in line


def test_a_run_without_scores_has_a_picture_too(tmp_path: Path) -> None:
    assert "No verdict" in " ".join(shown(render_social_card(build_view(RunRecords("it")))))
    run = write_sample(tmp_path / "run", 3, 2, evaluations=10)
    (run / "comparison.json").unlink()
    texts = shown(render_social_card(build_view(load_run(run))))
    assert any(text.startswith("mother") for text in texts) and not any("[" in text for text in texts)


def test_a_browser_makes_a_png_of_it(tmp_path: Path) -> None:
    """The command of docs/report.md."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on this machine")
    run = write_sample(tmp_path / "run", 3, 2, evaluations=10)
    write_report(run)
    png = tmp_path / "card.png"
    size = ["--window-size=1200,630", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [path, *ARGUMENTS, f"--screenshot={png}", *size, (run / "card.svg").as_uri()]
    subprocess.run(command, capture_output=True, timeout=100, check=True)
    head = png.read_bytes()[:24]
    assert head[1:4] == b"PNG" and [int.from_bytes(head[i : i + 4], "big") for i in (16, 20)] == [1200, 630]
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
