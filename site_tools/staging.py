"""The folder that the site is built from: the pages of ``docs/``, those made from the code, and the files they name."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import cache
from pathlib import Path, PurePosixPath

from site_tools import commands, fields, records
from site_tools.markdown import LINK, on_prose

ROOT = Path(__file__).parents[1]
REFERENCE = {
    "reference/cli.md": commands.page,
    "reference/config.md": fields.page,
    "reference/records.md": records.page,
}
BESIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "README.md": "index.md"}
# A link or a heading as a whole, which is left alone, or a name in code with dots in it.
_WHOLE = re.compile(rf"{LINK.pattern}|^#.*$|(?<!`)`(?P<field>[a-z_]+(?:\.[a-z_]+)+)`(?!`)", re.MULTILINE)
_OUTSIDE = re.compile(r"^([a-z]+:|#)")


def pages(root: Path) -> dict[str, str]:
    """Path on the site -> path in the repository of each page that somebody has written."""
    own = {path.relative_to(root / "docs").as_posix(): path for path in (root / "docs").rglob("*.md")}
    beside = {name: root / source for source, name in BESIDE.items() if name not in own}
    return {name: path.relative_to(root).as_posix() for name, path in sorted({**own, **beside}.items())}


def stage(root: Path, out: Path) -> None:
    """Write the folder anew.

    Args:
        root: of the repository.
        out: the folder; what is in it is removed.
    """
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(root / "docs", out)
    for name, source in pages(root).items():
        text = (root / source).read_text(encoding="utf-8")
        _write(out / name, link_fields(rewrite(text, source, name, root, out), name))
    for name, make in REFERENCE.items():
        _write(out / name, make())
    for name, schema in records.schemas().items():
        _write(out / "reference" / "schemas" / name, json.dumps(schema, indent=1, ensure_ascii=False) + "\n")


def rewrite(text: str, source: str, name: str, root: Path, out: Path) -> str:
    """A page whose links lead to where their targets are on the site.

    Args:
        text: of the page.
        source: its path in the repository.
        name: its path on the site.
        root: of the repository.
        out: folder of the site's pages, where files from outside of ``docs/`` are copied to.

    Returns:
        The page.
    """

    def move(match: re.Match[str]) -> str:
        target, hash_, anchor = match[3].partition("#")
        if _OUTSIDE.match(match[3]) or not target:
            return match[0]
        there = PurePosixPath(os.path.normpath(PurePosixPath(source).parent / target))
        if not (root / there).is_file():
            return match[0]
        place = _place(there, root, out)
        relative = os.path.relpath(place, PurePosixPath(name).parent)
        return f"{match[1]}[{match[2]}]({relative}{hash_}{anchor})"

    return on_prose(text, lambda prose: LINK.sub(move, prose))


def _place(there: PurePosixPath, root: Path, out: Path) -> str:
    """Where a file of the repository is on the site; it is copied where no page has it."""
    if there.parts[0] == "docs":
        return there.relative_to("docs").as_posix()
    if there.as_posix() in BESIDE:
        return BESIDE[there.as_posix()]
    copy = out / "files" / there.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / there, copy)
    return f"files/{there.name}"


def link_fields(text: str, name: str) -> str:
    """A page whose names of config fields, such as ``search.budget`` in code, lead to the reference.

    Args:
        text: of the page.
        name: its path on the site.

    Returns:
        The page.
    """
    known = _known_fields()
    reference = os.path.relpath("reference/config.md", PurePosixPath(name).parent)

    def link(match: re.Match[str]) -> str:
        field = match["field"]
        return f"[{match[0]}]({reference}#{field})" if field in known else match[0]

    return on_prose(text, lambda prose: _WHOLE.sub(link, prose))


@cache
def _known_fields() -> frozenset[str]:
    """Dotted names of a run's fields, which are anchors of the reference."""
    return frozenset(re.findall(r'<span id="([a-z_]+\.[a-z_.]+)">', fields.page()))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
