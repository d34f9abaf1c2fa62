"""A model on the hub, surveyed without fetching its weights: small files whole, weight files by their headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from darwin_mri.checkpoints.source import HUB_ID, NURSERY
from darwin_mri.checkpoints.survey import Survey, TensorInfo
from darwin_mri.checkpoints.verify import DTYPE_BITS, read_json_object
from darwin_mri.checkpoints.vocabulary import read_vocabulary
from darwin_mri.errors import CheckpointError

SMALL = ("config.json", "generation_config.json", "tokenizer*", "vocab*", "chat_template*", "*.index.json")


def is_remote(ref: str, offline: bool) -> bool:
    """Whether a model has to be looked up on the hub: nothing on this machine, not bundled, and not in its cache."""
    if offline or ref.startswith(NURSERY) or Path(ref).expanduser().exists():
        return False
    match = HUB_ID.fullmatch(ref)
    return match is not None and not _cached(match["name"], match["revision"])


def _cached(name: str, revision: str | None) -> bool:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # a dozen unrelated classes, all meaning "not here"
        return False
    return any(folder.glob("*.safetensors"))


def survey_remote(ref: str) -> Survey:
    """The survey of a hub model: its JSON files, and its headers by range requests.

    Raises:
        CheckpointError: the hub does not answer, or has no such model in safetensors.
    """
    from huggingface_hub import get_safetensors_metadata, snapshot_download

    match = HUB_ID.fullmatch(ref)
    assert match is not None
    try:
        folder = Path(snapshot_download(match["name"], revision=match["revision"], allow_patterns=list(SMALL)))
        metadata: Any = get_safetensors_metadata(match["name"], revision=match["revision"])
    except Exception as error:  # as above
        raise CheckpointError(
            f"{ref}: not found on the hub ({type(error).__name__}): check name and network"
        ) from error
    tensors = {}
    for file in metadata.files_metadata.values():
        for name, info in file.tensors.items():
            if info.dtype not in DTYPE_BITS:
                raise CheckpointError(f"{ref}: tensor {name} has the unknown dtype {info.dtype!r}")
            size = int(info.data_offsets[1]) - int(info.data_offsets[0])
            tensors[name] = TensorInfo(info.dtype, tuple(info.shape), size)
    config = read_json_object(folder, "config.json")
    return Survey(folder, config, tensors, tuple(sorted(metadata.files_metadata)), read_vocabulary(folder))
