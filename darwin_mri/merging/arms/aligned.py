"""``aligned``: the mother's FFN between maps fitted on paired activations, its neurons matched to the father's.

At places where both parents have read the same text, x are FFN inputs, o FFN outputs before a post-norm, a neurons.
With T_in: x_m ~ T_in x_f and T_out: o_f ~ T_out o_m (ridge or Procrustes), the mother's FFN in the father's coordinates
is gate' = gate T_in, up' = up T_in, down' = T_out down. Norm gains, hidden sizes and tokenizers are absorbed by the
maps; the activation is folded. Neurons are then permuted, and their signs set, so that each takes the slot of the
father's neuron most like it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from darwin_mri.batch_sizes import ARM_TOKENS
from darwin_mri.merging.arms.context import Context, PairedBatch, paired_batches
from darwin_mri.merging.arms.matching import correlations, match
from darwin_mri.merging.arms.moments import Moment, explained, layer_groups, procrustes, ridge
from darwin_mri.merging.arms.raw import to_father_width
from darwin_mri.merging.arms.shapes import GatedFFN, as_parameters, fold_activation, gated_matrices
from darwin_mri.merging.donors import DonorFFN
from darwin_mri.probes import capture, final_states


@dataclass(frozen=True)
class MappedFFN:
    """One mother FFN in the father's coordinates, of the mother's width, with measures of both parents' neurons.

    The importance of a neuron is its rms activation times the norm of its column of down, in the father's coordinates.

    Attributes:
        index: the father's layer.
        source: the mother's layer.
        ffn: the mapped matrices.
        correlation: (father neurons, mother neurons).
        importance_father: (father neurons,).
        importance_mother: (mother neurons,).
        out_map: T_out, (father hidden, mother hidden).
        fit: figures of the maps.
    """

    index: int
    source: int
    ffn: GatedFFN
    correlation: Tensor
    importance_father: Tensor
    importance_mother: Tensor
    out_map: Tensor
    fit: dict[str, float]


class _LayerMoments:
    """The moments of one (father layer, mother layer), added up over all paired places."""

    def __init__(self, context: Context, index: int, source: int) -> None:
        father, mother, device = context.father, context.mother, context.father.device
        hidden, mother_hidden = father.anatomy.hidden_size, mother.anatomy.hidden_size
        widths = father.ffn(index)[2].width, mother.ffn(source)[2].width
        # x_f x_f^T and x_f x_m^T for T_in; o_m o_m^T and o_m o_f^T for T_out
        self.xx, self.xm = Moment(hidden, hidden, device), Moment(hidden, mother_hidden, device)
        self.oo, self.of = Moment(mother_hidden, mother_hidden, device), Moment(mother_hidden, hidden, device)
        self.neurons = torch.zeros(*widths, device=device)  # a_f a_m^T, (father neurons, mother neurons)
        self.squares = [torch.zeros(width, dtype=torch.float64, device=device) for width in widths]
        self.norms = {"x_m": 0.0, "o_f": 0.0, "gate": 0.0}  # sums of squares
        self.gates = 0  # values behind norms["gate"]

    @staticmethod
    def size(context: Context) -> int:
        """Bytes of one layer's moments, and of its activations in one batch."""
        hidden, mother_hidden = context.father.anatomy.hidden_size, context.mother.anatomy.hidden_size
        widths = context.father.anatomy.ffn_size, context.mother.anatomy.ffn_size
        moments = 8 * (hidden**2 + 2 * hidden * mother_hidden + mother_hidden**2) + 4 * widths[0] * widths[1]
        return moments + 4 * ARM_TOKENS * (2 * sum(widths) + 2 * (hidden + mother_hidden))

    def add(self, father: Mapping[str, Tensor], mother: Mapping[str, Tensor]) -> None:
        """Add the values at the places of one batch.

        Args:
            father: site -> (places, width) at the father's ``x``, ``o`` and ``a``.
            mother: the same at the mother's, and ``gate``; on the father's device.
        """
        self.xx.add(father["x"], father["x"])
        self.xm.add(father["x"], mother["x"])
        self.oo.add(mother["o"], mother["o"])
        self.of.add(mother["o"], father["o"])
        self.neurons += father["a"].float().T @ mother["a"].float()
        for total, values in zip(self.squares, (father["a"], mother["a"]), strict=True):
            total += values.float().square().sum(0, dtype=torch.float64)
        for name, values in (("x_m", mother["x"]), ("o_f", father["o"]), ("gate", mother["gate"])):
            self.norms[name] += float(values.float().square().sum(dtype=torch.float64))
        self.gates += mother["gate"].numel()


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per father layer that has an FFN."""
    for mapped in map_layers(context):
        tensors = as_parameters(context.father, mapped.index, *match_to_father(context, mapped))
        yield DonorFFN(mapped.index, mapped.source, tensors, fit=mapped.fit)


def map_layers(context: Context) -> Iterator[MappedFFN]:
    """The mother's FFN of every pair in the father's coordinates; as many passes over the text as memory asks for."""
    pairs = dict(context.pairs())
    for index, source in pairs.items():
        gated_matrices(context.father, index, "father")
        gated_matrices(context.mother, source, "mother")
    batches = paired_batches(context.father, context.mother, context.texts, max_tokens=context.settings.max_tokens)
    budget = int(context.settings.memory_gb * 2**30)
    for group in layer_groups(list(pairs), _LayerMoments.size(context), budget):
        yield from _map_group(context, {index: pairs[index] for index in group}, batches)


def _map_group(context: Context, pairs: dict[int, int], batches: Sequence[PairedBatch]) -> Iterator[MappedFFN]:
    moments = {index: _LayerMoments(context, index, source) for index, source in pairs.items()}
    device = context.father.device
    with torch.inference_mode():
        for batch in batches:
            father_at, mother_at = batch.father_at[:2], batch.mother_at[:2]
            with (
                capture(context.father, dict.fromkeys(pairs, ("x", "o", "a"))) as father_seen,
                capture(context.mother, dict.fromkeys(pairs.values(), ("x", "o", "a", "gate"))) as mother_seen,
            ):
                final_states(context.father.model, batch.father)
                final_states(context.mother.model, batch.mother)
                for index, source in pairs.items():
                    # (rows, length, width) -> (places, width)
                    father = {site: father_seen[index, site][father_at] for site in ("x", "o", "a")}
                    mother = {site: mother_seen[source, site][mother_at].to(device) for site in ("x", "o", "a", "gate")}
                    moments[index].add(father, mother)
    for index, source in pairs.items():
        yield _solve(context, index, source, moments.pop(index))


def _solve(context: Context, index: int, source: int, layer: _LayerMoments) -> MappedFFN:
    penalty = context.settings.ridge
    if context.settings.map == "procrustes":
        into, out = procrustes(layer.xx.sum, layer.xm.sum), procrustes(layer.oo.sum, layer.of.sum)
    else:
        into, out = ridge(layer.xx.sum, layer.xm.sum, penalty), ridge(layer.oo.sum, layer.of.sum, penalty)
    fit = {
        "r2_in": explained(into, layer.xx.sum, layer.xm.sum, layer.norms["x_m"]),
        "r2_out": explained(out, layer.oo.sum, layer.of.sum, layer.norms["o_f"]),
        "places": float(layer.xx.rows),
    }
    # into: (mother hidden, father hidden); out: (father hidden, mother hidden)
    into, out = into.cpu(), out.cpu()
    father_ffn, mother_ffn = context.father.ffn(index)[2], context.mother.ffn(source)[2]
    gate, up, down = (matrix.cpu() for matrix in gated_matrices(context.mother, source, "mother"))
    rms = (layer.norms["gate"] / max(layer.gates, 1)) ** 0.5
    mapped = fold_activation((gate @ into, up @ into, out @ down), mother_ffn.activation, father_ffn.activation, rms)
    own_down = gated_matrices(context.father, index, "father")[2].cpu()
    # rms of each neuron, (father neurons,) and (mother neurons,)
    spread = [(squares / max(layer.xx.rows, 1)).sqrt().float().cpu() for squares in layer.squares]
    correlation = correlations(layer.neurons.double(), *layer.squares).cpu()
    importance = spread[0] * own_down.norm(dim=0), spread[1] * (out @ down).norm(dim=0)
    return MappedFFN(index, source, mapped, correlation, *importance, out, fit)


def match_to_father(context: Context, mapped: MappedFFN) -> GatedFFN:
    """The mapped FFN in the father's width, each neuron in the slot of the father's neuron that fires most like it.

    Where the mother has more neurons than the father, the most important ones are taken; where fewer, slots stay empty.
    """
    width = context.father.ffn(mapped.index)[2].width
    kept = mapped.importance_mother.argsort(descending=True, stable=True)[:width].sort().values
    slots, columns, signs = match(mapped.correlation[:, kept])  # (pairs,) each
    chosen = kept[columns]
    gate, up, down = (torch.zeros_like(matrix) for matrix in mapped.ffn)
    gate, up, down = to_father_width(context, mapped.index, (gate, up, down))
    gate[slots] = mapped.ffn[0][chosen]
    up[slots] = mapped.ffn[1][chosen] * signs[:, None]
    down[:, slots] = mapped.ffn[2][:, chosen] * signs[None, :]
    mapped.fit["matched"] = float(mapped.correlation[slots, chosen].abs().mean())
    return gate, up, down
