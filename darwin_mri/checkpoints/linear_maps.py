"""The linear maps of a model's decoder layers: the matrices whose inputs have moments."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from darwin_mri.checkpoints.anatomy import layer_modules
from darwin_mri.records import Anatomy


def linear_modules(model: Any, anatomy: Anatomy) -> dict[str, nn.Module]:
    """Every linear map of the decoder layers; stacked experts, embeddings and the head are none.

    Args:
        model: transformers' model; it may be on the meta device.
        anatomy: of its layers.

    Returns:
        Name of the weight in memory -> module, in the order of the layers.
    """
    names = {id(module): name for name, module in model.named_modules()}
    return {
        f"{names[id(module)]}.weight": module
        for layer in layer_modules(model, anatomy)
        for module in layer.modules()
        if isinstance(module, nn.Linear | Conv1D)
    }


def is_transposed(module: nn.Module) -> bool:
    """Whether a linear map's weight is stored as (inputs, outputs), as GPT-2's are."""
    return isinstance(module, Conv1D)
