"""A blend that a method computes from whole tensors at every ratio: what cannot be told apart element by element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from darwin_mri.merging.methods import METHODS, SPECS
from darwin_mri.merging.methods.apply import Weighing, merge
from darwin_mri.merging.methods.spec import Value
from darwin_mri.merging.streaming import Ratio, Ratios, WholeBlend, as_ratios


@dataclass(frozen=True, eq=False)
class Computed(WholeBlend):
    """The result of a method of ``methods`` at weights 1 - sum r of the father and r of every other parent.

    Attributes:
        tensors: the father's, then those of the other parents, of one shape, any floating dtype.
        base: the base's, of the same shape, or None.
        method: one of ``methods.METHODS``.
        values: (name, value) of the method's parameters; the rest have their defaults.
        known: children that need no arithmetic, by ratios.
    """

    tensors: tuple[Tensor, ...]
    base: Tensor | None
    method: str
    values: tuple[tuple[str, float | str], ...] = ()
    known: Mapping[Ratios, Tensor] = field(default_factory=dict, kw_only=True)

    @property
    def linear(self) -> bool:
        """Never: the result lies on an arc."""
        return False

    def merged(self, weights: Ratios) -> Tensor:
        """The method's own result in fp32; no weights for a method that takes none."""
        base = None if METHODS[self.method].base == "none" else self.base
        return merge(self.method, self.tensors, base, Weighing(weights, method_values(self.method, self.values)), "")

    def child(self, ratio: Ratio, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at these ratios, a new one, rounded once to ``dtype``."""
        ratios = as_ratios(ratio)
        if ratios in self.known:
            return self.known[ratios].detach().to(dtype, copy=True)
        return self.merged((1 - sum(ratios), *ratios)).to(dtype)

    def kept(self, device: torch.device) -> Computed:
        """The same function, held on a device."""
        moved = {id(tensor): tensor.to(device) for tensor in self._distinct()}
        base = None if self.base is None else moved[id(self.base)]
        return replace(self, tensors=tuple(moved[id(tensor)] for tensor in self.tensors), base=base, known={})

    def kept_bytes(self, device: torch.device) -> int:
        """What ``kept`` takes there."""
        return sum(tensor.nbytes for tensor in self._distinct())

    def _distinct(self) -> list[Tensor]:
        """The tensors, each once: a father that is the base is held once."""
        every = (*self.tensors, *(() if self.base is None else (self.base,)))
        return list({id(tensor): tensor for tensor in every}.values())


def method_values(method: str, values: tuple[tuple[str, float | str], ...]) -> dict[str, Value]:
    """A method's parameters in their own types: genomes and configs write flags and counts as numbers.

    Args:
        method: one of ``methods.SPECS``.
        values: (name, value).

    Returns:
        Name -> value; a value that is no flag or count is left as it is, for the method to refuse.
    """
    kinds = {parameter.name: type(parameter.default) for parameter in SPECS[method].parameters}
    typed: dict[str, Value] = {}
    for name, value in values:
        kind = kinds.get(name)
        whole = isinstance(value, int | float) and float(value).is_integer()
        fits = (kind is bool and value in (0, 1)) or (kind is int and whole)
        typed[name] = kind(value) if kind is not None and fits else value
    return typed
