"""What headers, configuration and tokenizer files tell about a model, without reading a weight."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darwin_mri.checkpoints.verify import DTYPE_BITS, read_header, read_json_object, weight_files
from darwin_mri.checkpoints.vocabulary import Vocabulary, read_vocabulary
from darwin_mri.errors import CheckpointError
from darwin_mri.records import Anatomy

if TYPE_CHECKING:
    from darwin_mri.checkpoints.layout import Layout

LAYER = re.compile(r"^(?P<prefix>.*?\b(?:layers|h|blocks))\.(?P<index>\d+)\.(?P<rest>.+)$")
# Sizes that are one number in every family; the FFN width is a list in some.
COUNTS = ("hidden_size", "n_embd", "num_hidden_layers", "n_layer", "vocab_size")


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


@dataclass(frozen=True)
class Survey:
    """What is known of a model without reading its weights.

    Attributes:
        folder: where its files are.
        config: config.json.
        tensors: name on disk -> tensor.
        shards: weight files.
        vocabulary: its tokens; None where there is no tokenizer that tells them.
    """

    folder: Path
    config: dict[str, Any]
    tensors: Mapping[str, TensorInfo]
    shards: tuple[str, ...]
    vocabulary: Vocabulary | None

    @property
    def family(self) -> str:
        """The text configuration's model type."""
        return str(self.text_config.model_type)

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return sum(stored.size for stored in self.tensors.values())

    @property
    def parameters(self) -> int:
        """Values of all weights."""
        return sum(prod(stored.shape) for stored in self.tensors.values())

    @cached_property
    def known_config(self) -> Any:
        """config.json as transformers reads it, with its family's defaults; raises CheckpointError where it cannot."""
        from darwin_mri.checkpoints.meta import make_config, read_config

        if (self.folder / "config.json").is_file():
            return read_config(self.folder, self.folder.name)
        return make_config(self.config, self.folder.name)

    @property
    def text_config(self) -> Any:
        """The text model's part of ``known_config``."""
        return self.known_config.get_text_config()

    @cached_property
    def layout(self) -> Layout:
        """Where transformers' loader puts each tensor.

        Raises:
            CheckpointError: the loader would draw a weight at random, or the configuration asks for another shape.
        """
        from darwin_mri.checkpoints.layout import read_layout
        from darwin_mri.checkpoints.loading import refuse_partial

        shapes = {name: stored.shape for name, stored in self.tensors.items()}
        layout = read_layout(self.known_config, shapes, self.same_values, self.folder.name)
        refuse_partial(self.folder.name, layout.missing, layout.reshaped)
        return layout

    @property
    def anatomy(self) -> Anatomy:
        """The decoder's layers and FFNs as far as modules tell; norms are left open."""
        return self.layout.anatomy

    def same_values(self, name: str, other: str) -> bool:
        """Whether two tensors on disk hold the same values; taken for granted where the weights are not at hand."""
        if not all((self.folder / shard).is_file() for shard in self.shards):
            return True
        from darwin_mri.checkpoints.reader import CheckpointReader

        with CheckpointReader(self.folder) as reader:
            return reader.shape(name) == reader.shape(other) and bool(
                (reader.tensor(name) == reader.tensor(other)).all()
            )


def survey(folder: Path) -> Survey:
    """Read a checked model folder's headers and JSON files; once, as long as no file of the folder changes.

    Raises:
        CheckpointError: a header is damaged, or a size in the configuration is no whole number.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".model", ".txt"))
    return _read_survey(folder, tuple(_state(path) for path in files))


def _state(path: Path) -> tuple[str, int, int, int, int]:
    """What changes when a file is written again."""
    stat = path.stat()
    return path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=16)
def _read_survey(folder: Path, _: Hashable) -> Survey:
    """The second argument tells two states of a folder apart."""
    shards = weight_files(folder)
    tensors = {
        name: TensorInfo(entry["dtype"], tuple(entry["shape"]), prod(entry["shape"]) * DTYPE_BITS[entry["dtype"]] // 8)
        for shard in shards
        for name, entry in read_header(folder / shard).items()
    }
    config = read_json_object(folder, "config.json")
    inner = config.get("text_config")
    for key in COUNTS:
        value = (inner if isinstance(inner, dict) else config).get(key)
        if value is not None and (not isinstance(value, int) or value < 0):
            raise CheckpointError(f"{folder.name}/config.json: {key} {value!r} is no whole number: download it again")
    return Survey(folder, config, tensors, shards, read_vocabulary(folder))


def layer_of(name: str) -> int:
    """The layer a tensor's name speaks of, -1 where it speaks of none."""
    match = LAYER.match(name)
    return int(match["index"]) if match else -1
