"""The words of a report in another language: English sentences stand in the code, a catalogue translates them.

A catalogue is a gettext file, ``translations/LANGUAGE.po``, with whole English sentences as keys. It is read only when
that language is asked for, so English needs no file and no lookup.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import resources

from darwin_mri.errors import ConfigError
from darwin_mri.korean import choose_particles

ENGLISH = "en"
CONTEXT = "\x04"  # stands between context and text in a key, as in gettext's own files
FINISH: Mapping[str, Callable[[str], str]] = {"ko": choose_particles}  # what a language does to a filled sentence


@dataclass(frozen=True)
class Catalogue:
    """The texts of one language.

    Attributes:
        language: its code.
        texts: English text -> translation. A text with a plural has one form: add a rule here for languages of more.
    """

    language: str
    texts: Mapping[str, str]

    def fill(self, text: str, values: Mapping[str, object]) -> str:
        """The translation with its values; a text that the catalogue lacks stays English."""
        filled = self.texts.get(text, text).format(**values)
        return FINISH.get(self.language, str)(filled)


_spoken: ContextVar[Catalogue | None] = ContextVar("language of the report", default=None)


def languages() -> list[str]:
    """Codes of the languages that a report can be written in."""
    folder = resources.files("darwin_mri").joinpath("translations")
    return [ENGLISH, *sorted(file.name.removesuffix(".po") for file in folder.iterdir() if file.name.endswith(".po"))]


def spoken() -> str:
    """Code of the language in use."""
    catalogue = _spoken.get()
    return ENGLISH if catalogue is None else catalogue.language


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Words in that language within the block.

    Raises:
        ConfigError: there is no such language.
    """
    if language not in languages():
        raise ConfigError(f"there is no report in the language {language!r}: --lang takes {' or '.join(languages())}")
    token = _spoken.set(None if language == ENGLISH else load_catalogue(language))
    try:
        yield
    finally:
        _spoken.reset(token)


def say(text: str, /, **values: object) -> str:
    """A sentence in the language in use; ``values`` stand where the text names them in braces."""
    catalogue = _spoken.get()
    return text.format(**values) if catalogue is None else catalogue.fill(text, values)


def say_in(context: str, text: str) -> str:
    """A text that English has in two senses; ``context`` tells a translator which one."""
    catalogue = _spoken.get()
    return text if catalogue is None else catalogue.texts.get(f"{context}{CONTEXT}{text}") or text


def say_count(one: str, many: str, count: int, /, **values: object) -> str:
    """A sentence with a number, which the text names ``{count}``.

    Args:
        one: of one.
        many: of any other number; its translation is that of both.
        count: the number.
        values: what else the text names.

    Returns:
        the sentence in the language in use.
    """
    if _spoken.get() is None:
        return (one if count == 1 else many).format(count=count, **values)
    return say(many, count=count, **values)


def say_stored(text: str) -> str:
    """A text that a record holds: in the language in use where a catalogue has just this text, else as it is."""
    catalogue = _spoken.get()
    return text if catalogue is None else catalogue.texts.get(text, text)


def labels(*texts: str) -> tuple[str, ...]:
    """Short texts, such as the names of a table's columns, in the language in use."""
    return tuple(map(say, texts))


def later(text: str) -> str:
    """Marks a text of a constant for translation; ``say`` translates it where it is used."""
    return text


@cache
def load_catalogue(language: str) -> Catalogue:
    """The catalogue of a language that has one."""
    file = resources.files("darwin_mri").joinpath(f"translations/{language}.po")
    return Catalogue(language, dict(read_po(file.read_text(encoding="utf-8"))))


_STRING = re.compile(r'^(msgctxt|msgid_plural|msgid|msgstr(?:\[0\])?)? *(".*")$')


def read_po(text: str) -> Iterator[tuple[str, str]]:
    """(key, translation) pairs of a gettext file.

    The key is the English text, of a text with a plural the plural, of one with a context both.
    """
    entry: dict[str, str] = {}
    field = ""
    for line in [*text.splitlines(), 'msgid ""']:
        match = _STRING.match(line)
        if match is None:
            continue
        field = (match[1] or field).removesuffix("[0]")
        if field in ("msgctxt", "msgid") and "msgstr" in entry:
            key = entry.get("msgid_plural", entry["msgid"])
            if key and entry["msgstr"]:
                yield f"{entry['msgctxt']}{CONTEXT}{key}" if "msgctxt" in entry else key, entry["msgstr"]
            entry = {}
        entry[field] = entry.get(field, "") + ast.literal_eval(match[2])
