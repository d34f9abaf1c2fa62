"""A task of the user's own: questions with choices from a file, as items and as a benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_uppercase

from darwin_mri.benchmarks.benchmark import Benchmark
from darwin_mri.benchmarks.items import Item, lettered
from darwin_mri.benchmarks.protocols import log_likelihood
from darwin_mri.benchmarks.sources import Row
from darwin_mri.benchmarks.tables import table_rows
from darwin_mri.config import TaskConfig

QUESTION = "{question}"
SEPARATOR = "|"  # of choices in one CSV cell


def own_benchmark(name: str, task: TaskConfig) -> Benchmark:
    """A task as a benchmark.

    Args:
        name: of the task.
        task: its entry in the config.

    Returns:
        The benchmark; its file is read when its items are.
    """
    if task.letters:
        protocol = log_likelihood("own-letter-logprob", task.prompt)
    else:
        protocol = log_likelihood("own-choice-logprob-per-character", task.prompt, "acc_norm")
    title = f"{name} ({Path(task.jsonl).name})"
    return Benchmark(name, title, protocol, lambda source: load_choices(name, task), task.language)


def load_choices(name: str, task: TaskConfig) -> tuple[Item, ...]:
    """The items of a file of questions with choices.

    A row has ``question`` (read through the prompt), ``context`` (stands before it, or is read alone), ``choices`` (a
    list; in CSV a JSON list, texts between ``|``, or columns A, B, C ...), ``answer`` (the text of a choice, its
    letter, or its index from 0), and where they are known ``id``, ``cluster``, ``slice`` and ``language``.

    Args:
        name: of the task.
        task: its entry in the config.

    Returns:
        The items, in the order of the rows.

    Raises:
        InputError: the file or a row cannot be used; the message names file, row and field, never the text.
    """
    items: list[Item] = []
    keys: dict[str, str] = {}
    for number, row in enumerate(table_rows(Path(task.jsonl)), 1):
        key = _word(row, "id") or f"{number:05d}"
        if key in keys:
            raise row.error(f"its id is that of {keys[key]} as well")
        keys[key] = row.file
        items.append(_item(name, key, row, task))
    return tuple(items)


def _item(name: str, key: str, row: Row, task: TaskConfig) -> Item:
    choices = _choices(row)
    answer = _answer(row, choices)
    question, passage = row.text("question", empty=True).strip(), row.text("context", empty=True).strip()
    if not question and not passage:
        raise row.error("it has neither 'question' nor 'context'")
    asked = f"{question}\n{lettered(choices)}" if task.letters else question
    before, after = task.prompt.split(QUESTION)
    read = f"{before}{asked.strip()}{after}" if question or task.letters else ""
    return Item(
        key=key,
        context="\n".join(part for part in (passage, read) if part).rstrip(),
        choices=tuple(ascii_uppercase[: len(choices)]) if task.letters else choices,
        gold=answer,
        cluster=_word(row, "cluster") or key,
        slice=_word(row, "slice") or _word(row, "language") or "all",
        benchmark=name,
        message="\n".join(part for part in (passage, question, lettered(choices)) if part),
        file=row.file,
        per_character=not task.letters,
    )


def _choices(row: Row) -> tuple[str, ...]:
    """Two or more different texts."""
    given = row.data.get("choices")
    if given is None:
        columns = [letter for letter in ascii_uppercase if row.data.get(letter) not in (None, "")]
        given = [row.data[letter] for letter in columns] or None
        if columns != list(ascii_uppercase[: len(columns)]):
            raise row.error(f"columns {', '.join(columns)} hold choices: leave no letter out")
    elif isinstance(given, str):
        given = _listed(given, row)
    if given is None:
        raise row.error("field 'choices' is missing")
    texts = [_text(value) for value in given] if isinstance(given, list) else []
    if not 2 <= len(texts) <= len(ascii_uppercase) or not all(texts):
        raise row.error(f"field 'choices' is not a list of 2 to {len(ascii_uppercase)} texts")
    choices = tuple(text for text in texts if text)
    if len(set(choices)) < len(choices):
        raise row.error("two of its choices are equal")
    return choices


def _listed(given: str, row: Row) -> object:
    if not given.lstrip().startswith("["):
        return given.split(SEPARATOR)
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        raise row.error("field 'choices' begins as a JSON list and is none") from None


def _answer(row: Row, choices: tuple[str, ...]) -> int:
    """The index of the right choice: a number is an index; a text is a choice, else a letter, else an index."""
    given = row.data.get("answer")
    if given is None:
        raise row.error("field 'answer' is missing")
    if isinstance(given, int | float) and not isinstance(given, bool):
        index = int(given) if float(given).is_integer() else -1
    else:
        text = _text(given) or ""
        letter = text.removesuffix(".").upper()
        if text in choices:
            index = choices.index(text)
        elif len(letter) == 1 and letter in ascii_uppercase:
            index = ascii_uppercase.index(letter)
        else:
            index = int(text) if text.isascii() and text.isdecimal() and len(text) < 3 else -1
    if not 0 <= index < len(choices):
        raise row.error(f"the answer is not one of its {len(choices)} choices (a text, a letter, or an index from 0)")
    return index


def _word(row: Row, field: str) -> str:
    """A short field that may be absent; numbers are taken as they are written."""
    value = row.data.get(field)
    if value is None:
        return ""
    text = _text(value)
    if text is None:
        raise row.error(f"field '{field}' is neither a text nor a number")
    return text


def _text(value: object) -> str | None:
    """A text without white space around it; of a number its digits; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        return text if not any("\ud800" <= letter <= "\udfff" for letter in text) else None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
