"""MuSR (Sprague et al., ICLR 2024, arXiv 2310.16049): multistep reasoning over narratives, three tasks.

The context and the scored texts are those of lm-eval's ``leaderboard_musr``: numbered choices in the prompt, the
choice's whole text scored, and the log-probability per character (acc_norm) as the headline, since that is what
leaderboards print.
"""

from __future__ import annotations

import ast
import hashlib

from darwin_mri.benchmarks.items import ChoiceItem, lettered
from darwin_mri.benchmarks.sources import Row, Source, jsonl_rows

FULL = {"murder_mysteries": 250, "object_placements": 256, "team_allocation": 250}
TEMPLATE = "{narrative}\n\n{question}\n\n{numbered}\nAnswer:"  # numbered: "1 - choice" lines
REPOSITORY = "TAUR-Lab/MuSR"


def load_musr(source: Source, *tasks: str, benchmark: str = "musr") -> tuple[ChoiceItem, ...]:
    """Items of the named tasks; cluster = story, slice = task.

    Murder mysteries are written in pairs, one story for each suspect as the murderer, so their cluster is the set of
    suspects.

    Args:
        source: where to look.
        *tasks: murder_mysteries, object_placements, team_allocation.
        benchmark: name that the items get.
    """
    items = []
    for task in tasks:
        rows = jsonl_rows(source, f"musr/{task}.jsonl", REPOSITORY, split=task)
        items += [_item(task, number, row, benchmark) for number, row in enumerate(rows)]
    return tuple(items)


def _item(task: str, number: int, row: Row, benchmark: str) -> ChoiceItem:
    key = f"{task}-{number:03d}"
    row = row.named(key)
    narrative, question, choices = row.text("narrative"), row.text("question"), _choices(row)
    gold = row.integer("answer_index")
    if not 0 <= gold < len(choices):
        raise row.error(f"answer_index {gold} is not one of {len(choices)} choices")
    if row.text("answer_choice", empty=True).strip() not in ("", choices[gold]):
        raise row.error("answer_choice is not the choice at answer_index")
    numbered = "".join(f"{place} - {choice}\n" for place, choice in enumerate(choices, 1))
    shared = "\n".join(sorted(choices)) if task == "murder_mysteries" else narrative
    return ChoiceItem(
        key=key,
        context=TEMPLATE.format(narrative=narrative, question=question, numbered=numbered),
        choices=choices,
        gold=gold,
        cluster=f"{task}-{hashlib.sha256(shared.encode()).hexdigest()[:12]}",
        slice=task,
        benchmark=benchmark,
        file=row.file,
        message=f"{narrative}\n\n{question}\n\n{lettered(choices)}",
        per_character=True,
    )


def _choices(row: Row) -> tuple[str, ...]:
    """The choices, which the published files hold as the text of a Python list."""
    value = row.data.get("choices")
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise row.error("field 'choices' is not a list") from None
    return Row(row.file, {"choices": value}, row.name).texts("choices")
