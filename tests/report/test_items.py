"""Items won and lost: counted from the answers; items that a model did not answer count for nothing."""

from __future__ import annotations

from pathlib import Path

from darwin_mri.report import load_run
from darwin_mri.report.charts import Bars
from darwin_mri.report.model.elements import Code, Figure
from darwin_mri.report.model.item_answers import Mark, count_wins_and_losses, pair_items, read_answers
from darwin_mri.report.sections.item_wins import items_section

CREDITS = {  # child, father, mother
    "a": (1, 1, 1),
    "b": (1, 0, 1),
    "c": (0, 0, 1),
    "d": (1, 1, 0),
    "e": (1, 0, 0),
    "f": (0, 1, 1),
    "g": (0.5, 0, 0),
}
ANSWERS = {
    role: {"quiz": [Mark(key, "x" if key < "d" else "y", float(credits[number])) for key, credits in CREDITS.items()]}
    for number, role in enumerate(("child", "father", "mother"))
}


def test_won_and_lost() -> None:
    items = pair_items(ANSWERS, "quiz")
    assert count_wins_and_losses(items, "father") == (3, 1)  # b, e and half of g; f
    assert count_wins_and_losses(items, "mother") == (3, 2)  # d, e, g; c, f


def test_what_the_child_kept() -> None:
    section = items_section(ANSWERS)
    figure = next(block for block in section.blocks if isinstance(block, Figure))
    assert isinstance(figure.chart, Bars)
    kept = {bar.label: (bar.right, bar.of) for bar in figure.chart.groups[0].bars}
    assert kept == {
        "both parents right": (1, 2),
        "only the father right": (1, 1),
        "only the mother right": (1, 2),
        "neither right": (2, 2),
    }
    lists = {block.caption: block.text for block in section.blocks if isinstance(block, Code)}
    assert lists == {
        "Items the child alone answers rightly, by hash": "quiz (2): e g",
        "Items both parents answer rightly and the child does not, by hash": "quiz (1): f",
    }


def test_a_parent_that_was_not_asked_claims_nothing() -> None:
    section = items_section({"child": ANSWERS["child"], "father": ANSWERS["father"]})
    captions = [block.chart.title for block in section.blocks if isinstance(block, Figure)]
    assert captions == ["Items won from and lost to the father, by slice"]
    assert items_section({"child": ANSWERS["child"]}).missing.startswith("answers/ is missing")


def test_benchmarks_stand_in_the_order_asked_for() -> None:
    answers = {role: {"b": marks["quiz"], "a": marks["quiz"]} for role, marks in ANSWERS.items()}
    figure = items_section(answers, ("a", "b", "absent")).blocks[1]
    assert isinstance(figure, Figure) and isinstance(figure.chart, Bars)
    assert [group.title for group in figure.chart.groups] == ["a", "b"]


def test_damaged_lines_are_counted(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers/child/quiz.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(
        '{"key": "a", "slice": "x", "credit": 1.0}\n{"key": "b"\n[]\n{"key": "c", "credit": "?"}\n', encoding="utf-8"
    )
    problems: list[str] = []
    answers = read_answers(tmp_path / "answers", problems)
    assert len(answers["child"]["quiz"]) == 1
    assert problems == ["answers/child/quiz.jsonl: 3 of 4 lines cannot be read and are left out"]
    assert load_run(run).answers.keys() == {"child", "father", "mother"}
