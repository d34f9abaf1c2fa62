"""A model in memory: the one type that scan, search, arms and benchmarks hand around."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from darwin_mri.checkpoints.anatomy import find_anatomy, layer_modules
from darwin_mri.checkpoints.devices import is_out_of_memory
from darwin_mri.checkpoints.loading import load_model, load_tokenizer
from darwin_mri.checkpoints.source import ModelSource
from darwin_mri.errors import DarwinError, InputError
from darwin_mri.records import Anatomy, FfnAnatomy, LayerAnatomy


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with its tokenizer and the parts of its layers.

    Attributes:
        source: the folder it was read from, and the name under which it may be published.
        digest: sha256 over its weight files' digests; empty where nobody needs it.
        model: transformers' model, in evaluation mode and without gradients.
        tokenizer: transformers' tokenizer.
        anatomy: mixer, FFN and norms of every layer.
    """

    source: ModelSource
    digest: str
    model: Any
    tokenizer: Any
    anatomy: Anatomy

    @cached_property
    def layers(self) -> list[nn.Module]:
        """The decoder layers, first to last."""
        return layer_modules(self.model, self.anatomy)

    @property
    def device(self) -> torch.device:
        """Where the weights are now."""
        return next(self.model.parameters()).device

    @property
    def tensor_names(self) -> list[str]:
        """Names of all that a folder stores: parameters, a tied one once, and the buffers among them."""
        return list(stored_tensors(self.model))

    def ffn(self, index: int) -> tuple[nn.Module, LayerAnatomy, FfnAnatomy]:
        """The module, the anatomy and the FFN's anatomy of a layer; raises InputError where it has no plain FFN."""
        info = self.anatomy.layers[index]
        if info.ffn is None:
            raise InputError(f"layer {index} has no plain FFN ({info.note})")
        return self.layers[index], info, info.ffn


def stored_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and stored buffers of a model by name, themselves and not copies; a tied one once."""
    tensors = dict(model.named_parameters())
    stored = model.state_dict(keep_vars=True)
    return tensors | {name: buffer for name, buffer in model.named_buffers() if name in stored}


def load(
    source: ModelSource, digest: str = "", *, device: str, dtype: str, computes_on: str | None = None
) -> LoadedModel:
    """Load a model with its tokenizer and anatomy.

    Args:
        source: a model found by ``find_model``.
        digest: sha256 over its weight files' digests.
        device: where it is kept.
        dtype: ``auto`` (fp32 on a CPU, the folder's own elsewhere), ``float32``, ``bfloat16`` or ``float16``.
        computes_on: the device it will be read on where it waits on another; that one settles the dtype.

    Returns:
        The model on its device.

    Raises:
        CheckpointError: the folder does not load, or the parts of its layers cannot be told.
    """
    computes_on = computes_on or device
    model: Any = load_model(source, device=computes_on, dtype=working_dtype(computes_on, dtype))
    anatomy = find_anatomy(model)  # a forward, for which kernels of other packages want the device
    return LoadedModel(source, digest, model.to(device), load_tokenizer(source), anatomy)


def working_dtype(device: str, dtype: str) -> str:
    """``auto`` resolved: float32 on a CPU, where half precision is slow; elsewhere the checkpoint's own."""
    return "float32" if dtype == "auto" and device == "cpu" else dtype


@contextmanager
def swapped(leaving: LoadedModel, coming: LoadedModel, device: str) -> Iterator[None]:
    """While open, one model is on the device and another in host memory; nothing moves where the first is there.

    Args:
        leaving: the model that waits in host memory.
        coming: the model that computes.
        device: where it computes.

    Yields:
        Nothing.
    """
    if str(coming.device) == device:
        yield
        return
    _move(leaving, "cpu")
    _move(coming, device)
    try:
        yield
    finally:
        _move(coming, "cpu")
        _move(leaving, device)


@torch.inference_mode(False)  # weights that moved under it could learn no more
def _move(model: LoadedModel, device: str) -> None:
    model.model.to(device)


@contextmanager
def waiting_on_host(resident: LoadedModel) -> Iterator[None]:
    """While open, a model that is on an accelerator waits in host memory, so that another has the device for itself."""
    device = resident.device
    if device.type == "cpu":
        yield
        return
    _move(resident, "cpu")
    try:
        yield
    finally:
        _move(resident, str(device))


@contextmanager
def explain_out_of_memory(work: str, advice: str) -> Iterator[None]:
    """While open, an allocation that fails becomes one line that says what did not fit and what to do.

    Raises:
        DarwinError: memory is short.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, DarwinError) or not (isinstance(error, MemoryError) or is_out_of_memory(error)):
            raise
        raise DarwinError(f"{work} does not fit in memory: {advice}") from error
