"""``folded``: raw, once the mother's norm gain and activation are folded into its matrices.

Folding is exact for the norm and close for the activation.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from darwin_mri.errors import InputError
from darwin_mri.merging.arms.context import Context
from darwin_mri.merging.arms.raw import to_father_width
from darwin_mri.merging.arms.shapes import (
    as_parameters,
    fold_activation,
    fold_gain,
    gated_matrices,
    norm_gain,
    require_equal_hidden,
)
from darwin_mri.merging.donors import DonorFFN
from darwin_mri.probes import capture, final_states, tokenize_probes


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN."""
    father, mother = context.father, context.mother
    require_equal_hidden("folded", father, mother)
    pairs = context.pairs()
    spreads = gate_rms(context)
    for index, source in pairs:
        gated_matrices(father, index, "father")  # refuses a father without gate, or with biases
        father_layer, father_info, father_ffn = father.ffn(index)
        mother_layer, mother_info, mother_ffn = mother.ffn(source)
        father_gain = norm_gain(father_layer, father_info.pre_norm, father.anatomy.hidden_size)
        mother_gain = norm_gain(mother_layer, mother_info.pre_norm, mother.anatomy.hidden_size)
        spread = spreads[source]
        if spread is None:
            raise InputError(f"arm folded needs the spread of the mother's gate in layer {source}: scan it again")
        ffn = fold_gain(gated_matrices(mother, source, "mother"), mother_gain, father_gain)
        ffn = fold_activation(ffn, mother_ffn.activation, father_ffn.activation, spread)
        yield DonorFFN(index, source, as_parameters(father, index, *to_father_width(context, index, ffn)))


@torch.inference_mode()
def gate_rms(context: Context) -> tuple[float | None, ...]:
    """Root mean square of the gate's pre-activation per mother layer: the scan's, else measured on the texts.

    None for a layer without FFN.
    """
    if context.gate_rms:
        return context.gate_rms
    mother = context.mother
    layers = [info.index for info in mother.anatomy.layers if info.ffn is not None]
    if not context.texts:
        raise InputError("arm folded needs the spread of the mother's gates: give a scan, or texts to measure it on")
    tokenized = tokenize_probes(
        context.texts, mother.tokenizer, max_tokens=context.settings.max_tokens, device=str(mother.device)
    )
    squares = torch.zeros(len(mother.anatomy.layers), dtype=torch.float64)  # (layers,)
    counts = torch.zeros_like(squares)
    for batch in tokenized.batches:
        with capture(mother, dict.fromkeys(layers, ("gate",))) as seen:
            final_states(mother.model, batch)
            for index in layers:
                gates = seen[index, "gate"][batch.text].float()  # (tokens, width)
                squares[index] += float(gates.square().sum(dtype=torch.float64))
                counts[index] += gates.numel()
    values = (squares / counts.clamp_min(1)).sqrt().tolist()
    return tuple(value if index in layers else None for index, value in enumerate(values))
