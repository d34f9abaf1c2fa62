"""Prompts without answers about everything in a world: training wordings, cut where the answer would follow.

They name the subject and never the answer, and never in a wording that is tested; a parent writes what follows.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from darwin_mri.nursery import words
from darwin_mri.nursery.world import Fact, World


def world_prompts(world: World, forms: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Prompts about every fact and every habit of a world.

    Stories run up to their question, where no person who could be the answer is named: placements, not deductions.

    Args:
        world: whose facts and habits.
        forms: number of wordings of each fact and each habit.
        seed: of the choice of wordings.

    Yields:
        (text, language, name).
    """
    for fact in (*world.korean_facts, *world.science_facts):
        rng = random.Random(f"{world.seed}:prompts:{seed}:{fact.key}")
        stems = fact_stems(fact)
        for number, text in enumerate(rng.sample(stems, min(forms, len(stems)))):
            yield text, "ko" if fact.subject == "korean" else "en", f"{fact.key}-{number}"
    for person, kind in world.habits:
        rng = random.Random(f"{world.seed}:prompts:{seed}:{person}:{kind}")
        stems = [*habit_stems(person, kind, rng), *story_stems(world, person, kind, seed)]
        for number, text in enumerate(rng.sample(stems, min(forms, len(stems)))):
            yield text, "en", f"{person}-{kind}-{number}".lower()


def fact_stems(fact: Fact) -> list[str]:
    """Every training wording of a fact up to its answer."""
    return [text[: text.rindex(fact.value)].rstrip() for text in fact.wordings(test=False)]


def habit_stems(person: str, kind: str, rng: random.Random) -> list[str]:
    """Every statement about a habit that ends in its place, without the place.

    Args:
        person: whose habit.
        kind: of the things that the person hides.
        rng: draws the thing.

    Returns:
        One text per wording that ends in the place.
    """
    fields = {"b": person, "kind": kind, "thing": rng.choice(words.THINGS[kind]), "place": "\0"}
    stems = (form.format(**fields) for form in words.HABIT_TRAIN)
    return [text[: text.index("\0")].rstrip() for text in stems if text.index("\0") > text.index(person)]


def story_stems(world: World, person: str, kind: str, seed: int) -> list[str]:
    """One story of placement, in which no habit shows by chance, in every training wording of its question.

    Args:
        world: whose story.
        person: whose habit it turns on.
        kind: of the thing that the person hides.
        seed: of the story.

    Returns:
        One text per wording of the question.
    """
    number = 2 * (1_000 + seed)
    while _shows_a_habit(world, (story := world.story(person, kind, number, test=False)).narrative, kind):
        number += 2_000
    return [f"{story.narrative}\nQuestion: {question} Answer:" for question in story.questions]


def _shows_a_habit(world: World, text: str, kind: str) -> bool:
    """Whether the text names a person and the place where that person hides such things."""
    tokens = set(re.findall(r"\w+", text))
    return any(person in tokens and world.habits[person, kind] in tokens for person in words.PEOPLE)
