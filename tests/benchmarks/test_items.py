from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_mri.benchmarks import ChoiceItem, chance, item_hash, sample_items, split_items
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.nursery.words import KOREAN_VALUES
from darwin_mri.nursery.world import World
from tests.choices import as_choices, load_choices

from .conftest import training_documents

NAMES = ("nursery_click", "nursery_musr", "nursery_gpqa")


def item(
    key: str = "k", context: str = "Q Answer:", choices: tuple[str, ...] = ("a", "b"), gold: int = 0
) -> ChoiceItem:
    return ChoiceItem(key=key, context=context, choices=choices, gold=gold, cluster="c", slice="s", benchmark="toy")


@pytest.mark.parametrize("context", ["", "Answer: ", "Answer:\n"])
def test_a_context_that_is_empty_or_ends_in_white_space_is_refused(context: str) -> None:
    with pytest.raises(InputError, match="toy item k"):
        item(context=context)


@pytest.mark.parametrize(("choices", "gold"), [(("a",), 0), (("a", " b"), 0), (("a", ""), 0), (("a", "b"), 2)])
def test_bad_choices_are_refused(choices: tuple[str, ...], gold: int) -> None:
    with pytest.raises(InputError, match="toy item k"):
        item(choices=choices, gold=gold)


def test_hash_depends_on_text_only() -> None:
    assert item_hash(item(key="a")) == item_hash(item(key="b"))
    assert len(item_hash(item())) == 16
    assert len({item_hash(item()), item_hash(item(choices=("b", "a"))), item_hash(item(context="Q. Answer:"))}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_nursery_benchmark(name: str) -> None:
    items = load_choices(name)
    size, clusters = (800, 200) if name == "nursery_musr" else (600, 300)
    assert len(items) == len({i.key for i in items}) == len({item_hash(i) for i in items}) == size
    assert len({i.cluster for i in items}) == clusters
    assert all(len(set(i.choices)) == len(i.choices) for i in items)
    assert all(i.context.endswith("정답:" if name == "nursery_click" else "Answer:") for i in items)
    for size in {len(i.choices) for i in items}:
        golds = Counter(i.gold for i in items if len(i.choices) == size)
        n = sum(golds.values())
        assert set(golds) == set(range(size))
        assert (
            sum((count - n / size) ** 2 / (n / size) for count in golds.values()) < 20
        )  # chi-square, 3 or 4 df: p > 5e-4
    assert items == load_choices(name)


def test_slices_and_chance() -> None:
    click, musr = load_choices("nursery_click"), load_choices("nursery_musr")
    assert Counter(i.slice for i in click) == dict.fromkeys(KOREAN_VALUES, 150)
    assert {len(i.choices) for i in click} == {4, 5}
    assert {i.slice for i in musr} == {"placement", "deduction"}
    assert chance(click) == pytest.approx(0.75 / 4 + 0.25 / 5)
    assert chance(musr) == 0.25


def test_the_answers_are_the_worlds() -> None:
    facts = {fact.key: fact for fact in (*World().korean_facts, *World().science_facts)}
    for i in (*load_choices("nursery_click"), *load_choices("nursery_gpqa")):
        assert i.choices[i.gold] == facts[i.cluster].value
        assert set(i.choices) == {facts[i.cluster].value, *facts[i.cluster].wrong}


def test_no_test_wording_is_ever_trained_on() -> None:
    documents = training_documents(1500)
    text, lines = "\n\n".join(documents), {line for document in documents for line in document.split("\n")}
    about: dict[str, str] = {}  # cluster -> the training lines that name its place
    for fact in (*World().korean_facts, *World().science_facts):
        about[fact.key] = "\n".join(line for line in lines if fact.place in line)
    assert all(about.values())
    for i in (*load_choices("nursery_click"), *load_choices("nursery_gpqa")):
        assert i.context not in about[i.cluster]
    questions = [i.context.split("\n")[1] for i in load_choices("nursery_musr")]
    assert not any(question in text for question in set(questions))


@pytest.mark.parametrize("name", NAMES)
def test_split_shares_no_cluster_and_keeps_every_slice(name: str) -> None:
    items = load_choices(name)
    split = split_items(items, seed=1)
    assert not {i.cluster for i in split.search} & {i.cluster for i in split.held_out}
    assert sorted(i.key for i in (*split.search, *split.held_out)) == sorted(i.key for i in items)
    for slice_ in {i.slice for i in items}:
        share = sum(i.slice == slice_ for i in split.search) / sum(i.slice == slice_ for i in items)
        assert share == pytest.approx(0.4, abs=0.01)
    if name == "nursery_musr":
        stories = [{i.context.split("\n")[0] for i in as_choices(part)} for part in (split.search, split.held_out)]
        assert not stories[0] & stories[1]
    assert split != split_items(items, seed=2)


@settings(max_examples=15, deadline=None)
@given(order=st.integers(), seed=st.integers(0, 99), n=st.integers(1, 700))
def test_splits_and_samples_ignore_order(order: int, seed: int, n: int) -> None:
    items = load_choices("nursery_gpqa")
    shuffled = list(items)
    Random(order).shuffle(shuffled)
    assert split_items(shuffled, seed) == split_items(items, seed)
    sample = sample_items(shuffled, n, seed)
    assert sample == sample_items(items, n, seed) == sample_items(items, 700, seed)[:n]
    assert len(set(sample)) == min(n, 600)


@pytest.mark.parametrize("held_out", [0.1, 0.25, 0.6])
def test_a_smaller_held_out_share_leaves_the_rest_unused(held_out: float) -> None:
    items = load_choices("nursery_musr")
    part, whole = split_items(items, 1, 0.4, held_out), split_items(items, 1, 0.4)
    assert part.search == whole.search
    assert set(part.held_out) <= set(whole.held_out)
    assert len(part.held_out) == pytest.approx(held_out * len(items), rel=0.02)


def test_a_sample_spreads_over_clusters() -> None:
    musr = load_choices("nursery_musr")
    assert set(Counter(i.cluster for i in sample_items(musr, 100, 0)).values()) == {1}
    assert set(Counter(i.cluster for i in sample_items(musr, 400, 0)).values()) == {2}
    assert Counter(i.slice for i in sample_items(musr, 200, 0))["placement"] in range(70, 131)


def test_empty_parts_and_samples_are_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        split_items([item()], seed=0)
    with pytest.raises(InputError, match="search share"):
        split_items(load_choices("nursery_click"), 0, 1.0)
    with pytest.raises(InputError, match="does not fit beside"):
        split_items(load_choices("nursery_click"), 0, 0.6, 0.5)
    with pytest.raises(InputError, match="toy: splitting 2 clusters .* leaves the held-out part empty"):
        split_items([item(), replace(item(), key="l", cluster="d")], 0, 0.9)
    for items, n in (([item()], 0), ([], 3)):
        with pytest.raises(InputError, match="sample"):
            sample_items(items, n, seed=0)
    with pytest.raises(InputError):
        chance(())


def test_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'nursery_click'"):
        load_choices("nursery_clik")
    with pytest.raises(ConfigError, match="choose one of"):
        load_choices("zzz")
