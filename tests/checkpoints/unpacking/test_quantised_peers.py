"""Folders packed by the libraries that define a format come back as those libraries dequantise them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from darwin_mri.checkpoints import find_model
from darwin_mri.errors import CheckpointError
from tests.checkpoints.unpacking.quantised_files import Packed, assert_comes_back, quantise
from tests.toys import pico_llama

SIZES: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 200}  # 200 is no whole number of blocks of 64
INT4 = {"num_bits": 4, "type": "int"}
FP8 = {"num_bits": 8, "type": "float"}
COMPRESSED: dict[str, tuple[str, dict[str, Any]]] = {
    "int4 by groups": ("pack-quantized", {**INT4, "strategy": "group", "group_size": 8}),
    "int4 by groups with zeros": (
        "pack-quantized",
        {**INT4, "strategy": "group", "group_size": 8, "symmetric": False},
    ),
    "int4 by channel": ("pack-quantized", {**INT4, "strategy": "channel"}),
    "int4 by channel with zeros": ("pack-quantized", {**INT4, "strategy": "channel", "symmetric": False}),
    "int2 by groups": ("pack-quantized", {**INT4, "num_bits": 2, "strategy": "group", "group_size": 8}),
    "int3 by channel": ("pack-quantized", {**INT4, "num_bits": 3, "strategy": "channel"}),
    "packed int8": ("pack-quantized", {**INT4, "num_bits": 8, "strategy": "group", "group_size": 8}),
    "int8 by channel": ("int-quantized", {**INT4, "num_bits": 8, "strategy": "channel"}),
    "int8 by tensor": ("int-quantized", {**INT4, "num_bits": 8, "strategy": "tensor"}),
    "int8 with zeros": ("int-quantized", {**INT4, "num_bits": 8, "strategy": "channel", "symmetric": False}),
    "fp8 by tensor": ("float-quantized", {**FP8, "strategy": "tensor"}),
    "fp8 by channel": ("float-quantized", {**FP8, "strategy": "channel"}),
    "fp8 by blocks": ("float-quantized", {**FP8, "strategy": "block", "block_structure": [64, 64]}),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_tensors(name: str, tmp_path: Path) -> None:
    compressors: Any = pytest.importorskip("compressed_tensors.compressors")
    library: Any = pytest.importorskip("compressed_tensors.quantization")
    form, fields = COMPRESSED[name]
    args, model = library.QuantizationArgs(**fields), pico_llama(tmp_path / "model", **SIZES)
    scheme = library.QuantizationScheme(targets=["Linear"], weights=args)
    compressor = compressors.BaseCompressor.get_value_from_registry(form)

    def pack(weight: Tensor) -> tuple[Packed, Tensor]:
        scale, zero = _observed(weight, args)
        packed = compressor.compress({"weight": weight, "weight_scale": scale, "weight_zero_point": zero}, scheme)
        value = compressor.decompress(packed, scheme)["weight"]
        assert (value - weight).abs().max() <= scale.max() * 16  # it does quantise the weight: e4m3 has steps up to 32
        return packed, value

    groups = {"group_0": {"targets": ["Linear"], "weights": args.model_dump(mode="json", exclude_none=True)}}
    settings = {"quant_method": "compressed-tensors", "format": form, "config_groups": groups, "ignore": ["lm_head"]}
    expected = quantise(model, settings, pack)
    if args.num_bits == 3:
        with pytest.raises(CheckpointError, match=r"compressed-tensors with \d+ integers in \d+ words .* is not read"):
            find_model(str(model))
    else:
        assert_comes_back(model, expected)


def _observed(weight: Tensor, args: Any) -> tuple[Tensor, Tensor]:
    """(scales, zero points) from the least and greatest weight of each part, as its library computes them."""
    utils: Any = pytest.importorskip("compressed_tensors.quantization.utils")
    rows, columns = weight.shape
    high, wide = {
        "tensor": (rows, columns),
        "channel": (1, columns),
        "group": (1, args.group_size),
        "block": args.block_structure,
    }[args.strategy]
    blocks = torch.nn.functional.pad(weight, (0, -columns % wide, 0, -rows % high)).unflatten(1, (-1, wide))
    blocks = blocks.unflatten(0, (-1, high))  # (block rows, high, block columns, wide)
    scale, zero = utils.calculate_qparams(blocks.amin((1, 3)), blocks.amax((1, 3)), args)
    return (scale.flatten(), zero.flatten()) if args.strategy == "tensor" else (scale, zero)


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_bitsandbytes_4_bits(kind: str, size: int, nested: bool, tmp_path: Path) -> None:
    functional: Any = pytest.importorskip("bitsandbytes.functional")

    def pack(weight: Tensor) -> tuple[Packed, Tensor]:
        packed, state = functional.quantize_4bit(weight, blocksize=size, compress_statistics=nested, quant_type=kind)
        parts = {f"weight.{name}": value for name, value in state.as_dict(packed=True).items()}
        return {"weight": packed, **parts}, functional.dequantize_4bit(packed, state)

    model = pico_llama(tmp_path / "model", **SIZES)
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind}
    assert_comes_back(model, quantise(model, settings, pack))


def test_bitsandbytes_8_bits(tmp_path: Path) -> None:
    functional: Any = pytest.importorskip("bitsandbytes.functional")

    def pack(weight: Tensor) -> tuple[Packed, Tensor]:
        packed, largest, _ = functional.int8_vectorwise_quant(weight.half())
        parts = {"weight": packed, "SCB": largest, "weight_format": torch.tensor(0, dtype=torch.uint8)}
        return parts, functional.int8_vectorwise_dequant(packed, largest)

    model = pico_llama(tmp_path / "model", **SIZES)
    assert_comes_back(model, quantise(model, {"quant_method": "bitsandbytes", "load_in_8bit": True}, pack))
