"""The fast scorer: summed log-probability of every choice, for a model whose weights change between calls.

One algorithm, exact without any padding mask. A row is a context with one of its choices; items of similar length form
a batch.

1. Fill: a cache reads the beginnings of the rows, cut at one or two lengths that are the same for the whole batch: where
   several contexts still agree (questions about one story), and one token before the shortest context ends. Each distinct
   beginning is computed once and then copied (keys, values, and the states of recurrent layers) to the rows it serves.
   It is read in pieces, so that sliding windows cost what they see, and no further than the last write into the cache: the
   last layer's attention and FFN, and all layers that share the keys and values of earlier ones (18 of Gemma 4 E4B's 42), are never
   computed for a position that predicts nothing.
2. Branch: every row reads the rest of its context and its choice up to the last token but one. These tails differ in
   length and are padded on the right, where a causal model cannot see it.
3. Project: only the hidden states that predict a choice's token go through the output head.

Choices whose inputs are the beginning of another's share its row, so single letters cost one row per item. Without
cuts the same code is a plain batch of rows; that is used where a model's cache cannot be copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from os.path import commonprefix
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.benchmarks.encoding import Prepared, prepare
from darwin_mri.benchmarks.items import Item
from darwin_mri.benchmarks.lengths import computable_context, stated_context
from darwin_mri.errors import DarwinError, InputError
from darwin_mri.probes import project, require_tokens

__all__ = ["Prepared", "Scorer", "prepare"]

TOKENS_AT_ONCE = {"cpu": 8192}
LONG_TOKENS_AT_ONCE = 32768  # elsewhere a batch must be worth the launches of two forwards
PIECE = {"cpu": 256}  # tokens of a row read at a time: what a CPU's cache holds
LONG_PIECE = 4096  # elsewhere
WRITES = ("update", "update_conv_state", "update_recurrent_state")  # of transformers' Cache; each names the layer
POSITIONS_PER_PROJECTION = 512  # bounds the logits held at once: 512 x 262k x 4 bytes = 0.5 GB
LENGTH_SLACK = 1 / 24  # how much longer than its batch's shortest a context may be; every row re-reads the excess
FAMILY_SHARE = 0.5  # contexts that agree on this share of their tokens are kept side by side
SAVING = 0.1  # least share of the context tokens that a cut where contexts agree must save
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}  # nats, of cached against plain scoring
TOLERANCE_HALF = 0.3


class Scorer:
    """Scores items under a model as it is at the time of the call: nothing that depends on weights is kept.

    Args:
        model: a causal language model; it is put in evaluation mode.
        tokenizer: the model's tokenizer.
        token_budget: tokens held in the cache at once (rows of a batch x length of the longest); by the device when None.
        beyond_context: read items longer than the model's stated context, where its positions are rotary or unlimited.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        token_budget: int | None = None,
        beyond_context: bool = False,
    ) -> None:
        if token_budget is None:
            token_budget = TOKENS_AT_ONCE.get(model.device.type, LONG_TOKENS_AT_ONCE)
        if token_budget < 1:
            raise InputError(f"token budget {token_budget} is below 1: give for example 8192")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.token_budget = token_budget
        self.max_positions = (computable_context if beyond_context else stated_context)(model.config)
        self.logit_scale = 1.0  # some families multiply their logits; found by _verify
        self.use_cache = True  # both are lowered by _verify where the model does not agree with itself
        self.use_projection = True
        self._verified = False
        self._cache_class: Any = None  # both are found at the first fill
        self._last_write: tuple[str, int] | None = None

    def prepare(self, items: Sequence[Item]) -> Prepared:
        """Tokenise items once, for many calls of ``log_probabilities``.

        Raises:
            InputError: the tokenizer gives tokens that the model does not have.
        """
        prepared = prepare(items, self.tokenizer)
        for index in range(len(prepared)):
            require_tokens(self.model, (prepared.contexts[index], *prepared.continuations[index]))
        return prepared

    def log_probabilities(
        self,
        prepared: Prepared,
        indices: Sequence[int] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[np.ndarray]:
        """Summed log-probability (nats, natural logarithm) of every choice given its context.

        Args:
            prepared: tokenised items.
            indices: which of them, in the order of the result; all by default.
            progress: called with (items done, items in all) after each item.

        Returns:
            One float64 array per item, shape (choices,).

        Raises:
            InputError: an item is longer than the model's positions.
            DarwinError: a single item does not fit in memory.
        """
        chosen = list(range(len(prepared))) if indices is None else list(indices)
        results: dict[int, np.ndarray] = {}
        for index, scores in self.stream(prepared, chosen):
            results[index] = scores
            if progress is not None:
                progress(len(results), len(set(chosen)))
        return [results[index] for index in chosen]

    def stream(self, prepared: Prepared, indices: Sequence[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """As ``log_probabilities``, but (index, scores) of each item as soon as its batch is done, in an order of its own."""
        chosen = list(range(len(prepared))) if indices is None else list(indices)
        for index in chosen:
            if self.max_positions is not None and prepared.longest(index) > self.max_positions:
                raise InputError(
                    f"{prepared.names[index]} has {prepared.longest(index)} tokens, more than the model's "
                    f"{self.max_positions} positions: leave it out or use a model with a longer context"
                )
        if chosen and not self._verified:
            self._verify(prepared, chosen)
        todo = list(self._batches(prepared, chosen))
        todo.reverse()
        while todo:
            batch = todo.pop()
            scores = self._score_or_none(prepared, batch)
            if scores is None:  # out of memory; retried here, outside the handler that would keep the tensors alive
                if len(batch) == 1:
                    raise DarwinError(f"{prepared.names[batch[0]]} alone does not fit in memory: use a larger device")
                # Half of what did not fit, also for the batches to come and for later calls.
                tokens = sum(_rows(prepared, index) for index in batch) * max(map(prepared.longest, batch))
                self.token_budget = max(1, min(self.token_budget, tokens) // 2)
                rest = [*batch, *(index for other in todo for index in other)]
                todo = list(self._batches(prepared, rest))
                todo.reverse()
                continue
            yield from zip(batch, scores, strict=True)

    def _batches(self, prepared: Prepared, chosen: Sequence[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        rows = shortest = longest = 0
        for index in _ordered(prepared, chosen):
            length = len(prepared.contexts[index])
            own_rows = _rows(prepared, index)
            shortest = min(shortest, length) if batch else length
            longest = max(longest, prepared.longest(index)) if batch else prepared.longest(index)
            too_many = (rows + own_rows) * longest > self.token_budget
            if batch and (too_many or length - shortest > LENGTH_SLACK * shortest):
                yield batch
                batch, rows, shortest, longest = [], 0, length, prepared.longest(index)
            batch.append(index)
            rows += own_rows
        if batch:
            yield batch

    @torch.no_grad()
    def _score_or_none(self, prepared: Prepared, batch: Sequence[int]) -> list[np.ndarray] | None:
        try:
            return self._score(prepared, batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _score(self, prepared: Prepared, batch: Sequence[int]) -> list[np.ndarray]:
        contexts = [prepared.contexts[i] for i in batch]
        rows: list[tuple[int, ...]] = []
        places: dict[tuple[int, int], int] = {}  # (row, position) that predicts a token -> its number
        queries: list[tuple[int, int]] = []  # each choice's tokens: (number of the place, token)
        slots: list[int] = []  # of each query: number of its choice over the batch
        slot = 0
        for index, context in zip(batch, contexts, strict=True):
            kept, row_of = _distinct([ids[:-1] for ids in prepared.continuations[index]])
            first_row = len(rows)
            rows += [context + ids for ids in kept]
            for choice, ids in enumerate(prepared.continuations[index]):
                for offset, token in enumerate(ids):
                    place = (first_row + row_of[choice], len(context) - 1 + offset)
                    queries.append((places.setdefault(place, len(places)), token))
                    slots.append(slot)
                slot += 1
        cuts = _cuts(contexts) if self.use_cache else []
        values = self._query(rows, cuts, list(places), queries)
        sums = np.bincount(np.array(slots), weights=values, minlength=slot)
        return np.split(sums, np.cumsum([len(prepared.continuations[i]) for i in batch])[:-1])

    def _query(
        self,
        rows: Sequence[tuple[int, ...]],
        cuts: Sequence[int],
        places: Sequence[tuple[int, int]],
        queries: Sequence[tuple[int, int]],
    ) -> np.ndarray:
        """Log-probability of each query's token at its place (steps 2 and 3), float64."""
        device = self.model.device
        start = cuts[-1] if cuts else 0
        cache = self._filled_cache(rows, cuts) if cuts else None
        tails = pad_sequence([torch.tensor(row[start:]) for row in rows], batch_first=True).to(device)
        outputs = self._outputs(tails, cache)
        row, position = torch.tensor(places, device=device).T
        place, token = torch.tensor(queries, device=device).T
        values = torch.empty(len(queries), device=device)
        for first in range(0, len(places), POSITIONS_PER_PROJECTION):
            part = slice(first, first + POSITIONS_PER_PROJECTION)
            logits = self._logits(outputs[row[part], position[part] - start])
            here = (place >= part.start) & (place < part.stop)
            values[here] = logits[place[here] - first, token[here]] - logits.logsumexp(dim=-1)[place[here] - first]
        return values.cpu().numpy().astype(np.float64)

    def _filled_cache(self, rows: Sequence[tuple[int, ...]], cuts: Sequence[int]) -> Cache:
        """A cache that has read every row up to the last cut (step 1); each distinct beginning is read once."""
        device = self.model.device
        cache: Any = self._new_cache()
        numbers: dict[tuple[int, ...], int] = {}
        before = 0
        for cut in cuts:
            beginnings = list(dict.fromkeys(row[:cut] for row in rows))
            if before:
                cache.reorder_cache(torch.tensor([numbers[b[:before]] for b in beginnings], device=device))
            self._read(torch.tensor([b[before:] for b in beginnings], device=device), cache)
            numbers = {beginning: number for number, beginning in enumerate(beginnings)}
            before = cut
        cache.reorder_cache(torch.tensor([numbers[row[:before]] for row in rows], device=device))
        return cache

    def _new_cache(self) -> Cache:
        decoder = self.model.get_decoder()
        if self._cache_class is None:
            one = torch.zeros(1, 1, dtype=torch.long, device=self.model.device)
            filled = decoder(input_ids=one, use_cache=True).past_key_values
            if not isinstance(filled, Cache):
                raise NotImplementedError("this model keeps no cache that can be copied")
            self._cache_class = type(filled)
            writes: list[tuple[str, int]] = []
            with _watching(filled, writes.append):
                decoder(input_ids=one, past_key_values=filled, use_cache=True)
            self._last_write = writes[-1] if writes else None
        return self._cache_class(config=decoder.config)

    def _read(self, ids: torch.Tensor, cache: Cache) -> None:
        """Let the cache read ids (rows, tokens)."""
        decoder = self.model.get_decoder()

        def stop(write: tuple[str, int]) -> None:
            if write == self._last_write:
                raise _Filled

        for part in ids.split(PIECE.get(ids.device.type, LONG_PIECE), dim=1):
            with _watching(cache, stop), contextlib.suppress(_Filled):
                decoder(input_ids=part, past_key_values=cache, use_cache=True)

    def _outputs(self, ids: torch.Tensor, cache: Cache | None) -> torch.Tensor:
        """Hidden states (rows, tokens, hidden size), or logits where the projection is not ours to make."""
        options = {"input_ids": ids, "past_key_values": cache, "use_cache": cache is not None}
        if self.use_projection:
            # Never pass logits_to_keep here: Gemma 4's decoder would drop tokens in its KV-sharing layers.
            return self.model.get_decoder()(**options).last_hidden_state
        return self.model(**options).logits

    def _logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Logits in float32 from gathered outputs of shape (positions, hidden size or vocabulary)."""
        if not self.use_projection:
            return outputs.float()
        return self.logit_scale * project(self.model, outputs)

    @torch.no_grad()
    def _verify(self, prepared: Prepared, chosen: Sequence[int]) -> None:
        """Compare, once, our projection with the model's own logits, and cached with plain scoring, on three items."""
        # A context of one token leaves a cache nothing to hold and would prove nothing.
        able = [index for index in chosen if len(prepared.contexts[index]) > 1]
        by_length = sorted(able or chosen, key=prepared.longest)
        probe = sorted({by_length[0], by_length[len(by_length) // 2], by_length[min(1, len(by_length) - 1)]})
        ids = torch.tensor([prepared.contexts[by_length[0]]], device=self.model.device)
        expected = self.model(input_ids=ids, use_cache=False).logits[0].float()
        if not torch.isfinite(expected).all():
            return  # a broken candidate proves nothing about the family; the next call tries again
        self.use_projection, self.logit_scale = True, 1.0
        try:
            found = self._logits(self._outputs(ids, None)[0])
            scale = float((found * expected).sum() / (found * found).sum())
            self.logit_scale = scale if abs(scale - 1) > 1e-3 else 1.0
            self.use_projection = torch.allclose(self.logit_scale * found, expected, rtol=1e-2, atol=1e-3)
        except (AttributeError, TypeError):  # no decoder or no output head of the usual kind
            self.use_projection = False
        self.use_cache = False
        plain = np.concatenate(self._score(prepared, probe))
        if not able:
            return
        try:
            self.use_cache = True
            cached = np.concatenate(self._score(prepared, probe))
            self.use_cache = float(np.abs(cached - plain).max()) <= TOLERANCE.get(self.model.dtype, TOLERANCE_HALF)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:  # no cache, or one that cannot be copied
            self.use_cache = isinstance(error, RuntimeError) and is_out_of_memory(error)
        self._verified = True


class _Filled(Exception):
    """The last write into a cache is done: what the forward would compute after it is not needed."""


@contextlib.contextmanager
def _watching(cache: Cache, after: Callable[[tuple[str, int]], None]) -> Iterator[None]:
    """Call ``after((method, layer))`` after each write into the cache while open."""

    def watched(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = write(*args, **kwargs)
            layer = kwargs.get("layer_idx", next((a for a in args if isinstance(a, int)), -1))
            after((name, layer))
            return result

        return call

    names = [name for name in WRITES if hasattr(cache, name)]
    for name in names:
        setattr(cache, name, watched(name, getattr(cache, name)))
    try:
        yield
    finally:
        for name in names:
            delattr(cache, name)  # the class's own method shows again


def _rows(prepared: Prepared, index: int) -> int:
    """Rows that an item takes in a batch."""
    return len(_distinct([ids[:-1] for ids in prepared.continuations[index]])[0])


def _distinct(inputs: Sequence[tuple[int, ...]]) -> tuple[list[tuple[int, ...]], list[int]]:
    """The inputs that are not the beginning of another, and for every input the one that serves it."""
    kept: list[tuple[int, ...]] = []
    row_of = [0] * len(inputs)
    for choice in sorted(range(len(inputs)), key=lambda i: -len(inputs[i])):
        ids = inputs[choice]
        for row, longer in enumerate(kept):
            if longer[: len(ids)] == ids:
                row_of[choice] = row
                break
        else:
            row_of[choice] = len(kept)
            kept.append(ids)
    return kept, row_of


def _ordered(prepared: Prepared, chosen: Sequence[int]) -> list[int]:
    """The chosen items by length, those that share most of their context side by side."""
    contexts = prepared.contexts
    families: list[list[int]] = []
    for index in sorted(set(chosen), key=lambda i: (contexts[i], i)):
        if families:
            last = contexts[families[-1][-1]]
            agree = len(commonprefix([last, contexts[index]]))
            if agree >= FAMILY_SHARE * max(len(last), len(contexts[index])):
                families[-1].append(index)
                continue
        families.append([index])
    for family in families:
        family.sort(key=lambda i: (len(contexts[i]), prepared.longest(i)))
    families.sort(key=lambda family: (len(contexts[family[-1]]), prepared.longest(family[-1])))
    return [index for family in families for index in family]


def _cuts(contexts: Sequence[tuple[int, ...]]) -> list[int]:
    """Lengths at which the cache branches: where contexts agree if that saves enough, and before the shortest one's end."""
    end = min(len(context) for context in contexts) - 1
    distinct = sorted(set(contexts))
    agreements = {min(end, len(commonprefix([left, right]))) for left, right in pairwise(distinct)}
    least, trunk = (1.0 - SAVING) * len(distinct) * end, 0
    for cut in sorted(agreements):
        tokens = len({context[:cut] for context in distinct}) * cut + len(distinct) * (end - cut)
        if tokens < least:
            least, trunk = tokens, cut
    return [cut for cut in sorted({trunk, end}) if cut > 0]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a failed forward failed for want of memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
