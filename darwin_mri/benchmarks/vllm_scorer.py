"""The model that a vLLM engine serves, as graders ask it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.decoding import Sampling
from darwin_mri.benchmarks.encoding import Prepared, prepare, require_below
from darwin_mri.benchmarks.generation import Reply
from darwin_mri.benchmarks.items import ChoiceItem
from darwin_mri.benchmarks.vllm_engine import Scored, VllmEngine
from darwin_mri.probes import require_tokens_below

ITEMS_AT_ONCE = 256  # bounds what vLLM returns of prompts' tokens, which are objects of Python


class VllmScorer:
    """Scores items under what the engine holds at the time of the call; an ``ItemScorer``.

    Args:
        engine: that serves the model.
        tokenizer: the model's.
        config: the model's configuration.
        rows: how many tokens it has embeddings for.
    """

    def __init__(self, engine: VllmEngine, tokenizer: PreTrainedTokenizerBase, config: Any, rows: int) -> None:
        self.engine, self.tokenizer, self.config, self.rows = engine, tokenizer, config, rows

    def prepare(self, items: Sequence[ChoiceItem]) -> Prepared:
        """As ``ItemScorer``."""
        return self.require_known(prepare(items, self.tokenizer))

    def require_known(self, prepared: Prepared) -> Prepared:
        """As ``ItemScorer``."""
        return require_below(prepared, self.rows)

    def stream(self, prepared: Prepared, indices: Sequence[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """As ``ItemScorer``; raises EngineFailure where the engine dies."""
        for index, scored in self._scored(prepared, indices):
            yield index, scored.log_probabilities

    def stream_greedy(
        self, prepared: Prepared, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[int, list[tuple[float, bool]]]]:
        """As ``ItemScorer``; raises EngineFailure where the engine dies."""
        for index, scored in self._scored(prepared, indices):
            yield index, list(zip(scored.log_probabilities.tolist(), scored.greedy.tolist(), strict=True))

    def decoder(self) -> VllmDecoder:
        """As ``ItemScorer``."""
        return VllmDecoder(self.engine, self.rows)

    def _scored(self, prepared: Prepared, indices: Sequence[int] | None) -> Iterator[tuple[int, Scored]]:
        chosen = list(range(len(prepared))) if indices is None else list(indices)
        for first in range(0, len(chosen), ITEMS_AT_ONCE):
            part = chosen[first : first + ITEMS_AT_ONCE]
            scored = self.engine.log_probabilities(
                [prepared.contexts[index] for index in part], [prepared.continuations[index] for index in part]
            )
            yield from zip(part, scored, strict=True)


class VllmDecoder:
    """Continues prompts with what the engine holds; a ``Writer``.

    Args:
        engine: that serves the model.
        rows: how many tokens it has embeddings for.
    """

    def __init__(self, engine: VllmEngine, rows: int) -> None:
        self.engine, self.rows = engine, rows

    def stream(
        self, prompts: Sequence[Sequence[int]], indices: Sequence[int], sampling: Sampling
    ) -> Iterator[tuple[int, list[Reply]]]:
        """As ``Writer``.

        Args:
            prompts: token ids of each.
            indices: which of them.
            sampling: how texts are drawn and where they end.

        Yields:
            (index, its texts), in the order of the indices.

        Raises:
            EngineFailure: the engine died.
        """
        chosen = [prompts[index] for index in indices]
        require_tokens_below(self.rows, chosen)
        yield from zip(indices, self.engine.generate(chosen, sampling), strict=True)
