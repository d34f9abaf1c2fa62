"""How a mergekit recipe names a model, brought to what ``find_model`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darwin_mri.errors import ConfigError


def model_ref(value: Any, where: str) -> str:
    """A model as ``MODEL@revision+ADAPTER@revision``.

    Args:
        value: text, or a mapping with ``path`` and ``revision``, or with ``model`` and ``lora`` of either kind.
        where: the recipe, for an error's line.

    Returns:
        The reference.

    Raises:
        ConfigError: it names no model, or an architecture that the model is to be taken for.
    """
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, Mapping):
        given: dict[str, Any] = {str(key): part for key, part in value.items() if part is not None}  # type: ignore[misc]
        if unknown := sorted(set(given) - {"path", "revision", "model", "lora"}):
            raise ConfigError(f"{where}: a model's '{unknown[0]}' is not supported here: name it by path and revision")
        if "model" in given and "path" not in given:
            adapter = f"+{model_ref(given['lora'], where)}" if "lora" in given else ""
            return model_ref(given["model"], where) + adapter
        if isinstance(given.get("path"), str) and not set(given) - {"path", "revision"}:
            return given["path"] + (f"@{given['revision']}" if "revision" in given else "")
    raise ConfigError(f"{where}: {value!r} names no model: write MODEL, MODEL@revision or MODEL+ADAPTER")


def named_part(ref: str) -> str:
    """The model itself in a reference: without adapters and revision."""
    return ref.split("+")[0].split("@")[0]


def renamed(ref: str, names: Mapping[str, str]) -> str:
    """A reference whose model, where it is the name of another document, is the folder that document wrote."""
    own = named_part(ref)
    return names[own] + ref.removeprefix(own) if own in names else ref
