"""A model with PEFT adapters as one plain folder; the sum is made in fp32.

LoRA (Hu et al. 2021): W' = W + s B A, s = alpha / r; rsLoRA (Kalajdzievski 2023): s = alpha / sqrt(r); DoRA (Liu et al.
2024): W' = m (W + s B A) / ||W + s B A||, with one norm per output, for an embedding per column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from darwin_mri.checkpoints.meta import loading_class, meta_model
from darwin_mri.checkpoints.origin import read_ancestry, stated_license
from darwin_mri.checkpoints.reader import CheckpointReader, within
from darwin_mri.checkpoints.source import FLOATING, ModelSource, ParentNote, read_parent_note
from darwin_mri.checkpoints.survey import Survey, survey
from darwin_mri.checkpoints.unpacking.adapter_files import WEIGHTS, Adapter, read_adapter
from darwin_mri.checkpoints.unpacking.cache import Unpacked, as_key, unpack_once
from darwin_mri.checkpoints.verify import ADAPTER, digests_of, file_digests
from darwin_mri.checkpoints.writing import CONFIG, Content, Form, other_files
from darwin_mri.errors import CheckpointError

Change = Callable[[Tensor], Tensor]
"""fp32 tensor -> the changed fp32 tensor."""
OTHER_SPELLINGS = (
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("model.", "model.language_model."),
    ("", "model."),
)  # of a text model alone and in a wrapper, and of a decoder without its head


def spellings(name: str) -> list[str]:
    """A name in memory, and those that the same tensor has in a wrapper, alone, or without the head."""
    others = [new + name.removeprefix(old) for old, new in OTHER_SPELLINGS if name.startswith(old)]
    return [name, *others]


def unpack_adapters(base: ModelSource, sources: Sequence[ModelSource]) -> ModelSource:
    """The model that adapters make of a base, applied in turn.

    Args:
        base: in a plain, checked folder.
        sources: the adapters' folders.

    Returns:
        The unpacked model; its ref is the base's with ``+ADAPTER`` for each.

    Raises:
        CheckpointError: an adapter is damaged, made for another model, or computes what is not implemented.
    """
    ref = base.ref + "".join(f"+{source.ref}" for source in sources)
    adapters = [read_adapter(source) for source in sources]  # bad ones are refused before gigabytes are hashed
    key = {
        "kind": "adapter",
        "base": as_key(file_digests(base.folder)),
        "adapters": [as_key(digests_of(source.folder, (ADAPTER, WEIGHTS))) for source in sources],
        "ref": ref,
    }
    folder = unpack_once(ref, key, lambda: _Sum(base, adapters).unpacked(ref))
    return ModelSource(ref, folder, base.revision)


@dataclass(frozen=True)
class _Place:
    """Where a parameter is on disk, and whether a tied twin keeps the tensor that is there."""

    disk: str
    tied_to: str | None


class _Sum:
    """What adapters make of each tensor of a base's folder."""

    def __init__(self, base: ModelSource, adapters: Sequence[Adapter]) -> None:
        self.base, self.adapters = base, adapters
        self.survey: Survey = survey(base.folder)
        self.layout = self.survey.layout
        self.reader = CheckpointReader(base.folder)
        self.changes: dict[str, list[Change]] = {}
        self.replaced: dict[str, torch.dtype] = {}  # tensors that are whole in an adapter, and their dtype there
        self.untied: dict[str, str] = {}  # new tensor on disk -> the one that it was tied to
        for adapter in adapters:
            self._add(adapter)

    @cached_property
    def model(self) -> Any:
        """The model without values, which knows the kinds of its modules."""
        config = self.survey.known_config
        return meta_model(loading_class(config, self.base.ref), config, self.base.ref)

    def unpacked(self, ref: str) -> Unpacked:
        """The folder to write."""
        forms: dict[str, Form] = {
            name: (self._stored_dtype(name), tuple(stored.shape)) for name, stored in self.survey.tensors.items()
        }
        forms |= {name: (self._stored_dtype(name), forms[twin][1]) for name, twin in self.untied.items()}
        return Unpacked(forms, self._compute, self._files(), self._note(ref))

    def _read_as(self, name: str) -> str:
        """A tensor that is stored twice changes with the one it repeats, unless the two have parted."""
        return name if name in self.untied else self.layout.copies.get(name, name)

    def _compute(self, name: str) -> Tensor:
        name = self._read_as(name)
        tensor = self.reader.tensor(self.untied.get(name, name))
        if name not in self.changes:
            return tensor
        value = tensor.float()
        for change in self.changes[name]:
            value = change(value)
        return value.to(self._stored_dtype(name))

    def _stored_dtype(self, name: str) -> torch.dtype:
        """fp32 for a sum; what an adapter holds whole, and what no adapter touches, as it is."""
        name = self._read_as(name)
        if name in self.changes:
            return self.replaced.get(name, torch.float32)
        return self.reader.dtype(self.untied.get(name, name))

    def _note(self, ref: str) -> ParentNote:
        stored = {name: info.dtype for name, info in self.survey.tensors.items()}
        stored |= {name: stored[twin] for name, twin in self.untied.items()}
        earlier = read_parent_note(self.base.folder)
        wanted = {
            name: earlier.in_child(name, dtype) if earlier else dtype
            for name, dtype in stored.items()
            if dtype in FLOATING
        }
        main = Counter(wanted.values()).most_common(1)[0][0]
        names = ", ".join(adapter.ref for adapter in self.adapters)
        before = f" ({earlier.sentence})" if earlier else ""
        return ParentNote(
            source=ref,
            kind="adapter",
            sentence=f"{ref}: {self.base.ref}{before} with {names} added in fp32",
            child_dtype=main,
            child_dtypes={name: dtype for name, dtype in wanted.items() if dtype != main},
            license=stated_license(self.base.folder),
            genealogy=read_ancestry(self.base.folder),
        )

    def _files(self) -> Mapping[str, Content]:
        folder = self.base.folder
        files: dict[str, Content] = {
            name: within(folder, folder / name)
            for name in other_files(folder, self.reader.shards())
            if not name.endswith(".index.json")
        }
        if self.untied:
            files[CONFIG] = _untied(self.survey.config)
        return files

    def _add(self, adapter: Adapter) -> None:
        for name, tensor in adapter.whole.items():
            place = self._place(name, adapter)
            self._require_shape(place, tensor.shape, f"{adapter.ref}: {name}")
            changed = self._change(place, adapter, lambda _, new=tensor: new.float())
            if tensor.is_floating_point():  # later changes, if any, make it a sum again
                self.replaced[changed] = tensor.dtype
        for module, parts in adapter.parts.items():
            if parts.keys() == {"rows"}:
                self._add_rows(module, parts["rows"], adapter)
            elif {"down", "up"} <= parts.keys():
                self._add_product(module, parts, adapter)
            else:
                raise CheckpointError(f"{adapter.ref}: {module} has only {', '.join(sorted(parts))}: fetch it again")

    def _add_product(self, module: str, parts: Mapping[str, Tensor], adapter: Adapter) -> None:
        down, up, magnitude = parts["down"].float(), parts["up"].float(), parts.get("magnitude")
        if down.dim() != 2 or up.dim() != 2 or down.shape[0] != up.shape[1]:
            raise CheckpointError(f"{adapter.ref}: {module} has matrices {tuple(up.shape)} and {tuple(down.shape)}")
        if bool(adapter.config.get("use_dora")) != (magnitude is not None):
            raise CheckpointError(f"{adapter.ref}: use_dora and the magnitudes of {module} contradict each other")
        scale = adapter.scale(module, down.shape[0])
        place = self._place(f"{module}.weight", adapter)
        transposed = self._transposed(module)
        rows, columns = up.shape[0], down.shape[1]
        self._require_shape(place, (columns, rows) if transposed else (rows, columns), f"{adapter.ref}: {module}")
        if magnitude is not None or (scale and bool(up.any()) and bool(down.any())):

            def change(weight: Tensor) -> Tensor:
                product = (up @ down).T if transposed else up @ down
                weight = weight + product * scale
                if magnitude is None:
                    return weight
                kept = 0 if transposed else 1  # the axis over which a norm is taken: a module's inputs
                norm = torch.linalg.norm(weight, dim=kept, keepdim=True)
                return weight * (magnitude.float().reshape(norm.shape) / norm)

            self._change(place, adapter, change)
        if "bias" in parts:
            place, bias = self._place(f"{module}.bias", adapter), parts["bias"].float() * scale
            self._require_shape(place, bias.shape, f"{adapter.ref}: {module}.bias")
            self._change(place, adapter, lambda weight: weight + bias)

    def _add_rows(self, module: str, rows: Tensor, adapter: Adapter) -> None:
        place, indices = self._place(f"{module}.weight", adapter), adapter.token_rows(module)
        shape = self.survey.tensors[place.tied_to or place.disk].shape
        if tuple(rows.shape) != (len(indices), shape[-1]) or not all(0 <= index < shape[0] for index in indices):
            raise CheckpointError(
                f"{adapter.ref}: {len(indices)} token indices and rows {tuple(rows.shape)} do not fit {module} {shape}"
            )
        rows_of = rows.float()
        name = place.tied_to or place.disk  # PEFT trains the rows of tied embeddings together
        self.changes.setdefault(name, []).append(lambda weight: weight.index_copy(0, torch.tensor(indices), rows_of))
        self.replaced.pop(name, None)

    def _change(self, place: _Place, adapter: Adapter, change: Change) -> str:
        """Let a change follow those that are there; tied parameters part where only one of them changes.

        Args:
            place: of the parameter.
            adapter: says whether tied parameters stay tied.
            change: the new one.

        Returns:
            The tensor on disk that changes.
        """
        apart = not adapter.config.get("ensure_weight_tying")
        name = place.disk
        if place.tied_to is not None and apart:
            self._untie(name, place.tied_to)
        elif place.tied_to is not None:
            name = place.tied_to
        elif apart:
            for twin, source in self.layout.tied.items():
                if self.layout.stored[source] == name and self._head(twin) not in self.untied:
                    self._untie(self._head(twin), name)
        self.changes.setdefault(name, []).append(change)
        self.replaced.pop(name, None)
        return name

    def _untie(self, head: str, twin: str) -> None:
        """Give a tied parameter a tensor of its own, which has changed as its twin has so far."""
        if head not in self.untied:
            self.untied[head] = twin
            if twin in self.changes:
                self.changes[head] = list(self.changes[twin])

    def _head(self, name: str) -> str:
        """What a tied parameter's own tensor is called on disk: as the copy that is there, else as in memory."""
        twin = self.layout.stored[self.layout.tied[name]]
        return next((copy for copy, origin in self.layout.copies.items() if origin == twin), name)

    def _place(self, name: str, adapter: Adapter) -> _Place:
        """Where a parameter of the model in memory is on disk."""
        layout = self.layout
        for known in spellings(name):
            if known in layout.tied:
                return _Place(self._head(known), layout.stored[layout.tied[known]])
            if known in layout.stored:
                return _Place(layout.stored[known], None)
        part = any(known == assembly.first for assembly in layout.assemblies for known in spellings(name))
        why = "is put together from several tensors on disk, which is not implemented" if part else "does not exist"
        raise CheckpointError(f"{adapter.ref} is not for {self.base.ref}, where {name} {why}")

    def _transposed(self, module: str) -> bool:
        """Whether a module's weight is stored as (inputs, outputs): GPT-2's Conv1D, and embeddings."""
        from transformers.pytorch_utils import Conv1D

        modules = dict(self.model.named_modules())
        found = next((modules[known] for known in spellings(module) if known in modules), None)
        return isinstance(found, Conv1D | torch.nn.Embedding)

    def _require_shape(self, place: _Place, shape: Sequence[int], what: str) -> None:
        own = self.survey.tensors[place.tied_to or place.disk].shape
        if tuple(shape) != own:
            raise CheckpointError(
                f"{what} is {tuple(shape)} where {self.base.ref} has {own}: the adapter is for another model"
            )


def _untied(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same configuration with a head of its own."""
    inner = config.get("text_config")
    nested = {"text_config": _untied(inner)} if isinstance(inner, Mapping) else {}
    return {**config, "tie_word_embeddings": False, **nested}
