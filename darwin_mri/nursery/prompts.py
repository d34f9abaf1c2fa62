"""Prompts without answers about everything in a world: training wordings, cut where the answer would follow.

They name what is asked about and never what is answered, and never in a wording that is tested; what follows them is the writer's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from darwin_mri.nursery import words
from darwin_mri.nursery.world import Fact, World


def world_prompts(world: World, forms: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """(text, language, name) of every fact in ``forms`` of its wordings, and of every habit in as many, by seed.

    Stories are told up to their question where nobody who could be the answer is named: placements, not deductions.
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
    """Every statement about a habit that ends in its place, without the place."""
    told = {"b": person, "kind": kind, "thing": rng.choice(words.THINGS[kind]), "place": "\0"}
    stems = (form.format(**told) for form in words.HABIT_TRAIN)
    return [text[: text.index("\0")].rstrip() for text in stems if text.index("\0") > text.index(person)]


def story_stems(world: World, person: str, kind: str, seed: int) -> list[str]:
    """One story of placement in every training wording of its question; of those in which nobody's habit shows by chance."""
    number = 2 * (1_000 + seed)
    while _shows_a_habit(world, (read := world.story(person, kind, number, test=False)).narrative, kind):
        number += 2_000
    return [f"{read.narrative}\nQuestion: {question} Answer:" for question in read.questions]


def _shows_a_habit(world: World, text: str, kind: str) -> bool:
    """Whether somebody in the text is seen with the place where that person hides such things."""
    said = set(re.findall(r"\w+", text))
    return any(person in said and world.habits[person, kind] in said for person in words.PEOPLE)
