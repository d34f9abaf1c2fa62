"""Channel 6: how a loss moves when the child leaves the father along one gene.

The child's weights are W + r_g D with one scalar leaf r_g per gene, D being the direction the merge method adds (a task
vector, or donor - father); one backward pass gives d loss / d r_g for every gene at once. Slopes are taken with all genes at
0 and all at the reference ratio; their secant gives curvature and the zero, and r (s_0 + s_r) / 2 attributes the loss at the
reference point to genes (integrated gradients with two nodes, arXiv 1703.01365).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.func import functional_call

from darwin_mri.mri.reliability import bootstrap_weights
from darwin_mri.probes import Batch, document_nll
from darwin_mri.records import Response

PieceLoss = Callable[[Callable[..., Any]], torch.Tensor]
"""Given a forward that replaces ``model.get_decoder()``, the scalar loss of some items or documents."""
Block = Sequence[PieceLoss]
"""The unit of resampling: pieces, as large as memory lets them be, whose losses add up to the block's."""


def gene_slopes(
    model: Any,
    directions: Mapping[str, Mapping[str, torch.Tensor]],
    ratios: float | np.ndarray,
    blocks: Sequence[Block],
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and losses block by block, with every gene at its ratio.

    Args:
        ratios: of each gene (genes,), or one for all.
        directions: gene -> {parameter name of the whole model: direction of the parameter's shape}.

    Returns:
        (slopes (blocks, genes), losses (blocks,)).
    """
    genes = list(directions)
    parameters = dict(model.named_parameters())
    decoder = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    device = next(iter(parameters.values())).device
    at = torch.tensor(np.broadcast_to(ratios, len(genes)).copy(), dtype=torch.float32, device=device)
    inside = f"{prefix}."
    slopes, losses = [], []
    for block in blocks:
        slope, total = torch.zeros(len(genes), dtype=torch.float64), 0.0
        for piece in block:
            leaves = at.clone().requires_grad_()
            substituted: dict[str, torch.Tensor] = {}
            for position, gene in enumerate(genes):
                for name, direction in directions[gene].items():
                    held = substituted[name] if name in substituted else parameters[name].detach().float()
                    substituted[name] = held + leaves[position] * direction.float()
            # Added up in fp32 and rounded once, as a child's tensors are; the model reads its own dtype.
            substituted = {name: value.to(parameters[name].dtype) for name, value in substituted.items()}
            # What lies outside the decoder (an untied head) has no part in its forward, and so no slope here.
            local = {name.removeprefix(inside): value for name, value in substituted.items() if name.startswith(inside)}

            def forward(_local: dict[str, torch.Tensor] = local, **kwargs: Any) -> Any:
                return functional_call(decoder, _local, kwargs=kwargs)

            loss = piece(forward)
            (found,) = torch.autograd.grad(loss, leaves)
            slope += found.detach().double().cpu()
            total += float(loss.detach())
        slopes.append(slope.numpy())
        losses.append(total)
        advance(1)
    return np.array(slopes), np.array(losses)


def text_blocks(model: Any, blocks: Sequence[tuple[Sequence[Batch], float]]) -> list[Block]:
    """NLL per byte as block losses.

    Args:
        blocks: (batches, UTF-8 bytes behind all of them).
    """

    def piece(batch: Batch, size: float) -> PieceLoss:
        return lambda forward: document_nll(model, batch, forward).sum() / size

    return [[piece(batch, size) for batch in batches] for batches, size in blocks]


def responses(
    genes: Sequence[str],
    loss: str,
    at_zero: np.ndarray,
    at_reference: np.ndarray,
    reference: float,
    resamples: int,
    seed: int,
) -> list[Response]:
    """One Response per gene from block slopes (blocks, genes), with the 95 % interval of the harm by resampling blocks."""
    blocks = reference * (at_zero + at_reference) / 2
    resampled = bootstrap_weights(len(blocks), resamples, seed) @ blocks / len(blocks)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return [
        Response(
            gene=gene,
            loss=loss,
            slope=float(at_zero[:, g].mean()),
            slope_reference=float(at_reference[:, g].mean()),
            harm=float(blocks[:, g].mean()),
            low=float(low[g]),
            high=float(high[g]),
        )
        for g, gene in enumerate(genes)
    ]
