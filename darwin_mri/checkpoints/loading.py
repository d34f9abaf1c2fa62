"""Load a checked folder into memory, whole or not at all: never a model with silently random weights."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from darwin_mri.checkpoints.devices import resolve_device
from darwin_mri.checkpoints.find import ModelSource
from darwin_mri.errors import CheckpointError, InputError

# Kernels that transformers picks up, where they are installed, when it imports a family's code, and that fail on a CPU.
# A process whose first model of a family runs on a CPU goes without them.
CUDA_ONLY = ("fla", "causal_conv1d", "mamba_ssm")
DTYPES = {"auto": "auto", "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(source: ModelSource, *, device: str, dtype: str = "auto") -> PreTrainedModel:
    """Load a model for reading: evaluation mode, no gradients.

    Args:
        source: a model found by ``find_model``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto`` (the folder's own), ``float32``, ``bfloat16`` or ``float16``.

    Returns:
        The language model, or the vision-language model where the folder loads only as one.

    Raises:
        CheckpointError: the folder does not load, or any of the model's weights is missing or of another shape.
        InputError: unknown dtype or absent device.
    """
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    target = resolve_device(device)
    if target != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it no matrix product is repeatable
    with quiet(), _hide_modules(CUDA_ONLY if target == "cpu" else ()):
        try:
            config = AutoConfig.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)
            model, info = _auto_class(source, config).from_pretrained(
                source.folder,
                config=config,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                # Otherwise transformers raises a long report; the check below says the same in one line.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise CheckpointError(f"{source.ref} does not load: {_reason(error, source)}") from error
    _refuse_partial(source, info)
    model.eval().requires_grad_(False)
    return model.to(target)


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer from its folder; raises CheckpointError where it has none that loads."""
    with quiet():
        try:
            return AutoTokenizer.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{source.ref} has no tokenizer that loads: {_reason(error, source)}") from error


@contextmanager
def _hide_modules(names: Sequence[str]) -> Iterator[None]:
    """While open, these packages cannot be imported, unless they have been already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None stops an import
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars, log lines and warnings while open; this package reports what matters."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _auto_class(source: ModelSource, config: Any) -> Any:
    """The Auto class for a configuration; a concrete class would take a wrapper's folder and load nothing from it."""
    for auto in (AutoModelForCausalLM, AutoModelForImageTextToText):
        if type(config) in auto._model_mapping:
            return auto
    raise CheckpointError(f"{source.ref}: model_type {config.model_type!r} is not a language model that writes text")


def _refuse_partial(source: ModelSource, info: dict[str, Any]) -> None:
    # A tied head is missing along with the embedding it shares, which is the better name to show.
    missing = sorted(info["missing_keys"], key=lambda name: ("lm_head" in name, name))
    if missing:
        raise CheckpointError(
            f"{source.ref} lacks {len(missing)} of the model's weights (first: {missing[0]}),"
            " which would be random: refused"
        )
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        name, shape, expected = mismatched[0]
        raise CheckpointError(
            f"{source.ref}: {name} has shape {tuple(shape)} where config.json asks for {tuple(expected)}"
            f" ({len(mismatched)} such weights): refused"
        )
    if info.get("error_msgs"):
        raise CheckpointError(f"{source.ref} does not load: {str(info['error_msgs'][0]).splitlines()[0]}")


def _reason(error: Exception, source: ModelSource) -> str:
    """An error's first line, without this machine's folders."""
    return first_line(error).replace(str(source.folder), source.ref)


def first_line(error: Exception) -> str:
    """An error's class and the first line of its text: other libraries' errors run over many."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
