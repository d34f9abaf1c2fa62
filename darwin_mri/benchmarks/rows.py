"""Items as rows of tokens whose loss can be differentiated: what the scorers compute, with gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from darwin_mri.benchmarks.batching import Layout, lay_out
from darwin_mri.benchmarks.encoding import Prepared
from darwin_mri.benchmarks.scorer import Scorer
from darwin_mri.benchmarks.trees import pack
from darwin_mri.probes import project, token_nll

Forward = Callable[..., Any]
SAVED = 0.9  # share of the tokens of rows below which trees are read: their masks cost something too


class Rows(Protocol):
    """Some items of one task."""

    @property
    def tokens(self) -> int:
        """Tokens that a forward reads, padding included."""
        ...

    def loss(self, model: Any, forward: Forward, *, log: bool) -> torch.Tensor:
        """The items' mean negated score.

        Args:
            model: with the output head.
            forward: replaces the decoder.
            log: the logarithm of a score that is a probability.

        Returns:
            A scalar.
        """
        ...


@dataclass(frozen=True)
class TokenRows:
    """What a forward reads, without last tokens, which nothing follows: continuations of one token share a row.

    Where the family allows it and it saves tokens, every distinct token is read once, under a mask (``trees``).

    Attributes:
        inputs: arguments of the forward.
        tokens: that it reads, padding included.
        rows: (places,) the row in which a token of a continuation is predicted.
        columns: (places,) the column in which it is predicted.
        predicted: (places,) that token.
        continuations: (places,) the continuation it belongs to, counted over all items.
        count: number of continuations.
    """

    inputs: Mapping[str, Any]
    tokens: int
    rows: torch.Tensor
    columns: torch.Tensor
    predicted: torch.Tensor
    continuations: torch.Tensor
    count: int

    @classmethod
    def of(cls, prepared: Prepared, scorer: Scorer) -> TokenRows:
        """The rows of tokenised items, where the scorer's model is.

        Raises:
            InputError: tokens that the model does not have.
        """
        layout, device = lay_out(scorer.require_known(prepared), range(len(prepared))), scorer.model.device
        place, predicted = torch.tensor(layout.queries, device=device).T
        continuations = torch.tensor(layout.choices, device=device)
        inputs, at = _trees(prepared, layout, scorer) or _padded(layout, device)
        rows, columns = at[:, place]
        tokens = inputs["input_ids"].numel()
        return cls(inputs, tokens, rows, columns, predicted, continuations, sum(layout.counts))

    def logits(self, model: Any, forward: Forward) -> torch.Tensor:
        """Logits (places, vocabulary) in float32."""
        return project(model, self._states(forward))

    def log_probabilities(self, model: Any, forward: Forward) -> torch.Tensor:
        """Summed log-probability of each continuation, (continuations,)."""
        tokens = -token_nll(model, self._states(forward), self.predicted)
        return torch.zeros(self.count, device=tokens.device).index_add(0, self.continuations, tokens)

    def _states(self, forward: Forward) -> torch.Tensor:
        """Final states (places, hidden)."""
        hidden = forward(**self.inputs).last_hidden_state
        return hidden[self.rows, self.columns]


def _padded(layout: Layout, device: torch.device) -> tuple[dict[str, Any], torch.Tensor]:
    """Arguments of a forward over rows padded on the right, and (2, places) row and column of every place."""
    tokens = torch.zeros(len(layout.rows), max(map(len, layout.rows)), dtype=torch.long)
    attention = torch.zeros_like(tokens)
    for number, row in enumerate(layout.rows):
        tokens[number, : len(row)] = torch.tensor(row)
        attention[number, : len(row)] = 1
    at = torch.tensor(layout.places, device=device).T
    return {"input_ids": tokens.to(device), "attention_mask": attention.to(device), "use_cache": False}, at


def _trees(prepared: Prepared, layout: Layout, scorer: Scorer) -> tuple[dict[str, Any], torch.Tensor] | None:
    """As ``_padded``, of trees; None where the family does not allow them or they save little."""
    if not scorer.allows_trees(prepared):
        return None
    trees = pack(layout, scorer.reader.costs.pairs_per_token)
    if trees.ids.size > SAVED * len(layout.rows) * max(map(len, layout.rows)):
        return None
    return scorer.reader.trees.arguments(trees), torch.from_numpy(trees.nodes[:, trees.node_of]).to(scorer.model.device)


@dataclass(frozen=True)
class ReadRows:
    """Rows that one forward reads.

    Attributes:
        of: their tokens.
    """

    of: TokenRows

    @property
    def tokens(self) -> int:
        """As ``Rows``."""
        return self.of.tokens


@dataclass(frozen=True)
class ChoiceRows(ReadRows):
    """Items with choices: the score is the right choice's probability among them.

    Attributes:
        of: their tokens, a continuation for each choice.
        owner: (choices,) the item of each choice.
        scales: (choices,) what its log-probability is multiplied by.
        gold: (items,) the right choice.
    """

    owner: torch.Tensor
    scales: torch.Tensor
    gold: torch.Tensor

    @classmethod
    def make(
        cls, prepared: Prepared, gold: Sequence[int], scales: Sequence[Sequence[float]], scorer: Scorer
    ) -> ChoiceRows:
        """Rows of tokenised items.

        Args:
            prepared: n items.
            gold: number of each item's right choice.
            scales: of each item's choices.
            scorer: whose model reads them.

        Returns:
            The rows.
        """
        device = scorer.model.device
        counts = torch.tensor([len(part) for part in scales])
        first = counts.cumsum(0) - counts
        return cls(
            TokenRows.of(prepared, scorer),
            torch.repeat_interleave(torch.arange(len(counts)), counts).to(device),
            torch.tensor([value for part in scales for value in part]).float().to(device),
            (first + torch.tensor(list(gold))).to(device),
        )

    def loss(self, model: Any, forward: Forward, *, log: bool) -> torch.Tensor:
        """As ``Rows``.

        Args:
            model: with the output head.
            forward: replaces the decoder.
            log: the logarithm of a score that is a probability.

        Returns:
            A scalar.
        """
        choices = self.of.log_probabilities(model, forward) * self.scales
        # Softmax over the choices of each item, then the gold choice's share.
        highest = torch.full((len(self.gold),), -torch.inf, device=choices.device).scatter_reduce(
            0, self.owner, choices.detach(), "amax"
        )
        weighed = torch.exp(choices - highest[self.owner])
        totals = torch.zeros(len(self.gold), device=choices.device).index_add(0, self.owner, weighed)
        share = choices[self.gold] - highest - totals.log()
        return -(share if log else share.exp()).mean()


@dataclass(frozen=True)
class SumRows(ReadRows):
    """Items with one continuation each: the score is its log-probability, over a size where it has one.

    Attributes:
        of: their tokens.
        sizes: (items,) such as the bytes of a text.
    """

    sizes: torch.Tensor

    @classmethod
    def make(cls, prepared: Prepared, sizes: Sequence[float], scorer: Scorer) -> SumRows:
        """Rows of tokenised items.

        Args:
            prepared: n items.
            sizes: of each.
            scorer: whose model reads them.

        Returns:
            The rows.
        """
        return cls(TokenRows.of(prepared, scorer), torch.tensor(list(sizes)).float().to(scorer.model.device))

    def loss(self, model: Any, forward: Forward, *, log: bool) -> torch.Tensor:
        """As ``Rows``.

        Args:
            model: with the output head.
            forward: replaces the decoder.
            log: changes nothing, a log-probability is a logarithm already.

        Returns:
            A scalar.
        """
        return -(self.of.log_probabilities(model, forward) / self.sizes).mean()
