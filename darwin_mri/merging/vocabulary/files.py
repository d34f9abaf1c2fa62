"""The small files of a model with a new vocabulary, so that they agree with its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darwin_mri.checkpoints.verify import read_json_object
from darwin_mri.checkpoints.writing import Content, other_files
from darwin_mri.errors import InputError
from darwin_mri.merging.vocabulary.tokens import FAST, Tokens

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"
# What a tokenizer is read from beside tokenizer.json, which says all of it.
OUTDATED = ("added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tekken.json", "*.model", "*.tiktoken")
TOKENIZER_FILES = (
    FAST, TOKENIZER, "special_tokens_map.json", "chat_template.*", "additional_chat_templates/*", *OUTDATED,
)  # fmt: skip
COMMON = ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id")
LISTS = ("suppress_tokens", "begin_suppress_tokens")
SIZES = ("vocab_size", "vocab_size_per_layer_input")


def vocabulary_files(
    model: Tokens, owner: Tokens, data: Mapping[str, Any], ids: Mapping[str, int], rows: int
) -> tuple[dict[str, Content], dict[str, Any]]:
    """The small files and the configuration of a model's new folder.

    Args:
        model: the old model.
        owner: the model whose tokenizer files, chat template and end tokens the new one has.
        data: the new tokenizer.json.
        ids: its tokens -> ids.
        rows: of the new tables.

    Returns:
        (name -> content, fields of config.json).

    Raises:
        InputError: a configuration speaks of a token that the new vocabulary lacks.
    """
    files: dict[str, Content] = {
        name: model.source.folder / name
        for name in other_files(model.source.folder, model.survey.shards)
        if not _matches(name, TOKENIZER_FILES) and name != "model.safetensors.index.json"
    }
    folder = owner.source.folder
    files |= {name: folder / name for name in other_files(folder, ()) if _matches(name, TOKENIZER_FILES)}
    if data != owner.data:
        files = {name: content for name, content in files.items() if not _matches(name, OUTDATED)}
        files[FAST] = dict(data)
        if TOKENIZER in files:
            files[TOKENIZER] = _tokenizer_config(folder, data)
    move = _Moves(model, ids)
    del files[CONFIG]
    if GENERATION in files:
        files[GENERATION] = _generation(model, owner, move)
    return files, _config(model, owner, move, rows)


class _Moves:
    """Old token ids of a model -> new ones."""

    def __init__(self, model: Tokens, ids: Mapping[str, int]) -> None:
        self.model, self.ids = model, ids
        self.tokens = {number: token for token, number in model.ids.items()}

    def moved(self, value: Any, key: str) -> Any:
        """An id, or a list of them, in the new vocabulary; what is no token's id stays."""
        if isinstance(value, list):
            return [self.moved(part, key) for part in value]
        token = self.tokens.get(value) if isinstance(value, int) and not isinstance(value, bool) else None
        if token is None:
            return value
        if token not in self.ids:
            raise InputError(
                f"{self.model.source.ref}: {key} is {token!r}, which the new vocabulary lacks: choose tokenizer: union"
            )
        return self.ids[token]


def _config(model: Tokens, owner: Tokens, move: _Moves, rows: int) -> dict[str, Any]:
    """config.json with the new sizes and ids, in the wrapper's part for text too."""
    known = model.survey.text_config
    config = _renumbered(model.survey.config, move)
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    for key in SIZES:
        if getattr(known, key, None) is not None:
            name = str(type(known).attribute_map.get(key, key))
            text[name] = rows
            if name in config:
                config[name] = rows
    for key in COMMON:
        value = _special(owner, key)
        if value is not None or key in text:
            text[key] = value
        if key in config:
            config[key] = value
    return config


def _generation(model: Tokens, owner: Tokens, move: _Moves) -> dict[str, Any]:
    """generation_config.json that ends where the owner's does."""
    own = _renumbered(read_json_object(model.source.folder, GENERATION), move)
    has_own = (owner.source.folder / GENERATION).is_file()
    theirs = read_json_object(owner.source.folder, GENERATION) if has_own else {}
    for key in COMMON:
        if key in own or key in theirs:
            own[key] = theirs[key] if key in theirs else _special(owner, key)
    return own


def _special(owner: Tokens, key: str) -> Any:
    """The owner's id of a special token, with its family's default."""
    inner = getattr(owner.survey.text_config, key, None)
    return getattr(owner.survey.known_config, key, None) if inner is None else inner


def _renumbered(fields: Mapping[str, Any], move: _Moves) -> dict[str, Any]:
    """A mapping with every token id in it moved, except those that all models share."""
    new: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            new[key] = _renumbered(value, move)
        elif key not in COMMON and (key.endswith(("_token_id", "_token_ids", "_token_index")) or key in LISTS):
            new[key] = move.moved(value, key)
        else:
            new[key] = value
    return new


def _tokenizer_config(folder: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json; where it lists added tokens, those of the new vocabulary."""
    config = read_json_object(folder, TOKENIZER)
    if "added_tokens_decoder" in config:
        config["added_tokens_decoder"] = {
            str(entry["id"]): {name: value for name, value in entry.items() if name != "id"}
            for entry in data["added_tokens"]
        }
    return config


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(Path(name).match(pattern) for pattern in patterns)
