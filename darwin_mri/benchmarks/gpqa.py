"""GPQA (Rein et al., 2023, arXiv 2311.12022): graduate-level science, from the authors' encrypted zip, in memory only.

The authors ask that questions never stand online in plain text: nothing here writes, logs or quotes one. Choices are
shuffled by the record's id, never by a shared generator (lm-eval's own tasks shuffle at every access, so that prompt
and answer may differ).
"""

from __future__ import annotations

import csv
import io
import random
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from darwin_mri.benchmarks.items import ChoiceItem, lettered
from darwin_mri.benchmarks.sources import Row, Source, hub_rows
from darwin_mri.errors import InputError

FULL = {"diamond": 198, "main": 448, "extended": 546}
LETTERS = ("(A)", "(B)", "(C)", "(D)")
# As lm-eval's gpqa_*_zeroshot.
TEMPLATE = "What is the correct answer to this question:{question}\nChoices:\n{listed}\nAnswer:"
REPOSITORY = "Idavidrein/gpqa"
PASSWORD_VARIABLE = "DARWIN_MRI_GPQA_PASSWORD"
ARCHIVE = "gpqa/dataset.zip"
SHUFFLE = "darwin_mri:gpqa:1"
NEEDED = ("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3", "Record ID")


def load_gpqa(source: Source, subset: str, benchmark: str) -> tuple[ChoiceItem, ...]:
    """Items of a subset; cluster = item, slice = domain (Biology, Chemistry, Physics).

    Args:
        source: where to look.
        subset: diamond, main or extended.
        benchmark: name that the items get.

    Returns:
        The items, in the file's order.

    Raises:
        InputError: the file is missing, damaged or encrypted with another password.
    """
    rows = (
        _zip_rows(source.folder / ARCHIVE, subset, source.password)
        if source.folder
        else hub_rows(source, ARCHIVE, REPOSITORY, split="train", config=f"gpqa_{subset}")
    )
    items = [_item(row, benchmark) for row in rows]
    keys = [item.key for item in items]
    for key in set(keys):
        if keys.count(key) > 1:
            raise InputError(f"{ARCHIVE} gpqa_{subset}: record {key} appears twice: get the file again")
    return tuple(items)


def _item(row: Row, benchmark: str) -> ChoiceItem:
    key = row.text("Record ID").strip()
    row = row.named(key)
    answers = [_clean(row.text(field)) for field in NEEDED[1:5]]  # the right one first
    order = list(range(len(answers)))
    random.Random(f"{SHUFFLE}:{key}").shuffle(order)
    choices = tuple(answers[place] for place in order)
    question = row.text("Question").strip()
    listed = "\n".join(f"{letter} {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
    return ChoiceItem(
        key=key,
        context=TEMPLATE.format(question=question, listed=listed),
        choices=LETTERS,
        gold=order.index(0),
        cluster=key,
        slice=row.text("High-level domain", empty=True).strip() or "unknown",
        benchmark=benchmark,
        file=row.file,
        message=f"{question}\n\n{lettered(choices)}",
    )


def _clean(answer: str) -> str:
    """As lm-eval's task (version 2.2) cleans an answer."""
    return answer.strip().replace(" [title]", ". ").replace("  ", " ").strip()


def _zip_rows(path: Path, subset: str, password: str | None) -> Iterator[Row]:
    member = f"gpqa_{subset}.csv"
    text = _decrypt(path, f"dataset/{member}", password)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [field for field in NEEDED if field not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path.name} {member}: column '{missing[0]}' is missing: get the file again")
    number = 0
    try:
        for number, row in enumerate(reader, 1):
            yield Row(f"{path.name} {member} row {number}", row)
    except csv.Error:
        raise InputError(f"{path.name} {member} row {number + 1}: is not CSV: get the file again") from None
    if not number:
        raise InputError(f"{path.name} {member} holds no rows: get the file again")


def _decrypt(path: Path, member: str, password: str | None) -> str:
    """The member's text, decrypted in memory."""
    known = "the password is public, in the README of idavidrein/gpqa"
    if not path.is_file():
        raise InputError(f"{path} does not exist: put the authors' dataset.zip there (github.com/idavidrein/gpqa)")
    if not password:
        raise InputError(f"{path} is encrypted: give --gpqa-password or set {PASSWORD_VARIABLE} ({known})")
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(member, pwd=password.encode())
        return data.decode("utf-8-sig")
    except (RuntimeError, UnicodeEncodeError):  # zipfile's error for a password that fails its one-byte check
        raise InputError(f"{path}: the password is wrong: {known}") from None
    except KeyError:
        raise InputError(f"{path} has no member {member}: get the authors' dataset.zip again") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, UnicodeDecodeError) as error:
        # A wrong password passes the one-byte check once in 256 times and then looks like damage.
        raise InputError(
            f"{path} is damaged, or the password is wrong ({type(error).__name__}): get the file again; {known}"
        ) from None
