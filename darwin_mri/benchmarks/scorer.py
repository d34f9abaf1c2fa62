"""The fast scorer: summed log-probability of every choice, for a model whose weights change between calls.

One algorithm, exact without any padding mask. A row is a context with one of its choices; items of similar length form
a batch (``batching``).

1. Fill: a cache reads the beginnings of the rows, cut at one or two lengths that are the same for the whole batch:
   where several contexts still agree (questions about one story), and one token before the shortest context ends. Each
   distinct beginning is computed once and then copied to the rows it serves (``prefill``).
2. Branch: every row reads the rest of its context and its choice up to the last token but one. These tails differ in
   length and are padded on the right, where a causal model cannot see it.
3. Project: only the hidden states that predict a choice's token go through the output head.

Choices whose inputs are the beginning of another's share its row, so single letters cost one row per item. Without
cuts the same code is a plain batch of rows; that is used where a model's cache cannot be copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.benchmarks.batching import Layout, cut_lengths, lay_out, plan_batches, tokens_of
from darwin_mri.benchmarks.context_limits import computable_context, stated_context
from darwin_mri.benchmarks.decoding import Decoder
from darwin_mri.benchmarks.encoding import Prepared, prepare, require_known
from darwin_mri.benchmarks.items import ChoiceItem
from darwin_mri.benchmarks.prefill import Prefill
from darwin_mri.checkpoints.anatomy import decoder_of
from darwin_mri.checkpoints.devices import is_out_of_memory, retry_smaller
from darwin_mri.errors import InputError
from darwin_mri.probes import project

__all__ = ["Prepared", "Scorer", "prepare"]

TOKENS_AT_ONCE = {"cpu": 8192}
LONG_TOKENS_AT_ONCE = 32768  # on other devices a batch must be worth the launches of two forwards
POSITIONS_PER_PROJECTION = 512  # bounds the logits held at once: 512 x 262k x 4 bytes = 0.5 GB
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}  # nats, of cached against plain scoring
TOLERANCE_HALF = 0.3
Result = TypeVar("Result")


class Scorer:
    """Scores items under a model as it is at the time of the call: nothing that depends on weights is kept.

    Args:
        model: a causal language model; it is put in evaluation mode.
        tokenizer: the model's tokenizer.
        token_budget: most tokens in the cache at once (rows of a batch x length of the longest); None: by the device.
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
        self.logit_scale = 1.0  # some families multiply their logits; measured by _verify
        self.use_cache = True  # both are lowered by _verify where the model does not agree with itself
        self.use_projection = True
        self._verified = False
        self._prefill = Prefill(self.model)

    def prepare(self, items: Sequence[ChoiceItem]) -> Prepared:
        """Tokenise items once, for many calls of ``log_probabilities``.

        Raises:
            InputError: the tokenizer gives tokens that the model does not have.
        """
        return self.require_known(prepare(items, self.tokenizer))

    def require_known(self, prepared: Prepared) -> Prepared:
        """The items as they are; raises InputError where they have tokens that the model does not have."""
        return require_known(prepared, self.model)

    def decoder(self) -> Decoder:
        """What continues prompts with the same model."""
        return Decoder(self.model, self.tokenizer)

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config

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
        """As ``log_probabilities``, each item as soon as its batch is done, in the order of the batches.

        Yields:
            (index, log-probabilities (choices,)) of one item.
        """
        yield from self.stream_batches(prepared, indices, lambda batch: self._sums(prepared, batch))

    def stream_greedy(
        self, prepared: Prepared, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[int, list[tuple[float, bool]]]]:
        """As ``stream``, with whether greedy decoding would give each continuation.

        Yields:
            (index, (log-probability, is greedy) of each continuation) of one item.
        """

        def read(batch: Sequence[int]) -> list[list[tuple[float, bool]]]:
            layout = lay_out(prepared, batch)
            values, greedy = self._token_values(layout, self._cuts(prepared, batch), greedy=True)
            sums, choices = _by_item(layout, values), np.array(layout.choices)
            missed = np.bincount(choices, weights=~greedy, minlength=sum(layout.counts)) > 0  # (all choices,)
            first, rows = 0, []
            for scores in sums:
                rows.append(
                    [(float(s), not m) for s, m in zip(scores, missed[first : first + len(scores)], strict=True)]
                )
                first += len(scores)
            return rows

        yield from self.stream_batches(prepared, indices, read)

    def stream_batches(
        self, prepared: Prepared, indices: Sequence[int] | None, read: Callable[[Sequence[int]], Sequence[Result]]
    ) -> Iterator[tuple[int, Result]]:
        """Read items in batches that fit in memory; a batch that does not is halved.

        Args:
            prepared: tokenised items.
            indices: which of them; all when None.
            read: indices of a batch -> a result for each.

        Yields:
            (index, its result), in the order of the batches.
        """
        chosen = list(range(len(prepared))) if indices is None else list(indices)
        self._refuse_long(prepared, chosen)
        if chosen and not self._verified:
            self._verify(prepared, chosen)
        todo = deque(plan_batches(prepared, chosen, self.token_budget))

        def halve() -> bool:
            """Half of what did not fit, also for the batches to come and for later calls."""
            if len(todo[0]) == 1:
                return False
            self.token_budget = max(1, min(self.token_budget, tokens_of(prepared, todo[0])) // 2)
            rest = [index for batch in todo for index in batch]
            todo.clear()
            todo.extend(plan_batches(prepared, rest, self.token_budget))
            return True

        while todo:
            results = retry_smaller(
                lambda: read(todo[0]),
                halve,
                lambda: f"{prepared.names[todo[0][0]]} alone does not fit in memory: use a larger device",
            )
            yield from zip(todo.popleft(), results, strict=True)

    def _refuse_long(self, prepared: Prepared, indices: Sequence[int]) -> None:
        for index in indices:
            # The last token of a continuation is predicted, and never read.
            if self.max_positions is not None and prepared.longest(index) - 1 > self.max_positions:
                raise InputError(
                    f"{prepared.names[index]} has {prepared.longest(index)} tokens, more than the model's "
                    f"{self.max_positions} positions: leave it out or use a model with a longer context"
                )

    def _sums(self, prepared: Prepared, batch: Sequence[int]) -> list[np.ndarray]:
        """Summed log-probabilities of each item of a batch, (choices,) each."""
        layout = lay_out(prepared, batch)
        values, _ = self._token_values(layout, self._cuts(prepared, batch))
        return _by_item(layout, values)

    def _cuts(self, prepared: Prepared, batch: Sequence[int]) -> list[int]:
        return cut_lengths([prepared.contexts[index] for index in batch]) if self.use_cache else []

    def _token_values(
        self, layout: Layout, cuts: Sequence[int], *, greedy: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-probability (nats) of each query's token at its place, and whether it is the most probable one.

        Returns:
            (float64 (queries,), bool (queries,)); the second is all True where it is not asked for.
        """
        device = self.model.device
        place, token = torch.tensor(layout.queries, device=device).T  # (queries,) each
        values = torch.empty(len(layout.queries), device=device)  # (queries,)
        best = torch.ones_like(values, dtype=torch.bool)
        for part, logits in self.logits(layout, cuts):
            inside = (place >= part.start) & (place < part.stop)  # (queries,)
            local = place[inside] - part.start  # (queries of the part,)
            values[inside] = logits[local, token[inside]] - logits.logsumexp(dim=-1)[local]
            if greedy:
                best[inside] = logits.argmax(dim=-1)[local] == token[inside]
        return values.cpu().numpy().astype(np.float64), best.cpu().numpy()

    @torch.no_grad()
    def logits(self, layout: Layout, cuts: Sequence[int] = ()) -> Iterator[tuple[slice, torch.Tensor]]:
        """The model's logits at a layout's places, some places at a time.

        Args:
            layout: of a batch.
            cuts: lengths at which a cache branches; none reads every row whole.

        Yields:
            (which places, their logits (places, vocabulary) in float32).
        """
        device = self.model.device
        start = cuts[-1] if cuts else 0
        cache = self._prefill.fill(layout.rows, cuts) if cuts else None
        tails = [torch.tensor(row[start:]) for row in layout.rows]
        ids = pad_sequence(tails, batch_first=True).to(device)  # (rows, longest tail)
        outputs = self._outputs(ids, cache)  # (rows, longest tail, hidden size), or vocabulary as the last
        row, position = torch.tensor(layout.places, device=device).T  # (places,) each
        for first in range(0, len(layout.places), POSITIONS_PER_PROJECTION):
            part = slice(first, min(first + POSITIONS_PER_PROJECTION, len(layout.places)))
            yield part, self._logits(outputs[row[part], position[part] - start])

    def _outputs(self, ids: torch.Tensor, cache: Cache | None) -> torch.Tensor:
        """What the model makes of ids (rows, tokens).

        Returns:
            Hidden states (rows, tokens, hidden size), or logits (rows, tokens, vocabulary) where the scorer's own
            projection does not agree with the model's.
        """
        options = {"input_ids": ids, "past_key_values": cache, "use_cache": cache is not None}
        if self.use_projection:
            # Never pass logits_to_keep here: Gemma 4's decoder would drop tokens in its KV-sharing layers.
            return decoder_of(self.model)(**options).last_hidden_state
        return self.model(**options).logits

    def _logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Logits (positions, vocabulary) in float32 from gathered outputs (positions, hidden size or vocabulary)."""
        if not self.use_projection:
            return outputs.float()
        return self.logit_scale * project(self.model, outputs)

    @torch.no_grad()
    def _verify(self, prepared: Prepared, indices: Sequence[int]) -> None:
        """Choose the strategy, once, on three items.

        The scorer's projection is compared with the model's own logits, and cached with plain scoring.
        """
        # A context of one token leaves a cache nothing to hold and would prove nothing.
        usable = [index for index in indices if len(prepared.contexts[index]) > 1]
        by_length = sorted(usable or indices, key=prepared.longest)
        trial = sorted({by_length[0], by_length[len(by_length) // 2], by_length[min(1, len(by_length) - 1)]})
        ids = torch.tensor([prepared.contexts[by_length[0]]], device=self.model.device)  # (1, tokens)
        expected = self.model(input_ids=ids, use_cache=False).logits[0].float()  # (tokens, vocabulary)
        if not torch.isfinite(expected).all():
            return  # a broken candidate proves nothing about the family; the next call tries again
        self.use_projection, self.logit_scale = True, 1.0
        try:
            logits = self._logits(self._outputs(ids, None)[0])  # (tokens, vocabulary)
            scale = float((logits * expected).sum() / (logits * logits).sum())  # least squares
            self.logit_scale = scale if abs(scale - 1) > 1e-3 else 1.0
            self.use_projection = torch.allclose(self.logit_scale * logits, expected, rtol=1e-2, atol=1e-3)
        except (AttributeError, TypeError):  # no decoder or no output head of the usual kind
            self.use_projection = False
        self.use_cache = False
        if not usable:
            return
        plain = np.concatenate(self._sums(prepared, trial))  # (choices of the three items,)
        try:
            self.use_cache = True
            cached = np.concatenate(self._sums(prepared, trial))  # (choices of the three items,)
            self.use_cache = float(np.abs(cached - plain).max()) <= TOLERANCE.get(self.model.dtype, TOLERANCE_HALF)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:  # no cache, or one that cannot be copied
            self.use_cache = isinstance(error, RuntimeError) and is_out_of_memory(error)
        self._verified = True


def _by_item(layout: Layout, values: np.ndarray) -> list[np.ndarray]:
    """Sums of token values (queries,) by choice, (choices,) for each item."""
    sums = np.bincount(np.array(layout.choices), weights=values, minlength=sum(layout.counts))  # (all choices,)
    return np.split(sums, np.cumsum(layout.counts)[:-1])
