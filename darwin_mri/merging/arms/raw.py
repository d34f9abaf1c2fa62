"""``raw``, the seed's way: the mother's matrices as they are, zero-padded or truncated to the father's width."""

from __future__ import annotations

from collections.abc import Iterator

from darwin_mri.merging.arms.context import Context
from darwin_mri.merging.arms.shapes import GatedFFN, equal_hidden, fit_width, gated_matrices, stored
from darwin_mri.merging.donors import DonorFFN


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN."""
    equal_hidden("raw", context.father, context.mother)
    for index, source in context.pairs():
        gated_matrices(context.father, index, "father")
        ffn = gated_matrices(context.mother, source, "mother")
        yield DonorFFN(index, source, stored(context.father, index, *in_width(context, index, ffn)))


def in_width(context: Context, index: int, ffn: GatedFFN) -> GatedFFN:
    """An FFN cut or padded to the width of a father layer."""
    width = context.father.ffn(index)[2].width
    gate, up, down = ffn
    return fit_width(gate, width, 0), fit_width(up, width, 0), fit_width(down, width, 1)
