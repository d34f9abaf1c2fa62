"""``folded``: raw, once the mother's norm gain and activation are folded into her matrices (exact for the norm, close for the rest)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from darwin_mri.errors import InputError
from darwin_mri.merging.arms.context import Context, forward, watch
from darwin_mri.merging.arms.raw import in_width
from darwin_mri.merging.arms.shapes import equal_hidden, fold_activation, fold_gain, gated_matrices, norm_gain, stored
from darwin_mri.merging.donors import DonorFFN
from darwin_mri.probes import read


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN."""
    equal_hidden("folded", context.father, context.mother)
    pairs = context.pairs()
    rms = gate_rms(context)
    for index, source in pairs:
        gated_matrices(context.father, index, "father")
        layers = context.father.ffn(index), context.mother.ffn(source)
        father_gain, mother_gain = (
            norm_gain(layer, info.pre_norm, side.anatomy.hidden_size)
            for (layer, info, _), side in zip(layers, (context.father, context.mother), strict=True)
        )
        ffn = fold_gain(gated_matrices(context.mother, source, "mother"), mother_gain, father_gain)
        ffn = fold_activation(ffn, layers[1][2].activation, layers[0][2].activation, rms[source])
        yield DonorFFN(index, source, stored(context.father, index, *in_width(context, index, ffn)))


@torch.inference_mode()
def gate_rms(context: Context) -> tuple[float, ...]:
    """Root mean square of the gate's pre-activation per mother layer: the scan's, else measured on the texts."""
    if context.gate_rms:
        return context.gate_rms
    mother = context.mother
    layers = [info.index for info in mother.anatomy.layers if info.ffn is not None]
    if not context.texts:
        raise InputError("arm folded needs the spread of the mother's gates: give a scan, or texts to measure it on")
    reading = read(context.texts, mother.tokenizer, max_tokens=context.settings.max_tokens, device=str(mother.device))
    squares = torch.zeros(len(mother.anatomy.layers), dtype=torch.float64)
    counts = torch.zeros_like(squares)
    for batch in reading.batches:
        with watch(mother, dict.fromkeys(layers, ("g",))) as seen:
            forward(mother, batch)
            for index in layers:
                gates = seen[index, "g"][batch.text].float()
                squares[index] += float(gates.square().sum(dtype=torch.float64))
                counts[index] += gates.numel()
    return tuple((squares / counts.clamp_min(1)).sqrt().tolist())
