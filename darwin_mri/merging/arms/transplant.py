"""``transplant``: the mother's most important neurons replace the father's least important; the ratio is their share.

Neurons are the aligned arm's, in the father's coordinates. A neuron's importance is its rms activation times the norm
of its column of the down projection: the rms of what it adds to the stream.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from darwin_mri.merging.arms.aligned import MappedFFN, map_layers
from darwin_mri.merging.arms.context import Context
from darwin_mri.merging.arms.shapes import GatedFFN, as_parameters, gated_matrices, neuron_orders
from darwin_mri.merging.donors import DonorFFN


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN, with the order in which its neurons are replaced."""
    for mapped in map_layers(context):
        ffn, order = transplant_neurons(context, mapped)
        tensors = as_parameters(context.father, mapped.index, *ffn)
        orders = neuron_orders(context.father, mapped.index, order)
        yield DonorFFN(mapped.index, mapped.source, tensors, orders, mapped.fit)


def transplant_neurons(context: Context, mapped: MappedFFN) -> tuple[GatedFFN, Tensor]:
    """The father's FFN with the mother's neurons in as many slots as the mother has, and each slot's order.

    The slot of rank k takes the mother's k-th most important neuron and is the father's k-th least important. Slots
    beyond the mother's width have order 1: no ratio replaces them.

    Returns:
        The matrices, and (father width,) in [0, 1].
    """
    width = len(mapped.importance_father)
    slots = mapped.importance_father.argsort(stable=True)
    chosen = mapped.importance_mother.argsort(descending=True, stable=True)[:width]
    slots, order = slots[: len(chosen)], torch.ones(width)  # (chosen,), (father width,)
    order[slots] = torch.arange(len(chosen)) / width
    gate, up, down = (matrix.clone().cpu() for matrix in gated_matrices(context.father, mapped.index, "father"))
    gate[slots], up[slots], down[:, slots] = mapped.ffn[0][chosen], mapped.ffn[1][chosen], mapped.ffn[2][:, chosen]
    return (gate, up, down), order
