"""Types, defaults and ranges of pydantic's fields in words."""

from __future__ import annotations

import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "anything",
    object: "anything",
}
_LIMITS = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "matches `{}`",
}


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type mentions, in order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Literal:
        return []
    return [model for part in get_args(annotation) for model in models_in(part)]


def words(annotation: Any) -> str:
    """A type in words, as Markdown; a model by its name."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return words(parts[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(words(part) for part in parts)
    if origin in (tuple, list):
        if origin is list or parts[-1] is Ellipsis:
            return f"list of {words(parts[0])}"
        return f"({', '.join(words(part) for part in parts)})"
    if origin is dict:
        return f"{words(parts[0])} → {words(parts[1])}"
    return _PLAIN.get(annotation) or getattr(annotation, "__name__", str(annotation))


def default(field: FieldInfo) -> str:
    """A field's default as JSON, which YAML reads; empty for a section, whose own fields have theirs."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "null"
    inside = value.values() if isinstance(value, dict) else [value]
    if any(isinstance(part, BaseModel) for part in inside):
        return ""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def limits(field: FieldInfo) -> str:
    """The range of a field, in words; empty where any value of its type will do."""
    said = [
        text.format(getattr(rule, name))
        for rule in field.metadata
        for name, text in _LIMITS.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join(said)
