"""Channel 2: statistics of weight tensors alone; no data, no forward."""

from __future__ import annotations

from typing import Any

import torch

from darwin_mri.checkpoints import layer_modules
from darwin_mri.records import Anatomy

BINS = 256


def tensor_statistics(weight: torch.Tensor) -> dict[str, float]:
    """Std, Frobenius norm, stable rank |W|_F^2 / |W|_2^2, and normalised Shannon entropy of a 256-bin histogram in [0, 1]."""
    weight = weight.detach().float()
    norm = weight.norm()
    top = torch.linalg.matrix_norm(weight, ord=2) if weight.ndim == 2 else norm
    largest = float(weight.abs().max())
    counts = torch.histc(weight.cpu(), BINS, -largest, largest) if largest > 0 else torch.ones(1)
    share = counts[counts > 0] / counts.sum()
    entropy = float(-(share * share.log()).sum() / torch.log(torch.tensor(float(BINS))))
    return {
        "std": float(weight.std()),
        "norm": float(norm),
        "stable_rank": float((norm / top) ** 2) if top > 0 else 0.0,
        "entropy": max(entropy, 0.0),
    }


def weight_statistics(model: Any, anatomy: Anatomy) -> list[dict[str, dict[str, float]]]:
    """Per layer ``{tensor name relative to the layer: statistics}`` for every matrix of mixer and FFN."""
    out = []
    for layer in layer_modules(model, anatomy):
        out.append({name: tensor_statistics(p) for name, p in layer.named_parameters() if p.ndim == 2})
    return out
