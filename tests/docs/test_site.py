"""The built site: no warning, no lost link, nothing from another server. Skipped without the extra ``docs``."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from site_tools.staging import pages, stage
from tests.docs.pages import ROOT

needs_zensical = pytest.mark.skipif(find_spec("zensical") is None, reason="needs pip install 'darwin-mri[docs]'")
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.loaded: list[str] = []
        self.ids: Counter[str] = Counter()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if (name := given.get("id")) is not None:
            self.ids[name] += 1
        if tag == "a" and (href := given.get("href")):
            self.hrefs.append(href)
        if tag in LOADED and (source := given.get(LOADED[tag])) and given.get("rel") != "canonical":
            self.loaded.append(source)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copyfile(ROOT / "mkdocs.yml", folder / "mkdocs.yml")
    stage(ROOT, folder / "build" / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    assert done.returncode == 0 and "Warning" not in said and "Error" not in said, said
    return folder / "site"


@needs_zensical
def test_links_and_anchors_of_the_site_exist_and_nothing_comes_from_elsewhere(site: Path) -> None:
    built = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(built) > 40
    lost = []
    for path, page in built.items():
        for href in page.hrefs:
            parts = urlsplit(href)
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme or parts.path.startswith("/"):
                continue
            if not there.exists() or (parts.fragment and there in built and parts.fragment not in built[there].ids):
                lost.append(f"{path.relative_to(site)}: {href}")
        lost += [f"{path.relative_to(site)}: loads {source}" for source in page.loaded if "//" in source]
        lost += [f"{path.relative_to(site)}: two of #{name}" for name, times in page.ids.items() if times > 1]
    assert not lost


@needs_zensical
def test_every_page_is_on_the_site_and_in_its_menu(site: Path) -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": ([\w/-]+\.md)$", config, re.MULTILINE))
    own = {*pages(ROOT), "reference/cli.md", "reference/config.md", "reference/records.md"}
    without_menu = {name for name in own - named if not name.startswith("decisions/")} - {"reference/README.md"}
    assert named <= own and not without_menu
    assert all((site / name).with_suffix(".html").is_file() or name.endswith("README.md") for name in own)


def test_the_config_names_no_other_server() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    plain = yaml.safe_load(re.sub(r"!!python\S+ \{.*\}", "null", text))
    assert plain["theme"]["font"] is False and "//" not in text.replace("http://", "")
