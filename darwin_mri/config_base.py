"""What every section of a YAML file is."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Section(BaseModel):
    """A part of a YAML file: unknown keys, infinities and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


AnySection = TypeVar("AnySection", bound=Section)
