"""The one maker of Jinja environments: the report's own templates, unknown names are errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def make_environment(
    finalize: Callable[[Any], Any], filters: Mapping[str, Callable[..., Any]], *, autoescape: bool
) -> Environment:
    """An environment for the templates folder.

    Args:
        finalize: makes each printed value safe.
        filters: the renderer's own, by name.
        autoescape: whether Jinja escapes for HTML after ``finalize``.

    Returns:
        the environment; unknown names are errors.
    """
    environment = Environment(
        loader=PackageLoader("darwin_mri.report", "templates"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    return environment
