"""The pages that a reader may begin with, and the blocks in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from site_tools.markdown import Block, blocks

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
COMMANDS = ("sh", "bash", "shell", "console", "python", "")
# The first line of a block that the tests do not run says why, to the reader too.
MARK = re.compile(r"# ((?:needs|takes) .+)")
FILE = re.compile(r"# ([\w./-]+\.ya?ml)\b")
CAPITALS = re.compile(r"(?<![a-z.])[A-Z][A-Z0-9-]*(?![a-z])")


def command_blocks(page: str) -> list[Block]:
    """What a reader types: shell and Python."""
    return [block for block in blocks(PAGES[page]) if block.language in COMMANDS]


def mark(block: Block) -> str:
    """Why the tests only look at a block: its first line; empty where they run it."""
    found = MARK.match(block.text)
    return found[1] if found else ""


def words(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block, in words, without comments."""
    joined = block.text.replace("\\\n", " ")
    for line in joined.splitlines():
        if found := shlex.split(line, comments=True):
            yield found
