"""Which vocabulary the parents shall share, and where the rows of its tokens come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from darwin_mri.checkpoints.find import ModelSource, find_model

FATHER = "father"
UNION = "union"


@dataclass(frozen=True)
class RowOf:
    """A row of one model's tables.

    Attributes:
        role: of the model.
        token: whose row it is; the new row's own token where neither this nor ``token_id`` is given.
        token_id: its id in that model.
    """

    role: str
    token: str | None = None
    token_id: int | None = None


@dataclass(frozen=True)
class TokenRule:
    """Where the row of one token comes from, as in the ``tokens`` of mergekit's ``tokenizer`` block.

    Attributes:
        source: a model's row, or zeros; None leaves it to the common rule.
        force: for models that know the token as well.
    """

    source: RowOf | Literal["zero"] | None = None
    force: bool = False


@dataclass(frozen=True)
class VocabularyChoice:
    """The common vocabulary of some models.

    Attributes:
        source: ``union``, or the model whose tokenizer all of them get.
        tokens: token -> where its row comes from; a token that the vocabulary lacks is added to it.
        pad_to_multiple_of: the tables have as many rows as there are tokens, rounded up to a multiple of this. None
            keeps the rows that the chosen tokenizer's model has beyond its tokens.
    """

    source: ModelSource | Literal["union"] = UNION
    tokens: Mapping[str, TokenRule] = field(default_factory=dict[str, TokenRule])
    pad_to_multiple_of: int | None = None


def read_choice(
    tokenizer: str, sources: Mapping[str, ModelSource], *, offline: bool = False
) -> VocabularyChoice | None:
    """What a config's ``tokenizer`` asks for.

    Args:
        tokenizer: ``father``, ``union``, or a model: a role, a parent's name, or any model that ``find_model`` finds.
        sources: role -> model, the father first.
        offline: never ask the hub.

    Returns:
        The choice; None for ``father``, which changes no model.

    Raises:
        CheckpointError: no such model.
    """
    if tokenizer == FATHER:
        return None
    if tokenizer == UNION:
        return VocabularyChoice()
    named = {source.ref: source for source in reversed([*sources.values()])} | dict(sources)
    return VocabularyChoice(named.get(tokenizer) or find_model(tokenizer, offline=offline))
