"""How well a prediction by gene agrees with what was measured, on items that the prediction did not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from darwin_mri import seeds
from darwin_mri.mri.reliability import bootstrap_weights
from darwin_mri.records import Estimate, PresetFit, Prior

HALVINGS = 500


def fit_preset(
    preset: str, predicted: Mapping[str, np.ndarray], gains: Mapping[str, np.ndarray], seed: int
) -> PresetFit:
    """How well a preset predicted the measured gains.

    Args:
        preset: its name.
        predicted: gene -> prediction by block (blocks,).
        gains: gene -> measured gain by block (blocks,).
        seed: of the halvings.

    Returns:
        Spearman's rho over halvings, and on the same items.
    """
    rho, low, high = halved_correlation(predicted, gains, seed)
    names = [name for name in gains if name in predicted]
    prediction = {name: float(predicted[name].mean()) for name in names}
    same = _rho(np.array(list(prediction.values())), np.array([gains[name].mean() for name in names]))
    return PresetFit(preset=preset, spearman=rho, low=low, high=high, same_items=same, prediction=prediction)


def halved_correlation(
    predicted: Mapping[str, np.ndarray], gains: Mapping[str, np.ndarray], seed: int
) -> tuple[float | None, float | None, float | None]:
    """Mean of Spearman's rho over random halvings of the blocks, and the range of 95 % of them.

    Args:
        predicted: gene -> prediction by block (blocks,).
        gains: gene -> measured gain by block (blocks,).
        seed: of the halvings.

    Returns:
        (mean, 2.5th percentile, 97.5th percentile); None where a side is constant.
    """
    names = [name for name in gains if name in predicted]
    left, right = (np.array([table[name] for name in names]) for table in (predicted, gains))  # (genes, blocks)
    rng, rhos = seeds.named(seed, "halvings"), []
    for _ in range(HALVINGS):
        order = rng.permutation(right.shape[1])
        half, other = np.split(order, 2)
        rho = _rho(left[:, half].mean(1), right[:, other].mean(1))
        if rho is None:
            return None, None, None
        rhos.append(rho)
    low, high = np.percentile(rhos, [2.5, 97.5])
    return float(np.mean(rhos)), float(low), float(high)


def _rho(left: np.ndarray, right: np.ndarray) -> float | None:
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    from scipy.stats import spearmanr  # takes most of a second to import

    rho: Any = spearmanr(left, right)
    return float(rho.statistic)


def frozen_figures(
    fit: PresetFit, prior: Prior, genes: Mapping[str, int | None], harmful: tuple[int, ...]
) -> dict[str, object]:
    """The layers a preset leaves alone: the prior's frozen ones, or those where its rule keeps the father's tensors.

    Args:
        fit: of the preset.
        prior: of the run.
        genes: gene -> layer.
        harmful: layers whose blending was measured to harm protected texts.

    Returns:
        Fields of ``PresetFit``: frozen layers, their precision and recall against the harmful ones.
    """
    if fit.preset == "response":
        frozen = prior.frozen
    else:
        layers = sorted({layer for layer in genes.values() if layer is not None})
        frozen = tuple(
            layer
            for layer in layers
            if all(fit.prediction.get(gene, 1.0) == 0.0 for gene, where in genes.items() if where == layer)
        )
    hit = len(set(frozen) & set(harmful))
    return {
        "frozen": frozen,
        "precision": hit / len(frozen) if frozen else None,
        "recall": hit / len(harmful) if harmful else None,
    }


def estimate_gain(blocks: np.ndarray, resamples: int, seed: int) -> Estimate:
    """The mean over blocks with its 95 % interval.

    Args:
        blocks: (blocks,) gains.
        resamples: of the bootstrap over blocks.
        seed: of the bootstrap.

    Returns:
        The estimate.
    """
    draws = bootstrap_weights(len(blocks), resamples, seed, "gain") @ blocks / len(blocks)
    low, high = np.percentile(draws, [2.5, 97.5])
    value = float(blocks.mean())
    return Estimate(value=value, low=float(min(low, value)), high=float(max(high, value)))
