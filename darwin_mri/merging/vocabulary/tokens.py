"""The tokens of a model with a fast tokenizer, and whether those of two models can be put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from darwin_mri.checkpoints.find import ModelSource
from darwin_mri.checkpoints.libraries import first_line
from darwin_mri.checkpoints.survey import Survey, survey
from darwin_mri.checkpoints.verify import read_json_object
from darwin_mri.errors import InputError

FAST = "tokenizer.json"
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
# Settings of a tokenizer's model that say what its token strings stand for.
MEANING = ("type", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix")
SCORED = "Unigram"  # its token's id is the place in a list of (token, score)


@dataclass(frozen=True, eq=False)
class Tokens:
    """One model's tokens.

    Attributes:
        source: the model.
        data: tokenizer.json.
    """

    source: ModelSource
    data: Mapping[str, Any]

    @cached_property
    def survey(self) -> Survey:
        """Headers, configuration and tokens of its folder."""
        return survey(self.source.folder)

    @cached_property
    def rows(self) -> int:
        """Of its embedding, as config.json says."""
        return int(self.survey.text_config.vocab_size)

    @cached_property
    def added(self) -> dict[str, dict[str, Any]]:
        """Added token -> its entry."""
        return {str(entry["content"]): entry for entry in self.data.get("added_tokens") or []}

    @cached_property
    def own(self) -> dict[str, int]:
        """Tokens of the tokenizer's model -> id."""
        vocabulary = self.data["model"]["vocab"]
        if isinstance(vocabulary, list):
            return {str(token): number for number, (token, *_) in enumerate(vocabulary)}
        return {str(token): int(number) for token, number in vocabulary.items()}

    @cached_property
    def ids(self) -> dict[str, int]:
        """Every token -> id."""
        return {**self.own, **{token: int(entry["id"]) for token, entry in self.added.items()}}

    def has(self, token: str) -> bool:
        """Whether a token has a row in this model's tables."""
        return self.ids.get(token, self.rows) < self.rows


def read_tokens(source: ModelSource) -> Tokens:
    """Read a model's tokens.

    Raises:
        InputError: it has no fast tokenizer, or its tokens have no ids of their own.
        CheckpointError: tokenizer.json is damaged.
    """
    if not (source.folder / FAST).is_file():
        raise InputError(
            f"{source.ref} has no {FAST}, which a common vocabulary needs: load its tokenizer with transformers and"
            " save it with save_pretrained"
        )
    tokens = Tokens(source, read_json_object(source.folder, FAST))
    try:
        _ = tokens.ids
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{source.ref}/{FAST} lists no tokens with ids: fetch the model again") from None
    refuse_other_ids(tokens)
    return tokens


def refuse_other_ids(tokens: Tokens) -> None:
    """Raise InputError unless the tokenizers library gives every token the id that tokenizer.json says.

    The library numbers added tokens anew where they do not follow the others without a hole.
    """
    from tokenizers import Tokenizer

    ref = f"{tokens.source.ref}/{FAST}"
    try:
        known = Tokenizer.from_str(json.dumps(tokens.data)).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{ref} is refused by the tokenizers library ({first_line(error)}): fetch it again") from None
    for token, number in tokens.ids.items():
        if known.get(token) != number:
            raise InputError(
                f"{ref} gives {token!r} the id {number}, the tokenizers library {known.get(token)}: its ids have"
                " holes; save the tokenizer again with save_pretrained"
            )


def refuse_other_meaning(first: Tokens, other: Tokens) -> None:
    """Raise InputError, naming both models, unless one token string stands for the same text in both."""
    pairs = [(name, first.data["model"].get(name), other.data["model"].get(name)) for name in MEANING]
    pairs.append(("spelling of bytes", _spelling(first.data), _spelling(other.data)))
    for name, own, theirs in pairs:
        if (own or None) != (theirs or None):
            raise InputError(
                f"{first.source.ref} and {other.source.ref} have vocabularies that cannot be put together: the"
                f" tokenizer's {name} is {own or 'none'} in one and {theirs or 'none'} in the other"
            )


def refuse_other_flags(first: Tokens, other: Tokens) -> None:
    """Raise InputError, naming both models, where both added one token with other flags."""
    for token, entry in other.added.items():
        own = first.added.get(token)
        differing = [flag for flag in FLAGS if own is not None and bool(own.get(flag)) != bool(entry.get(flag))]
        if own is not None and differing:
            flag = differing[0]
            raise InputError(
                f"{first.source.ref} and {other.source.ref} contradict each other on the added token {token!r}: {flag}"
                f" is {bool(own.get(flag))} in one and {bool(entry.get(flag))} in the other: name one of them as"
                " tokenizer"
            )


def _spelling(data: Mapping[str, Any]) -> str:
    """How token strings spell text: by letters for bytes, with a mark for spaces, or as it is."""
    text = json.dumps([data.get(part) for part in ("normalizer", "pre_tokenizer", "decoder")])
    if '"ByteLevel"' in text:
        return "ByteLevel"
    return "Metaspace" if "\\u2581" in text else "plain"
