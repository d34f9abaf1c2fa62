"""Parameters that a loader assembles from several tensors on disk, or cuts out of one: experts, fused projections."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Assembly:
    """One of transformers' conversions, with the tensors on disk that it takes.

    Attributes:
        first: the first parameter that comes out of it, by its name in memory.
        parts: tensors on disk, in the order in which they are taken.
        patterns: the converter's pattern that each of them fits.
        converter: transformers' ``WeightConverter``.
        model: transformers' model without values, which some conversions ask.
    """

    first: str
    parts: tuple[str, ...]
    patterns: tuple[str, ...]
    converter: Any
    model: Any

    @property
    def names(self) -> tuple[str, ...]:
        """What the parts are called in memory, where they have no names: ``...experts.down_proj[3]``."""
        return tuple(f"{self.first}[{number}]" for number in range(len(self.parts)))

    def build(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The parameters that come out of the parts' tensors, by name; every known conversion is linear in them."""
        converter = copy.deepcopy(self.converter)
        for part, pattern, tensor in zip(self.parts, self.patterns, tensors, strict=True):
            converter.add_tensor(self.first, part, pattern, tensor)
        made = converter.convert(self.first, model=self.model, config=self.model.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}
