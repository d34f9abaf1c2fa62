"""Trees read by a model: a mask that shows every token its ancestors alone, and positions that are its depths.

Attention that slides or is chunked gets a mask of its own, by positions and not by columns. A family whose attention is
of another kind, or whose layers carry a state from token to token, cannot be read so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Cache, DynamicCache, PreTrainedModel

from darwin_mri.benchmarks.prefill import LONG_PIECE, PIECE, Prefill
from darwin_mri.benchmarks.trees import Trees
from darwin_mri.checkpoints.anatomy import decoder_of

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"  # transformers' ``layer_types``
UNKNOWN = ("window_size", "attention_layers")  # parts of names of fields about windows in other families' own ways
Reaches = dict[str, int]  # kind of attention -> tokens of its window or chunk; 0 for all


def attention_reaches(config: Any) -> Reaches | None:
    """The kinds of attention of a text configuration; None where one is of a kind that a mask does not make.

    Args:
        config: of a text decoder.
    """
    fields = config.to_dict()
    if any(part in name and value for name, value in fields.items() for part in UNKNOWN):
        return None
    window, chunk = getattr(config, "sliding_window", None), getattr(config, "attention_chunk_size", None)
    reaches = {FULL: 0, SLIDING: window, CHUNKED: chunk}
    kinds = set(getattr(config, "layer_types", None) or (SLIDING if window else FULL,))
    if not kinds <= set(reaches) or any(reaches[kind] is None for kind in kinds):
        return None
    return {kind: reaches[kind] for kind in sorted(kinds)}


@dataclass(frozen=True)
class _OnDevice:
    """Tensors of trees (rows, columns) each."""

    ids: torch.Tensor
    depths: torch.Tensor
    starts: torch.Tensor
    ends: torch.Tensor


class TreeReader:
    """Reads trees with one model.

    Args:
        model: a causal language model.
        prefill: of the same model; knows where reading the beginnings may stop.
    """

    def __init__(self, model: PreTrainedModel, prefill: Prefill) -> None:
        self.model, self.prefill = model, prefill
        self.reaches = attention_reaches(decoder_of(model).config)

    def read(self, trees: Trees, last: Callable[[dict[str, Any]], torch.Tensor]) -> torch.Tensor:
        """What the model makes of the columns that are not ``filled``.

        Args:
            trees: of a batch.
            last: a forward, given its arguments.

        Returns:
            What ``last`` returns, (rows, columns that are not filled, width).

        Raises:
            NotImplementedError: of another kind of attention.
        """
        if self.reaches is None:
            raise NotImplementedError("a layer of this model is no attention, or attends in a way of its own")
        where = self._on_device(trees)
        columns, cache = trees.ids.shape[1], None
        if trees.filled:
            cache = DynamicCache()  # keeps all keys, also where a window slides: the mask shows those of the window
            piece = PIECE.get(self.model.device.type, LONG_PIECE)
            with self.prefill.stops_after_last_write(cache) as read:
                for first in range(0, trees.filled, piece):
                    read(self._arguments(where, first, min(first + piece, trees.filled), cache))
        return last(self._arguments(where, trees.filled, columns, cache))

    def arguments(self, trees: Trees) -> dict[str, Any]:
        """Arguments of one forward over all of some trees, of which none is ``filled``."""
        return self._arguments(self._on_device(trees), 0, trees.ids.shape[1], None)

    def _on_device(self, trees: Trees) -> _OnDevice:
        parts = np.stack([trees.ids, trees.depths, trees.starts, trees.ends])  # (4, rows, columns)
        return _OnDevice(*torch.from_numpy(parts).to(self.model.device))

    def _arguments(self, where: _OnDevice, first: int, end: int, cache: Cache | None) -> dict[str, Any]:
        """Of a forward over the columns from first to end, which sees those before."""
        masks = {kind: self._mask(where, first, end, kind) for kind in self.reaches or ()}
        return {
            "input_ids": where.ids[:, first:end],
            "position_ids": where.depths[:, first:end],
            "attention_mask": masks if len(masks) > 1 else next(iter(masks.values())),
            "past_key_values": cache,
            "use_cache": cache is not None,
        }

    def _mask(self, where: _OnDevice, first: int, end: int, kind: str) -> torch.Tensor:
        """What is added to the scores of a kind of attention, (rows, 1, queries, keys) in the model's dtype."""
        query = where.starts[:, first:end, None]  # (rows, queries, 1)
        visible = (where.starts[:, None, :end] <= query) & (query < where.ends[:, None, :end])  # (rows, queries, keys)
        reach = (self.reaches or {})[kind]
        asking, asked = where.depths[:, first:end, None], where.depths[:, None, :end]
        if kind == SLIDING:
            visible &= asking - reach < asked
        elif kind == CHUNKED:
            visible &= asking // reach == asked // reach
        mask = torch.zeros(visible.shape, dtype=self.model.dtype, device=self.model.device)
        return mask.masked_fill_(~visible, torch.finfo(mask.dtype).min)[:, None]
