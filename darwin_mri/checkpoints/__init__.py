"""Models on disk and in memory: find, verify, load, and know the parts of each layer.

Names resolve on first use: headers and configurations can be read without loading torch or transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darwin_mri.checkpoints.anatomy import find_anatomy, layer_modules, require_ffn
    from darwin_mri.checkpoints.devices import free_memory, resolve_device
    from darwin_mri.checkpoints.ffn import activation_function, effective_gain, ffn_matrices, recompute_ffn, submodule
    from darwin_mri.checkpoints.find import ModelSource, find_model, nursery_names
    from darwin_mri.checkpoints.loading import load_model, load_tokenizer, quiet
    from darwin_mri.checkpoints.naming import disk_names
    from darwin_mri.checkpoints.reader import CheckpointReader
    from darwin_mri.checkpoints.verify import (
        answers_digest,
        file_digests,
        read_header,
        verify_folder,
        weight_files,
        weights_digest,
    )

_HOMES = {
    "anatomy": ("find_anatomy", "layer_modules", "require_ffn"),
    "devices": ("free_memory", "resolve_device"),
    "ffn": ("activation_function", "effective_gain", "ffn_matrices", "recompute_ffn", "submodule"),
    "find": ("ModelSource", "find_model", "nursery_names"),
    "loading": ("load_model", "load_tokenizer", "quiet"),
    "naming": ("disk_names",),
    "reader": ("CheckpointReader",),
    "verify": ("answers_digest", "file_digests", "read_header", "verify_folder", "weight_files", "weights_digest"),
}
__all__ = [
    "CheckpointReader", "ModelSource", "activation_function", "answers_digest", "disk_names", "effective_gain", "ffn_matrices",
    "file_digests", "find_anatomy", "find_model", "free_memory", "layer_modules", "load_model", "load_tokenizer", "nursery_names",
    "quiet", "read_header", "recompute_ffn", "require_ffn", "resolve_device", "submodule", "verify_folder",
    "weight_files", "weights_digest",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
