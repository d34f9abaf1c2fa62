"""The blend response in pieces: the same slopes whatever the pieces, and smaller ones where memory is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darwin_mri.benchmarks import ChoiceItem, fitness_blocks, sample_items
from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.errors import DarwinError
from darwin_mri.mri import Block, PieceLoss, gene_slopes
from darwin_mri.mri.slopes import Directions, Loss, SlopeReader
from darwin_mri.problem.directions import Shelf, filed_directions
from darwin_mri.problem.space import sibling_space
from darwin_mri.run import MeasurementCache, Silent
from tests.choices import as_choices, load_choices
from tests.family import small

WEIGHTS = {"nursery_click": 0.6, "nursery_musr": 0.4}


@pytest.fixture(scope="module")
def pair(family: dict[str, Path]) -> tuple[LoadedModel, Any]:
    father = load(find_model(str(family["father"])), "", device="cpu", dtype="float32")
    sister, base = find_model(str(family["sister"])), find_model(str(family["base"]))
    return father, filed_directions(
        sibling_space(small(family), father, (sister,), base), father, 1.0, Shelf(father.device, None)
    )


@pytest.fixture(scope="module")
def items() -> dict[str, tuple[ChoiceItem, ...]]:
    return {name: as_choices(sample_items(load_choices(name), 20, 1)) for name in WEIGHTS}


def fitness_of(father: LoadedModel, items: dict[str, tuple[ChoiceItem, ...]]) -> Callable[[int], Sequence[Block]]:
    """Token budget -> the blocks of the fitness loss."""
    return lambda budget: fitness_blocks(father, items, WEIGHTS, log=True, token_budget=budget)


def test_pieces_add_up_to_the_block(pair: tuple[LoadedModel, Any], items: dict[str, tuple[ChoiceItem, ...]]) -> None:
    father, directions = pair
    whole, pieces = map(fitness_of(father, items), (1 << 20, 1))
    assert {len(block) for block in whole} == {1} and sum(map(len, pieces)) == 40  # every item by itself
    (slopes, losses), (other_slopes, other_losses) = (
        gene_slopes(father.model, directions, 0.5, blocks) for blocks in (whole, pieces)
    )
    np.testing.assert_allclose(other_losses, losses, rtol=1e-5)
    np.testing.assert_allclose(other_slopes, slopes, rtol=1e-3, atol=1e-6)


def short_of_memory(fits: int, loss: Callable[[int], Sequence[Block]]) -> Callable[[int], Sequence[Block]]:
    """Blocks whose backward pass fails above a budget of ``fits`` tokens, as it would on a small device."""

    def fail(_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    return lambda budget: [[fail if budget > fits else piece for piece in block] for block in loss(budget)]


def test_short_of_memory_the_pieces_are_halved_until_they_fit(
    pair: tuple[LoadedModel, Any], items: dict[str, tuple[ChoiceItem, ...]], tmp_path: Path
) -> None:
    father, directions = pair
    make = fitness_of(father, items)
    budgets, slopes = {}, {}
    for name, blocks in (("roomy", make), ("short", short_of_memory(1100, make))):
        loss = Loss("fitness", blocks)
        before = loss.budget
        reader = SlopeReader(
            father.model,
            list(directions),
            lambda: directions,
            MeasurementCache(tmp_path / f"{name}.jsonl", "", False),
            Silent(),
        )
        slopes[name], _ = reader(loss, 0.5)
        budgets[name] = before, loss.budget
    assert budgets["roomy"][0] == budgets["roomy"][1]
    assert budgets["short"][1] <= 1100 < budgets["short"][0]
    np.testing.assert_allclose(slopes["short"], slopes["roomy"], rtol=1e-3, atol=1e-6)


def test_one_item_that_does_not_fit_is_one_clear_line(pair: tuple[LoadedModel, Any], tmp_path: Path) -> None:
    father, directions = pair

    def piece(_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    never: PieceLoss = piece
    reader = SlopeReader(
        father.model, list(directions), lambda: directions, MeasurementCache(tmp_path / "x.jsonl", "", False), Silent()
    )
    with pytest.raises(DarwinError, match="does not fit in memory"):
        reader(Loss("fitness", lambda _: [[never]]), 0.0)


def test_slopes_kept_in_a_file_need_no_directions(
    pair: tuple[LoadedModel, Any], items: dict[str, tuple[ChoiceItem, ...]], tmp_path: Path
) -> None:
    father, directions = pair
    make = fitness_of(father, items)

    def never() -> Directions:
        raise AssertionError("the directions are computed although every block is known")

    slopes = []
    for kept, directed in ((False, lambda: directions), (True, never)):
        saved = MeasurementCache(tmp_path / "slopes.jsonl", "", kept)
        reader = SlopeReader(father.model, list(directions), directed, saved, Silent())
        slopes.append(reader(Loss("fitness", make), 0.5)[0])
    assert slopes[0].size and (slopes[0] == slopes[1]).all()
