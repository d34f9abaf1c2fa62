"""A model without values, on torch's meta device: what transformers would build from a folder's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig

from darwin_mri.checkpoints.devices import computing_device
from darwin_mri.checkpoints.libraries import first_line, hide_cuda_kernels, quiet
from darwin_mri.errors import CheckpointError


def read_config(folder: Path, ref: str) -> Any:
    """A folder's configuration as transformers reads it, with its defaults.

    Raises:
        CheckpointError: transformers refuses it; says why.
    """
    with quiet():
        try:
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # a configuration may raise anything that its family's code does
            raise _refused(ref, error, folder) from None


def make_config(fields: Mapping[str, Any], ref: str) -> Any:
    """As ``read_config``, of a configuration without a folder."""
    with quiet():
        try:
            return AutoConfig.for_model(**PreTrainedConfig._decode_special_floats(dict(fields)))
        except Exception as error:  # as above
            raise _refused(ref, error) from None


def loading_class(config: Any, ref: str) -> Any:
    """The Auto class whose model is read, of a configuration: the language model where the family has one alone.

    Raises:
        CheckpointError: the family writes no text.
    """
    for auto in (AutoModelForCausalLM, AutoModelForImageTextToText):
        if type(config) in auto._model_mapping:
            return auto
    raise CheckpointError(f"{ref}: model_type {config.model_type!r} is not a language model that writes text")


def whole_class(config: Any, ref: str) -> Any:
    """The Auto class whose model holds all that such a folder stores, towers of other modalities among them."""
    wrapped = config.get_text_config() is not config
    if wrapped and type(config) in AutoModelForImageTextToText._model_mapping:
        return AutoModelForImageTextToText
    return loading_class(config, ref)


def meta_model(auto: Any, config: Any, ref: str) -> Any:
    """A model without values.

    Args:
        auto: the Auto class it is made with.
        config: its configuration.
        ref: what an error calls it.

    Returns:
        transformers' model on the meta device.

    Raises:
        CheckpointError: the family's code refuses the configuration; says why.
    """
    # This imports the family's code, as loading will: with the kernels that suit the process' device.
    with quiet(), hide_cuda_kernels(computing_device()), torch.device("meta"):
        try:
            return auto.from_config(config)
        except Exception as error:  # as above
            raise _refused(ref, error) from None


def whole_meta_model(fields: Mapping[str, Any], ref: str) -> tuple[Any, Any]:
    """(model without values, its configuration) of a config.json, in the class of ``whole_class``.

    Raises:
        CheckpointError: transformers does not know the configuration.
    """
    config = make_config(fields, ref)
    return meta_model(whole_class(config, ref), config, ref), config


def _refused(ref: str, error: Exception, folder: Path | None = None) -> CheckpointError:
    reason = first_line(error)
    if folder is not None:
        reason = reason.replace(str(folder), ref)
    return CheckpointError(f"{ref}/config.json is refused by transformers: {reason}: correct it, or fetch it again")
