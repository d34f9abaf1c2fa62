"""The fast scorer's cache: the beginnings of a batch's rows, each distinct one read once and then copied to its rows.

A cache holds keys and values of attention layers and the states of recurrent ones. It is read in pieces, so that
sliding windows cost what they see, and no further than the last write into the cache: the last layer's attention and
FFN, and all layers that share the keys and values of earlier ones (18 of Gemma 4 E4B's 42), are never computed for a
position that predicts nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from darwin_mri.checkpoints.anatomy import decoder_of

PIECE = {"cpu": 256}  # tokens of a row read at a time: what a CPU's cache holds
LONG_PIECE = 4096  # on other devices
LAST_LAYER = 0.1  # of a layer's arithmetic: its keys and values alone
WRITES = ("update", "update_conv_state", "update_recurrent_state")  # methods of transformers' Cache that take a layer

Write = tuple[str, int]  # (method, layer)


class Prefill:
    """Fills caches of one model; what it learns of the model's cache does not depend on the weights.

    Args:
        model: a causal language model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._cache_class: Any = None  # this and the next are learned at the first fill
        self._last_write: Write | None = None

    def fill(self, rows: Sequence[tuple[int, ...]], cuts: Sequence[int]) -> Cache:
        """A cache that has read every row up to the last cut.

        Args:
            rows: token ids of each row, all longer than the last cut.
            cuts: ascending lengths, at least one; each distinct beginning of such a length is read once.

        Returns:
            A cache over (rows, last cut) positions.

        Raises:
            NotImplementedError: the model keeps no cache that can be copied.
        """
        device = self.model.device
        cache: Any = self._empty_cache()
        numbers: dict[tuple[int, ...], int] = {}  # beginning -> its row in the cache
        before = 0
        for cut in cuts:
            beginnings = list(dict.fromkeys(row[:cut] for row in rows))
            if before:
                cache.reorder_cache(torch.tensor([numbers[ids[:before]] for ids in beginnings], device=device))
            self._read(torch.tensor([ids[before:] for ids in beginnings], device=device), cache)
            numbers = {beginning: number for number, beginning in enumerate(beginnings)}
            before = cut
        cache.reorder_cache(torch.tensor([numbers[row[:before]] for row in rows], device=device))  # (rows,)
        return cache

    def _empty_cache(self) -> Cache:
        decoder = decoder_of(self.model)
        if self._cache_class is None:
            one_token = torch.zeros(1, 1, dtype=torch.long, device=self.model.device)  # (row, token)
            filled = decoder(input_ids=one_token, use_cache=True).past_key_values
            if not isinstance(filled, Cache):
                raise NotImplementedError("this model keeps no cache that can be copied")
            self._cache_class = type(filled)
            writes: list[Write] = []
            with _watch_writes(filled, writes.append):
                decoder(input_ids=one_token, past_key_values=filled, use_cache=True)
            self._last_write = writes[-1] if writes else None
        return self._cache_class(config=decoder.config)

    def _read(self, ids: torch.Tensor, cache: Cache) -> None:
        """Let the cache read ids (distinct beginnings, tokens from the cut before to this one)."""
        with self.stops_after_last_write(cache) as read:
            for part in ids.split(PIECE.get(ids.device.type, LONG_PIECE), dim=1):  # (distinct beginnings, piece)
                read({"input_ids": part, "past_key_values": cache, "use_cache": True})

    @contextlib.contextmanager
    def stops_after_last_write(self, cache: Cache) -> Iterator[Callable[[dict[str, Any]], None]]:
        """While open, a forward that writes into the cache, given its arguments, ends with its last write."""
        if self._cache_class is None:
            self._empty_cache()
        decoder = decoder_of(self.model)

        def stop_after_last(write: Write) -> None:
            if write == self._last_write:
                raise _Filled

        def read(arguments: dict[str, Any]) -> None:
            with contextlib.suppress(_Filled):
                decoder(**arguments)

        with _watch_writes(cache, stop_after_last):
            yield read

    def filled_share(self) -> float:
        """Share of the layers that are computed for what only fills a cache."""
        if self._cache_class is None:
            self._empty_cache()
        layers = decoder_of(self.model).config.num_hidden_layers
        return 1.0 if self._last_write is None else (self._last_write[1] + LAST_LAYER) / layers


class _Filled(Exception):
    """The last write into a cache is done: what the forward would compute after it is not needed."""


@contextlib.contextmanager
def _watch_writes(cache: Cache, after: Callable[[Write], None]) -> Iterator[None]:
    """Call ``after`` with each write into the cache, once it is done, while open."""

    def watch(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def write_and_call(*args: Any, **kwargs: Any) -> Any:
            result = write(*args, **kwargs)
            layer = kwargs.get("layer_idx", next((a for a in args if isinstance(a, int)), -1))
            after((name, layer))
            return result

        return write_and_call

    names = [name for name in WRITES if hasattr(cache, name)]
    for name in names:
        setattr(cache, name, watch(name, getattr(cache, name)))
    try:
        yield
    finally:
        for name in names:
            delattr(cache, name)  # the class's own method shows again
