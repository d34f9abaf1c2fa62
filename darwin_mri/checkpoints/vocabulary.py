"""Which token has which id, read from a folder's tokenizer files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwin_mri.errors import CheckpointError

OTHER_FILES = ("tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")  # tokenizers that transformers converts


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a tokenizer.

    Attributes:
        ids: token -> id, added tokens among them.
        added: tokens that were added to the model's own, special ones among them.
    """

    ids: Mapping[str, int]
    added: frozenset[str]


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The tokens of a folder's tokenizer; None where it has none that tells them.

    Raises:
        CheckpointError: tokenizer.json is damaged, so that nobody can tell whether two models share their tokens.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return _converted(folder)
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{folder.name}/tokenizer.json cannot be read as JSON: fetch the model again") from None
    try:
        vocabulary = data["model"]["vocab"]
        if isinstance(vocabulary, list):  # a unigram model's pairs of token and score, in the order of their ids
            vocabulary = {token: number for number, (token, *_) in enumerate(vocabulary)}
        added = {str(token["content"]): int(token["id"]) for token in data.get("added_tokens") or []}
        return Vocabulary(
            {**{str(token): int(number) for token, number in vocabulary.items()}, **added}, frozenset(added)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _converted(folder: Path) -> Vocabulary | None:
    """As transformers converts other tokenizer files; None where there are none, or where they do not load."""
    if not any((folder / name).is_file() for name in OTHER_FILES):
        return None
    from darwin_mri.checkpoints.loading import load_tokenizer
    from darwin_mri.checkpoints.source import ModelSource

    try:
        tokenizer: Any = load_tokenizer(ModelSource(folder.name, folder, None))
    except CheckpointError:
        return None
    return Vocabulary(dict(tokenizer.get_vocab()), frozenset(tokenizer.get_added_vocab()))
