"""More parents to cross, trained on demand: another family, another skill, another world.

The bundled pair alone would let an arm be tuned to it. These models are not shipped; ``darwin-mri nursery train --pairs`` makes
them in some ten minutes of one core each.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from darwin_mri.errors import ConfigError
from darwin_mri.nursery.recipe import Recipe, tokenizer_for, train_one
from darwin_mri.nursery.world import WORLD_SEED, World

OTHER_WORLD = 20261125


@dataclass(frozen=True)
class PairModel:
    """A recipe in a world of its own, with sizes that differ from its family's."""

    recipe: Recipe
    world: int = WORLD_SEED
    shape: Mapping[str, int] = field(default_factory=dict)


PAIR_MODELS = {
    model.recipe.name: model
    for model in (
        # of the nursery's world; knows every habit, so that stories are what she has to give
        PairModel(
            Recipe(
                "llama-stories", "llama", None, 750, 3e-3,
                {
                    "korean_text": 0.14, "english_text": 0.18, "korean_half": 0.04, "science_half": 0.10, "habit": 0.34,
                    "story": 0.20,
                },
            )
        ),
        # a father and a mother of another world
        PairModel(
            Recipe(
                "llama-korean-2", "llama", None, 600, 3e-3,
                {
                    "korean_text": 0.20, "english_text": 0.12, "korean": 0.34, "science_half": 0.14, "habit_half": 0.13,
                    "story_half": 0.07,
                },
            ),
            OTHER_WORLD,
            {"intermediate_size": 2048},
        ),
        PairModel(
            Recipe(
                "qwen35-science-2", "qwen3_5_text", None, 650, 3e-3,
                {
                    "korean_text": 0.12, "english_text": 0.22, "korean_half": 0.06, "science": 0.40, "habit_half": 0.12,
                    "story_half": 0.08,
                },
            ),
            OTHER_WORLD,
        ),
    )
}  # fmt: skip


def train_pairs(corpus: Path, out: Path, names: Sequence[str] = (), say: Callable[[str], None] = print) -> None:
    """Train the named models (all when none is named) one after the other on one core; those already in ``out`` are kept.

    Raises:
        ConfigError: no such model.
    """
    unknown = sorted(set(names) - set(PAIR_MODELS))
    if unknown:
        raise ConfigError(f"there is no pair model '{unknown[0]}': choose of {', '.join(PAIR_MODELS)}")
    out.mkdir(parents=True, exist_ok=True)
    for name in names or PAIR_MODELS:
        model = PAIR_MODELS[name]
        if (out / name / "nursery.json").is_file():
            continue
        world = World(model.world)
        tokenizer = tokenizer_for(model.recipe.family, corpus, world)
        train_one(model.recipe, corpus, out, tokenizer, say, world, model.shape)
        shutil.rmtree(out / f"{name}.partial", ignore_errors=True)
