"""``refit``: aligned or transplanted neurons whose down projection is solved again, in closed form, on what they really do.

With a' = act(gate' x_f) * (up' x_f) the donor's neurons on the father's own inputs, down' minimises
sum |T_out o_m - down' a'|^2 + lambda |down' - down'_0|^2 over the paired places: the best linear reading of these neurons as the
mother's mapped output. Only second moments are gathered, one layer's at a time where memory is short.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from darwin_mri.merging.arms.aligned import Mapped, arranged, map_layers
from darwin_mri.merging.arms.context import Context, forward, paired_batches, watch
from darwin_mri.merging.arms.moments import Moment, explained, groups, ridge
from darwin_mri.merging.arms.shapes import GatedFFN, gated_matrices, neurons, stored
from darwin_mri.merging.arms.transplant import planted
from darwin_mri.merging.donors import DonorFFN


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN."""
    starts: dict[int, tuple[Mapped, GatedFFN]] = {}
    width = context.father.anatomy.ffn_size
    hidden, other = context.father.anatomy.hidden_size, context.mother.anatomy.hidden_size
    size = 8 * (width**2 + width * hidden) + 4 * 2048 * (width + hidden + other)
    budget = int(context.settings.memory_gb * 2**30)
    group_size = len(next(iter(groups(list(range(len(context.pairs()))), size, budget)), []))
    for mapped in map_layers(context):
        starts[mapped.index] = mapped, _start(context, mapped)
        if len(starts) >= group_size:
            yield from _refit(context, starts)
            starts = {}
    if starts:
        yield from _refit(context, starts)


def _start(context: Context, mapped: Mapped) -> GatedFFN:
    """The neurons to read: all of hers, or his with the configured share replaced by hers."""
    if context.settings.start == "aligned":
        return arranged(context, mapped)
    ffn, order = planted(context, mapped)
    gate, up, down = (matrix.cpu() for matrix in gated_matrices(context.father, mapped.index, "father"))
    taken = (order < context.settings.share)[:, None]
    return torch.where(taken, ffn[0], gate), torch.where(taken, ffn[1], up), torch.where(taken.T, ffn[2], down)


@torch.inference_mode()
def _refit(context: Context, starts: dict[int, tuple[Mapped, GatedFFN]]) -> Iterator[DonorFFN]:
    device, father = context.father.device, context.father
    moments, power = {}, dict.fromkeys(starts, 0.0)
    held = {}
    for index, (mapped, ffn) in starts.items():
        width, hidden = len(ffn[0]), father.anatomy.hidden_size
        moments[index] = Moment(width, width, device), Moment(width, hidden, device)
        held[index] = tuple(matrix.to(device) for matrix in ffn), mapped.out_map.to(device)
    batches = paired_batches(father, context.mother, context.texts, max_tokens=context.settings.max_tokens)
    for batch in batches:
        with (
            watch(father, dict.fromkeys(starts, ("x",))) as ours,
            watch(context.mother, {mapped.source: ("o",) for mapped, _ in starts.values()}) as theirs,
        ):
            forward(father, batch.father)
            forward(context.mother, batch.mother)
            for index, (mapped, _) in starts.items():
                ffn, out_map = held[index]
                x = ours[index, "x"][batch.father_at[:2]].float()
                wanted = theirs[mapped.source, "o"][batch.mother_at[:2]].to(device).float() @ out_map.T
                a = neurons(ffn, father.ffn(index)[2].activation, x)
                moments[index][0].add(a, a)
                moments[index][1].add(a, wanted)
                power[index] += float(wanted.square().sum(dtype=torch.float64))
    for index, (mapped, (gate, up, down)) in starts.items():
        aa, ao = (moment.sum for moment in moments[index])
        solved = ridge(aa, ao, context.settings.ridge, prior=down.to(device))
        fit = {
            **mapped.fit,
            "r2_before": explained(down.to(device), aa, ao, power[index]),
            "r2_refit": explained(solved, aa, ao, power[index]),
        }
        yield DonorFFN(index, mapped.source, stored(father, index, gate, up, solved.cpu()), fit=fit)
