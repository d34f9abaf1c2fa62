"""What graders need of a model: one interface for a resident one and for one that vLLM serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.decoding import Sampling
from darwin_mri.benchmarks.encoding import Prepared
from darwin_mri.benchmarks.generation import Reply
from darwin_mri.benchmarks.items import ChoiceItem


class Writer(Protocol):
    """Continues prompts, as ``Decoder``."""

    def stream(
        self, prompts: Sequence[Sequence[int]], indices: Sequence[int], sampling: Sampling
    ) -> Iterator[tuple[int, list[Reply]]]:
        """As ``Decoder.stream``.

        Args:
            prompts: token ids of each.
            indices: which of them.
            sampling: how texts are drawn and where they end.

        Yields:
            (index, its texts).
        """
        ...


class ItemScorer(Protocol):
    """Scores items under the weights that the model has at the time of the call, as ``Scorer``."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's."""
        ...

    @property
    def config(self) -> Any:
        """The model's configuration."""
        ...

    def prepare(self, items: Sequence[ChoiceItem]) -> Prepared:
        """As ``Scorer.prepare``."""
        ...

    def require_known(self, prepared: Prepared) -> Prepared:
        """As ``Scorer.require_known``."""
        ...

    def stream(self, prepared: Prepared, indices: Sequence[int] | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """As ``Scorer.stream``."""
        ...

    def stream_greedy(
        self, prepared: Prepared, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[int, list[tuple[float, bool]]]]:
        """As ``Scorer.stream_greedy``."""
        ...

    def decoder(self) -> Writer:
        """What continues prompts under the same weights."""
        ...
