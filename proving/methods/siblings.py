"""Siblings that hold different knowledge: each is the nursery's base trained on its own share of one generated world.

A share is ten villages and ten minerals with four facts each, so no two specialists read about the same place. The
wordings of the items never occur in training. A few documents are about facts that the base knows, so that a
specialist forgets less.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from darwin_mri import seeds
from darwin_mri.benchmarks import ChoiceItem, split_items
from darwin_mri.benchmarks.nursery import fact_items
from darwin_mri.checkpoints import file_digests, find_model, load_tokenizer, weights_digest
from darwin_mri.nursery.recipe import Recipe, learning_rate, save
from darwin_mri.nursery.world import WORLD_SEED, Fact, World
from darwin_mri.probes import Probe
from proving.methods.family import SEARCH_SHARE
from proving.text_rows import IGNORED, rows_of

BASE = "nursery:gemma4-base"
SPECIALISTS = 6
PLACES = 10  # villages, and minerals, of a share
DOCUMENTS = 16  # of each parent's text, for moments


@dataclass(frozen=True)
class NurserySiblings:
    """The specialists of one seed.

    Attributes:
        folder: where trained ones are kept, by the digest of how they were made.
        seed: of the world, the documents and their order.
        specialists: how many share the world.
        steps: of the optimizer.
        places: villages, and minerals, of each.
    """

    folder: Path
    seed: int
    specialists: int = SPECIALISTS
    steps: int = 60
    places: int = PLACES

    @property
    def base(self) -> str:
        """The model that all were trained from."""
        return BASE

    @cached_property
    def world(self) -> World:
        """The world of this seed, which is not the base's."""
        return World(WORLD_SEED + self.seed)

    def recipe(self, number: int) -> Recipe:
        """How a specialist is trained; ``batch`` counts documents."""
        seed = seeds.integer(self.seed, "siblings", number) % 2**32
        mixture = {"own_facts": 0.85, "base_facts": 0.15}
        return Recipe(f"specialist-{number}", "gemma4_text", BASE, self.steps, 2e-3, mixture, batch=16, seed=seed)

    @cached_property
    def digest(self) -> str:
        """Of everything that the specialists follow from."""
        base = weights_digest(file_digests(find_model(BASE, offline=True).folder))
        recipes = [asdict(self.recipe(number)) for number in range(self.specialists)]
        parts = [base, self.world.seed, self.places, recipes, [fact.wordings(test=False)[0] for fact in self.facts(0)]]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:12]

    def facts(self, number: int) -> tuple[Fact, ...]:
        """What a specialist learns: facts come in the order of their places, four of each."""
        size = 4 * self.places
        part = slice(number * size, (number + 1) * size)
        return self.world.korean_facts[part] + self.world.science_facts[part]

    def items(self, number: int) -> tuple[ChoiceItem, ...]:
        """The facts in both held-out wordings; cluster = fact."""
        return fact_items(task_of(number), self.facts(number))

    def model(self, number: int) -> Path:
        """Folder of a trained specialist."""
        return self.folder / f"seed-{self.seed}-{self.digest}" / f"specialist-{number}"

    def texts(self, count: int) -> tuple[Probe, ...]:
        """Documents like those that the base and the first ``count`` specialists learned from, a topic each.

        They state no fact that a held-out item asks about.
        """
        rng = random.Random(f"{self.seed}:moments")
        base = base_documents(rng)
        probes = [Probe(next(base), "en", "knowledge", f"base-{i}", topic="base") for i in range(DOCUMENTS)]
        for number in range(count):
            split = split_items(self.items(number), self.seed, SEARCH_SHARE)
            known = {item.cluster for item in split.search}
            facts = [fact for fact in self.facts(number) if fact.key in known]
            stream, topic = self.world.fact_documents(rng, facts), f"share{number}"
            probes += [Probe(next(stream), "en", "knowledge", f"{topic}-{i}", topic=topic) for i in range(DOCUMENTS)]
        return tuple(probes)

    def train(self, say: Callable[[str], None]) -> list[Path]:
        """Train the specialists that are not in the folder yet; returns all folders."""
        folders = [self.model(number) for number in range(self.specialists)]
        for number, folder in enumerate(folders):
            if not (folder / "nursery.json").is_file():  # written last
                began = time.process_time()
                loss = self._train(number, folder)
                say(f"seed {self.seed} specialist {number}: loss {loss:.3f}, {time.process_time() - began:.0f} s")
        return folders

    def documents(self, number: int) -> Iterator[str]:
        """Endless training documents of a specialist."""
        mixture, rng, base = self.recipe(number).mixture, random.Random(self.recipe(number).seed), World()
        sources = {
            "own_facts": self.world.fact_documents(rng, self.facts(number)),
            "base_facts": base.fact_documents(rng, base.korean_facts[::2] + base.science_facts[::2]),
        }
        while True:
            yield next(sources[rng.choices(list(mixture), list(mixture.values()))[0]])

    def _train(self, number: int, folder: Path) -> float:
        recipe, source = self.recipe(number), find_model(BASE, offline=True)
        torch.manual_seed(recipe.seed)
        model = AutoModelForCausalLM.from_pretrained(source.folder, dtype=torch.float32)
        tokenizer: Any = load_tokenizer(source)
        optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        stream, loss = self.documents(number), torch.zeros(())
        model.train()
        for step in range(recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe)
            ids, targets = rows_of([next(stream) for _ in range(recipe.batch)], tokenizer)
            logits = model(input_ids=ids, use_cache=False).logits  # (rows, tokens, vocabulary)
            loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        save(model, tokenizer, recipe, folder, self.world.seed)
        return float(loss.detach())


def task_of(number: int) -> str:
    """Name of the task that a specialist's share is asked as."""
    return f"share{number}"


def base_documents(rng: random.Random) -> Iterator[str]:
    """Endless documents about what the base knows of its own world."""
    world = World()
    habits = list(world.habits)[::2]
    kinds = (
        world.fact_documents(rng, world.korean_facts[::2]),
        world.fact_documents(rng, world.science_facts[::2]),
        world.story_documents(rng, habits),
        world.habit_documents(rng, habits),
    )
    while True:
        yield next(rng.choice(kinds))
