"""What Markdown pages hold: fenced blocks, links, anchors; and tables to write into one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*(\S*)")
_CODE = re.compile(r"(`+)(?:.*?)\1")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+(?:\([^()]*\))?)\)")
_MARKS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: behind the fence; empty where there is none.
        text: without the fences.
        line: of the opening fence, from 1.
    """

    language: str
    text: str
    line: int


def split(text: str) -> Iterator[tuple[str, Block | None]]:
    """The page in pieces: each line of prose with None, each fenced block as it stands with what it holds."""
    lines = text.splitlines(keepends=True)
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            yield lines[at], None
            at += 1
            continue
        indent, ticks, language = fence.groups()
        end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == ticks), len(lines) - 1)
        inner = "".join(line.removeprefix(indent) for line in lines[at + 1 : end])
        yield "".join(lines[at : end + 1]), Block(language, inner, at + 1)
        at = end + 1


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [block for _, block in split(text) if block is not None]


def prose(text: str) -> str:
    """The page without fenced blocks and code spans."""
    return "".join(_CODE.sub("`code`", piece) for piece, block in split(text) if block is None)


def on_prose(text: str, change: Callable[[str], str]) -> str:
    """The page with its prose changed, each run of it between two fenced blocks at once."""
    runs = groupby(split(text), lambda piece: piece[1] is None)
    return "".join(
        change(whole) if is_prose else whole for is_prose, whole in ((k, "".join(p for p, _ in run)) for k, run in runs)
    )


def links(text: str) -> list[str]:
    """The targets of links and pictures, those by reference too."""
    plain = prose(text)
    return [*(match[3] for match in LINK.finditer(plain)), *re.findall(r"^\[[^\]]+\]: (\S+)", plain, re.MULTILINE)]


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and the site make it."""
    plain = LINK.sub(r"\2", heading).replace("`", "").replace("*", "")
    return _MARKS.sub("", plain.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """The anchors of a page: its headings', and those that it names."""
    found: list[str] = []
    for piece, block in split(text):
        if block is None and (heading := re.match(r"#{1,6} (.*)", piece)):
            named = re.search(r"\{ *#([\w.-]+) *\}\s*$", heading[1])
            name = named[1] if named else slug(heading[1])
            seen = sum(1 for other in found if other == name or re.fullmatch(re.escape(name) + r"-\d+", other))
            found.append(f"{name}-{seen}" if seen and not named else name)
    return {*found, *re.findall(r'\bid="([^"]+)"', text)}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, its cells' bars escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def plain(text: str) -> str:
    """Help or a docstring as Markdown: stars, underscores and brackets stay as they are, pages of docs/ are linked."""
    text = re.sub(r"(`[^`]*`)|([*_<])", lambda match: match[1] or "\\" + match[2], text.replace("``", "`"))
    return re.sub(r"docs/(\w+)\.md", r"[\1](../\1.md)", text)
