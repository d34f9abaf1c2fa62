"""Items from a table of the user's own: questions with choices, prompts with open answers, or texts."""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_uppercase

from darwin_mri.benchmarks.decoding import Sampling
from darwin_mri.benchmarks.items import ChoiceItem, Item, lettered
from darwin_mri.benchmarks.kinds.open_answers import MATCHERS, OpenItem, answer_fault
from darwin_mri.benchmarks.kinds.texts import TextItem
from darwin_mri.benchmarks.own.tables import Keys, slice_of, table_rows, text_of, word_of
from darwin_mri.benchmarks.sources import Row
from darwin_mri.config import QuestionTask

QUESTION = "{question}"
SEPARATOR = "|"  # of choices in one CSV cell


def load_rows(name: str, task: QuestionTask) -> tuple[Item, ...]:
    """The items of a table, all of the kind of its first row.

    A question with choices has ``question`` (read through the prompt), ``context`` (stands before it, or is read
    alone), ``choices`` (a list; in CSV a JSON list, texts between ``|``, or columns A, B, C ...), ``answer`` (the text
    of a choice, its letter, or its index from 0). An open answer has ``prompt`` (read as it is) or ``question``, and
    ``answer`` or ``answers``; a text has ``text``. All may have ``id``, ``cluster``, ``slice`` and ``language``.

    Args:
        name: of the task.
        task: its entry in the config.

    Returns:
        The items, in the order of the rows.

    Raises:
        InputError: the file or a row cannot be used; the message names file, row and field, never the text.
    """
    file, items = Path(task.jsonl), list[Item]()
    make = {"choices": _choice_item, "open": _open_item, "text": _text_item}[kind_of_rows(file)]
    keys = Keys()
    for number, row in enumerate(table_rows(file), 1):
        items.append(make(name, keys.of(row, number), row, task))
    return tuple(items)


def kind_of_rows(file: Path) -> str:
    """What a table holds, by its first row: ``choices``, ``open`` (answers) or ``text``.

    Raises:
        InputError: as ``table_rows``, or the row is none of these.
    """
    row = next(iter(table_rows(file)))
    given = {field for field, value in row.data.items() if value not in (None, "")}
    if given & {"choices", "A"}:
        return "choices"
    if given & {"answer", "answers"}:
        return "open"
    if "text" in given:
        return "text"
    raise row.error("it has neither 'choices' nor 'answer' nor 'text'")


def _text_item(name: str, key: str, row: Row, task: QuestionTask) -> TextItem:
    return TextItem(
        key=key,
        cluster=word_of(row, "cluster") or key,
        slice=slice_of(row),
        benchmark=name,
        file=row.file,
        text=row.text("text").strip(),
    )


def _open_item(name: str, key: str, row: Row, task: QuestionTask) -> OpenItem:
    match = word_of(row, "match") or task.match
    if match not in MATCHERS:
        raise row.error(f"its match '{match}' is none of {', '.join(MATCHERS)}")
    given = row.data.get("answers", row.data.get("answer"))
    answers = tuple(text_of(value) or "" for value in (given if isinstance(given, list) else [given]))
    if not answers or not all(answers):
        raise row.error("field 'answer' is missing, or neither a text nor a number, or 'answers' is no list of them")
    for answer in answers:
        if fault := answer_fault(match, answer):
            raise row.error(fault)
    stop = ("\n",) if task.stop is None and not task.chat else task.stop or ()
    return OpenItem(
        key=key,
        cluster=word_of(row, "cluster") or key,
        slice=slice_of(row),
        benchmark=name,
        file=row.file,
        prompt=row.text("prompt", empty=True).rstrip() or _read(row, task, ()),
        answers=answers,
        match=match,
        sampling=Sampling(task.max_new_tokens, task.temperature, task.samples, stop),
        chat=task.chat,
    )


def _choice_item(name: str, key: str, row: Row, task: QuestionTask) -> ChoiceItem:
    choices = _choices(row)
    passage, question = (row.text(field, empty=True).strip() for field in ("context", "question"))
    return ChoiceItem(
        key=key,
        context=_read(row, task, choices),
        choices=tuple(ascii_uppercase[: len(choices)]) if task.letters else choices,
        gold=_answer(row, choices),
        cluster=word_of(row, "cluster") or key,
        slice=slice_of(row),
        benchmark=name,
        message="\n".join(part for part in (passage, question, lettered(choices)) if part),
        file=row.file,
        per_character=not task.letters,
        chat=task.chat,
    )


def _read(row: Row, task: QuestionTask, choices: tuple[str, ...]) -> str:
    """What a model reads of a row: its passage, then its question inside the prompt."""
    question, passage = row.text("question", empty=True).strip(), row.text("context", empty=True).strip()
    if not question and not passage:
        raise row.error("it has neither " + ("" if choices else "'prompt' nor ") + "'question' nor 'context'")
    letters = task.letters and choices
    asked = f"{question}\n{lettered(choices)}" if letters else question
    before, after = task.prompt.split(QUESTION)
    if task.chat and "prompt" not in task.model_fields_set:
        before, after = "", ""  # the template says who asks
    read = f"{before}{asked.strip()}{after}" if question or letters else ""
    return "\n".join(part for part in (passage, read) if part).rstrip()


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
    texts = [text_of(value) for value in given] if isinstance(given, list) else []
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
        text = text_of(given) or ""
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
