"""Losses of ablated models, measured on some documents and estimated on the rest (two-phase regression sampling).

Documents are strata by language and domain (cells); the first ones of a seeded order are measured, the same for every
component (one layer's FFN or mixer), so that what makes a document easy or hard is common to all that are compared.
With y = (NLL ablated - NLL) / NLL of a document and x the same by first-order attribution, the other documents get

    y = mu + beta x + k (mean residual of the cell - mu)

with beta the regression over the measured documents, shrunk by its own standard error, and k the share of the cell's
mean residual that is not noise (its best linear prediction). Cochran, Sampling Techniques, 3rd ed., chapters 5 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from darwin_mri import seeds
from darwin_mri.probes import Probe

DEFAULT_BETWEEN = 0.3  # share of the residuals' variance that lies between cells, with one document of each
FEW = 3  # measured documents below which attribution is not regressed on
TINY = 1e-30


@dataclass(frozen=True)
class Design:
    """The documents and the order in which they are measured.

    Attributes:
        cells: (documents,) number of the document's language and domain.
        order: (documents,) numbers of documents; one of every cell comes before the second of any.
        plain: (documents,) NLL of the whole model, in nats.
    """

    cells: np.ndarray
    order: np.ndarray
    plain: np.ndarray

    def first(self, tokens: np.ndarray, share: float) -> np.ndarray:
        """The documents to measure, in ascending order; none where a share does not hold one of each cell.

        Args:
            tokens: (documents,) of each.
            share: of all tokens that may be read.
        """
        count = int(np.searchsorted(np.cumsum(tokens[self.order]), share * tokens.sum(), side="right"))
        return np.sort(self.order[:count]) if count >= len(set(self.cells.tolist())) else self.order[:0]


def make_design(probes: Sequence[Probe], plain: np.ndarray, seed: int) -> Design:
    """Order the documents; one document in several languages comes in the same turn in each.

    Args:
        probes: the texts.
        plain: (probes,) NLL of the whole model.
        seed: of the order.

    Returns:
        The documents in turns, each turn with as even a share of every cell as can be.
    """
    rng, names = seeds.named(seed, "ablation order"), sorted({probe.doc for probe in probes})
    place = dict(zip(names, rng.permutation(len(names)).tolist(), strict=True))
    keys = sorted({(probe.language, probe.domain) for probe in probes})
    cells = np.array([keys.index((probe.language, probe.domain)) for probe in probes])
    within = rng.permutation(len(keys))  # the order of cells in a turn
    turn = np.zeros(len(probes))
    for cell in range(len(keys)):
        members = np.flatnonzero(cells == cell).tolist()
        members.sort(key=lambda i: place[probes[i].doc])
        turn[members] = np.arange(len(members)) / len(members)
    return Design(cells, np.lexsort((within[cells], turn)), plain)


@dataclass(frozen=True)
class Fit:
    """Rises of NLL on all documents, and how sure those are that were not measured.

    Attributes:
        design: the documents.
        rise: (components, documents) in nats.
        measured: (components, documents).
        noise: (components,) variance of the residual, as a share of NLL, of a document of mean NLL; it is as much
            larger as the document's NLL is smaller.
        between: (components,) variance between cells.
        total: (components,) variance of mu.
    """

    design: Design
    rise: np.ndarray
    measured: np.ndarray
    noise: np.ndarray
    between: np.ndarray
    total: np.ndarray

    def error_variance(self, weights: np.ndarray) -> np.ndarray:
        """Variance of the estimation error of weighted sums of rises.

        Args:
            weights: (sums, documents), the weight of each document in each sum.

        Returns:
            (sums, components) in nats squared; 0 where every document is measured. As much above the plain formula as
            Student's t is wider than the normal distribution with as few measured documents.
        """
        design, missing = self.design, ~self.measured
        open_ = weights * design.plain  # (sums, documents)
        mean = design.plain.mean()
        out = (open_**2 * (mean / design.plain)) @ missing.T * self.noise
        common = np.zeros_like(out)
        for cell in np.unique(design.cells):
            inside = design.cells == cell
            count = self.measured[:, inside].sum(1)
            kept = _kept_share(self.between, self.noise, count)
            amount = open_[:, inside] @ missing[:, inside].T  # (sums, components)
            out += amount**2 * self.between * (1 - kept)
            common += amount * (1 - kept)
        return (out + common**2 * self.total) * _widening(self.measured.sum(1))

    def noise_table(self, rng: np.random.Generator) -> np.ndarray:
        """(components, documents) of random errors in nats, 0 where measured, with the variances of the estimate."""
        design = self.design
        cells, inverse = np.unique(design.cells, return_inverse=True)
        count = np.stack([self.measured[:, design.cells == cell].sum(1) for cell in cells], axis=1)
        kept = _kept_share(self.between[:, None], self.noise[:, None], count)
        shift = rng.standard_normal(count.shape) * np.sqrt(self.between[:, None] * (1 - kept))  # (components, cells)
        spread = np.sqrt(self.noise[:, None] * design.plain.mean() / design.plain)
        own = rng.standard_normal(self.rise.shape) * spread
        return np.where(self.measured, 0.0, (shift[:, inverse] + own) * design.plain)


def _widening(count: np.ndarray) -> np.ndarray:
    """(components,) squared ratio of the 95 % points of Student's t and the normal distribution, two figures fitted."""
    return (stdtrit(np.maximum(count - 2, 1), 0.975) / stdtrit(np.inf, 0.975)) ** 2


def _kept_share(between: np.ndarray, noise: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Share of a cell's mean residual that is kept, given both variances and how many documents are measured."""
    return np.where(count > 0, between / (between + noise / np.maximum(count, 1) + TINY), 0.0)


def fit(design: Design, rise: np.ndarray, measured: np.ndarray, attribution: np.ndarray | None) -> Fit:
    """Estimate the rises that were not measured.

    Args:
        design: cells, rounds and plain losses.
        rise: (components, documents) in nats; only measured entries are read.
        measured: (components, documents).
        attribution: (components, documents) first-order attribution in nats; None without gradients.

    Returns:
        All rises, the measured ones as they are.
    """
    weights = np.where(measured, design.plain, 0.0)  # (components, documents)
    amount = np.maximum(weights.sum(1), TINY)
    y = np.where(measured, rise, 0.0) / design.plain
    x = np.zeros_like(y) if attribution is None else attribution / design.plain
    slope = _slope(x, y, weights, measured.sum(1))
    residual = np.where(measured, y - slope[:, None] * x, 0.0)
    mean = (residual * weights).sum(1) / amount
    cells = np.unique(design.cells)
    member = np.array([design.cells == cell for cell in cells], dtype=float)  # (cells, documents)
    inside, count = weights @ member.T, measured.astype(float) @ member.T  # (components, cells)
    own = (residual * weights) @ member.T / np.maximum(inside, TINY)
    variance = _variance(residual - mean[:, None], measured, design, measured.sum(1) - 1 - (slope != 0))
    share = _between_share(residual, own[:, design.cells], measured, count, design, variance)
    between, noise = variance * share, variance * (1 - share)
    kept = _kept_share(between[:, None], noise[:, None], count)
    shift = kept * (own - mean[:, None])  # (components, cells)
    estimate = (mean[:, None] + slope[:, None] * x + shift[:, design.cells]) * design.plain
    number = np.maximum(measured.sum(1), 1)
    full = np.where(measured, rise, estimate)
    return Fit(design, full, measured, noise, between, variance / number)


def _slope(x: np.ndarray, y: np.ndarray, weights: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(components,) weighted regression of y on x, shrunk by its standard error, positive part."""
    amount = np.maximum(weights.sum(1, keepdims=True), TINY)
    x = x - (x * weights).sum(1, keepdims=True) / amount
    y = y - (y * weights).sum(1, keepdims=True) / amount
    xx, xy, yy = (x * x * weights).sum(1), (x * y * weights).sum(1), (y * y * weights).sum(1)
    slope = xy / np.maximum(xx, TINY)
    free = np.maximum(count - 2, 1)
    error = np.maximum(yy - slope * xy, 0) / np.maximum(xx, TINY) / free
    shrunk = slope * np.maximum(1 - error / np.maximum(slope**2, TINY), 0)
    return np.where((count > FEW) & (xx > TINY), np.maximum(shrunk, 0), 0.0)


def _variance(residual: np.ndarray, measured: np.ndarray, design: Design, free: np.ndarray) -> np.ndarray:
    """(components,) variance of residuals at mean NLL."""
    squares = np.where(measured, residual**2 * design.plain / design.plain.mean(), 0.0).sum(1)
    return squares / np.maximum(free, 1)


def _between_share(
    residual: np.ndarray,
    own: np.ndarray,
    measured: np.ndarray,
    count: np.ndarray,
    design: Design,
    variance: np.ndarray,
) -> float:
    """Share of the residuals' variance that lies between cells: one for all components, as each alone tells little."""
    free = np.maximum(count - 1, 0).sum(1)
    able = (free >= 1) & (variance > TINY)
    if not able.any():
        return DEFAULT_BETWEEN
    within = _variance(residual - own, measured, design, free)
    ratio = within[able] / variance[able]
    return float(np.clip(1 - (ratio * free[able]).sum() / free[able].sum(), 0.05, 0.95))
