"""Which old row each row of a new vocabulary table is, by token.

A model that knows a token keeps its own row. Else the row is what the token's rule says; without one it is that of the
only model that has it, of the base where the base has it, the mean over all models that have it, or zeros where none
has: mergekit 0.1.5's rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from darwin_mri.errors import InputError
from darwin_mri.merging.vocabulary.choice import RowOf, TokenRule, VocabularyChoice
from darwin_mri.merging.vocabulary.tokens import Tokens
from darwin_mri.roles import BASE

CHUNK = 2**14  # rows summed at once
Row = tuple[str, int]
"""(role, id) of an old row."""


@dataclass(frozen=True)
class RowPlan:
    """The rows of one model's new tables.

    Attributes:
        role: of the model.
        own: (rows,) int64: the model's own old row, -1 where the new row is made otherwise.
        made: new row -> old rows whose mean it is; zeros where there are none.
        mean_from: rows from this one on are the mean of those before it.
    """

    role: str
    own: Tensor
    made: Mapping[int, tuple[Row, ...]]
    mean_from: int

    def unchanged(self, rows: int) -> bool:
        """Whether every row of a table with so many rows stays in its place."""
        return len(self.own) == rows == self.mean_from and bool((self.own == torch.arange(rows)).all())

    def table(self, read: Callable[[str], Tensor | None]) -> Tensor:
        """The new table.

        Args:
            read: role -> its old table, with tokens on the first axis, or None; this model's own is there.

        Returns:
            (rows, ...) in the dtype of this model's old table. Means are taken in fp32.
        """
        tables = {role: read(role) for role in {self.role, *(role for rows in self.made.values() for role, _ in rows)}}
        old = tables[self.role]
        assert old is not None
        new = old.new_zeros((len(self.own), *old.shape[1:]))
        kept = self.own >= 0
        new[kept] = old[_within(self.own[kept], old)]
        for number, rows in self.made.items():
            found = [
                table[_within(torch.tensor(at), table)] for role, at in rows if (table := tables[role]) is not None
            ]
            if found:
                new[number] = torch.stack([row.float() for row in found]).mean(0).to(old.dtype)
        if self.mean_from < len(new):
            sums = [part.float().sum(0) for part in new[: self.mean_from].split(CHUNK)]
            new[self.mean_from :] = (torch.stack(sums).sum(0) / self.mean_from).to(old.dtype)
        return new


def plan_rows(
    ids: Mapping[str, int], models: Mapping[str, Tokens], owner: Tokens, choice: VocabularyChoice
) -> dict[str, RowPlan]:
    """Plan the tables of every model for a new vocabulary.

    Args:
        ids: token with a row -> its new id.
        models: role -> tokens of a model.
        owner: of the model whose tokenizer the new one begins with.
        choice: rules of single tokens, and how many rows there are.

    Returns:
        Role -> its plan.

    Raises:
        InputError: a rule names a row that is not there.
    """
    count = max(ids.values()) + 1
    multiple = choice.pad_to_multiple_of
    size = -(-count // multiple) * multiple if multiple else max(count, owner.rows)
    sources = _sources(ids, models, choice.tokens)
    unnamed = sorted(set(range(count if multiple else size)) - set(ids.values()))
    owning = next((role for role, tokens in models.items() if tokens.source == owner.source), next(iter(models)))
    spare = {role: _unnamed_rows(tokens) for role, tokens in models.items()}
    plans = {}
    for role, tokens in models.items():
        own = torch.full((size,), -1, dtype=torch.int64)
        made: dict[int, tuple[Row, ...]] = {}
        for token, number in ids.items():
            rule = choice.tokens.get(token)
            if tokens.has(token) and not (rule and rule.force):
                own[number] = tokens.ids[token]
            else:
                made[number] = sources[token]
        for number in unnamed:
            if number in spare[role]:
                own[number] = number
            else:
                made[number] = ((owning, number),) if number in spare[owning] else ()
        plans[role] = RowPlan(role, own, made, count if multiple else size)
    return plans


def _sources(
    ids: Mapping[str, int], models: Mapping[str, Tokens], rules: Mapping[str, TokenRule]
) -> dict[str, tuple[Row, ...]]:
    """Token -> the rows whose mean a model gets that lacks it, of those tokens for which that is asked."""
    sources = {}
    for token in ids:
        holders = [role for role, tokens in models.items() if tokens.has(token)]
        rule = rules.get(token)
        if rule is not None and rule.force and rule.source is None:
            raise InputError(f"the rule of token {token!r} has force but no source: name one")
        if len(holders) == len(models) and not (rule and rule.force):
            continue
        if rule is not None and rule.source is not None:
            sources[token] = () if rule.source == "zero" else (_row(token, rule.source, models),)
        else:
            chosen = [BASE] if BASE in holders else holders
            sources[token] = tuple((role, models[role].ids[token]) for role in chosen)
    return sources


def _row(token: str, source: RowOf, models: Mapping[str, Tokens]) -> Row:
    if source.role not in models:
        raise InputError(f"the rule of token {token!r} names {source.role}, which is no model of this merge")
    model = models[source.role]
    if source.token_id is not None:
        if not 0 <= source.token_id < model.rows:
            raise InputError(
                f"the rule of token {token!r} asks for row {source.token_id} of {model.source.ref}, which has"
                f" {model.rows:,}"
            )
        return source.role, source.token_id
    wanted = token if source.token is None else source.token
    if not model.has(wanted):
        raise InputError(f"the rule of token {token!r} asks for the row of {wanted!r}, which {model.source.ref} lacks")
    return source.role, model.ids[wanted]


def _unnamed_rows(tokens: Tokens) -> set[int]:
    """Rows of a table that belong to no token."""
    return set(range(tokens.rows)) - set(tokens.ids.values())


def _within(rows: Tensor, table: Tensor) -> Tensor:
    """Row numbers of a table that may be shorter than the embedding: Gemma 3n reads row 0 for ids beyond."""
    return torch.where(rows < len(table), rows, 0)
