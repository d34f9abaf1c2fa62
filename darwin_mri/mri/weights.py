"""Channel 2: statistics of weight tensors alone, and of one sibling against the other; no data, no forward."""

from __future__ import annotations

import math
from typing import Any

import torch

from darwin_mri.checkpoints import LoadedModel, layer_modules
from darwin_mri.errors import BrokenModel
from darwin_mri.records import Anatomy, PairWeights

BINS = 256
BLOCK = 2**24  # values in fp32 at once
TAIL = 0.1  # share of the largest eigenvalues that the tail exponent is fitted to


def tensor_statistics(weight: torch.Tensor, name: str = "a tensor") -> dict[str, float]:
    """Statistics of a weight matrix (out, in), read by blocks of rows.

    A per-layer table of 2.8e9 values then needs no fp32 copy. ``name`` is for the error.

    Returns:
        std; norm (Frobenius); stable_rank |W|_F^2 / |W|_2^2; entropy: Shannon entropy in bits of a 256-bin histogram
        over [-max, max], and entropy_normalised by its largest value, 8 bits; tail_exponent: Hill estimate
        1 + k / sum_i log(lambda_i / lambda_k) over the k largest tenth of the eigenvalues of W W^T (heavy tails: 2 to
        6).

    Raises:
        BrokenModel: values are not finite, or their products are not.
    """
    weight = weight.detach()
    blocks = weight.split(max(1, BLOCK // weight.shape[1]))
    largest = float(torch.stack([block.abs().max() for block in blocks]).max())  # NaN where one value is
    _require_finite(largest, name)
    counts = torch.zeros(BINS, dtype=torch.float64, device=weight.device)
    total, square = 0.0, 0.0
    tall = weight.shape[0] > weight.shape[1]
    side = min(weight.shape)
    gram = torch.zeros(side, side, device=weight.device)
    for block in blocks:
        values = block.float()
        total += float(values.sum(dtype=torch.float64))
        square += float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2
        if largest > 0:
            counts += torch.histc(values, BINS, -largest, largest)
        if tall:
            gram.addmm_(values.T, values)
    if not tall:
        wide = weight.float()
        gram = wide @ wide.T
    _require_finite(float(gram.abs().max()), name)
    share = counts[counts > 0] / counts.sum()
    entropy = max(float(-(share * share.log2()).sum()), 0.0)
    count = weight.numel()
    eigenvalues = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0)
    return {
        "std": max(square - total**2 / count, 0.0) ** 0.5 / max(count - 1, 1) ** 0.5,
        "norm": square**0.5,
        "stable_rank": square / float(eigenvalues[0]) if largest > 0 else 0.0,
        "entropy": entropy,
        "entropy_normalised": entropy / math.log2(BINS),
        "tail_exponent": _hill(eigenvalues),
    }


def _require_finite(value: float, name: str) -> None:
    if not math.isfinite(value):
        raise BrokenModel(f"{name} holds values that are not finite, or too large to multiply: its file is damaged")


def _hill(eigenvalues: torch.Tensor) -> float:
    k = max(4, int(TAIL * len(eigenvalues)))
    top = eigenvalues[: k + 1].double()
    if len(top) <= k or top[k] <= 0:
        return 0.0
    spread = float((top[:k] / top[k]).log().sum())
    return 1 + k / spread if spread > 0 else 0.0


def weight_statistics(model: Any, anatomy: Anatomy) -> list[dict[str, dict[str, float]]]:
    """Per layer ``{tensor name relative to the layer: statistics}`` for every matrix of mixer and FFN."""
    out = []
    for layer in layer_modules(model, anatomy):
        out.append({name: tensor_statistics(p, name) for name, p in layer.named_parameters() if p.ndim == 2})
    return out


def sibling_weights(father: LoadedModel, mother: LoadedModel) -> tuple[PairWeights, ...]:
    """How far siblings' weights are apart, per layer and part; empty where the two have not the same tensors.

    Args:
        father: of which the parts of each layer are known.
        mother: of the same architecture, alone or in a wrapper; it may wait in host memory.

    Returns:
        One entry per layer and part (``LayerAnatomy.component``) with matrices in common.
    """
    out = []
    for info, father_layer, mother_layer in zip(father.anatomy.layers, father.layers, mother.layers, strict=True):
        other = dict(mother_layer.named_parameters())
        parts: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for name, parameter in father_layer.named_parameters():
            part = info.component(name)
            matrices = parameter.ndim == 2 or (parameter.ndim == 3 and part == "experts")
            if matrices and name in other and other[name].shape == parameter.shape:
                # A parent that waits in host memory comes over tensor by tensor.
                moved = other[name].detach().to(parameter.device)
                parts.setdefault(part, []).append((parameter.detach().float(), moved.float()))
        for part, pairs in sorted(parts.items()):
            father_square = sum(float((a * a).sum()) for a, _ in pairs)
            mother_square = sum(float((b * b).sum()) for _, b in pairs)
            product = sum(float((a * b).sum()) for a, b in pairs)
            change = sum(float(((b - a) * (b - a)).sum()) for a, b in pairs)
            same = sum(float((a.sign() == b.sign()).float().sum()) for a, b in pairs)
            count = sum(a.numel() for a, _ in pairs)
            norm = (father_square * mother_square) ** 0.5
            out.append(
                PairWeights(
                    index=info.index,
                    part=part,
                    cosine=product / norm if norm > 0 else 0.0,
                    relative_change=(change / father_square) ** 0.5 if father_square > 0 else 0.0,
                    sign_agreement=same / count,
                )
            )
    return tuple(out)
