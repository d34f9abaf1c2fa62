"""Load a checked folder into memory, whole or not at all: never a model with silently random weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.checkpoints.devices import is_out_of_memory, resolve_device
from darwin_mri.checkpoints.libraries import first_line, hide_cuda_kernels, quiet
from darwin_mri.checkpoints.meta import loading_class, read_config
from darwin_mri.checkpoints.source import ModelSource
from darwin_mri.errors import CheckpointError, InputError

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
    config = read_config(source.folder, source.ref)
    auto = loading_class(config, source.ref)
    with quiet(), hide_cuda_kernels(target):
        try:
            model, info = auto.from_pretrained(
                source.folder,
                config=config,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                # Straight to a GPU, tensor by tensor: the host never holds the model.
                device_map={"": target} if target.startswith("cuda") else None,
                # Otherwise transformers raises a long report; the check below says the same in one line.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except Exception as error:  # a family's code, a quantizer or a file may raise anything
            if isinstance(error, MemoryError) or is_out_of_memory(error):
                raise
            raise CheckpointError(f"{source.ref} does not load: {_reason(error, source)}") from error
    reshaped = {name: (own, asked) for name, own, asked in info["mismatched_keys"]}
    refuse_partial(source.ref, info["missing_keys"], reshaped)
    if info.get("error_msgs"):
        raise CheckpointError(f"{source.ref} does not load: {str(info['error_msgs'][0]).splitlines()[0]}")
    model.eval().requires_grad_(False)
    return model.to(target)


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer from its folder; raises CheckpointError where it has none that loads."""
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)
            tokenizer("a")  # some settings fail no sooner
            return tokenizer
        except Exception as error:  # as above
            raise CheckpointError(f"{source.ref} has no tokenizer that loads: {_reason(error, source)}") from error


def refuse_partial(
    ref: str, missing: Iterable[str], reshaped: Mapping[str, tuple[Sequence[int], Sequence[int]]]
) -> None:
    """Refuse a model that would be loaded with random weights.

    Args:
        ref: what the error calls it.
        missing: parameters that are nowhere on disk.
        reshaped: parameter -> (shape on disk, shape that config.json asks for).

    Raises:
        CheckpointError: there is one of either kind.
    """
    # A tied head is missing along with the embedding it shares, which is the better name to show.
    absent = sorted(missing, key=lambda name: ("lm_head" in name, name))
    if absent:
        raise CheckpointError(
            f"{ref} lacks {len(absent)} of the model's weights (first: {absent[0]}), which would be random: refused"
        )
    for name, (shape, asked) in sorted(reshaped.items()):
        raise CheckpointError(
            f"{ref}: {name} has shape {tuple(shape)} where config.json asks for {tuple(asked)}"
            f" ({len(reshaped)} such weights): refused"
        )


def _reason(error: Exception, source: ModelSource) -> str:
    """An error's first line, without this machine's folders."""
    return first_line(error).replace(str(source.folder), source.ref)
