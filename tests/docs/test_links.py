"""Every link of README.md and docs/ leads somewhere, in the repository as on the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from site_tools.markdown import anchors, links
from tests.docs.pages import PAGES, ROOT

ALL = {**PAGES, "CHANGELOG.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")}


def faults(page: Path, text: str) -> list[str]:
    """The links of a page whose file or anchor is not there."""
    lost = []
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            lost.append(link)
    return lost


@pytest.mark.parametrize("page", ALL)
def test_links_of_a_page_exist(page: str) -> None:
    assert not faults(ROOT / page, ALL[page])


def test_a_lost_file_and_a_lost_anchor_are_noticed() -> None:
    text = (
        "[a](no.md) [b](glossary.md#no-such) [c](glossary.md#child) `[d](no.md)`\n\n```\n[e](no.md)\n```\n[f]: no.md\n"
    )
    assert faults(ROOT / "docs" / "mri.md", text) == ["no.md", "glossary.md#no-such", "no.md"]
