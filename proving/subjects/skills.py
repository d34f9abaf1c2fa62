"""Skills: what is asked are problems that training never shows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from darwin_mri.nursery import words
from darwin_mri.nursery.world import World as Habits
from proving.subjects.subject import CHOICES, Fact, Statement, Subject, split_statement

HABITS = tuple(form for form in words.HABIT_TRAIN if "{place}" in form[-8:])  # those that end with the place
SUM_STATEMENTS = (
    "{a} {sign} {b} = {value}.",
    "Question: What is {a} {sign} {b}? Answer: {value}",
    "{a} {word} {b} is {value}.",
    "Compute {a} {sign} {b}: {value}.",
)
SUM_PROMPTS = (
    "Q: Tell me {a} {sign} {b}. A:",
    "The result of {a} {word} {b} is",
    "She worked out {a} {sign} {b} and got",
)


@dataclass(frozen=True)
class Sums(Subject):
    """Sums and differences of numbers of two digits.

    Attributes:
        name: of the subject.
        asked: how many problems are asked; training never shows them.
    """

    name: str = "sums"
    asked: int = 240

    def facts(self) -> tuple[Fact, ...]:
        """The problems that are asked; wrong answers are 1, 2 or 10 away."""
        rng = random.Random(self.name)
        return tuple(_sum_fact(rng, *problem) for problem in sorted(self._held_out()))

    def statements(self, rng: random.Random) -> Iterator[Statement]:
        """Endless problems of the others."""
        held_out = self._held_out()
        while True:
            problem = _draw_problem(rng)
            if problem not in held_out:
                fact = _sum_fact(rng, *problem)
                yield split_statement(rng.choice(fact.statements), fact.answer)

    def _held_out(self) -> set[tuple[int, str, int]]:
        rng, drawn = random.Random(f"{self.name}:asked"), set[tuple[int, str, int]]()
        while len(drawn) < self.asked:
            drawn.add(_draw_problem(rng))
        return drawn


@dataclass(frozen=True)
class Stories(Subject):
    """Who hides what where: an answer needs a habit that no story states, told by training.

    Attributes:
        name: of the subject.
        seed: of the habits.
        people: how many people; each has four habits.
        stories: asked on each habit.
    """

    name: str = "stories"
    seed: int = 4
    people: int = 20
    stories: int = 9

    def facts(self) -> tuple[Fact, ...]:
        """Placement stories, each with one question in a test wording."""
        world, facts = Habits(self.seed), []
        for person, kind in self._habits():
            for number in range(self.stories):
                read = world.story(person, kind, 2 * number, test=True)
                question = read.questions[number % len(read.questions)]
                prompt = f"{read.narrative} {question} In the"
                facts.append(Fact(read.key, (), (prompt,), read.gold, read.wrong, kind, f"{person}-{kind}"))
        return tuple(facts)

    def statements(self, rng: random.Random) -> Iterator[Statement]:
        """Endless stories and statements of the habits, in training wordings."""
        world = Habits(self.seed)
        while True:
            person, kind = rng.choice(self._habits())
            if rng.random() < 0.5:
                story = world.story(person, kind, 2 * rng.getrandbits(40), test=False)
                yield f"{story.narrative} {rng.choice(story.questions)} In the", f" {story.gold}."
            else:
                place, thing = world.habits[person, kind], rng.choice(words.THINGS[kind])
                form = rng.choice(HABITS)
                yield split_statement(form.format(b=person, kind=kind, thing=thing, place=place), place)

    def _habits(self) -> list[tuple[str, str]]:
        return [(person, kind) for person in words.PEOPLE[: self.people] for kind in words.THINGS]


def _draw_problem(rng: random.Random) -> tuple[int, str, int]:
    a, b = rng.randint(11, 99), rng.randint(11, 99)
    return (max(a, b), "-", min(a, b)) if rng.random() < 0.5 else (a, "+", b)


def _sum_fact(rng: random.Random, a: int, sign: str, b: int) -> Fact:
    value = a + b if sign == "+" else a - b
    wrong = rng.sample([value + step for step in (-10, -2, -1, 1, 2, 10) if value + step >= 0], CHOICES - 1)
    fields = {"a": a, "b": b, "sign": sign, "word": "plus" if sign == "+" else "minus", "value": value}
    return Fact(
        f"{a}{'p' if sign == '+' else 'm'}{b}",
        tuple(form.format(**fields) for form in SUM_STATEMENTS),
        tuple(form.format(**fields) for form in SUM_PROMPTS),
        str(value),
        tuple(map(str, wrong)),
        "sum" if sign == "+" else "difference",
    )
