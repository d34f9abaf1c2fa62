"""``aligned``: the mother's FFN between maps fitted on paired activations, its neurons matched to the father's.

At places where both parents have read the same text, x are FFN inputs, o FFN outputs before a post-norm, a neurons. With
T_in: x_m ~ T_in x_f and T_out: o_f ~ T_out o_m (ridge or Procrustes), the mother's FFN in the father's coordinates is
gate' = gate T_in, up' = up T_in, down' = T_out down. Norm gains, hidden sizes and tokenizers are absorbed by the maps; the
activation is folded. Neurons are then permuted, and their signs set, so that each lies on the father's most like it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darwin_mri.merging.arms.context import Context, PairedBatch, forward, paired_batches, watch
from darwin_mri.merging.arms.matching import correlations, match
from darwin_mri.merging.arms.moments import Moment, explained, groups, procrustes, ridge
from darwin_mri.merging.arms.raw import in_width
from darwin_mri.merging.arms.shapes import GatedFFN, fold_activation, gated_matrices, stored
from darwin_mri.merging.donors import DonorFFN


@dataclass(frozen=True)
class Mapped:
    """One mother FFN in the father's coordinates, of her own width, and what was measured of both sides' neurons.

    ``correlation`` is (father neurons, mother neurons); importances are rms activation times the norm of the neuron's column of
    down, in the father's coordinates; ``out_map`` is T_out.
    """

    index: int
    source: int
    ffn: GatedFFN
    correlation: Tensor
    importance_father: Tensor
    importance_mother: Tensor
    out_map: Tensor
    fit: dict[str, float]


class _Layer:
    """The moments of one (father layer, mother layer)."""

    def __init__(self, context: Context, index: int, source: int) -> None:
        father, mother, device = context.father, context.mother, context.father.device
        hidden, other = father.anatomy.hidden_size, mother.anatomy.hidden_size
        widths = father.ffn(index)[2].width, mother.ffn(source)[2].width
        self.xx, self.xm = Moment(hidden, hidden, device), Moment(hidden, other, device)
        self.oo, self.of = Moment(other, other, device), Moment(other, hidden, device)
        self.neurons = torch.zeros(*widths, device=device)
        self.squares = [torch.zeros(width, dtype=torch.float64, device=device) for width in widths]
        self.norms = {"x_m": 0.0, "o_f": 0.0, "g": 0.0}
        self.gates = 0

    @staticmethod
    def size(context: Context) -> int:
        """Bytes of one layer's moments, and of its activations in one batch."""
        hidden, other = context.father.anatomy.hidden_size, context.mother.anatomy.hidden_size
        widths = context.father.anatomy.ffn_size, context.mother.anatomy.ffn_size
        moments = 8 * (hidden**2 + 2 * hidden * other + other**2) + 4 * widths[0] * widths[1]
        return moments + 4 * 2048 * (2 * sum(widths) + 2 * (hidden + other))

    def add(self, x_f: Tensor, x_m: Tensor, o_f: Tensor, o_m: Tensor, a_f: Tensor, a_m: Tensor, g_m: Tensor) -> None:
        self.xx.add(x_f, x_f)
        self.xm.add(x_f, x_m)
        self.oo.add(o_m, o_m)
        self.of.add(o_m, o_f)
        self.neurons += a_f.float().T @ a_m.float()
        for total, values in zip(self.squares, (a_f, a_m), strict=True):
            total += values.float().square().sum(0, dtype=torch.float64)
        for name, values in (("x_m", x_m), ("o_f", o_f), ("g", g_m)):
            self.norms[name] += float(values.float().square().sum(dtype=torch.float64))
        self.gates += g_m.numel()


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN."""
    for mapped in map_layers(context):
        yield DonorFFN(
            mapped.index,
            mapped.source,
            stored(context.father, mapped.index, *arranged(context, mapped)),
            fit=mapped.fit,
        )


def map_layers(context: Context) -> Iterator[Mapped]:
    """The mother's FFN of every pair in the father's coordinates; passes over the text as memory allows."""
    pairs = dict(context.pairs())
    for index, source in pairs.items():
        gated_matrices(context.father, index, "father")
        gated_matrices(context.mother, source, "mother")
    batches = paired_batches(
        context.father, context.mother, context.texts, max_tokens=context.settings.max_tokens
    )  # fmt: skip
    budget = int(context.settings.memory_gb * 2**30)
    for group in groups(list(pairs), _Layer.size(context), budget):
        yield from _map_group(context, {index: pairs[index] for index in group}, batches)


def _map_group(context: Context, pairs: dict[int, int], batches: Sequence[PairedBatch]) -> Iterator[Mapped]:
    layers = {index: _Layer(context, index, source) for index, source in pairs.items()}
    device = context.father.device
    with torch.inference_mode():
        for batch in batches:
            father_at, mother_at = batch.father_at[:2], batch.mother_at[:2]
            with (
                watch(context.father, dict.fromkeys(pairs, ("x", "o", "a"))) as ours,
                watch(context.mother, dict.fromkeys(pairs.values(), ("x", "o", "a", "g"))) as theirs,
            ):
                forward(context.father, batch.father)
                forward(context.mother, batch.mother)
                for index, source in pairs.items():
                    f = {site: ours[index, site][father_at] for site in ("x", "o", "a")}
                    m = {site: theirs[source, site][mother_at].to(device) for site in ("x", "o", "a", "g")}
                    layers[index].add(f["x"], m["x"], f["o"], m["o"], f["a"], m["a"], m["g"])
    for index, source in pairs.items():
        yield _solve(context, index, source, layers.pop(index))


def _solve(context: Context, index: int, source: int, layer: _Layer) -> Mapped:
    penalty = context.settings.ridge
    if context.settings.map == "procrustes":
        into, out = procrustes(layer.xx.sum, layer.xm.sum), procrustes(layer.oo.sum, layer.of.sum)
    else:
        into, out = (
            ridge(layer.xx.sum, layer.xm.sum, penalty),
            ridge(layer.oo.sum, layer.of.sum, penalty),
        )
    fit = {
        "r2_in": explained(into, layer.xx.sum, layer.xm.sum, layer.norms["x_m"]),
        "r2_out": explained(out, layer.oo.sum, layer.of.sum, layer.norms["o_f"]),
        "places": float(layer.xx.rows),
    }
    out = context.permuted(out).cpu()
    father_ffn, mother_ffn = context.father.ffn(index)[2], context.mother.ffn(source)[2]
    gate, up, down = (matrix.cpu() for matrix in gated_matrices(context.mother, source, "mother"))
    into = into.cpu()
    rms = (layer.norms["g"] / max(layer.gates, 1)) ** 0.5
    mapped = fold_activation((gate @ into, up @ into, out @ down), mother_ffn.activation, father_ffn.activation, rms)
    own_down = gated_matrices(context.father, index, "father")[2].cpu()
    spread = [(squares / max(layer.xx.rows, 1)).sqrt().float().cpu() for squares in layer.squares]
    correlation = correlations(layer.neurons.double(), *layer.squares).cpu()
    importance = spread[0] * own_down.norm(dim=0), spread[1] * (out @ down).norm(dim=0)
    return Mapped(index, source, mapped, correlation, *importance, out, fit)


def arranged(context: Context, mapped: Mapped) -> GatedFFN:
    """The mapped FFN in the father's width: her most important neurons where she has too many, each on the father's slot that
    fires most like it; slots without one stay empty."""
    width = context.father.ffn(mapped.index)[2].width
    kept = mapped.importance_mother.argsort(descending=True, stable=True)[:width].sort().values
    slots, columns, signs = match(mapped.correlation[:, kept])
    chosen = kept[columns]
    gate, up, down = in_width(context, mapped.index, tuple(torch.zeros_like(m) for m in mapped.ffn))  # type: ignore[arg-type]
    gate[slots] = mapped.ffn[0][chosen]
    up[slots] = mapped.ffn[1][chosen] * signs[:, None]
    down[:, slots] = mapped.ffn[2][:, chosen] * signs[None, :]
    mapped.fit["matched"] = float(mapped.correlation[slots, chosen].abs().mean())
    return gate, up, down
