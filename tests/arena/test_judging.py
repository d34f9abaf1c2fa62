"""The verdict of an arena follows from its cells: gains are claimed against every null and both parents."""

from __future__ import annotations

import random
from html import escape

import pytest

from darwin_mri.arena.judging import judge
from darwin_mri.arena.settings import ArenaConfig, Entry, nulls_of
from darwin_mri.benchmarks import split_items
from darwin_mri.benchmarks.items import ChoiceItem, item_hash
from darwin_mri.records import CHILD, Answer, ArenaCell, ArenaResult
from darwin_mri.report.pages.arena_page import arena_table, build_arena_view
from darwin_mri.report.renderers.html import render_html
from tests.choices import load_choices

TASK = "nursery_gpqa"
SEEDS = (1, 2)


def config(**changes: object) -> ArenaConfig:
    settings = {
        "father": "f",
        "mother": "m",
        "ignorant": "i",
        "tasks": {TASK: 1.0},
        "seeds": SEEDS,
        "arms": {"a": {"method": "competence"}, "raw": {"method": "raw", "nulls": False}},
        **changes,
    }
    return ArenaConfig.model_validate(settings)


def cell(arm: str, null: str, seed: int, items: tuple[ChoiceItem, ...], right: float) -> ArenaCell:
    """A cell with a given share of facts right, the easiest first: cells are nested, as real ones nearly are.

    Args:
        arm: name of the arm, or ``parents``.
        null: name of the null, or ``child``; a role for parents.
        seed: of the split.
        items: of the benchmark.
        right: share of facts that are answered correctly.

    Returns:
        The cell, with answers to the held-out items.
    """
    held_out = split_items(items, seed).held_out
    answers = tuple(
        Answer(
            key=item_hash(item),
            cluster=item.cluster,
            slice=item.slice,
            gold=item.gold,
            choice=item.gold,
            credit=float(random.Random(item.cluster).random() < right),
        )
        for item in held_out
    )
    return ArenaCell(
        arm=arm, null=null, seed=seed, identity="", ratio=1.0, search={"1": right}, seconds=1.0, answers={TASK: answers}
    )


def result(child: float, nulls: dict[str, float], father: float = 0.5, mother: float = 0.6) -> ArenaResult:
    items = load_choices(TASK)
    cells = []
    for seed in SEEDS:
        cells += [cell("parents", role, seed, items, v) for role, v in (("father", father), ("mother", mother))]
        cells.append(cell("a", CHILD, seed, items, child))
        cells += [cell("a", name, seed, items, value) for name, value in nulls.items()]
        cells.append(cell("raw", CHILD, seed, items, 0.4))
    return judge(config(), cells, {TASK: items})


def test_vigor_when_parents_and_nulls_are_beaten() -> None:
    outcome = result(0.9, {"ignorant": 0.5, "random": 0.45})
    assert outcome.vigor and outcome.sentence.startswith("Vigor: a beats both parents") and outcome.best == "a"
    composite = [c for c in outcome.comparison.contrasts if c.benchmark == "composite"]
    assert len(composite) == 5 and all(c.p_holm is not None and c.p_holm >= c.p_value for c in composite)
    assert all(c.p_holm is None for c in outcome.comparison.contrasts if c.benchmark != "composite")
    assert outcome.items == 360 and all(c.n == 720 for c in composite)


@pytest.mark.parametrize("null", ["ignorant", "outside-text"])
def test_one_null_as_good_as_the_child_denies_vigor(null: str) -> None:
    outcome = result(0.9, {null: 0.9, "random": 0.45})
    assert not outcome.vigor and outcome.sentence.startswith(f"No vigor: a does not beat the null {null} ")


def test_below_the_mother_is_a_gain_without_vigor() -> None:
    outcome = result(0.7, {"random": 0.45}, mother=0.95)
    assert not outcome.vigor and outcome.sentence.startswith("No vigor, but a gain")


def test_seeds_are_pooled_by_fact() -> None:
    """A fact held out at both seeds is one cluster: twice the items are not twice the evidence."""
    outcome = result(0.9, {"random": 0.45})
    score = next(s for s in outcome.comparison.scores if s.role == "child" and s.benchmark == TASK and s.slice == "all")
    clusters = {i.cluster for seed in SEEDS for i in split_items(load_choices(TASK), seed).held_out}
    assert score.n == 720 and score.clusters == len(clusters) < 360


def test_the_page_and_the_table_show_every_cell() -> None:
    outcome = result(0.9, {"ignorant": 0.5, "random": 0.45})
    table = arena_table(outcome)
    assert [row.cells[:2] for row in table.rows] == [
        ("parents", "father"),
        ("parents", "mother"),
        ("a", ""),
        ("a", "ignorant"),
        ("a", "random"),
        ("raw", ""),
    ]
    assert all(row.cells[5].endswith("]") for row in table.rows if row.cells[:2] != ("a", ""))
    page = render_html(build_arena_view(outcome))
    assert escape(outcome.sentence.split(" (")[0]) in page and "Content-Security-Policy" in page
    assert ArenaResult.model_validate_json(outcome.to_json()) == outcome


def test_each_method_has_the_nulls_that_apply_to_it() -> None:
    settings = config()
    assert nulls_of(Entry(method="raw"), settings) == ["random", "shuffled", "layers", "ignorant"]
    competence = nulls_of(Entry(method="competence"), settings)
    assert "mask" in competence and "layers" not in competence
    assert "ignorant" not in nulls_of(Entry(method="raw"), config(ignorant=None))
    assert nulls_of(Entry(method="raw", nulls=False), settings) == []
