"""``transplant``: the father's least important neurons give place to the mother's most important; the ratio is their share.

Neurons are the aligned arm's, in the father's coordinates. A neuron's importance is its rms activation times the norm of its
column of the down projection: the rms of what it adds to the stream.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from darwin_mri.merging.arms.aligned import Mapped, map_layers
from darwin_mri.merging.arms.context import Context
from darwin_mri.merging.arms.shapes import GatedFFN, gated_matrices, orders, stored
from darwin_mri.merging.donors import DonorFFN


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN, with the order in which its neurons are replaced."""
    for mapped in map_layers(context):
        ffn, order = planted(context, mapped)
        tensors = stored(context.father, mapped.index, *ffn)
        yield DonorFFN(mapped.index, mapped.source, tensors, orders(context.father, mapped.index, order), mapped.fit)


def planted(context: Context, mapped: Mapped) -> tuple[GatedFFN, Tensor]:
    """The father's FFN with as many slots as the mother has neurons holding hers, and each slot's order in [0, 1).

    The slot of rank k holds her k-th most important neuron and is his k-th least important; slots beyond her width have order 1:
    no ratio replaces them.
    """
    width = len(mapped.importance_father)
    slots = mapped.importance_father.argsort(stable=True)
    chosen = mapped.importance_mother.argsort(descending=True, stable=True)[:width]
    slots, order = slots[: len(chosen)], torch.ones(width)
    order[slots] = torch.arange(len(chosen)) / width
    gate, up, down = (matrix.clone().cpu() for matrix in gated_matrices(context.father, mapped.index, "father"))
    gate[slots], up[slots], down[:, slots] = mapped.ffn[0][chosen], mapped.ffn[1][chosen], mapped.ffn[2][:, chosen]
    return (gate, up, down), order
