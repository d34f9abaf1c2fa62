"""Items as rows of tokens whose loss can be differentiated: what the scorers compute, with gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from darwin_mri.benchmarks.encoding import Prepared
from darwin_mri.probes import project, token_nll

Forward = Callable[..., Any]


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
    """Input rows without their last tokens, which nothing follows: continuations of one token share a row.

    Attributes:
        ids: (rows, length) tokens.
        attention: (rows, length), 1 where a token is, 0 where padding is.
        rows: (places,) the row in which a token of a continuation is predicted.
        columns: (places,) the column in which it is predicted.
        predicted: (places,) that token.
        continuations: (places,) the continuation it belongs to, counted over all items.
        count: number of continuations.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    predicted: torch.Tensor
    continuations: torch.Tensor
    count: int

    @classmethod
    def of(cls, prepared: Prepared, device: torch.device) -> TokenRows:
        """The rows of tokenised items, on a device."""
        inputs: dict[tuple[int, ...], int] = {}
        places, count = [], 0
        for context, continuations in zip(prepared.contexts, prepared.continuations, strict=True):
            for ids in continuations:
                row = inputs.setdefault((*context, *ids[:-1]), len(inputs))
                places += [(row, len(context) - 1 + offset, token, count) for offset, token in enumerate(ids)]
                count += 1
        length = max(len(row) for row in inputs)
        tokens = torch.zeros(len(inputs), length, dtype=torch.long)
        attention = torch.zeros_like(tokens)
        for row, number in inputs.items():
            tokens[number, : len(row)] = torch.tensor(row)
            attention[number, : len(row)] = 1
        rows, columns, predicted, owners = (part.to(device) for part in torch.tensor(places).unbind(1))
        return cls(tokens.to(device), attention.to(device), rows, columns, predicted, owners, count)

    def logits(self, model: Any, forward: Forward) -> torch.Tensor:
        """Logits (places, vocabulary) in float32."""
        return project(model, self._states(forward))

    def log_probabilities(self, model: Any, forward: Forward) -> torch.Tensor:
        """Summed log-probability of each continuation, (continuations,)."""
        tokens = -token_nll(model, self._states(forward), self.predicted)
        return torch.zeros(self.count, device=tokens.device).index_add(0, self.continuations, tokens)

    def _states(self, forward: Forward) -> torch.Tensor:
        """Final states (places, hidden)."""
        hidden = forward(input_ids=self.ids, attention_mask=self.attention, use_cache=False).last_hidden_state
        return hidden[self.rows, self.columns]


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
        return self.of.ids.numel()


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
        cls, prepared: Prepared, gold: Sequence[int], scales: Sequence[Sequence[float]], device: torch.device
    ) -> ChoiceRows:
        """Rows of tokenised items.

        Args:
            prepared: n items.
            gold: number of each item's right choice.
            scales: of each item's choices.
            device: where they are read.

        Returns:
            The rows.
        """
        counts = torch.tensor([len(part) for part in scales])
        first = counts.cumsum(0) - counts
        return cls(
            TokenRows.of(prepared, device),
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
    def make(cls, prepared: Prepared, sizes: Sequence[float], device: torch.device) -> SumRows:
        """Rows of tokenised items.

        Args:
            prepared: n items.
            sizes: of each.
            device: where they are read.

        Returns:
            The rows.
        """
        return cls(TokenRows.of(prepared, device), torch.tensor(list(sizes)).float().to(device))

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
