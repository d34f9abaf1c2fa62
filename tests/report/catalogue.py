"""The texts of the sources that a catalogue translates: ``python -m tests.report.catalogue ko`` brings one up to date.

Texts that are new in the sources are added without a translation, and those that no source has any more are dropped.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jinja2.ext import babel_extract

import darwin_mri
from darwin_mri.translation import CONTEXT, read_po

PACKAGE = Path(darwin_mri.__file__).parent
CATALOGUES = PACKAGE / "translations"
HEADER = """# Words of darwin_mri's report. English whole sentences are the keys; {names} in braces stay as they are.
# Brought up to date by: python -m tests.report.catalogue LANGUAGE
msgid ""
msgstr ""
"Language: %s\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"
"""


class Source(NamedTuple):
    """A text to translate: its plural and its context where it has them, and the first file that has it."""

    one: str
    many: str
    context: str
    file: str

    @property
    def key(self) -> str:
        """What the catalogue knows it by."""
        key = self.many or self.one
        return f"{self.context}{CONTEXT}{key}" if self.context else key


def sources() -> dict[str, Source]:
    """Every text that goes through ``say`` and its kin, by key, in the order of the files."""
    found: dict[str, Source] = {}
    for path in [*sorted(PACKAGE.rglob("*.py")), *sorted(PACKAGE.rglob("*.j2"))]:
        file = path.relative_to(PACKAGE.parent).as_posix()
        for one, many, context in _texts(path):
            source = Source(one, many, context, file)
            found.setdefault(source.key, source)
    return found


def _texts(path: Path) -> Iterator[tuple[str, str, str]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".j2":
        with path.open("rb") as file:
            for _, _, message, _ in babel_extract(file, ("say",), (), {"trim_blocks": "true", "silent": "false"}):
                texts = message if isinstance(message, tuple) else (message,)
                yield str(texts[0]), "", ""
    elif "darwin_mri.translation import" in text or path.name == "translation.py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield from _spoken_by(node.func.id, [a.value for a in node.args if isinstance(a, ast.Constant)])


def _spoken_by(function: str, texts: list) -> Iterator[tuple[str, str, str]]:
    if function in ("say", "later") and texts:
        yield texts[0], "", ""
    elif function == "labels":
        yield from ((text, "", "") for text in texts)
    elif function == "say_count" and len(texts) >= 2:
        yield texts[0], texts[1], ""
    elif function == "say_in" and len(texts) == 2:
        yield texts[1], "", texts[0]


def catalogue_path(language: str) -> Path:
    """The file of a language."""
    return CATALOGUES / f"{language}.po"


def translations(language: str) -> dict[str, str]:
    """What the file of a language holds; empty where there is none yet."""
    path = catalogue_path(language)
    return dict(read_po(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def render(language: str, known: dict[str, str]) -> str:
    """The file of a language, in the order of the sources."""
    parts, last = [HEADER % language], ""
    for source in sources().values():
        lines = [f"\n#: {source.file}"] if source.file != last else [""]
        last = source.file
        lines += [f"msgctxt {_quoted(source.context)}"] if source.context else []
        lines.append(f"msgid {_quoted(source.one)}")
        if source.many:
            lines.append(f"msgid_plural {_quoted(source.many)}")
        lines.append(f"msgstr{'[0]' if source.many else ''} {_quoted(known.get(source.key, ''))}")
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def main(language: str) -> None:
    """Write the file of a language again and say what is left to translate."""
    known = translations(language)
    catalogue_path(language).write_text(render(language, known), encoding="utf-8")
    for key in sources():
        if not known.get(key):
            print(f"not translated: {key}")


if __name__ == "__main__":
    main(*sys.argv[1:])
