"""What a model makes of the places of a batch that predict a token, read in one of several ways (``ways``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from darwin_mri.batch_sizes import logit_positions
from darwin_mri.benchmarks.batching import Layout
from darwin_mri.benchmarks.prefill import LONG_PIECE, PIECE, Prefill
from darwin_mri.benchmarks.tree_reader import TreeReader
from darwin_mri.benchmarks.trees import Trees
from darwin_mri.benchmarks.ways import Costs, token_costs
from darwin_mri.checkpoints.anatomy import decoder_of
from darwin_mri.probes import project


@dataclass(frozen=True)
class Reading:
    """A model's outputs at the places of a layout.

    Attributes:
        outputs: hidden states (rows, tokens, hidden size), or logits (rows, tokens, vocabulary).
        row: of each distinct node that predicts something (nodes,).
        column: of each, as ``row``.
        node_of: which node each place is (places,); several places may be one.
    """

    outputs: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    node_of: torch.Tensor


class Reader:
    """Reads batches with one model; what it learns of the model does not depend on the weights.

    Args:
        model: a causal language model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.logit_scale = 1.0  # some families multiply their logits; measured by ``learn_projection``
        self.use_projection = True
        self.prefill = Prefill(model)
        self.trees = TreeReader(model, self.prefill)

    def learn_projection(self, ids: torch.Tensor, expected: torch.Tensor) -> None:
        """Find out whether logits can be made from hidden states.

        Args:
            ids: of one text (1, tokens).
            expected: the model's own logits (tokens, vocabulary).
        """
        self.use_projection, self.logit_scale = True, 1.0
        try:
            logits = self._logits(self._forward({"input_ids": ids, "use_cache": False})[0])  # (tokens, vocabulary)
            scale = float((logits * expected).sum() / (logits * logits).sum())  # least squares
            self.logit_scale = scale if abs(scale - 1) > 1e-3 else 1.0
            self.use_projection = torch.allclose(self.logit_scale * logits, expected, rtol=1e-2, atol=1e-3)
        except (AttributeError, TypeError):  # no decoder or no output head of the usual kind
            self.use_projection = False

    @cached_property
    def costs(self) -> Costs:
        """What its tokens cost; asked only where trees can be read."""
        piece = PIECE.get(self.model.device.type, LONG_PIECE)
        return token_costs(self.model, decoder_of(self.model), self.prefill.filled_share(), piece)

    def read_rows(self, layout: Layout, cuts: Sequence[int] = ()) -> Reading:
        """Read every row, from where a cache of the beginnings ends.

        Args:
            layout: of a batch.
            cuts: lengths at which a cache branches; none reads every row whole.
        """
        device = self.model.device
        start = cuts[-1] if cuts else 0
        cache = self.prefill.fill(layout.rows, cuts) if cuts else None
        tails = [torch.tensor(row[start:]) for row in layout.rows]
        ids = pad_sequence(tails, batch_first=True).to(device)  # (rows, longest tail)
        outputs = self._forward({"input_ids": ids, "past_key_values": cache, "use_cache": cache is not None})
        row, position = torch.tensor(layout.places, device=device).T  # (places,) each
        return Reading(outputs, row, position - start, torch.arange(len(layout.places), device=device))

    def read_trees(self, trees: Trees) -> Reading:
        """Read every distinct token once, under a mask."""
        outputs = self.trees.read(trees, self._forward)
        row, column = torch.from_numpy(trees.nodes).to(self.model.device)  # (nodes,) each
        return Reading(outputs, row, column - trees.filled, torch.from_numpy(trees.node_of).to(self.model.device))

    def logits(self, reading: Reading) -> Iterator[tuple[slice, torch.Tensor]]:
        """Logits at the nodes of a reading, some nodes at a time.

        Yields:
            (which nodes, their logits (nodes, vocabulary) in float32).
        """
        size = logit_positions(self.model.config.get_text_config().vocab_size)
        for first in range(0, len(reading.row), size):
            part = slice(first, min(first + size, len(reading.row)))
            yield part, self._logits(reading.outputs[reading.row[part], reading.column[part]])

    @property
    def _forward(self) -> Callable[[dict[str, Any]], torch.Tensor]:
        """A forward, given its arguments.

        It returns hidden states (rows, tokens, hidden size), or logits (rows, tokens, vocabulary) where the scorer's
        own projection does not agree with the model's.
        """
        if self.use_projection:
            # Never pass logits_to_keep here: Gemma 4's decoder would drop tokens in its KV-sharing layers.
            return lambda arguments: decoder_of(self.model)(**arguments).last_hidden_state
        return lambda arguments: self.model(**arguments).logits

    def _logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Logits (positions, vocabulary) in float32 from gathered outputs (positions, hidden size or vocabulary)."""
        if not self.use_projection:
            return outputs.float()
        return self.logit_scale * project(self.model, outputs)
