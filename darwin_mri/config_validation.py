"""A mapping from a user, made a section; what is wrong with it in one line that names the key."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from darwin_mri.config_base import AnySection
from darwin_mri.config_tasks import KINDS
from darwin_mri.errors import ConfigError

OF_TASKS = ("tasks", "own")  # keys of a run's and an arena's config


def validated(kind: type[AnySection], data: dict[str, Any], where: str) -> AnySection:
    """The section that a mapping is.

    Args:
        kind: of section.
        data: the mapping.
        where: it comes from, for messages.

    Returns:
        The section.

    Raises:
        ConfigError: names the field and, for an unknown key, the nearest known one.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        parts = [part for place, part in enumerate(first["loc"]) if not (first["loc"][0] in OF_TASKS and place == 2)]
        name = ".".join(str(part) for part in parts) or "config"  # without the kind of a task, which no user wrote
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(kind, first["loc"][:-1]), 1)
            message = "unknown key" + (f": did you mean '{near[0]}'?" if near else "")
        raise ConfigError(f"{where}: {name}: {message}") from None


def _known_keys(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    for part in path:
        if path[0] in OF_TASKS and part in KINDS:
            model = KINDS[str(part)]
        kind = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        for option in (kind, *get_args(kind)):  # a section, or "section or nothing"
            if isinstance(option, type) and issubclass(option, BaseModel):
                model = option
    return list(model.model_fields)
