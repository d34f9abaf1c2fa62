"""Quantised folders, packed here as each format's specification says, read back; variants that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from darwin_mri.checkpoints import find_model, load_model
from darwin_mri.checkpoints.unpacking import packings
from darwin_mri.errors import CheckpointError
from tests.checkpoints.unpacking.quantised_files import Packed, assert_comes_back, edit, quantise
from tests.toys import pico, pico_llama


def words(values: Tensor, bits: int, axis: int) -> Tensor:
    """Unsigned integers packed into int32 along an axis, the first in the lowest bits."""
    per = 32 // bits
    moved = values.long().movedim(axis, -1)
    moved = torch.nn.functional.pad(moved, (0, -moved.shape[-1] % per)).unflatten(-1, (-1, per))
    packed = torch.stack([(moved[..., at] & (2**bits - 1)) << (bits * at) for at in range(per)]).sum(0)
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32).movedim(-1, axis).contiguous()


def integers(shape: tuple[int, ...], high: int, low: int = 0) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(sum(shape)))


def scales(shape: tuple[int, ...]) -> Tensor:
    return (0.01 + 0.02 * torch.rand(shape, generator=torch.Generator().manual_seed(3))).half()


def fp8(weight: Tensor, scale: Tensor, grown: Tensor, suffix: str) -> tuple[Packed, Tensor]:
    small = (weight / grown).to(torch.float8_e4m3fn)
    return {"weight": small, f"weight{suffix}": scale}, small.float() * grown


def fp8_block(weight: Tensor) -> tuple[Packed, Tensor]:
    rows, columns = (-(-size // 20) for size in weight.shape)
    scale = scales((rows, columns)).float()
    grown = scale.repeat_interleave(20, 0)[: weight.shape[0]].repeat_interleave(20, 1)[:, : weight.shape[1]]
    return fp8(weight, scale, grown, "_scale_inv")


def fp8_tensor(weight: Tensor) -> tuple[Packed, Tensor]:
    packed, value = fp8(weight, torch.tensor(0.02), torch.tensor(0.02), "_scale")
    return {**packed, "input_scale": torch.tensor(1.0)}, value


def fp8_channel(weight: Tensor) -> tuple[Packed, Tensor]:
    scale = scales((weight.shape[0], 1)).float()
    return fp8(weight, scale, scale, "_scale")


def int8_channel(weight: Tensor) -> tuple[Packed, Tensor]:
    scale, value = scales((weight.shape[0], 1)), integers(tuple(weight.shape), 128, -127)
    return {"weight": value.to(torch.int8), "weight_scale": scale}, value * scale.float()


def int4_groups(weight: Tensor, zeros: bool = False, ordered: bool = False) -> tuple[Packed, Tensor]:
    rows, columns = weight.shape
    scale, value = scales((rows, columns // 16)), integers((rows, columns), 8, -8)
    zero = integers((rows, columns // 16), 8, -8) if zeros else torch.zeros(rows, columns // 16)
    groups = torch.randperm(columns, generator=torch.Generator().manual_seed(1)) // 16 if ordered else None
    at = torch.arange(columns) // 16 if groups is None else groups
    packed = {
        "weight_packed": words(value + 8, 4, 1),
        "weight_scale": scale,
        "weight_shape": torch.tensor([rows, columns]),
        **({"weight_zero_point": words(zero + 8, 4, 0)} if zeros else {}),
        **({"weight_g_idx": groups.int()} if groups is not None else {}),
    }
    return packed, (value - zero[:, at]) * scale.float()[:, at]


def gptq(weight: Tensor, bits: int, less: int, ordered: bool) -> tuple[Packed, Tensor]:
    rows, columns = weight.shape
    value, scale = integers((columns, rows), 2**bits), scales((columns // 16, rows))
    zero = integers((columns // 16, rows), 2**bits)
    groups = torch.arange(columns) // 16
    if ordered:
        groups = groups[torch.randperm(columns, generator=torch.Generator().manual_seed(1))]
    packed = {
        "qweight": words(value, bits, 0),
        "qzeros": words(zero - less, bits, 1),
        "scales": scale,
        "g_idx": groups.int(),
    }
    return packed, ((value - zero[groups]) * scale.float()[groups]).T


def awq(weight: Tensor) -> tuple[Packed, Tensor]:
    rows, columns = weight.shape
    value, scale = integers((columns, rows), 16), scales((columns // 16, rows))
    zero = integers((columns // 16, rows), 16)

    def ordered(columns: Tensor) -> Tensor:
        return columns.unflatten(1, (-1, 8))[..., [0, 2, 4, 6, 1, 3, 5, 7]].flatten(1)

    packed = {"qweight": words(ordered(value), 4, 1), "qzeros": words(ordered(zero), 4, 1), "scales": scale}
    return packed, ((value - zero.repeat_interleave(16, 0)) * scale.float().repeat_interleave(16, 0)).T


def bnb_int8(weight: Tensor) -> tuple[Packed, Tensor]:
    value, most = integers(tuple(weight.shape), 128, -127), scales((weight.shape[0],)).float()
    return {"weight": value.to(torch.int8), "SCB": most, "weight_format": torch.tensor(0, dtype=torch.uint8)}, (
        value * most[:, None] / 127
    )


def bnb_nf4(weight: Tensor, nested: bool) -> tuple[Packed, Tensor]:
    table = torch.linspace(-1, 1, 16) ** 3
    index, count = integers((weight.numel(),), 16), weight.numel() // 64
    said: dict[str, Any] = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(weight.shape)}
    packed = {"weight": ((index[::2] << 4) | index[1::2]).to(torch.uint8)[:, None], "weight.quant_map": table}
    if nested:
        codes, levels, most = integers((count,), 256), torch.linspace(-1, 1, 256), torch.tensor([0.3] * -(-count // 8))
        said |= {"nested_blocksize": 8, "nested_offset": 0.5, "nested_dtype": "float32"}
        absmax = levels[codes] * most.repeat_interleave(8)[:count] + 0.5
        packed |= {"weight.absmax": codes.to(torch.uint8), "weight.nested_absmax": most}
        packed |= {"weight.nested_quant_map": levels}
    else:
        absmax = scales((count,)).float()
        packed["weight.absmax"] = absmax
    state = torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)
    packed["weight.quant_state.bitsandbytes__nf4"] = state
    return packed, (table[index] * absmax.repeat_interleave(64)).reshape(weight.shape)


FORMATS: dict[str, tuple[dict[str, Any], Callable[[Tensor], tuple[Packed, Tensor]]]] = {
    "fp8 by blocks": ({"quant_method": "fp8", "weight_block_size": [20, 20]}, fp8_block),
    "fp8 by tensor": ({"quant_method": "fp8"}, fp8_tensor),
    "float-quantized": ({"quant_method": "compressed-tensors", "format": "float-quantized"}, fp8_channel),
    "int-quantized": ({"quant_method": "compressed-tensors", "format": "int-quantized"}, int8_channel),
    "packed": ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, int4_groups),
    "packed, zeros": (
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        lambda weight: int4_groups(weight, zeros=True),
    ),
    "packed, ordered": (
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        lambda weight: int4_groups(weight, ordered=True),
    ),
    "gptq 4": ({"quant_method": "gptq", "bits": 4, "group_size": 16}, lambda weight: gptq(weight, 4, 1, True)),
    "gptq 8": ({"quant_method": "gptq", "bits": 8, "group_size": 16}, lambda weight: gptq(weight, 8, 1, False)),
    "gptq v2": (
        {"quant_method": "gptq", "bits": 4, "group_size": 16, "checkpoint_format": "gptq_v2"},
        lambda weight: gptq(weight, 4, 0, False),
    ),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm"}, awq),
    "bnb int8": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, bnb_int8),
    "bnb nf4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, lambda weight: bnb_nf4(weight, False)),
    "bnb nested": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, lambda weight: bnb_nf4(weight, True)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_weights_come_back(name: str, tmp_path: Path) -> None:
    settings, pack = FORMATS[name]
    model = pico_llama(tmp_path / "model")
    source = assert_comes_back(model, quantise(model, settings, pack))
    assert source.ref == "model" and source.folder != model
    config = json.loads((source.folder / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "bfloat16"
    load_model(source, device="cpu")
    note = json.loads((source.folder / "darwin_parent.json").read_text())
    assert note["sentence"].startswith(f"model: dequantised from {settings['quant_method']}")


def test_mxfp4_experts_come_back(tmp_path: Path) -> None:
    """Packed as the microscaling specification says: 32 values of four bits with one exponent."""
    model = pico("gpt_oss", tmp_path / "model")
    stored, expected = load_file(model / "model.safetensors"), {}
    for name in [name for name in stored if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = stored.pop(name).shape
        inputs -= inputs % 32  # pico's inner width is no whole number of blocks
        index, exponents = (
            integers((experts, outputs, inputs), 16),
            integers((experts, outputs, inputs // 32), 128, 120),
        )
        value = torch.tensor(packings.E2M1)[index] * 2.0 ** (exponents.repeat_interleave(32, -1) - 127)
        blocks = (index[..., ::2] | (index[..., 1::2] << 4)).to(torch.uint8).unflatten(-1, (-1, 16))
        stored |= {f"{name}_blocks": blocks.contiguous(), f"{name}_scales": exponents.to(torch.uint8)}
        expected[name] = value.mT
    save_file(stored, model / "model.safetensors", metadata={"format": "pt"})
    edit(model, quantization_config={"quant_method": "mxfp4"}, intermediate_size=32)
    for name, value in expected.items():
        part = packings.mxfp4(stored[f"{name}_blocks"], stored[f"{name}_scales"]).mT
        assert torch.equal(part, value), name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quant_method": "aqlm"}, "weights quantised by 'aqlm' are not read"),
        ({"quant_method": "gptq", "bits": 3}, "gptq with 3 bits is not read"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "checkpoint_format 'marlin' is not read"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "version 'gemv' and 4 bits is not read"),
        ({"quant_method": "awq", "bits": 4}, "has no part in awq|no such weight is there|not as awq stores it"),
        ({"quant_method": "bitsandbytes"}, "no such weight is there"),
        ({"quant_method": "compressed-tensors", "format": "mxfp8-quantized"}, "format mxfp8-quantized is not read"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"a": {"format": "nvfp4-pack-quantized"}}},
            "format nvfp4-pack-quantized is not read",
        ),
    ],
)
def test_what_is_not_read_is_refused_by_name(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = pico_llama(tmp_path / "model")
    quantise(model, settings, fp8_tensor)
    with pytest.raises(CheckpointError, match=said) as caught:
        find_model(str(model))
    assert "\n" not in str(caught.value)


def test_tensors_that_contradict_the_format_are_refused(tmp_path: Path) -> None:
    model = pico_llama(tmp_path / "model")
    quantise(model, {"quant_method": "gptq", "bits": 4, "group_size": 16}, lambda weight: gptq(weight, 4, 1, False))
    stored = load_file(model / "model.safetensors")
    name = next(name for name in stored if name.endswith(".scales"))
    save_file({**stored, name: stored[name][:1].contiguous()}, model / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"is not as gptq stores it"):
        find_model(str(model))


def test_groups_without_scales_and_scales_without_groups_are_refused(tmp_path: Path) -> None:
    model = pico_llama(tmp_path / "model")
    quantise(model, {"quant_method": "gptq", "bits": 4, "group_size": -1}, lambda weight: gptq(weight, 4, 1, False))
    stored = load_file(model / "model.safetensors")
    for less, said in ((1, "inputs of groups -1 to"), (0, "inputs of groups 0 to 0 and scales of")):
        changed = {name: value - less for name, value in stored.items() if name.endswith("g_idx") and less}
        kept = {name: value for name, value in stored.items() if not name.endswith("g_idx")}
        save_file({**kept, **changed}, model / "model.safetensors")
        with pytest.raises(CheckpointError, match=said):
            find_model(str(model))


@pytest.mark.parametrize("scale", [torch.ones(0), torch.ones(3, 3)])
def test_scales_of_no_size_are_refused(scale: Tensor, tmp_path: Path) -> None:
    model = pico_llama(tmp_path / "model")
    settings = {"quant_method": "fp8", "weight_block_size": [0, 0]}
    quantise(model, settings, lambda weight: fp8(weight, scale.clone(), torch.tensor(1.0), "_scale_inv"))
    with pytest.raises(CheckpointError, match="is not as fp8 stores it"):
        find_model(str(model))


def test_the_order_of_awq_is_that_of_its_kernel() -> None:
    """One column at a time: nibble n of a word holds column (0, 2, 4, 6, 1, 3, 5, 7)[n]."""
    for nibble, column in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
        packed = torch.tensor([[1 << (4 * nibble)]]).int() if nibble < 7 else torch.tensor([[1 << 28]]).int()
        value = packings.awq(packed, torch.zeros(1, 1, dtype=torch.int32), torch.ones(1, 8))
        assert value.flatten().tolist() == [float(at == column) for at in range(8)]
