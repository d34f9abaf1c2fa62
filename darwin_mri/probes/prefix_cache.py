"""Forwards that begin at a layer: what comes before it is the same in every ablated run, so it is computed once.

A batch's stream is kept as it enters one layer at a time (rows x length x hidden, whatever the depth), and with it what
earlier layers leave for later ones in a mapping that all are handed (the shared keys and values of Gemma 4 and 3n).
Layers before it are passed over. Since everything from that layer on runs as always, a restart without ablation that
ends in the very same bits proves the restart exact for this model; where it does not, every forward is a whole one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.checkpoints.anatomy import decoder_of
from darwin_mri.probes.tokens import Batch


@dataclass(frozen=True)
class _Entry:
    """What a layer is handed: the stream (rows, length, hidden), and every mapping among its keyword arguments."""

    stream: torch.Tensor
    shared: Mapping[str, Mapping[Any, Any]]


class PrefixCache:
    """Restarted forwards of one model over fixed batches, for layers in ascending order.

    Args:
        parent: the model whose decoder is run inside ``before``.
        batches: the first row of the first is used to see whether restarting is exact.
    """

    def __init__(self, parent: LoadedModel, batches: Sequence[Batch]) -> None:
        self.decoder, self.layers, self.batches = decoder_of(parent.model), parent.layers, batches
        self._entries: list[_Entry | None] = [None] * len(batches)
        self._at = [0] * len(batches)
        self.exact = bool(batches) and self._is_exact()

    @contextmanager
    def before(self, number: int, index: int) -> Iterator[None]:
        """While open, the decoder begins batch ``number`` at layer ``index``; as a whole where restarting is not exact.

        Weights and hooks of layers before ``index`` must be the plain model's.
        """
        if not self.exact or index == 0:
            yield
            return
        entry = self._advance(number, index)
        with self._skip(range(index)), _replace_input(self.layers[index], entry):
            yield

    def _advance(self, number: int, index: int) -> _Entry:
        """The batch's entry into layer ``index``, from where it was last kept."""
        entry, at = self._entries[number], self._at[number]  # at: the layer that this entry leads into
        if entry is None or at > index:
            entry, at = self._enter(self._inputs(number), 0, None), 0
        while at < index:
            at += 1
            entry = self._enter(self._inputs(number), at, entry)
        self._entries[number], self._at[number] = entry, at
        return entry

    def _inputs(self, number: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.batches[number].ids, "attention_mask": self.batches[number].attention}

    def _enter(self, inputs: dict[str, torch.Tensor], index: int, before: _Entry | None) -> _Entry:
        """The entry into layer ``index``, given that of the layer before; that layer runs, all others are skipped."""
        entries: list[_Entry] = []

        def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            shared = {name: dict(value) for name, value in kwargs.items() if isinstance(value, MutableMapping)}
            entries.append(_Entry(_stream(args, kwargs), shared))

        skipped = [i for i in range(len(self.layers)) if before is None or i != index - 1]
        with ExitStack() as stack:
            stack.enter_context(self._skip(skipped))
            if before is not None:
                stack.enter_context(_replace_input(self.layers[index - 1], before))
            handle = self.layers[index].register_forward_pre_hook(record, with_kwargs=True)
            stack.callback(handle.remove)
            self._run(inputs)
        return entries[0]

    @contextmanager
    def _skip(self, indices: Sequence[int]) -> Iterator[None]:
        """While open, these layers hand on their input."""
        for i in indices:
            self.layers[i].forward = _hand_on  # the instance's, which hides the class's
        try:
            yield
        finally:
            for i in indices:
                del self.layers[i].__dict__["forward"]

    def _run(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.decoder(**inputs, use_cache=False).last_hidden_state

    def _is_exact(self) -> bool:
        if any("forward" in layer.__dict__ for layer in self.layers):  # another library has its own there
            return False
        row = {name: value[:1] for name, value in self._inputs(0).items()}
        last = len(self.layers) - 1
        try:
            whole, entry = self._run(row), None
            for index in range(last + 1):
                entry = self._enter(row, index, entry)
                if index in (last // 2, last):
                    with self._skip(range(index)), _replace_input(self.layers[index], entry):
                        if not torch.equal(self._run(row), whole):
                            return False
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return False  # its layers hand on more than a stream
        return True


def _stream(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _hand_on(*args: Any, **kwargs: Any) -> torch.Tensor:
    return _stream(args, kwargs)


@contextmanager
def _replace_input(layer: nn.Module, entry: _Entry) -> Iterator[None]:
    """While open, ``layer`` is handed ``entry`` whatever reaches it."""

    def replace(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for name, content in entry.shared.items():
            kwargs[name].clear()
            kwargs[name].update(content)
        if args:
            return (entry.stream, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": entry.stream}

    handle = layer.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
