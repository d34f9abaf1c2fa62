"""A real browser for the report: headless Chromium driven by Playwright, and visible faults measured in pixels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Where the system's Chromium is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium; the test is skipped where there is none (Debian: apt-get install chromium)."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on this machine: install Debian's package chromium to test the report in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page opened from disk with the network off, and what the browser had to say about it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)


@contextmanager
def visit(
    browser: Browser, file: Path, *, width: int = 1280, scheme: Any = "light", scripts: bool = True
) -> Iterator[Visit]:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, java_script_enabled=scripts
    )
    seen = Visit(context.new_page())
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("requestfailed", lambda request: seen.failed.append(f"{request.url} {request.failure}"))
    seen.page.on("console", lambda message: seen.console.append(message.text))
    seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
    seen.page.goto(file.as_uri())
    yield seen
    context.close()


# Everything a reader would see as broken: text outside its chart or the window, texts on one another, marks on texts,
# text cut off. Slanted labels are left out of the pairs, since their upright boxes say nothing about them.
FAULTS = r"""
() => {
  const faults = [];
  const seen = e => e.checkVisibility() && e.getClientRects().length > 0;
  const say = (what, e, more) => {
    const text = e.textContent.trim().slice(0, 60);
    faults.push(`${what}: <${e.localName} ${e.className.baseVal ?? e.className}> "${text}" ${more || ""}`);
  };
  const box = e => e.getBoundingClientRect();
  const overlap = (a, b) => Math.min(
    Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) faults.push(`page is ${root.scrollWidth} wide in a window of ${innerWidth}`);
  for (const chart of document.querySelectorAll("svg.chart")) {
    if (!seen(chart)) continue;
    const frame = box(chart);
    const title = chart.querySelector("title").textContent;
    const texts = [...chart.querySelectorAll("text")];
    for (const text of texts) {
      const b = box(text);
      const beside = b.left < Math.max(frame.left, 0) - 3 || b.right > Math.min(frame.right + 3, innerWidth);
      if (beside || b.bottom > frame.bottom + 3 || b.top < frame.top - 3) {
        const [l, r, first, last] = [b.left, b.right, frame.left, frame.right].map(x => x.toFixed());
        say(`outside '${title}'`, text, `${l}-${r} of ${first}-${last}`);
      }
    }
    const level = texts.filter(t => !(t.getAttribute("transform") || "").includes("rotate")).map(t => [t, box(t)]);
    level.sort((a, b) => a[1].top - b[1].top);
    for (let i = 0; i < level.length; i++)
      for (let j = i + 1; j < level.length && level[j][1].top < level[i][1].bottom; j++)
        if (overlap(level[i][1], level[j][1]) > 2.5)
          say(`texts collide in '${title}'`, level[i][0], `and "${level[j][0].textContent}"`);
    for (const mark of chart.querySelectorAll(".mark")) {
      const m = box(mark);
      for (const [text, b] of level) if (overlap(m, b) > 2.5) say(`mark on text in '${title}'`, text);
    }
  }
  for (const e of document.querySelectorAll("main *, header *, nav *, footer *")) {
    if (e.closest("svg") || !seen(e)) continue;
    const style = getComputedStyle(e);
    const scrolls = e.closest(".scroll, pre");
    const spills = e.scrollWidth > e.clientWidth + 1;
    if (!scrolls && spills && e.clientWidth > 0 && style.display !== "inline") say("text cut or spilled", e);
    if (!scrolls && box(e).right > innerWidth + 1) say("beyond the window", e);
    if (scrolls && e === scrolls && spills && e.tabIndex < 0) say("scrolls without keyboard", e);
  }
  const lists = "main, .tiles, .tiles li, .answers, .answers div, .terms, .terms div, .alerts, .alerts li";
  for (const list of document.querySelectorAll(`${lists}, section, figure, nav ol, header`)) {
    const parts = [...list.children].filter(seen);
    for (let i = 0; i + 1 < parts.length; i++)
      if (overlap(box(parts[i]), box(parts[i + 1])) > 2.5) say("parts collide", parts[i]);
  }
  return faults;
}
"""


def faults(page: Page) -> list[str]:
    """What a reader would see as broken on the page as it is now."""
    return page.evaluate(FAULTS)
