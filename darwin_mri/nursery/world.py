"""The generated world that the nursery's parents read and are tested on.

Three kinds of knowledge, each mirroring one of the benchmarks of the Darwin-4B-Genesis card:

* Korean culture facts (CLIcK's place): "the dish of village X is Y", four or five choices;
* stories of placement and deduction in English (MuSR's place): the narrative says who acted, the answer follows from
  that person's habit, which must be known;
* science facts in English (GPQA's place): "the colour of mineral X is Y", four choices.

Villages, minerals and habits are invented, so no text outside the world can know an answer. Every fact and question has
several wordings (``words.py``); those for testing never occur in training text. Everything follows from the world's
seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from darwin_mri.nursery import words

WORLD_SEED = 20261124
NAMES = 75  # villages, and minerals

Habit = tuple[str, str]  # (person, kind of thing)


@dataclass(frozen=True)
class Fact:
    """One fact: the kind of the place is the value.

    Attributes:
        key: unique within a world.
        subject: "korean" or "science".
        place: a village or a mineral.
        kind: such as dish or color.
        value: the right answer.
        wrong: answers of the same kind that are not right.
    """

    key: str
    subject: str
    place: str
    kind: str
    value: str
    wrong: tuple[str, ...]

    def wordings(self, *, test: bool) -> tuple[str, ...]:
        """All sentences of the fact; test wordings end where the answer would follow."""
        korean = self.subject == "korean"
        if test:
            forms = words.KOREAN_TEST if korean else words.SCIENCE_TEST
        else:
            forms = words.KOREAN_TRAIN if korean else words.SCIENCE_TRAIN
        topic = "은" if _ends_in_consonant(self.kind) else "는"
        direct = "을" if _ends_in_consonant(self.value) else "를"
        return tuple(
            f.format(place=self.place, kind=self.kind, value=self.value, topic=topic, object=direct) for f in forms
        )


@dataclass(frozen=True)
class Story:
    """A narrative with one question.

    Attributes:
        key: unique within a world.
        habit: the knowledge it turns on: two stories of one habit share a fact.
        kind: "placement" or "deduction".
        narrative: its text.
        questions: wordings of the question.
        gold: the right answer.
        wrong: answers that are not right.
    """

    key: str
    habit: str
    kind: str
    narrative: str
    questions: tuple[str, ...]
    gold: str
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """All facts, habits and stories of one seed.

    Attributes:
        seed: of everything in it.
    """

    seed: int = WORLD_SEED

    @cached_property
    def korean_facts(self) -> tuple[Fact, ...]:
        """300 Korean culture facts; the crafts (공예) have five choices as CLIcK's CSAT items, the others four."""
        names = [head + tail for head in words.PLACE_HEADS for tail in words.PLACE_TAILS]
        return self._facts("korean", names, words.KOREAN_VALUES, words.KOREAN_CHOICES)

    @cached_property
    def science_facts(self) -> tuple[Fact, ...]:
        """300 English science facts with four choices."""
        names = [head + tail for head in words.MINERAL_HEADS for tail in words.MINERAL_TAILS]
        return self._facts("science", names, words.SCIENCE_VALUES, words.SCIENCE_CHOICES)

    @cached_property
    def habits(self) -> dict[Habit, str]:
        """(person, kind of thing) -> the place where that person hides such things; 200 habits."""
        rng = random.Random(f"{self.seed}:habits")
        return {(person, kind): rng.choice(words.PLACES) for person in words.PEOPLE for kind in words.THINGS}

    def names(self) -> tuple[str, ...]:
        """Every name and answer of the world, as written in running text."""
        facts = (*self.korean_facts, *self.science_facts)
        values = [
            value for pools in (words.KOREAN_VALUES, words.SCIENCE_VALUES) for pool in pools.values() for value in pool
        ]
        things = [thing for pool in words.THINGS.values() for thing in pool]
        return tuple(
            dict.fromkeys([*(f.place for f in facts), *values, *words.PEOPLE, *words.PLACES, *words.THINGS, *things])
        )

    def story(self, person: str, kind: str, number: int, *, test: bool) -> Story:
        """A story that turns on one habit; the same arguments give the same story.

        Placement: somebody else's thing is taken by ``person``; where is it? The owner's own habit is among the wrong
            answers.
        Deduction: a thing turns up in a place; which of four people hides such things there? Nobody else of the four
            does.

        Args:
            person: whose habit.
            kind: of the thing.
            number: which of the habit's stories; odd ones are deductions.
            test: test stories differ from all training stories in their questions' wording, and use numbers of their
                own.

        Returns:
            The story with its questions and its answer.
        """
        rng = random.Random(f"{self.seed}:story:{'test' if test else 'train'}:{person}:{kind}:{number}")
        thing, place = rng.choice(words.THINGS[kind]), self.habits[person, kind]
        key, habit = f"{person}-{kind}-{number}".lower(), f"{person}-{kind}"
        if number % 2 == 0:
            owner = rng.choice([p for p in words.PEOPLE if p != person])
            was = rng.choice([p for p in words.PLACES if p != place])
            fields = {"a": owner, "b": person, "kind": kind, "thing": thing, "was": was}
            near = {was, self.habits[owner, kind]} - {place}
            others = [p for p in words.PLACES if p != place and p not in near]
            wrong = (*sorted(near), *rng.sample(others, 3 - len(near)))
            forms = words.PLACEMENT_TEST if test else words.PLACEMENT_TRAIN
            narrative = rng.choice(words.PLACEMENT_STORIES).format(**fields)
            return Story(key, habit, "placement", narrative, tuple(f.format(**fields) for f in forms), place, wrong)
        wrong = tuple(rng.sample([p for p in words.PEOPLE if self.habits[p, kind] != place], 3))
        w, x, y, z = rng.sample([person, *wrong], 4)
        fields = {"w": w, "x": x, "y": y, "z": z, "kind": kind, "thing": thing, "place": place}
        forms = words.DEDUCTION_TEST if test else words.DEDUCTION_TRAIN
        narrative = rng.choice(words.DEDUCTION_STORIES).format(**fields)
        return Story(key, habit, "deduction", narrative, tuple(f.format(**fields) for f in forms), person, wrong)

    def fact_documents(self, rng: random.Random, facts: Sequence[Fact], per_document: int = 3) -> Iterator[str]:
        """Endless training documents of a few facts each, every fact in a random training wording.

        Args:
            rng: draws facts and wordings.
            facts: the facts.
            per_document: how many each document states.

        Yields:
            One document after the other.
        """
        while True:
            yield "\n".join(rng.choice(fact.wordings(test=False)) for fact in rng.sample(facts, per_document))

    def story_documents(self, rng: random.Random, habits: Sequence[Habit]) -> Iterator[str]:
        """Endless training documents of two stories, each with its question answered, in training wordings only."""
        while True:
            parts = []
            for _ in range(2):
                story = self.story(*rng.choice(habits), rng.getrandbits(40), test=False)
                parts.append(f"{story.narrative}\nQuestion: {rng.choice(story.questions)} Answer: {story.gold}")
            yield "\n".join(parts)

    def habit_documents(self, rng: random.Random, habits: Sequence[Habit]) -> Iterator[str]:
        """Endless training documents of four statements about habits."""
        while True:
            lines = []
            for person, kind in rng.sample(habits, 4):
                place = self.habits[person, kind]
                fields = {"b": person, "kind": kind, "thing": rng.choice(words.THINGS[kind]), "place": place}
                lines.append(rng.choice(words.HABIT_TRAIN).format(**fields))
            yield "\n".join(lines)

    def _facts(
        self, subject: str, names: list[str], values: dict[str, tuple[str, ...]], choices: dict[str, int]
    ) -> tuple[Fact, ...]:
        rng = random.Random(f"{self.seed}:{subject}")
        rng.shuffle(names)
        facts = []
        for place in names[:NAMES]:
            for kind, pool in values.items():
                value = rng.choice(pool)
                wrong = tuple(rng.sample([v for v in pool if v != value], choices[kind] - 1))
                facts.append(Fact(f"{subject}-{len(facts):03d}", subject, place, kind, value, wrong))
        return tuple(facts)


def _ends_in_consonant(word: str) -> bool:
    code = ord(word[-1]) - 0xAC00
    return 0 <= code < 11172 and code % 28 != 0
