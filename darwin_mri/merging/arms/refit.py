"""``refit``: aligned or transplanted neurons whose down projection is solved again in closed form.

With a' = act(gate' x_f) * (up' x_f) the donor's neurons on the father's own inputs, down' minimises
sum |T_out o_m - down' a'|^2 + lambda |down' - down'_0|^2 over the paired places: the best linear map from these neurons
to the mother's mapped output. Only second moments are gathered, one layer's at a time where memory is short.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from darwin_mri.batch_sizes import ARM_TOKENS
from darwin_mri.merging.arms.aligned import MappedFFN, map_layers, match_to_father
from darwin_mri.merging.arms.context import Context, paired_batches
from darwin_mri.merging.arms.moments import Moment, explained, layer_groups, ridge
from darwin_mri.merging.arms.shapes import GatedFFN, as_parameters, gated_matrices, neurons
from darwin_mri.merging.arms.transplant import transplant_neurons
from darwin_mri.merging.donors import DonorFFN
from darwin_mri.probes import capture, final_states


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN."""
    starts: dict[int, tuple[MappedFFN, GatedFFN]] = {}
    width = context.father.anatomy.ffn_size
    hidden, mother_hidden = context.father.anatomy.hidden_size, context.mother.anatomy.hidden_size
    size = 8 * (width**2 + width * hidden) + 4 * ARM_TOKENS * (width + hidden + mother_hidden)
    budget = int(context.settings.memory_gb * 2**30)
    group_size = len(next(iter(layer_groups(list(range(len(context.pairs()))), size, budget)), []))
    for mapped in map_layers(context):
        starts[mapped.index] = mapped, _start(context, mapped)
        if len(starts) >= group_size:
            yield from _refit(context, starts)
            starts = {}
    if starts:
        yield from _refit(context, starts)


def _start(context: Context, mapped: MappedFFN) -> GatedFFN:
    """The neurons that are refitted: the mother's, or the father's with the configured share of the mother's."""
    if context.settings.start == "aligned":
        return match_to_father(context, mapped)
    ffn, order = transplant_neurons(context, mapped)
    gate, up, down = (matrix.cpu() for matrix in gated_matrices(context.father, mapped.index, "father"))
    taken = (order < context.settings.share)[:, None]  # (width, 1)
    return torch.where(taken, ffn[0], gate), torch.where(taken, ffn[1], up), torch.where(taken.T, ffn[2], down)


@torch.inference_mode()
def _refit(context: Context, starts: dict[int, tuple[MappedFFN, GatedFFN]]) -> Iterator[DonorFFN]:
    device, father = context.father.device, context.father
    moments, power = {}, dict.fromkeys(starts, 0.0)  # a' a'^T and a' o^T; sum of |o|^2, with o = T_out o_m
    resident = {}  # matrices and T_out on the device
    for index, (mapped, ffn) in starts.items():
        width, hidden = len(ffn[0]), father.anatomy.hidden_size
        moments[index] = Moment(width, width, device), Moment(width, hidden, device)
        resident[index] = tuple(matrix.to(device) for matrix in ffn), mapped.out_map.to(device)
    batches = paired_batches(father, context.mother, context.texts, max_tokens=context.settings.max_tokens)
    for batch in batches:
        with (
            capture(father, dict.fromkeys(starts, ("x",))) as father_seen,
            capture(context.mother, {mapped.source: ("o",) for mapped, _ in starts.values()}) as mother_seen,
        ):
            final_states(father.model, batch.father)
            final_states(context.mother.model, batch.mother)
            for index, (mapped, _) in starts.items():
                ffn, out_map = resident[index]
                x = father_seen[index, "x"][batch.father_at[:2]].float()  # (places, hidden)
                o = mother_seen[mapped.source, "o"][batch.mother_at[:2]].to(device).float() @ out_map.T  # as x
                a = neurons(ffn, father.ffn(index)[2].activation, x)  # (places, width)
                moments[index][0].add(a, a)
                moments[index][1].add(a, o)
                power[index] += float(o.square().sum(dtype=torch.float64))
    for index, (mapped, (gate, up, down)) in starts.items():
        aa, ao = (moment.sum for moment in moments[index])
        refitted = ridge(aa, ao, context.settings.ridge, prior=down.to(device))
        fit = {
            **mapped.fit,
            "r2_before": explained(down.to(device), aa, ao, power[index]),
            "r2_refit": explained(refitted, aa, ao, power[index]),
        }
        yield DonorFFN(index, mapped.source, as_parameters(father, index, gate, up, refitted.cpu()), fit=fit)
