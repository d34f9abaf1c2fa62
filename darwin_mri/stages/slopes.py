"""Slopes along genes as a run measures them: in pieces that fit in memory, each block's kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from darwin_mri.benchmarks.scorer import is_out_of_memory
from darwin_mri.errors import DarwinError
from darwin_mri.mri import Block, gene_slopes, repeatable
from darwin_mri.stages.memory import BATCH_TOKENS
from darwin_mri.stages.run import Progress
from darwin_mri.stages.saved import Saved

Directions = Mapping[str, Mapping[str, torch.Tensor]]  # gene -> {parameter: what the gene adds to it per unit of ratio}


class Loss:
    """A loss in blocks, each in pieces of at most ``budget`` tokens: as many as one backward pass is tried on.

    Args:
        make: budget -> the blocks.
    """

    def __init__(self, name: str, make: Callable[[int], Sequence[Block]]) -> None:
        self.name, self.budget, self._make = name, BATCH_TOKENS, make
        self.blocks = make(self.budget)

    def shrink(self) -> bool:
        """Halve the budget until some block has more pieces; False where none can have more."""
        before = [len(block) for block in self.blocks]
        while self.budget > 1:
            self.budget //= 2
            self.blocks = self._make(self.budget)
            if [len(block) for block in self.blocks] != before:
                return True
        return False


class SlopeReader:
    """``gene_slopes`` along fixed directions, every block's kept in a file as soon as it is measured.

    Args:
        genes: names, in the order of the slopes.
        make: the directions of these genes, made when the first is needed: they take more memory than the model.
    """

    def __init__(
        self, model: Any, genes: Sequence[str], make: Callable[[], Directions], saved: Saved, progress: Progress
    ) -> None:
        self.model, self.genes, self.saved, self.progress = model, tuple(genes), saved, progress
        self._make = make
        self._told = False

    @cached_property
    def directions(self) -> Directions:
        return self._make()

    def __call__(
        self, loss: Loss, ratios: float | np.ndarray, advance: Callable[[int], None] = lambda _: None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(slopes (blocks, genes), losses (blocks,)).

        Raises:
            DarwinError: one item or text alone does not fit in memory.
        """
        at = np.broadcast_to(ratios, len(self.genes)).tolist()
        rows = []
        for number in range(len(loss.blocks)):
            row = self.saved.get((loss.name, number, *at))
            if row is None:
                row = self._measure(loss, number, ratios)
                self.saved.put((loss.name, number, *at), row)
            rows.append(row)
            advance(1)
        found = np.array(rows)
        return found[:, 1:], found[:, 0]

    def _measure(self, loss: Loss, number: int, ratios: float | np.ndarray) -> np.ndarray:
        """The block's loss, then its slopes; in smaller pieces where a backward pass does not fit in memory."""
        while True:
            try:
                slopes, losses = gene_slopes(self.model, self.directions, ratios, [loss.blocks[number]])
                if not repeatable(self.model) and not self._told:
                    self._told = True
                    self.progress.say("this model's slopes do not repeat to the last bit on this device")
                return np.concatenate([losses, slopes[0]])
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if not loss.shrink():
                raise DarwinError(
                    "blend response: a backward pass over one item does not fit in memory: use a larger device, or prior.preset: flat"
                )
            self.progress.say(f"a backward pass did not fit in memory: going on with {loss.budget} tokens at a time")
