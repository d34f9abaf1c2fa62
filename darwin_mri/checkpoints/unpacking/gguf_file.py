"""A GGUF file as a plain folder: by transformers' tables of names, configurations and tokenizers."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer

from darwin_mri.checkpoints.libraries import first_line, quiet
from darwin_mri.checkpoints.meta import loading_class, meta_model
from darwin_mri.checkpoints.skeleton import saved_tensors
from darwin_mri.checkpoints.source import ModelSource, ParentNote
from darwin_mri.checkpoints.unpacking.cache import Unpacked, as_key, unpack_once
from darwin_mri.checkpoints.verify import digests_of
from darwin_mri.checkpoints.writing import CONFIG, Content, Form, as_bytes
from darwin_mri.errors import CheckpointError

SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
# 8 bits in bfloat16 would be rounded by as much again as they were quantised by; gguf's scales are float16 themselves.
EIGHT_BITS = {"Q8_0": torch.float16, "Q8_1": torch.float16, "Q8_K": torch.float16}
PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
HEADS_OF_THEIR_OWN = ("falcon", "bloom")  # for which transformers ties the head whatever the file holds
DAMAGED = "is cut short or damaged"


def unpack_gguf(ref: str, path: Path) -> ModelSource:
    """The model of a GGUF file.

    Args:
        ref: its public name.
        path: the file; of one in several parts, any of them.

    Returns:
        The unpacked model.

    Raises:
        CheckpointError: the gguf package is missing, the file is damaged, or its architecture or a quantisation is
            unknown.
    """
    parts = _parts(ref, path)
    key = {"kind": "gguf", "ref": ref, "files": as_key(digests_of(path.parent, [part.name for part in parts]))}
    return ModelSource(ref, unpack_once(ref, key, lambda: _Gguf(ref, parts).unpacked()), None)


def _parts(ref: str, path: Path) -> list[Path]:
    """All files of a model, the one with the metadata first."""
    match = SPLIT.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    if not 1 <= int(match["number"]) <= count:
        raise CheckpointError(f"{ref}: there is no part {match['number']} of {match['count']}: rename the file")
    names = [f"{match['stem']}-{number:05}-of-{count:05}{path.suffix}" for number in range(1, count + 1)]
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise CheckpointError(f"{ref}: {missing[0]} is not there ({len(missing)} of {count} parts missing)")
    return [path.parent / name for name in names]


class _Gguf:
    """An open GGUF file."""

    def __init__(self, ref: str, paths: Sequence[Path]) -> None:
        try:
            import gguf  # noqa: F401
            from transformers import modeling_gguf_pytorch_utils as tables
        except ImportError:
            raise CheckpointError(
                f"{ref}: GGUF files are read by the gguf package: pip install 'darwin-mri[gguf]'"
            ) from None
        self.ref, self.paths, self.tables = ref, paths, tables
        self.readers = {path.name: self._open(path) for path in paths}
        self.first = self.readers[paths[0].name]
        every = [tensor for reader in self.readers.values() for tensor in reader.tensors]
        self.tensors = {tensor.name: tensor for tensor in every}
        if len(self.tensors) < len(every):
            twice = Counter(tensor.name for tensor in every).most_common(1)[0][0]
            raise CheckpointError(f"{ref} holds tensor {twice} twice: fetch its parts again")
        self._refuse_quantisations()
        self.fields, self.config = self._config()
        self.model = self._meta_model()

    def _open(self, path: Path) -> Any:
        """A file's fields, and its tensors as maps of its bytes."""
        try:
            with quiet():
                reader = _reader(path)
        except Exception as error:  # whatever its parsing stumbles over: the bytes are not what they should be
            raise CheckpointError(f"{self.ref} {DAMAGED} ({first_line(error)}): fetch it again") from None
        size = path.stat().st_size
        for tensor in reader.tensors:
            if tensor.data_offset + tensor.n_bytes > size or tensor.data.nbytes != tensor.n_bytes:
                raise CheckpointError(f"{self.ref} {DAMAGED}: it ends in tensor {tensor.name}: fetch it again")
        return reader

    def _refuse_quantisations(self) -> None:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

        if not self.tensors:
            raise CheckpointError(f"{self.ref} holds no tensors: fetch it again")
        for name, tensor in self.tensors.items():
            kind = GGMLQuantizationType(tensor.tensor_type)
            if kind.name in PLAIN:
                continue
            try:
                dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8), kind)
            except NotImplementedError:
                raise CheckpointError(
                    f"{self.ref}: tensor {name} is quantised as {kind.name}, which the gguf package does not read"
                ) from None

    def _config(self) -> tuple[dict[str, Any], Any]:
        """(transformers' parsed fields, configuration)."""
        try:
            with quiet(), _parsed_once(self.readers):
                parsed = self.tables.load_gguf_checkpoint(self.paths[0], return_tensors=False)
                fields = dict(parsed["config"])
                if fields["model_type"] not in HEADS_OF_THEIR_OWN:
                    fields["tie_word_embeddings"] = "output.weight" not in self.tensors
                return fields, AutoConfig.for_model(**fields)
        except Exception as error:  # an unknown architecture, or fields that its configuration refuses
            raise CheckpointError(f"{self.ref} is not read by transformers: {first_line(error)}") from None

    def _meta_model(self) -> Any:
        self.config.dtype = torch.bfloat16
        return meta_model(loading_class(self.config, self.ref), self.config, self.ref)

    @cached_property
    def _processor(self) -> Any:
        """Turns a tensor as llama.cpp orders it into one as transformers does."""
        architecture = self.tables.read_field(self.first, "general.architecture")[0]
        kind = self.tables.TENSOR_PROCESSORS.get(architecture, self.tables.TensorProcessor)
        return kind(config=self.fields)

    @cached_property
    def _names(self) -> dict[str, str]:
        """GGUF name -> parameter in memory; experts without the ending."""
        try:
            with quiet(), _parsed_once(self.readers):
                return self.tables.get_gguf_hf_weights_map(self.model, self._processor)
        except Exception as error:  # an architecture that the gguf package does not know
            raise CheckpointError(f"{self.ref} is not read by transformers: {first_line(error)}") from None

    @cached_property
    def _sources(self) -> dict[str, list[str]]:
        """Parameter in memory -> the tensors of the file that it is made from."""
        made: dict[str, list[str]] = {}
        for name in self.tensors:
            target = self._names.get(name) or self._names.get(name.removesuffix(".weight"))
            if target is not None:
                made.setdefault(target, []).append(name)
        return made

    @cached_property
    def _state(self) -> Mapping[str, Tensor]:
        """Parameter in memory -> its place, without values."""
        return saved_tensors(self.model)

    def unpacked(self) -> Unpacked:
        """The folder to write."""
        state = self._state
        missing = sorted(state.keys() - self._sources.keys())
        if missing:
            raise CheckpointError(f"{self.ref} lacks {len(missing)} of the model's tensors (first: {missing[0]})")
        forms: dict[str, Form] = {name: (self._dtype(name), tuple(value.shape)) for name, value in state.items()}
        return Unpacked(forms, self._compute, self._files(), self._note(set(state)))

    def _dtype(self, name: str) -> torch.dtype:
        """As in the file where it holds floats; bfloat16 for what is dequantised, float16 from 8 bits."""
        known = {**PLAIN, **EIGHT_BITS}
        kinds = {known.get(self.tensors[source].tensor_type.name, torch.bfloat16) for source in self._sources[name]}
        return next(iter(kinds)) if len(kinds) == 1 else torch.float32

    def _compute(self, name: str) -> Tensor:
        from gguf import dequantize

        parsed: dict[str, dict[str, Any]] = {"tensors": {}}
        for source in self._sources[name]:
            tensor = self.tensors[source]
            result = self._processor.process(
                weights=dequantize(tensor.data, tensor.tensor_type),
                name=source,
                tensor_key_mapping=self._names,
                parsed_parameters=parsed,
            )
            if result.name is not None:
                parsed["tensors"][name] = torch.from_numpy(np.array(result.weights))
        if name not in parsed["tensors"]:
            raise CheckpointError(f"{self.ref}: transformers makes nothing of tensor {self._sources[name][0]}")
        value, place = parsed["tensors"][name].to(self._dtype(name)), self._state[name]
        if value.shape != place.shape:
            raise CheckpointError(
                f"{self.ref}: tensor {self._sources[name][0]} makes {tuple(value.shape)} where the file's configuration"
                f" asks for {tuple(place.shape)}: fetch it again"
            )
        if not bool(value.isfinite().all()):
            raise CheckpointError(f"{self.ref}: tensor {self._sources[name][0]} has NaN or infinite values")
        return value

    def _note(self, taken: set[str]) -> ParentNote:
        sizes = Counter[str]()
        for tensor in self.tensors.values():
            sizes[tensor.tensor_type.name] += int(tensor.n_bytes)
        kinds = [kind for kind, _ in sizes.most_common()]
        quantised = [kind for kind in kinds if kind not in PLAIN]
        how = f"dequantised from {', '.join(quantised)}" if quantised else f"read from {', '.join(kinds)}"
        used = {source for name in taken for source in self._sources[name]}
        unread = sorted(self.tensors.keys() - used)
        left = f"; {len(unread)} tensors of the file are not read (first: {unread[0]})" if unread else ""
        stated = self.tables.read_field(self.first, "general.license")
        return ParentNote(
            self.ref, "gguf", f"{self.ref}: {how}{left}", "BF16", license=str(stated[0]) if stated else ""
        )

    def _files(self) -> Mapping[str, Content]:
        """Configuration, and the tokenizer and chat template of the file."""
        with tempfile.TemporaryDirectory() as folder, quiet(), _parsed_once(self.readers):
            try:
                tokenizer = AutoTokenizer.from_pretrained(
                    self.paths[0].parent, gguf_file=self.paths[0].name, local_files_only=True, trust_remote_code=False
                )
                tokenizer.save_pretrained(folder)
            except Exception as error:  # as above
                raise CheckpointError(
                    f"{self.ref} has no tokenizer that transformers reads: {first_line(error)}"
                ) from None
            files: dict[str, Content] = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
        said = {name: value for name, value in self.config.to_dict().items() if name != "_name_or_path"}
        files[CONFIG] = as_bytes({**said, "dtype": "bfloat16", "architectures": [type(self.model).__name__]})
        return files


def _reader(path: Path) -> Any:
    """Gguf's reader over a plain array, which slices several times faster than numpy's memory maps."""
    from gguf import GGUFReader

    class Reader(GGUFReader):
        @property
        def data(self) -> Any:
            return self._bytes

        @data.setter
        def data(self, mapped: Any) -> None:
            self._bytes = mapped.view(np.ndarray)

        def _get(self, offset: int, dtype: Any, count: Any = 1, *order: Any, **more: Any) -> Any:
            value = super()._get(offset, dtype, count, *order, **more)
            if len(value) < int(count):  # else a damaged length is a loop over what is not there
                raise ValueError("a length leads beyond the end of the file")
            return value

    return Reader(path)


@contextmanager
def _parsed_once(readers: Mapping[str, Any]) -> Iterator[None]:
    """While open, transformers gets the files as they were parsed here, and each table of names once.

    It parses a file anew for every question and builds the table for every module: minutes for a large vocabulary.
    """
    import gguf

    own = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader = lambda path: readers[Path(path).name]  # type: ignore[misc,assignment]
    gguf.get_tensor_name_map = cache(gguf.get_tensor_name_map)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = own  # type: ignore[misc]
