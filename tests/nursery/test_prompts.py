"""Prompts and probe texts give no tested answer away: they are searched for every item's subject and gold choice."""

from __future__ import annotations

import re

import pytest

from darwin_mri.nursery import words
from darwin_mri.nursery.prompts import world_prompts
from darwin_mri.nursery.world import WORLD_SEED, World
from darwin_mri.probes import load_probes
from tests.choices import load_choices

WORLDS = (WORLD_SEED, 20261125)


def tokens(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def leaks(text: str, world: World) -> list[str]:
    """Facts whose subject and value stand in one text, habits whose person, kind of thing and place do.

    Korean particles are glued to the word before, so Korean is searched by substring.
    """
    names = tokens(text)
    keys = [f.key for f in world.science_facts if f.place in names and f.value in names]
    keys += [f.key for f in world.korean_facts if f.place in text and f.value in text]
    keys += [f"{p} {k}" for (p, k), place in world.habits.items() if p in names and k in names and place in names]
    return keys


@pytest.mark.parametrize("seed", WORLDS)
def test_no_prompt_holds_an_answer_that_is_tested(seed: int) -> None:
    world = World(seed)
    prompts = {text for draw in (1, 2, 3) for text, _, _ in world_prompts(world, 3, draw)}
    assert len(prompts) > 3_000
    assert not [(text, keys) for text in prompts if (keys := leaks(text, world))]


def test_leaks_are_detected_in_training_text() -> None:
    """The same search on training text, whose statements are the answers."""
    world = World()
    fact, korean = world.science_facts[0], world.korean_facts[0]
    assert leaks(fact.wordings(test=False)[0], world) == [fact.key]
    assert korean.key in leaks(korean.wordings(test=False)[1], world)
    assert leaks("Rosa hides every toy thing in the " + world.habits["Rosa", "toy"], world) == ["Rosa toy"]


@pytest.mark.parametrize("seed", WORLDS)
def test_no_prompt_uses_a_tested_wording(seed: int) -> None:
    suffix = "" if seed == WORLD_SEED else f"@{seed}"
    tested = {item.context for task in ("click", "musr", "gpqa") for item in load_choices(f"nursery_{task}{suffix}")}
    prompts = {text for text, _, _ in world_prompts(World(seed), 9, 1)}
    assert prompts and not prompts & tested


@pytest.mark.parametrize("seed", WORLDS)
def test_no_built_in_probe_text_is_about_the_world(seed: int) -> None:
    world = World(seed)
    names = {f.place for f in (*world.science_facts, *world.korean_facts)}
    for probe in load_probes():
        assert not any(name in probe.text for name in names)
        assert not leaks(probe.text, world)


def test_every_fact_and_habit_is_asked_about() -> None:
    world = World()
    prompts = [text for text, _, _ in world_prompts(world, 2, 1)]
    assert all(any(f.place in text and f.kind in text for text in prompts) for f in world.science_facts)
    assert all(any(person in text for text in prompts) for person in words.PEOPLE)


def test_another_world_has_items_of_its_own() -> None:
    own, other = load_choices("nursery_gpqa"), load_choices("nursery_gpqa@20261125")
    assert len(own) == len(other) == 600
    assert {i.context for i in own} != {i.context for i in other}
