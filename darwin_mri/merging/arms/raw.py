"""``raw``, as on the Darwin-4B-Genesis card: the mother's matrices, zero-padded or truncated to the father's width."""

from __future__ import annotations

from collections.abc import Iterator

from darwin_mri.merging.arms.context import Context
from darwin_mri.merging.arms.shapes import GatedFFN, as_parameters, fit_width, gated_matrices, require_equal_hidden
from darwin_mri.merging.donors import DonorFFN


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN."""
    require_equal_hidden("raw", context.father, context.mother)
    for index, source in context.pairs():
        gated_matrices(context.father, index, "father")  # refuses a father without gate, or with biases
        ffn = gated_matrices(context.mother, source, "mother")
        yield DonorFFN(index, source, as_parameters(context.father, index, *to_father_width(context, index, ffn)))


def to_father_width(context: Context, index: int, ffn: GatedFFN) -> GatedFFN:
    """Cut or pad an FFN to the width of a father layer.

    Args:
        context: the pair.
        index: of the father's layer.
        ffn: matrices of any width.

    Returns:
        Matrices of the father's width.
    """
    width = context.father.ffn(index)[2].width
    gate, up, down = ffn
    return fit_width(gate, width, 0), fit_width(up, width, 0), fit_width(down, width, 1)
