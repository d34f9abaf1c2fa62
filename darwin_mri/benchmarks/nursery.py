"""The nursery's three benchmarks, made by seed from the generated world in the formats of CLIcK, MuSR and GPQA.

Prompts are cloze prompts: choices are scored as text after the prompt and not listed in it, because the nursery's
models are trained on plain statements and answers, not on lettered options.
"""

from __future__ import annotations

import random

from darwin_mri.benchmarks.items import ChoiceItem
from darwin_mri.nursery.world import WORLD_SEED, Fact, World

STORIES = 4  # per habit; even numbers are placements, odd ones deductions


def nursery_click(seed: int = WORLD_SEED) -> tuple[ChoiceItem, ...]:
    """600 Korean items: 300 culture facts in both test wordings; cluster = fact, slice = kind of fact."""
    return fact_items("nursery_click", World(seed).korean_facts)


def nursery_gpqa(seed: int = WORLD_SEED) -> tuple[ChoiceItem, ...]:
    """600 English items: 300 science facts in both test wordings; cluster = fact, slice = kind of fact."""
    return fact_items("nursery_gpqa", World(seed).science_facts)


def nursery_musr(seed: int = WORLD_SEED) -> tuple[ChoiceItem, ...]:
    """800 English items: four stories on each of 200 habits; cluster = habit, slices placement and deduction."""
    items = []
    world = World(seed)
    for person, thing in world.habits:
        for number in range(STORIES):
            read = world.story(person, thing, number, test=True)
            context = f"{read.narrative}\nQuestion: {read.questions[len(items) // 2 % len(read.questions)]} Answer:"
            items.append(
                _item("nursery_musr", read.key, context, read.gold, read.wrong, cluster=read.habit, slice_=read.kind)
            )
    return tuple(items)


def fact_items(benchmark: str, facts: tuple[Fact, ...]) -> tuple[ChoiceItem, ...]:
    """Facts in both test wordings; cluster = fact, slice = kind of fact."""
    return tuple(
        _item(benchmark, f"{fact.key}-w{number}", context, fact.value, fact.wrong, cluster=fact.key, slice_=fact.kind)
        for fact in facts
        for number, context in enumerate(fact.wordings(test=True))
    )


def _item(
    benchmark: str, key: str, context: str, gold: str, wrong: tuple[str, ...], *, cluster: str, slice_: str
) -> ChoiceItem:
    """An item whose choices are shuffled by its own key, so no other item or loading order can move the gold."""
    choices = [gold, *wrong]
    random.Random(f"{WORLD_SEED}:{benchmark}:{key}").shuffle(choices)
    return ChoiceItem(
        key=key,
        context=context,
        choices=tuple(choices),
        gold=choices.index(gold),
        cluster=cluster,
        slice=slice_,
        benchmark=benchmark,
    )
