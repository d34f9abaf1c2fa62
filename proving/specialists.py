"""The specialists as siblings of a study: which ones a seed draws, and what they are asked."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from pathlib import Path

from darwin_mri.benchmarks import ChoiceItem, split_items
from darwin_mri.errors import InputError
from darwin_mri.probes import Probe, load_probes, select_probes
from proving.bases import fetch_base
from proving.methods.family import SEARCH_SHARE
from proving.recipes import RECIPES
from proving.subjects import SUBJECTS
from proving.subjects.subject import FactSubject

ADAPTERS = Path(__file__).parent / "adapters"
BASE = "smollm2"
DRAWN = tuple(recipe.name for recipe in RECIPES.values() if recipe.base == BASE and not recipe.full)
DOCUMENTS = 16  # of each parent's text


@cache
def base_file() -> str:
    """The base of the study, fetched where it is not there yet."""
    return str(fetch_base(BASE))


@dataclass(frozen=True)
class Specialists:
    """The adapters of SmolLM2 135M in the order that a seed draws; a study with k of them takes the first k.

    Attributes:
        seed: of the order, and of the split of the items.
        folder: of the adapters.
    """

    seed: int
    folder: Path = ADAPTERS

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The specialists in order."""
        return tuple(random.Random(f"specialists:{self.seed}").sample(DRAWN, len(DRAWN)))

    @property
    def base(self) -> str:
        """The base's file."""
        return base_file()

    def require(self) -> None:
        """Raise InputError where an adapter is missing."""
        for name in DRAWN:
            if not (self.folder / name / "adapter_model.safetensors").is_file():
                raise InputError(f"{self.folder / name} holds no adapter: python -m proving.train {name}")

    def model(self, number: int) -> str:
        """A specialist, as darwin_mri takes models."""
        return f"{self.base}+{self.folder / self.names[number]}"

    def items(self, number: int) -> tuple[ChoiceItem, ...]:
        """What a specialist knows, in wordings or problems that it never read."""
        return SUBJECTS[RECIPES[self.names[number]].subject].items()

    def texts(self, count: int) -> tuple[Probe, ...]:
        """Packaged English probes, and statements like those that specialists learned from, without held-out facts."""
        probes = select_probes(load_probes(), ("en",), DOCUMENTS, self.seed)[:DOCUMENTS]
        for number in range(count):
            subject = SUBJECTS[RECIPES[self.names[number]].subject]
            rng, own = random.Random(f"{self.seed}:texts:{number}"), subject.statements
            if isinstance(subject, FactSubject):
                known = {item.cluster for item in split_items(self.items(number), self.seed, SEARCH_SHARE).search}
                facts = [fact for fact in subject.facts() if fact.key in known]
                statements = [rng.choice(rng.choice(facts).statements) for _ in range(DOCUMENTS)]
            else:
                statements = ["".join(pair) for pair in islice(own(rng), DOCUMENTS)]
            probes += tuple(
                Probe(text, "en", "knowledge", f"{subject.name}-{i}", topic=subject.name)
                for i, text in enumerate(statements)
            )
        return probes
