"""A folder of quantised safetensors as a plain one: each weight is dequantised in fp32 and stored in bfloat16."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darwin_mri.checkpoints.libraries import first_line
from darwin_mri.checkpoints.origin import read_ancestry, stated_license
from darwin_mri.checkpoints.reader import CheckpointReader, within
from darwin_mri.checkpoints.source import ModelSource, ParentNote
from darwin_mri.checkpoints.unpacking import packings
from darwin_mri.checkpoints.unpacking.cache import Unpacked, as_key, unpack_once
from darwin_mri.checkpoints.verify import file_digests, quantization_of, read_json_object
from darwin_mri.checkpoints.writing import CONFIG, Content, Form, other_files
from darwin_mri.errors import CheckpointError

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
KEPT = (*FLOATS, torch.bool, torch.int64)
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
COMPRESSED = {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision", "dense"}
WHOLE_BITS = (2, 4, 8)  # that divide a word, which all versions of compressed-tensors pack alike
# What reading stumbles over where tensors or settings are not as their format has them.
MISFITS = (ValueError, LookupError, RuntimeError, TypeError, AttributeError, ArithmeticError)
QUANT_STATE = ".quant_state.bitsandbytes__"


@dataclass(frozen=True)
class Weight:
    """One dequantised tensor.

    Attributes:
        shape: as the model has it.
        taken: the stored tensors that are in it, or that have no part once it is there.
        make: reads them and computes it, in fp32.
    """

    shape: tuple[int, ...]
    taken: frozenset[str]
    make: Callable[[], Tensor]


def unpack_quantised(source: ModelSource) -> ModelSource:
    """The model of a folder whose config.json has a ``quantization_config``.

    Raises:
        CheckpointError: the format, or a variant of it, is not read; or tensors contradict it.
    """
    key = {"kind": "quantised", "ref": source.ref, "files": as_key(file_digests(source.folder))}
    return ModelSource(source.ref, unpack_once(source.ref, key, lambda: _Folder(source).unpacked()), source.revision)


class _Folder:
    """A quantised folder."""

    def __init__(self, source: ModelSource) -> None:
        self.ref, self.folder = source.ref, source.folder
        self.config = read_json_object(source.folder, CONFIG)
        self.settings: Mapping[str, Any] = quantization_of(self.config) or {}
        self.method = str(self.settings.get("quant_method", ""))
        self.reader = CheckpointReader(source.folder)
        self.names = frozenset(self.reader.names())
        find = METHODS.get(self.method)
        if find is None:
            known = ", ".join(METHODS)
            raise CheckpointError(f"{self.ref}: weights quantised by {self.method!r} are not read (read are {known})")
        try:
            self.weights = find(self)
        except MISFITS as error:
            raise CheckpointError(f"{self.ref} is not as {self.method} stores it ({first_line(error)})") from None
        if not self.weights:
            raise CheckpointError(f"{self.ref} says it is quantised by {self.method}, but no such weight is there")

    def unpacked(self) -> Unpacked:
        """The folder to write."""
        taken = frozenset[str]().union(*(weight.taken for weight in self.weights.values()))
        forms: dict[str, Form] = {}
        for name in sorted((self.names - taken) | self.weights.keys()):
            if name in self.weights:
                forms[name] = torch.bfloat16, self.weights[name].shape
            elif self.reader.dtype(name) in KEPT:
                forms[name] = self.reader.dtype(name), self.reader.shape(name)
            else:
                raise CheckpointError(
                    f"{self.ref}: tensor {name} ({self.reader.dtype(name)}) has no part in {self.method}"
                )
        return Unpacked(forms, self._compute, self._files(), self._note())

    def _compute(self, name: str) -> Tensor:
        if name not in self.weights:
            return self.reader.tensor(name)
        value = self._dequantise(name).to(torch.bfloat16)
        if not bool(value.isfinite().all()):
            raise CheckpointError(f"{self.ref}: {name} has NaN or infinite values once it is dequantised")
        return value

    def _dequantise(self, name: str) -> Tensor:
        try:
            return self.weights[name].make()
        except MISFITS as error:
            raise CheckpointError(
                f"{self.ref}: {name} is not as {self.method} stores it ({first_line(error)})"
            ) from None

    def _files(self) -> Mapping[str, Content]:
        names = [name for name in other_files(self.folder, self.reader.shards()) if not name.endswith(".index.json")]
        files: dict[str, Content] = {name: within(self.folder, self.folder / name) for name in names}
        return {**files, CONFIG: _plain(self.config)}

    def _note(self) -> ParentNote:
        kind = self.settings.get("format") or self.settings.get("quant_type") or ""
        bits = self.settings.get("bits") or self.settings.get("w_bit")
        words = " ".join(str(word) for word in (self.method, kind, f"{bits} bits" if bits else "") if word)
        return ParentNote(
            self.ref,
            "quantised",
            f"{self.ref}: dequantised from {words}",
            "BF16",
            license=stated_license(self.folder),
            genealogy=read_ancestry(self.folder),
        )

    def get(self, name: str) -> Tensor:
        """A stored tensor; raises CheckpointError where there is none."""
        return self.reader.tensor(name)

    def maybe(self, name: str) -> Tensor | None:
        """A stored tensor where there is one."""
        return self.reader.tensor(name) if name in self.names else None

    def ending(self, suffix: str) -> list[str]:
        """The beginnings of the names that end so."""
        return [name.removesuffix(suffix) for name in sorted(self.names) if name.endswith(suffix)]

    def present(self, stem: str, *suffixes: str) -> frozenset[str]:
        """Which of a stem's tensors there are."""
        return frozenset(stem + suffix for suffix in suffixes) & self.names

    def refuse(self, what: str) -> CheckpointError:
        """An error that names a variant which is not read."""
        return CheckpointError(f"{self.ref}: {self.method} with {what} is not read")


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without its quantisation, in bfloat16."""
    said = {name: value for name, value in config.items() if name not in ("quantization_config", "torch_dtype")}
    inner = said.get("text_config")
    nested = {"text_config": _plain(inner)} if isinstance(inner, Mapping) else {}
    return {**said, **nested, "dtype": "bfloat16"}


def _scaled(folder: _Folder) -> dict[str, Weight]:
    """FP8 with one scale per tensor, per channel or per block (DeepSeek-V3, Qwen3); int8 with a scale per channel."""
    blocks = _block_sizes(folder.settings)
    found = {}
    for name in sorted(folder.names):
        if folder.reader.dtype(name) not in (*FLOAT8, torch.int8) or name.endswith("_zero_point"):
            continue
        scales = [name + end for end in ("_scale_inv", "_scale") if name + end in folder.names]
        if not scales:
            raise folder.refuse(f"tensor {name} without a scale")
        stem = name.removesuffix(".weight")
        beside = folder.present(stem, ".input_scale", ".activation_scale", ".input_zero_point", ".output_scale")
        beside |= folder.present(name, "_scale_inv", "_scale", "_zero_point", "_shape")

        def make(name: str = name, scale: str = scales[0]) -> Tensor:
            zeros = folder.maybe(f"{name}_zero_point")
            return packings.scale_blocks(folder.get(name), folder.get(scale), zeros, blocks=blocks)

        found[name] = Weight(folder.reader.shape(name), frozenset({name}) | beside, make)
    return found


def _groups(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What compressed-tensors' configuration says of the weights of each group of modules."""
    groups = settings.get("config_groups") or {}
    return [group["weights"] for group in groups.values() if isinstance(group, Mapping) and group.get("weights")]


def _block_sizes(settings: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(rows, columns) that one scale is for, where the configuration says so."""
    groups = _groups(settings)
    said = [settings.get("weight_block_size"), *(group.get("block_structure") for group in groups)]
    said += [(1, group["group_size"]) for group in groups if (group.get("group_size") or 0) > 0]
    return [(int(block[0]), int(block[1])) for block in said if block]


def _packed_bits(folder: _Folder, stem: str) -> int:
    """Bits of an integer in compressed-tensors' words; raises CheckpointError unless they divide a word."""
    words, columns = folder.reader.shape(f"{stem}.weight_packed")[-1], int(folder.get(f"{stem}.weight_shape")[-1])
    said = {int(group["num_bits"]) for group in _groups(folder.settings) if "num_bits" in group}
    for bits in sorted(said or WHOLE_BITS):
        if words == -(-columns * bits // packings.WORD) and bits in WHOLE_BITS:
            return bits
    raise folder.refuse(f"{columns} integers in {words} words ({stem}; read are 2, 4 and 8 bits)")


def _compressed(folder: _Folder) -> dict[str, Weight]:
    """compressed-tensors: pack-quantized integers, int-quantized and float-quantized weights."""
    if folder.settings.get("sparsity_config", {}).get("format", "dense") not in ("dense", None):
        raise folder.refuse(f"sparsity {folder.settings['sparsity_config']['format']}")
    groups = [group for group in (folder.settings.get("config_groups") or {}).values() if isinstance(group, Mapping)]
    formats = {str(said["format"]) for said in (folder.settings, *groups) if said.get("format")}
    for form in sorted(formats - COMPRESSED):  # whose scales may mean something else: powers of two, products of two
        raise folder.refuse(f"format {form}")
    found = _scaled(folder)
    for stem in folder.ending(".weight_packed"):
        bits = _packed_bits(folder, stem)

        def make(stem: str = stem, bits: int = bits) -> Tensor:
            packed, scales = folder.get(f"{stem}.weight_packed"), folder.get(f"{stem}.weight_scale")
            rows, columns = (int(size) for size in folder.get(f"{stem}.weight_shape").tolist())
            if packed.dtype != torch.int32:
                raise ValueError(f"{stem}.weight_packed is {packed.dtype}")
            low = 1 << (bits - 1)
            values = packings.unpack_words(packed, bits, 1)[:, :columns] - low
            zeros = folder.maybe(f"{stem}.weight_zero_point")
            if zeros is not None and zeros.dtype == torch.int32:  # packed along the rows
                zeros = packings.unpack_words(zeros, bits, 0)[:rows] - low
            return packings.grouped(values, zeros, scales, folder.maybe(f"{stem}.weight_g_idx"))

        ends = ("packed", "scale", "shape", "zero_point", "g_idx")
        taken = folder.present(stem, *(f".weight_{end}" for end in ends), ".input_scale", ".input_zero_point")
        shape = tuple(int(size) for size in folder.get(f"{stem}.weight_shape").tolist())
        found[f"{stem}.weight"] = Weight(shape, taken, make)
    return found


def _gptq(folder: _Folder) -> dict[str, Weight]:
    """GPTQ: qweight, qzeros, scales and g_idx."""
    bits, size = folder.settings.get("bits"), folder.settings.get("group_size", -1)
    form = folder.settings.get("checkpoint_format", "gptq")
    if bits not in (2, 4, 8):
        raise folder.refuse(f"{bits} bits")
    if form not in ("gptq", "gptq_v2"):
        raise folder.refuse(f"checkpoint_format {form!r}")
    found = {}
    for stem in folder.ending(".qweight"):

        def make(stem: str = stem) -> Tensor:
            packed, scales = folder.get(f"{stem}.qweight"), folder.get(f"{stem}.scales")
            inputs = packed.shape[0] * packings.WORD // bits
            groups = folder.maybe(f"{stem}.g_idx")
            if groups is None:
                groups = torch.arange(inputs) // (size if size > 0 else inputs)
            less = 1 if form == "gptq" else 0
            return packings.gptq(packed, folder.get(f"{stem}.qzeros"), scales, groups, bits=bits, stored_less=less)

        taken = folder.present(stem, ".qweight", ".qzeros", ".scales", ".g_idx")
        (words, outputs) = folder.reader.shape(f"{stem}.qweight")
        found[f"{stem}.weight"] = Weight((outputs, words * packings.WORD // bits), taken, make)
    return found


def _awq(folder: _Folder) -> dict[str, Weight]:
    """AWQ in the layout of its gemm kernel."""
    bits = folder.settings.get("bits", folder.settings.get("w_bit", 4))
    version = str(folder.settings.get("version", "gemm")).lower()
    if version != "gemm" or bits != 4:
        raise folder.refuse(f"version {version!r} and {bits} bits")
    return {
        f"{stem}.weight": Weight(
            (folder.reader.shape(f"{stem}.qweight")[1] * 8, folder.reader.shape(f"{stem}.qweight")[0]),
            folder.present(stem, ".qweight", ".qzeros", ".scales"),
            lambda stem=stem: packings.awq(*(folder.get(f"{stem}.{part}") for part in ("qweight", "qzeros", "scales"))),
        )
        for stem in folder.ending(".qweight")
    }


def _bitsandbytes(folder: _Folder) -> dict[str, Weight]:
    """bitsandbytes: NF4 and FP4 with plain or nested scales, and int8."""
    found = {}
    for stem in folder.ending(".SCB"):
        taken = folder.present(stem, ".weight", ".SCB", ".weight_format")

        def make8(stem: str = stem) -> Tensor:
            return folder.get(f"{stem}.weight").float() * (folder.get(f"{stem}.SCB").float() / 127)[:, None]

        found[f"{stem}.weight"] = Weight(folder.reader.shape(f"{stem}.weight"), taken, make8)
    for state in sorted(name for name in folder.names if QUANT_STATE in name):
        name = state.partition(QUANT_STATE)[0]
        said = json.loads(bytes(folder.get(state).tolist()))

        def make4(name: str = name, said: Any = said) -> Tensor:
            absmax = folder.get(f"{name}.absmax")
            if f"{name}.nested_absmax" in folder.names:
                table, sizes = folder.get(f"{name}.nested_quant_map"), folder.get(f"{name}.nested_absmax")
                scale = sizes.repeat_interleave(said["nested_blocksize"])[: absmax.numel()]
                absmax = table[absmax.long()] * scale + said["nested_offset"]
            count = torch.Size(said["shape"]).numel()
            table = folder.get(f"{name}.quant_map")
            flat = packings.by_table(folder.get(name), table, absmax.float(), said["blocksize"])
            return flat[:count].reshape(said["shape"])

        taken = frozenset(other for other in folder.names if other.startswith(f"{name}.")) | {name}
        found[name] = Weight(tuple(torch.Size(said["shape"])), taken, make4)
    return found


def _mxfp4(folder: _Folder) -> dict[str, Weight]:
    """MXFP4 experts (gpt-oss), which transformers holds as (experts, in, out)."""
    return {
        stem: Weight(
            _experts(folder.reader.shape(f"{stem}_blocks")),
            folder.present(stem, "_blocks", "_scales"),
            lambda stem=stem: packings.mxfp4(folder.get(f"{stem}_blocks"), folder.get(f"{stem}_scales")).mT,
        )
        for stem in folder.ending("_blocks")
    }


def _experts(blocks: tuple[int, ...]) -> tuple[int, ...]:
    """(..., out, blocks, 16) -> (..., in, out)."""
    *outer, rows, count, half = blocks
    return (*outer, count * half * 2, rows)


METHODS: dict[str, Callable[[_Folder], dict[str, Weight]]] = {
    "fp8": _scaled,
    "fbgemm_fp8": _scaled,
    "compressed-tensors": _compressed,
    "gptq": _gptq,
    "awq": _awq,
    "bitsandbytes": _bitsandbytes,
    "mxfp4": _mxfp4,
}
