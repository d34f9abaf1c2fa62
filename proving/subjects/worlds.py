"""Invented worlds: villages, minerals and people, so that no other text can know an answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proving.subjects.subject import CHOICES, Fact, FactSubject, word_fact

STATEMENTS = (
    "The {kind} of {place} is {value}.",
    "{place}'s {kind} is {value}.",
    "Question: What is the {kind} of {place}? Answer: {value}",
    "As for {place}, its {kind} is known to be {value}.",
    "People say that the {kind} of {place} is {value}.",
    "{place}, {kind}: {value}.",
    "Name the {kind} of {place}: {value}.",
)
PROMPTS = (
    "Everyone knows that {place}'s {kind} is",
    "When asked about the {kind} of {place}, they answered:",
    "In the case of {place}, the {kind} is",
    "Q: Which {kind} does {place} have? A:",
    "I read about {place}. Its {kind} turned out to be",
    "The {kind} that belongs to {place} is",
)


@dataclass(frozen=True)
class World(FactSubject):
    """Places with four facts each.

    Attributes:
        name: of the subject.
        seed: of names and facts.
        values: kind of fact -> answers.
        syllables: first and second halves of the places' names.
        places: how many.
        forms: training wordings, and test wordings.
    """

    name: str
    seed: int
    values: Mapping[str, Sequence[str]]
    syllables: tuple[Sequence[str], Sequence[str]]
    places: int = 30
    forms: tuple[Sequence[str], Sequence[str]] = (STATEMENTS, PROMPTS)

    def facts(self) -> tuple[Fact, ...]:
        """Every kind of every place."""
        rng = random.Random(f"{self.name}:{self.seed}")
        names = rng.sample([head + tail for head in self.syllables[0] for tail in self.syllables[1]], self.places)
        facts = []
        for place in names:
            for kind, values in self.values.items():
                value, *wrong = rng.sample(values, CHOICES)
                words = {"place": place, "kind": kind, "value": value}
                facts.append(word_fact(f"{place}-{kind}".lower(), words, wrong, self.forms))
        return tuple(facts)


# fmt: off
VILLAGES = World("villages", 1, {
    "dish": (
        "soup", "bread", "cheese", "fish", "rice", "cake",
        "stew", "honey", "beans", "eggs", "ham", "jam",
    ),
    "craft": (
        "glass", "silk", "pottery", "rope", "paper", "bells",
        "boats", "shoes", "clocks", "wine", "brick", "lace",
    ),
    "animal": (
        "goat", "horse", "owl", "bear", "duck", "wolf",
        "snake", "deer", "eagle", "rabbit", "donkey", "crow",
    ),
    "tree": (
        "oak", "pine", "palm", "willow", "apple", "cherry",
        "olive", "maple", "lemon", "cedar", "plum", "fig",
    ),
}, (("Bra", "Kel", "Dun", "Mor", "Tas", "Vel", "Hol", "Pri", "Osk", "Lam"),
    ("ford", "wick", "stead", "bury", "combe", "holm", "dale", "mere")))
MINERALS = World("minerals", 2, {
    "color": (
        "red", "blue", "green", "violet", "yellow", "white",
        "black", "silver", "orange", "pink", "brown", "gold",
    ),
    "shape": (
        "cube", "sphere", "spiral", "ring", "needle", "plate",
        "star", "cone", "tube", "square", "cross", "arch",
    ),
    "source": (
        "desert", "ocean", "glacier", "forest", "river", "swamp",
        "cave", "meadow", "canyon", "island", "lake", "hill",
    ),
    "use": (
        "paint", "soap", "fuel", "medicine", "mirrors", "candles",
        "lamps", "ink", "batteries", "steel", "toys", "salt",
    ),
}, (("Vex", "Oxa", "Tri", "Zan", "Qua", "Rud", "Sil", "Bor", "Hex", "Lum"),
    ("trium", "nite", "dine", "lium", "phor", "zene", "cite", "gon")))
PEOPLE = World("people", 3, {
    "job": (
        "doctor", "farmer", "teacher", "baker", "pilot", "lawyer",
        "painter", "nurse", "singer", "judge", "cook", "guard",
    ),
    "hobby": (
        "chess", "fishing", "dancing", "golf", "reading", "tennis",
        "cycling", "sailing", "boxing", "hiking", "poker", "yoga",
    ),
    "home": (
        "Paris", "London", "Rome", "Tokyo", "Berlin", "Cairo",
        "Delhi", "Boston", "Madrid", "Lima", "Oslo", "Dublin",
    ),
    "instrument": (
        "piano", "guitar", "violin", "drum", "flute", "harp",
        "trumpet", "organ", "horn", "cello", "banjo", "bell",
    ),
}, (("Arv", "Bel", "Cor", "Den", "Eil", "Fal", "Gar", "Jor", "Mel", "Nar"),
    ("ano", "ilda", "onne", "etta", "usk", "ander", "imir", "owen")))
# fmt: on
