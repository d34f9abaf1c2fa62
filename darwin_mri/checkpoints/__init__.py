"""Models on disk and in memory: find, verify, load, and know the parts of each layer."""

from darwin_mri.checkpoints.anatomy import find_anatomy, layer_modules, require_ffn
from darwin_mri.checkpoints.ffn import activation_function, effective_gain, ffn_matrices, recompute_ffn, submodule
from darwin_mri.checkpoints.find import ModelSource, find_model, nursery_names
from darwin_mri.checkpoints.loading import load_model, load_tokenizer, quiet, resolve_device
from darwin_mri.checkpoints.naming import disk_names
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.verify import file_digests, read_header, verify_folder, weight_files, weights_digest

__all__ = [
    "CheckpointReader", "ModelSource", "activation_function", "disk_names", "effective_gain", "ffn_matrices",
    "file_digests", "find_anatomy", "find_model", "layer_modules", "load_model", "load_tokenizer", "nursery_names",
    "quiet", "read_header", "recompute_ffn", "require_ffn", "resolve_device", "submodule", "verify_folder",
    "weight_files", "weights_digest",
]  # fmt: skip
