"""Quantised folders for tests: a pico model's matrices packed in place, and the check that they come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from darwin_mri.checkpoints import ModelSource, find_model

BF16 = 2.0**-8
MATRIX = "_proj.weight"
Packed = dict[str, Tensor]


def quantise(model: Path, settings: dict[str, Any], pack: Callable[[Tensor], tuple[Packed, Tensor]]) -> Packed:
    """Pack a folder's matrices in place.

    Args:
        model: the folder; its configuration gets the settings.
        settings: its ``quantization_config``.
        pack: weight -> (stored tensors by the end of their name, the value that must come back).

    Returns:
        Tensor name -> what must come back.
    """
    stored, expected = {}, {}
    for name, tensor in load_file(model / "model.safetensors").items():
        if name.endswith(MATRIX):
            packed, expected[name] = pack(tensor.float())
            stored |= {f"{name.removesuffix('.weight')}.{part}": value.contiguous() for part, value in packed.items()}
        else:
            stored[name] = expected[name] = tensor
    save_file(stored, model / "model.safetensors", metadata={"format": "pt"})
    edit(model, quantization_config=settings)
    return expected


def edit(model: Path, **fields: Any) -> None:
    """Replace fields of a folder's configuration."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **fields}))


def assert_comes_back(model: Path, expected: Mapping[str, Tensor]) -> ModelSource:
    """Unpack a folder: matrices must be as expected to one rounding to bfloat16, the rest to the bit."""
    source = find_model(str(model))
    found = load_file(source.folder / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.endswith(MATRIX):
            assert found[name].dtype == torch.bfloat16
            assert ((found[name].float() - value).abs() <= value.abs() * BF16 + 1e-9).all(), name
        else:
            assert torch.equal(found[name], value)
    return source
