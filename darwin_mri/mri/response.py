"""Channel 6: how a loss moves when the child leaves the father along one gene.

The child's weights are W + r_g D with one scalar leaf r_g per gene, D being the direction the merge method adds (a
task vector, or donor - father); one backward pass gives d loss / d r_g for every gene at once. Slopes are taken with
all genes at 0 and all at the reference ratio; their secant gives curvature and the zero, and r (s_0 + s_r) / 2
attributes the loss at the reference point to genes (integrated gradients with two nodes, arXiv 1703.01365).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from darwin_mri.checkpoints import stored_tensors
from darwin_mri.mri.blended import BlendedDecoder, Direction
from darwin_mri.mri.reliability import bootstrap_weights
from darwin_mri.probes import Batch, document_nll
from darwin_mri.records import Response

PieceLoss = Callable[[Callable[..., Any]], torch.Tensor]
"""Given a forward that replaces the decoder, the scalar loss of some items or documents."""
Measured = TypeVar("Measured")
Block = Sequence[PieceLoss]
"""The unit of resampling: pieces, as large as memory lets them be, whose losses add up to the block's."""


def gene_slopes(
    model: Any,
    directions: Mapping[str, Mapping[str, torch.Tensor | Direction]],
    ratios: float | np.ndarray,
    blocks: Sequence[Block],
    layers: Sequence[nn.Module] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and losses block by block, with every gene at its ratio.

    Args:
        model: transformers' model, the father.
        directions: gene -> {parameter name of the whole model: direction of the parameter's shape}.
        ratios: of each gene (genes,), or one for all.
        blocks: the loss, in units of resampling.
        layers: the decoder layers where memory is short: weights and activations of one at a time.

    Returns:
        (slopes (blocks, genes), losses (blocks,)).
    """
    return block_slopes(
        model, BlendedDecoder.along(model, directions, layers), np.broadcast_to(ratios, len(directions)), blocks
    )


def block_slopes(
    model: Any, decoder: BlendedDecoder, ratios: np.ndarray, blocks: Sequence[Block]
) -> tuple[np.ndarray, np.ndarray]:
    """As ``gene_slopes``, of a decoder that is used again: calls at the same ratios share the child's weights.

    Args:
        model: transformers' model, the father.
        decoder: of the model.
        ratios: of each gene (genes,).
        blocks: the loss, in units of resampling.

    Returns:
        (slopes (blocks, genes), losses (blocks,)).
    """
    device = next(iter(stored_tensors(model).values())).device
    at = torch.tensor(ratios.copy(), dtype=torch.float32, device=device)

    def measure(piece: PieceLoss) -> tuple[torch.Tensor, float]:
        leaves = at.clone().requires_grad_()
        with decoder.at(leaves) as forward:
            loss = piece(forward)
        (gradient,) = torch.autograd.grad(loss, leaves)  # (genes,)
        return gradient.detach().double().cpu(), float(loss.detach())

    slopes, losses = [], []
    for block in blocks:
        slope, total = torch.zeros(len(at), dtype=torch.float64), 0.0
        for piece in block:
            piece_slope, loss = repeatably(lambda p=piece: measure(p), type(model), device)
            slope += piece_slope
            total += loss
        slopes.append(slope.numpy())  # (genes,)
        losses.append(total)
    return np.array(slopes), np.array(losses)


def repeatable(model: Any) -> bool:
    """Whether the model's slopes have been the same each time so far, as far as torch can tell."""
    return type(model) not in _unrepeatable


_unrepeatable: set[type] = set()  # models that need an operation without a deterministic form


def repeatably(call: Callable[[], Measured], kind: type, device: torch.device) -> Measured:
    """Call with sums whose order is fixed: on CUDA attention's backward pass otherwise gives other slopes each time.

    A kind of model that needs an operation without such a form is called without it, from then on.

    Args:
        call: the computation.
        kind: the model's class.
        device: where it runs.

    Returns:
        What the call returns.
    """
    if device.type != "cuda" or kind in _unrepeatable:
        return call()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # a debugging aid, which costs time
    try:
        return call()
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        _unrepeatable.add(kind)
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = filled
    return call()


def text_blocks(model: Any, blocks: Sequence[tuple[Sequence[Batch], float]]) -> list[Block]:
    """NLL per byte as block losses.

    Args:
        model: transformers' model.
        blocks: (batches, UTF-8 bytes behind all of them).

    Returns:
        One block each, with a piece per batch.
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
    """One Response per gene, with the 95 % interval of the harm by resampling blocks.

    Args:
        genes: names, in the order of the slopes.
        loss: name of the loss.
        at_zero: (blocks, genes) slopes with all genes at 0.
        at_reference: (blocks, genes) slopes with all genes at the reference ratio.
        reference: the reference ratio.
        resamples: bootstrap resamples over blocks.
        seed: of the resamples.

    Returns:
        Slopes and harm per gene, in their order.
    """
    blocks = reference * (at_zero + at_reference) / 2  # (blocks, genes) harm
    resampled = bootstrap_weights(len(blocks), resamples, seed, "response") @ blocks / len(blocks)  # (resamples, genes)
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
