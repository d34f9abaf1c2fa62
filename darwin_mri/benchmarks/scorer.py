"""The fast scorer: summed log-probability of every choice, for a model whose weights change between calls.

A row is a context with one of its choices; items of similar length form a batch. Choices whose inputs are the beginning
of another's share its row, so single letters cost one row per item. A batch is read in one of several ways, all exact:

- branch. A cache reads the beginnings of the rows, cut at one or two lengths that are the same for the whole batch:
  where several contexts still agree (questions about one story), and one token before the shortest context ends. Each
  distinct beginning is computed once and then copied to the rows it serves (``prefill``). Then every row reads the rest
  of its context and its choice up to the last token but one. These tails differ in length and are padded on the right,
  where a causal model cannot see it.
- trees. Every distinct token is read once, in one forward under a mask or in two (``trees``, ``tree_reader``).
- rows. Without a cache and without a mask, where a family allows neither.

Only the outputs that predict a choice's token go through the output head (``reading``). Which ways a model allows is
found on three items; among those the one of least arithmetic is taken on a CPU, and the fastest elsewhere (``ways``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.batch_sizes import scored_tokens
from darwin_mri.benchmarks.batching import Layout, cut_lengths, lay_out, plan_batches, sums_by_item, tokens_of
from darwin_mri.benchmarks.context_limits import computable_context, stated_context
from darwin_mri.benchmarks.decoding import Decoder
from darwin_mri.benchmarks.encoding import Prepared, prepare, require_known
from darwin_mri.benchmarks.items import ChoiceItem
from darwin_mri.benchmarks.kept_ways import kept_way, shape_key
from darwin_mri.benchmarks.reading import Reader, Reading
from darwin_mri.benchmarks.trees import pack
from darwin_mri.benchmarks.ways import TREES, Way, WayChoice, fastest, plan_trees, tree_tokens, work
from darwin_mri.checkpoints import device_memory
from darwin_mri.checkpoints.anatomy import decoder_of
from darwin_mri.checkpoints.devices import is_out_of_memory, retry_smaller
from darwin_mri.errors import InputError

__all__ = ["Prepared", "Scorer", "prepare"]

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
        way: to read batches, where the model allows it; None chooses.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        token_budget: int | None = None,
        beyond_context: bool = False,
        way: Way | None = None,
    ) -> None:
        if token_budget is None:
            token_budget = scored_tokens(device_memory(model.device))
        if token_budget < 1:
            raise InputError(f"token budget {token_budget} is below 1: give for example 8192")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.token_budget = token_budget
        self.max_positions = (computable_context if beyond_context else stated_context)(model.config)
        self.use_cache = True  # lowered by _verify where the model does not agree with itself
        self.use_trees = False  # raised by it where it does
        self.choice = WayChoice(way)
        self.reader = Reader(self.model)
        self._verified = False

    @property
    def use_projection(self) -> bool:
        """Whether logits are made from hidden states, only where they are needed."""
        return self.reader.use_projection

    @use_projection.setter
    def use_projection(self, value: bool) -> None:
        self.reader.use_projection = value

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
        way = self.way(prepared, indices)
        yield from self.stream_batches(prepared, indices, lambda batch: self._sums(prepared, batch, way), way)

    def stream_greedy(
        self, prepared: Prepared, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[int, list[tuple[float, bool]]]]:
        """As ``stream``, with whether greedy decoding would give each continuation.

        Yields:
            (index, (log-probability, is greedy) of each continuation) of one item.
        """
        way = self.way(prepared, indices)

        def read(batch: Sequence[int]) -> list[list[tuple[float, bool]]]:
            layout = lay_out(prepared, batch)
            values, greedy = self._token_values(layout, self._read(prepared, batch, layout, way), greedy=True)
            sums, choices = sums_by_item(layout, values), np.array(layout.choices)
            missed = np.bincount(choices, weights=~greedy, minlength=sum(layout.counts)) > 0  # (all choices,)
            first, rows = 0, []
            for scores in sums:
                rows.append(
                    [(float(s), not m) for s, m in zip(scores, missed[first : first + len(scores)], strict=True)]
                )
                first += len(scores)
            return rows

        yield from self.stream_batches(prepared, indices, read, way)

    def stream_batches(
        self,
        prepared: Prepared,
        indices: Sequence[int] | None,
        read: Callable[[Sequence[int]], Sequence[Result]],
        way: Way = "rows",
    ) -> Iterator[tuple[int, Result]]:
        """Read items in batches that fit in memory; a batch that does not is halved.

        Args:
            prepared: tokenised items.
            indices: which of them; all when None.
            read: indices of a batch -> a result for each.
            way: in which it reads; decides what a batch holds.

        Yields:
            (index, its result), in the order of the batches.
        """
        chosen = list(range(len(prepared))) if indices is None else list(indices)
        self._make_ready(prepared, chosen)
        todo = deque(self._plan(prepared, chosen, way))

        def halve() -> bool:
            """Half of what did not fit, also for the batches to come and for later calls."""
            if len(todo[0]) == 1:
                return False
            self.token_budget = max(1, min(self.token_budget, self._tokens(prepared, todo[0], way)) // 2)
            rest = [index for batch in todo for index in batch]
            todo.clear()
            todo.extend(self._plan(prepared, rest, way))
            return True

        while todo:
            results = retry_smaller(
                lambda: read(todo[0]),
                halve,
                lambda: f"{prepared.names[todo[0][0]]} alone does not fit in memory: use a larger device",
            )
            yield from zip(todo.popleft(), results, strict=True)

    def _make_ready(self, prepared: Prepared, indices: Sequence[int]) -> None:
        self._refuse_long(prepared, indices)
        if indices and not self._verified:
            self._verify(prepared, indices)

    def _refuse_long(self, prepared: Prepared, indices: Sequence[int]) -> None:
        for index in indices:
            # The last token of a continuation is predicted, and never read.
            if self.max_positions is not None and prepared.longest(index) - 1 > self.max_positions:
                raise InputError(
                    f"{prepared.names[index]} has {prepared.longest(index)} tokens, more than the model's "
                    f"{self.max_positions} positions: leave it out or use a model with a longer context"
                )

    def way(self, prepared: Prepared, indices: Sequence[int] | None = None) -> Way:
        """The way in which these items are read; the first time it may read some to find out."""
        chosen = list(range(len(prepared))) if indices is None else list(indices)
        self._make_ready(prepared, chosen)
        plain: Way = "branch" if self.use_cache else "rows"
        if not (chosen and self.allows_trees(prepared)):
            return plain
        if self.choice.way is not None:
            return self.choice.way if self.choice.way in TREES else plain
        ways = (plain, *TREES)
        if self.model.device.type == "cpu":
            everything = range(len(prepared))
            return self.choice.count(
                prepared,
                ways,
                lambda way: work(prepared, list(self._plan(prepared, everything, way)), way, self.reader.costs),
            )
        batches = list(self._plan(prepared, chosen, "tree"))
        middle = batches[len(batches) // 2]
        key = shape_key(self.model, decoder_of(self.model))
        self.choice.way = kept_way(key, ways, lambda: fastest(ways, lambda way: self._read_all(prepared, middle, way)))
        return self.choice.way

    def allows_trees(self, prepared: Prepared) -> bool:
        """Whether the model reads these items as trees; the first time it reads some to find out."""
        self._make_ready(prepared, range(len(prepared)))
        return self.use_trees and self.choice.allows_masks(prepared, self.reader.costs)

    def _read_all(self, prepared: Prepared, items: Sequence[int], way: Way) -> None:
        """Read items in a way; the sums wait for the device."""
        for batch in self._plan(prepared, items, way):
            self._sums(prepared, batch, way)

    def _plan(self, prepared: Prepared, indices: Sequence[int], way: Way) -> Iterator[list[int]]:
        if way in TREES:
            return plan_trees(prepared, indices, self.token_budget, self.reader.costs)
        return plan_batches(prepared, indices, self.token_budget)

    def _tokens(self, prepared: Prepared, batch: Sequence[int], way: Way) -> int:
        return sum(tree_tokens(prepared, index) for index in batch) if way in TREES else tokens_of(prepared, batch)

    def _sums(self, prepared: Prepared, batch: Sequence[int], way: Way) -> list[np.ndarray]:
        """Summed log-probabilities of each item of a batch, (choices,) each."""
        layout = lay_out(prepared, batch)
        values, _ = self._token_values(layout, self._read(prepared, batch, layout, way))
        return sums_by_item(layout, values)

    @torch.no_grad()
    def _read(self, prepared: Prepared, batch: Sequence[int], layout: Layout, way: Way) -> Reading:
        if way in TREES:
            return self.reader.read_trees(pack(layout, self.reader.costs.pairs_per_token, split=way == "split"))
        cuts = cut_lengths([prepared.contexts[index] for index in batch]) if way == "branch" else []
        return self.reader.read_rows(layout, cuts)

    @torch.no_grad()
    def _token_values(self, layout: Layout, reading: Reading, *, greedy: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Log-probability (nats) of each query's token at its place, and whether it is the most probable one.

        Returns:
            (float64 (queries,), bool (queries,)); the second is all True where it is not asked for.
        """
        device = self.model.device
        place, token = torch.tensor(layout.queries, device=device).T  # (queries,) each
        node = reading.node_of[place]  # (queries,)
        values = torch.empty(len(layout.queries), device=device)  # (queries,)
        best = torch.ones_like(values, dtype=torch.bool)
        for part, logits in self.reader.logits(reading):
            inside = (node >= part.start) & (node < part.stop)  # (queries,)
            local = node[inside] - part.start  # (queries of the part,)
            values[inside] = logits[local, token[inside]] - logits.logsumexp(dim=-1)[local]
            if greedy:
                best[inside] = logits.argmax(dim=-1)[local] == token[inside]
        return values.cpu().numpy().astype(np.float64), best.cpu().numpy()

    @torch.no_grad()
    def logits(self, layout: Layout) -> Iterator[tuple[slice, torch.Tensor]]:
        """The model's logits at a layout's places, every row read whole, some places at a time.

        Args:
            layout: of a batch.

        Yields:
            (which places, their logits (places, vocabulary) in float32).
        """
        yield from self.reader.logits(self.reader.read_rows(layout))

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
        self.reader.learn_projection(ids, expected)
        self.use_cache = self.use_trees = False
        if not usable:
            return
        reaches = self.reader.trees.reaches
        window = max(reaches.values()) if reaches else 0
        if window and prepared.longest(by_length[-1]) > window >= max(map(prepared.longest, trial)):
            trial.append(by_length[-1])  # shows what the window hides
        plain = np.concatenate(self._sums(prepared, trial, "rows"))  # (choices of the items,)
        self.use_cache = self._agrees(prepared, trial, "branch", plain)
        self.use_trees = all(self._agrees(prepared, trial, way, plain) for way in TREES)
        self._verified = True

    def _agrees(self, prepared: Prepared, trial: Sequence[int], way: Way, plain: np.ndarray) -> bool:
        """Whether a way gives the same sums as plain rows do, (choices of the items,)."""
        try:
            sums = np.concatenate(self._sums(prepared, trial, way))
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:  # not of this family, or no such cache
            return way == "branch" and isinstance(error, RuntimeError) and is_out_of_memory(error)
        return float(np.abs(sums - plain).max()) <= TOLERANCE.get(self.model.dtype, TOLERANCE_HALF)
