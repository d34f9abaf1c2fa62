"""Pico models whose fast tokenizers differ: pieces that are learnt, tokens that are added, tables that are padded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from darwin_mri.checkpoints import ModelSource
from tests.toys import SPECIALS, pico

ENGLISH = ["the cat sat on the mat", "the dog and the cat ran to the other mat"] * 4
FRENCH = ["le chat est sur le tapis", "le chien et le chat vont sur un autre tapis"] * 4


def bpe(texts: Sequence[str] = ENGLISH, added: Sequence[str | AddedToken] = (), size: int = 300) -> Any:
    """A byte-level BPE tokenizer that has learnt its pieces from texts, with further special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=list(SPECIALS), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([token if isinstance(token, AddedToken) else AddedToken(token) for token in added])
    pad, eos, bos = SPECIALS
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=eos, bos_token=bos)


def model_with(
    tokenizer: Any, path: Path, *, family: str = "llama", seed: int = 0, padding: int = 0, **changes: Any
) -> ModelSource:
    """A pico model with a tokenizer of its own, and rows that no token uses."""
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<{name}>") for name in ("pad", "eos", "bos")}
    rows = len(tokenizer) + padding
    if family.startswith("gemma4"):
        changes["vocab_size_per_layer_input"] = rows
    pico(family, path, seed=seed, vocab_size=rows, **{**ids, **changes})
    tokenizer.save_pretrained(path)
    return ModelSource(path.name, path, None)


def rename_ids(path: Path, order: Sequence[str]) -> None:
    """Give a saved tokenizer's added tokens their ids in another order."""
    data = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    entries = {entry["content"]: entry for entry in data["added_tokens"]}
    numbers = sorted(entry["id"] for entry in entries.values() if entry["content"] in order)
    for token, number in zip(order, numbers, strict=True):
        entries[token]["id"] = number
    data["added_tokens"] = sorted(entries.values(), key=lambda entry: entry["id"])
    (path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
