"""A child in memory: the father's model whose changed tensors are written in place, always from the parents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from darwin_mri.merging.merge import LINEAR_IN_RATIO, Merge, along


class Candidate:
    """Applies genomes to a resident model, touching only tensors whose ratio changed since the last call.

    Args:
        model: the father, loaded; its parameters are overwritten.
        tensors: gene name -> parameter names.
    """

    def __init__(self, model: Any, tensors: Mapping[str, tuple[str, ...]], merge: Merge) -> None:
        self.model, self.tensors, self.merge = model, tensors, merge
        self.parameters = dict(model.named_parameters())
        self.current = dict.fromkeys(tensors, 0.0)
        self.resident: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.no_grad()
    def apply(self, genes: Mapping[str, float]) -> None:
        """Make the model the child of these genes."""
        for gene, names in self.tensors.items():
            ratio = float(genes.get(gene, 0.0))
            if ratio == self.current[gene]:
                continue
            for name in names:
                self.parameters[name].copy_(self._value(name, ratio))
            self.current[gene] = ratio

    def restore(self) -> None:
        """Make the model the father again."""
        self.apply({})

    def _value(self, name: str, ratio: float) -> torch.Tensor:
        if self.merge.method not in LINEAR_IN_RATIO:
            return self.merge.tensor(name, ratio)
        if name not in self.resident:
            device = self.parameters[name].device
            self.resident[name] = (
                self.merge.father.tensor(name).to(device),
                self.merge.direction(name, 1.0).to(device),
            )
        father, direction = self.resident[name]
        if ratio == 0.0:
            return father
        return along(father, direction, ratio)
