"""What headers, configuration and tokenizer files tell about a model, without torch and without reading a weight."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from darwin_mri.checkpoints.names import ACTIVATION_FIELDS, FFN_NAMES, FUSED, GATED, UNGATED
from darwin_mri.checkpoints.naming import FOREIGN, TIED_HEADS
from darwin_mri.checkpoints.verify import DTYPE_BITS, read_header, weight_files
from darwin_mri.errors import CheckpointError
from darwin_mri.records import Anatomy, FfnAnatomy, LayerAnatomy

LAYER = re.compile(r"^(?P<prefix>.*?\b(?:layers|h|blocks))\.(?P<index>\d+)\.(?P<rest>.+)$")
KV_SHARED = re.compile(r"\.self_attn\.(k_proj|v_proj|k_norm|v_norm)\.")


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as its header describes it.

    Attributes:
        dtype: in safetensors' words (``BF16``).
        shape: as stored.
        size: in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    size: int


# Sizes that are one number in every family; the FFN width is a list in some.
COUNTS = ("hidden_size", "n_embd", "num_hidden_layers", "n_layer", "vocab_size")


@dataclass(frozen=True)
class Survey:
    """What is known of a model without reading its weights.

    Attributes:
        folder: where its files are.
        config: config.json.
        tensors: name on disk -> tensor.
        shards: weight files.
        tokens: special token -> id; None where there is no tokenizer.json that lists them.
        vocabulary: number of tokens; None as above.
    """

    folder: Path
    config: dict[str, Any]
    tensors: Mapping[str, TensorInfo]
    shards: tuple[str, ...]
    tokens: dict[str, int] | None
    vocabulary: int | None

    @property
    def text_config(self) -> dict[str, Any]:
        """The text model's part of the configuration."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, dict) else self.config

    @property
    def family(self) -> str:
        """The text configuration's model type."""
        return str(self.text_config.get("model_type") or self.config.get("model_type") or "unknown")

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return sum(stored.size for stored in self.tensors.values())

    @property
    def parameters(self) -> int:
        """Values of all weights."""
        return sum(prod(stored.shape) for stored in self.tensors.values())

    @property
    def tied(self) -> bool:
        """Whether the configuration states that the head shares the embedding's tensor; families' defaults differ."""
        return self.config.get("tie_word_embeddings", self.text_config.get("tie_word_embeddings")) is True

    @cached_property
    def text_names(self) -> tuple[str, ...]:
        """Tensors of the text model that a loader reads.

        Left out are towers, drafters, keys and values that layers with shared ones never use, and copies of a tied
        embedding.
        """
        shared = int(self.text_config.get("num_kv_shared_layers") or 0)
        first = int(self.text_config.get("num_hidden_layers") or 0) - shared
        return tuple(
            name
            for name in self.tensors
            if not is_foreign(name)
            and not (shared and KV_SHARED.search(name) and layer_of(name) >= first)
            and not (self.tied and name.endswith(TIED_HEADS))
        )

    @cached_property
    def anatomy(self) -> Anatomy:
        """The decoder's layers and FFNs as far as names and shapes tell; mixers and norms are left open."""
        layers: dict[int, dict[str, TensorInfo]] = {}
        prefixes: dict[str, int] = {}
        for name in self.text_names:
            match = LAYER.match(name)
            if match:
                prefixes[match["prefix"]] = prefixes.get(match["prefix"], 0) + 1
        prefix = max(prefixes, key=lambda p: prefixes[p], default="")
        for name in self.text_names:
            match = LAYER.match(name)
            if match and match["prefix"] == prefix:
                layers.setdefault(int(match["index"]), {})[match["rest"]] = self.tensors[name]
        activation = next((str(self.text_config[f]) for f in ACTIVATION_FIELDS if self.text_config.get(f)), "unknown")
        hidden = int(self.text_config.get("hidden_size") or self.text_config.get("n_embd") or 0)
        return Anatomy(
            family=self.family,
            prefix=prefix,
            hidden_size=hidden,
            layers=tuple(_layer(index, layers[index], activation, hidden) for index in sorted(layers)),
        )


def survey(folder: Path) -> Survey:
    """Read a checked model folder's headers and JSON files.

    Raises:
        CheckpointError: a header is damaged, or a size in the configuration is no whole number.
    """
    shards = weight_files(folder)
    tensors = {
        name: TensorInfo(entry["dtype"], tuple(entry["shape"]), prod(entry["shape"]) * DTYPE_BITS[entry["dtype"]] // 8)
        for shard in shards
        for name, entry in read_header(folder / shard).items()
    }
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    result = Survey(folder, config, tensors, shards, *read_tokens(folder))
    for key in COUNTS:
        value = result.text_config.get(key)
        if value is not None and (not isinstance(value, int) or value < 0):
            raise CheckpointError(f"{folder.name}/config.json: {key} {value!r} is no whole number: download it again")
    return result


def is_foreign(name: str) -> bool:
    """Whether a tensor belongs to a tower or drafter beside the text model."""
    return any(word in name for word in FOREIGN)


def layer_of(name: str) -> int:
    """The layer a tensor's name speaks of, -1 where it speaks of none."""
    match = LAYER.match(name)
    return int(match["index"]) if match else -1


def _layer(index: int, tensors: dict[str, TensorInfo], activation: str, hidden: int) -> LayerAnatomy:
    ffn = _ffn(tensors, activation, hidden)
    note = "" if ffn else "no plain FFN found by name"
    return LayerAnatomy(
        index=index, mixer="other", mixer_module=None, ffn=ffn, pre_norm=None, post_norm=None, note=note
    )


def _ffn(tensors: dict[str, TensorInfo], activation: str, hidden: int) -> FfnAnatomy | None:
    weights = {name.removesuffix(".weight"): stored for name, stored in tensors.items() if name.endswith(".weight")}
    for module in FFN_NAMES:
        for gate, up, down in (*GATED, *((None, u, d) for u, d in (*FUSED, *UNGATED))):
            parts = [f"{module}.{part}" for part in (gate, up, down) if part]
            if all(part in weights and len(weights[part].shape) == 2 for part in parts):
                fused = (up, down) in FUSED
                names = [f"{module}.{part}" if part else None for part in (up if fused else gate, up, down)]
                assert names[1] and names[2]
                shape = weights[names[2]].shape
                transposed = shape[0] != hidden == shape[1]
                return FfnAnatomy(
                    module=module,
                    gate=names[0],
                    up=names[1],
                    down=names[2],
                    fused_gate_up=fused,
                    transposed=transposed,
                    activation=activation,
                    width=shape[0 if transposed else 1],
                    validation_error=0.0,
                )
    return None


def read_tokens(folder: Path) -> tuple[dict[str, int] | None, int | None]:
    """(special token -> id, size of the vocabulary) of a tokenizer.json; (None, None) where it does not tell them.

    Raises:
        CheckpointError: the file is damaged, so that nobody can tell whether two models share their tokens.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None, None
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{folder.name}/tokenizer.json cannot be read as JSON: fetch the model again") from None
    try:
        added = [token for token in data.get("added_tokens", []) if isinstance(token, dict)]
        special = {str(token["content"]): int(token["id"]) for token in added if token.get("special")}
        vocabulary = data["model"]["vocab"]
        known = {token["id"] for token in added}
        return special, len(vocabulary) + len(
            known - set(vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary)))
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None
