"""How many tokens a model reads at most, by its configuration."""

from __future__ import annotations

from typing import Any


def stated_context(config: Any) -> int | None:
    """The context a model's configuration states, in tokens; None where it states none."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def computable_context(config: Any) -> int | None:
    """Positions a model can compute at all: no limit (None) for rotary ones, the table's size for learned ones."""
    rotary = getattr(config.get_text_config(), "rope_parameters", None) is not None
    return None if rotary else stated_context(config)
