"""CLIcK (Kim et al., LREC-COLING 2024, arXiv 2403.06412): Korean culture and language, 1,995 exam questions.

lm-eval's own task prints four choices for all items although the 256 of the CSAT exam are scored over five; 49 of those
have the fifth as their answer. ``load_click`` prints every choice it scores; ``load_click_upstream`` repeats lm-eval's
task as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from darwin_mri.benchmarks.items import ChoiceItem, lettered
from darwin_mri.benchmarks.sources import Row, Source, jsonl_rows

FULL = {"all": 1995}
LETTERS = "ABCDE"
# The question holds passage, question, and the choices as lines "A. ...".
TEMPLATE = "다음을 읽고 물음에 알맞은 답의 기호를 고르십시오.\n\n{question}\n정답:"
REPOSITORY = "EunsuKim/CLIcK"
LANGUAGE_PARTS = ("Textual", "Grammar", "Functional")


def load_click(source: Source) -> tuple[ChoiceItem, ...]:
    """All items with every choice printed; letters are scored.

    Cluster = the passage where items share one, else the item; slice = category/subcategory (two categories, eleven
    subcategories).
    """
    items = []
    for key, row in _rows(source):
        choices, paragraph = row.texts("choices"), row.text("paragraph", empty=True).strip()
        letters = tuple(LETTERS[: len(choices)])
        if len(letters) != len(choices):
            raise row.error(f"{len(choices)} choices, more than {len(LETTERS)}")
        passage = f"글: {paragraph}\n" if paragraph else ""
        question = f"{passage}물음: {row.text('question').strip()}\n{lettered(choices)}"
        items.append(_item(key, row, TEMPLATE.format(question=question), letters, paragraph, "click", question))
    return tuple(items)


def load_click_upstream(source: Source) -> tuple[ChoiceItem, ...]:
    """The same items with the prompts and choices that lm-eval's own task makes of them."""
    from darwin_mri.benchmarks.harness import upstream_click  # lm-eval is optional

    prompt = upstream_click()
    items = []
    for key, row in _rows(source):
        paragraph = row.text("paragraph", empty=True)
        data = {**row.data, "paragraph": paragraph, "question": row.text("question")}
        if len(row.texts("choices")) < 4:
            raise row.error("fewer than the four choices that lm-eval's task prints")
        context, letters = prompt(data)
        items.append(_item(key, row, context.rstrip(), tuple(letters), paragraph.strip(), "click_upstream", ""))
    return tuple(items)


def _rows(source: Source) -> Iterator[tuple[str, Row]]:
    rows = jsonl_rows(source, "click/click.jsonl", REPOSITORY, split="train")
    for number, row in enumerate(rows, 1):
        name = row.text("id")
        key = f"{number:04d}-{name}"  # eight ids repeat
        yield key, row.named(key)


def _item(
    key: str, row: Row, context: str, letters: tuple[str, ...], paragraph: str, benchmark: str, message: str
) -> ChoiceItem:
    answer, choices = row.text("answer").strip(), row.texts("choices")
    if answer not in choices or choices.index(answer) >= len(letters):
        raise row.error("the answer is not one of the choices")
    cluster = hashlib.sha256(paragraph.encode()).hexdigest()[:12] if paragraph else key
    return ChoiceItem(
        key=key,
        context=context,
        choices=letters,
        gold=choices.index(answer),
        cluster=cluster,
        slice=_slice(row),
        benchmark=benchmark,
        message=message,
        file=row.file,
    )


def _slice(row: Row) -> str:
    """Category/subcategory: from its fields, or as lm-eval's groups derive it from the id where there are none."""
    category, part = row.text("category", empty=True), row.text("subcategory", empty=True)
    if category and part:
        return f"{category}/{part.removeprefix('Korean ')}"
    part = _part_of_id(row)
    return f"{'Language' if part in LANGUAGE_PARTS else 'Culture'}/{part}"


def _part_of_id(row: Row) -> str:
    name = row.text("id")
    lower = name.lower()
    for part in ("Economy", "Geography", "Politics", "Popular", "Society", "Tradition"):
        if part.lower() in lower:
            return part
    if "history" in lower or "KHB" in name:
        return "History"
    if "law" in lower or "PSAT" in name:
        return "Law"
    numbers = [int(piece) for piece in name.split("_") if piece.isdigit()]
    if name.startswith("TK") and numbers:
        return "Textual" if numbers[-1] > 4 else "Grammar"
    if "CSAT_korean" in name and len(numbers) == 2:
        year, number = numbers
        if year == 22 or (year == 23 and number < 35):
            return "Textual"
        return "Grammar" if year < 21 and 10 < number < 35 else "Functional"
    speech = any(word in row.text("question") for word in ("대화", "발화", "질의"))
    return "Functional" if "PSE_korean" in name or ("Kedu_16" in name and speech) else "Grammar"
