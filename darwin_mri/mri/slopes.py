"""Slopes along genes as a run measures them: in pieces that fit in memory, each block's kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from darwin_mri.batch_sizes import BATCH_TOKENS
from darwin_mri.checkpoints.devices import retry_smaller
from darwin_mri.mri.blended import BlendedDecoder, Direction
from darwin_mri.mri.response import Block, block_slopes, repeatable
from darwin_mri.run import MeasurementCache, Progress

Directions = Mapping[str, Mapping[str, torch.Tensor | Direction]]
"""Gene -> {parameter: what the gene adds to it per unit of ratio, in the parameter's shape}."""


class Loss:
    """A loss in blocks, each in pieces of at most ``budget`` tokens: as many as one backward pass is tried on.

    Args:
        name: of the loss in the cache.
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
    """``gene_slopes`` along fixed directions; every block's slopes are kept in a file as soon as they are measured.

    Args:
        model: the father, resident.
        genes: names, in the order of the slopes.
        make_directions: the directions of these genes, computed when the first is needed: they take more memory than
            the model.
        cache: slopes measured before.
        progress: where a smaller batch is reported.
        layers: the decoder layers where memory is short (``BlendedDecoder``).
        keep: the child's weights between blocks all the same (``BlendedDecoder``).
    """

    def __init__(
        self,
        model: Any,
        genes: Sequence[str],
        make_directions: Callable[[], Directions],
        cache: MeasurementCache,
        progress: Progress,
        layers: Sequence[nn.Module] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self.model, self.genes, self.cache, self.progress = model, tuple(genes), cache, progress
        self._make_directions, self._layers, self._keep = make_directions, layers, keep
        self._warned = False

    @cached_property
    def decoder(self) -> BlendedDecoder:
        """The model with every gene at its ratio, along directions that are computed now."""
        return BlendedDecoder.along(self.model, self._make_directions(), self._layers, keep=self._keep)

    def __call__(
        self,
        loss: Loss,
        ratios: float | np.ndarray,
        advance: Callable[[int], None] = lambda _: None,
        blocks: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Slopes and losses of blocks, with every gene at its ratio.

        Args:
            loss: whose slopes are read.
            ratios: of each gene (genes,), or one for all.
            advance: called with the number of blocks done.
            blocks: which of the loss's; all by default.

        Returns:
            (slopes (blocks, genes), losses (blocks,)).

        Raises:
            DarwinError: one item or text alone does not fit in memory.
        """
        at = np.broadcast_to(ratios, len(self.genes)).tolist()
        rows = []
        for number in range(len(loss.blocks)) if blocks is None else blocks:
            row = self.cache.get((loss.name, number, *at))
            if row is None:
                row = self._measure(loss, number, ratios)
                self.cache.put((loss.name, number, *at), row)
            rows.append(row)
            advance(1)
        table = np.array(rows)  # (blocks, 1 + genes)
        return table[:, 1:], table[:, 0]

    def _measure(self, loss: Loss, number: int, ratios: float | np.ndarray) -> np.ndarray:
        """The block's loss and slopes (1 + genes,); in smaller pieces where a backward pass does not fit in memory."""

        def attempt() -> np.ndarray:
            at = np.broadcast_to(ratios, len(self.genes))
            slopes, losses = block_slopes(self.model, self.decoder, at, [loss.blocks[number]])
            return np.concatenate([losses, slopes[0]])

        def halve() -> bool:
            if not loss.shrink():
                return False
            self.progress.say(f"a backward pass did not fit in memory: going on with {loss.budget} tokens at a time")
            return True

        row = retry_smaller(
            attempt,
            halve,
            lambda: (
                "blend response: a backward pass over one item does not fit in memory: use a larger device,"
                " or prior.preset: flat"
            ),
        )
        if not repeatable(self.model) and not self._warned:
            self._warned = True
            self.progress.say("this model's slopes do not repeat to the last bit on this device")
        return row
