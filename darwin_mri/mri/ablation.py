"""Losses of a model in which one layer's FFN, or its mixer, adds only its mean: every document is read.

What comes before the layer is not computed again where that is exact (``PrefixCache``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.mri.activations import Activations
from darwin_mri.mri.attribution import Component
from darwin_mri.probes import Batch, PrefixCache, ablate, document_nll, increment_modules


class LossCache(Protocol):
    """Losses already measured, by where they were, so that an interrupted scan goes on where it was."""

    def get(self, where: tuple[str | int | float, ...]) -> np.ndarray | None:
        """The losses (documents,) stored under this key, None where there are none."""
        ...

    def put(self, where: tuple[str | int | float, ...], values: np.ndarray) -> None:
        """Store the losses (documents,) under this key."""
        ...


def find_components(parent: LoadedModel, parts: Sequence[str]) -> list[Component]:
    """The increments that can be ablated, part by part, in the order of their layers."""
    layers = list(zip(parent.anatomy.layers, parent.layers, strict=True))
    return [(part, info.index) for part in parts for info, layer in layers if increment_modules(layer, info, part)]


class ForwardShares:
    """What parts of a forward cost, as shares of a whole one with the loss, by the weights that a token meets.

    Args:
        parent: the model.
        restarts: whether a forward can begin at a layer.
    """

    def __init__(self, parent: LoadedModel, restarts: bool) -> None:
        layers = [float(_met(parent, index)) for index in range(len(parent.layers))]
        whole = sum(layers) + parent.model.get_output_embeddings().weight.numel()
        above = np.concatenate([[0.0], np.cumsum(layers)[:-1]]) / whole
        self.before = above if restarts else np.zeros(len(layers))  # (layers,): up to the layer
        self.after = 1 - self.before  # (layers,): from the layer on, with the loss

    def exact(self, components: Sequence[Component]) -> float:
        """Forwards that it takes to ablate every component on every document."""
        if not components:
            return 0.0
        passes = {part for part, _ in components}
        deepest = sum(max(self.before[i] for part, i in components if part == name) for name in passes)
        return float(sum(self.after[index] for _, index in components) + deepest)


def _met(parent: LoadedModel, index: int) -> int:
    """Weights of a layer's matrices that each token is multiplied with."""
    moe, total = parent.anatomy.layers[index].moe, 0
    for parameter in parent.layers[index].parameters():
        if parameter.dim() == 2:
            total += parameter.numel()
        elif parameter.dim() == 3 and moe is not None:
            total += parameter.numel() * (moe.per_token or moe.count) // moe.count
    return total


class Ablator:
    """Losses of given batches with one component ablated.

    Components are best asked for in the order of their layers.

    Args:
        parent: the model.
        activations: its pass over the same probes, which knows the mean increments.
        batches: what can be read; their ``documents`` are numbers of probes.
    """

    def __init__(self, parent: LoadedModel, activations: Activations, batches: Sequence[Batch]) -> None:
        self.parent, self.activations, self.batches = parent, activations, batches
        with torch.inference_mode():
            self.restarts = PrefixCache(parent, batches)

    @torch.inference_mode()
    def nll(
        self, component: Component, numbers: Sequence[int], advance: Callable[[int], None] = lambda _: None
    ) -> np.ndarray:
        """NLL of the documents in some batches.

        Args:
            component: that is ablated.
            numbers: of the batches.
            advance: called with the number of documents done.

        Returns:
            (probes,) in nats; 0 where a probe is in none of these batches.
        """
        part, index = component
        parent, mean = self.parent, self.activations.mean(index, part)  # mean: (hidden,)
        assert mean is not None, "a component has a mean increment"
        modules = increment_modules(parent.layers[index], parent.anatomy.layers[index], part)
        out = torch.zeros(len(self.activations.tokenized.probes), device=mean.device, dtype=torch.float64)
        with ablate(modules, mean / parent.anatomy.residual_multiplier):
            for number in numbers:
                batch = self.batches[number]
                with self.restarts.before(number, index):
                    out[batch.documents] = document_nll(parent.model, batch).double()
                advance(len(batch.ids))
        return out.cpu().numpy()


def ablation_nll(
    parent: LoadedModel,
    activations: Activations,
    part: str,
    *,
    cache: LossCache | None = None,
    advance: Callable[[int, int], None] = lambda layer, documents: None,
) -> np.ndarray:
    """NLL per document with one layer's FFN or mixer mean-ablated.

    Args:
        parent: the model that is ablated.
        activations: its pass over the same probes, which knows the mean increments.
        part: ``f`` (FFN) or ``m`` (mixer).
        cache: read before a layer is measured and written after.
        advance: called with the layer and the number of documents done.

    Returns:
        (layers, documents) in nats; the unablated loss where a layer has no such part.
    """
    tokenized = activations.tokenized
    out = np.tile(activations.nll, (len(parent.layers), 1))
    ablator, numbers = Ablator(parent, activations, tokenized.batches), range(len(tokenized.batches))
    for _, index in find_components(parent, (part,)):
        if activations.mean(index, part) is None:
            continue
        known = cache.get((part, index)) if cache else None
        if known is None:
            known = ablator.nll((part, index), numbers, lambda documents, at=index: advance(at, documents))
            if cache:
                cache.put((part, index), known)
        else:
            advance(index, len(tokenized.probes))
        out[index] = known
    return out
