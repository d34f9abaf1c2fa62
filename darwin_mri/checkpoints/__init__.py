"""Models on disk and in memory: find, verify, load, and know the parts of each layer.

Names resolve on first use: headers and configurations can be read without loading torch or transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from darwin_mri.lazy import lazy_names

if TYPE_CHECKING:
    from darwin_mri.checkpoints.anatomy import find_anatomy as find_anatomy
    from darwin_mri.checkpoints.anatomy import layer_modules as layer_modules
    from darwin_mri.checkpoints.anatomy import require_ffn as require_ffn
    from darwin_mri.checkpoints.devices import device_memory as device_memory
    from darwin_mri.checkpoints.devices import free_memory as free_memory
    from darwin_mri.checkpoints.devices import resolve_device as resolve_device
    from darwin_mri.checkpoints.ffn import activation_function as activation_function
    from darwin_mri.checkpoints.ffn import effective_gain as effective_gain
    from darwin_mri.checkpoints.ffn import ffn_matrices as ffn_matrices
    from darwin_mri.checkpoints.ffn import recompute_ffn as recompute_ffn
    from darwin_mri.checkpoints.ffn import submodule as submodule
    from darwin_mri.checkpoints.find import find_model as find_model
    from darwin_mri.checkpoints.find import nursery_names as nursery_names
    from darwin_mri.checkpoints.libraries import quiet as quiet
    from darwin_mri.checkpoints.loading import load_model as load_model
    from darwin_mri.checkpoints.loading import load_tokenizer as load_tokenizer
    from darwin_mri.checkpoints.model import LoadedModel as LoadedModel
    from darwin_mri.checkpoints.model import load as load
    from darwin_mri.checkpoints.model import stored_tensors as stored_tensors
    from darwin_mri.checkpoints.model import swapped as swapped
    from darwin_mri.checkpoints.model import waiting_on_host as waiting_on_host
    from darwin_mri.checkpoints.model import working_dtype as working_dtype
    from darwin_mri.checkpoints.reader import CheckpointReader as CheckpointReader
    from darwin_mri.checkpoints.source import ModelSource as ModelSource
    from darwin_mri.checkpoints.verify import answers_digest as answers_digest
    from darwin_mri.checkpoints.verify import file_digests as file_digests
    from darwin_mri.checkpoints.verify import read_header as read_header
    from darwin_mri.checkpoints.verify import tokenizer_digest as tokenizer_digest
    from darwin_mri.checkpoints.verify import verify_folder as verify_folder
    from darwin_mri.checkpoints.verify import weight_files as weight_files
    from darwin_mri.checkpoints.verify import weights_digest as weights_digest

__getattr__, __dir__ = lazy_names(__name__)
