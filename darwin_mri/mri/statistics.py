"""Channel 1: from the sums of the one pass to statistics per layer, site, language and domain, with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from darwin_mri.mri.activations import Activations
from darwin_mri.mri.reliability import MIN_DOCUMENTS, bootstrap_weights, channel, permutation_p
from darwin_mri.mri.sums import BUCKETS, SiteSums
from darwin_mri.records import Channel

SITES = ("h_out", "m", "x", "a", "f")
OUTLIER_FACTOR = 6.0  # a feature is an outlier when its RMS exceeds this many times the site's
# The statistic of each site whose layers the channel's verdict is about.
HEADLINE = {"h_out": "block_influence", "m": "increment_ratio", "x": "rms", "a": "firing", "f": "increment_ratio"}

Groups = dict[str, dict[str, float]]
Intervals = dict[str, dict[str, tuple[float, float]]]


@dataclass(frozen=True)
class ActivationStatistics:
    """Channel 1.

    Attributes:
        values: per layer ``{site: {group: {statistic: value}}}``.
        intervals: the same with 95 % intervals (low, high).
        channels: verdicts by ``activation:site``.
    """

    values: list[dict[str, Groups]]
    intervals: list[dict[str, Intervals]]
    channels: dict[str, Channel]


def activation_statistics(activations: Activations, resamples: int, seed: int) -> ActivationStatistics:
    """Statistics of every site; groups are ``all``, ``language:xx`` and ``domain:xx``.

    rms, mean, std and excess kurtosis are over all values of the site, in its own unit; max_abs is the largest
    magnitude; increment_ratio is the mean over tokens of |f|/|h_in| (or |m|/|h_in|); block_influence the mean of
    1 - cos(h_in, h_out) (arXiv 2403.03853); firing the share of neurons with a positive gate; dead the share that never
    exceed 1e-6; outliers counts features whose RMS exceeds six times the site's; participation_ratio is
    (tr C)^2 / tr(C^2) of the centred second moment; gate_rms, among the statistics of site ``a``, is the RMS of the
    gate's pre-activation. Intervals come from resampling documents (in ``BUCKETS`` buckets).

    Args:
        activations: the one pass.
        resamples: bootstrap resamples over documents.
        seed: of the resamples and permutations.

    Returns:
        Values and intervals per layer, and one verdict per site.
    """
    units = activations.units
    weights = bootstrap_weights(BUCKETS, resamples, seed, "activations")[:, units.buckets]  # (resamples, units)
    groups = {name: units.select(name) for name in units.groups()}
    values: list[dict[str, Groups]] = []
    intervals: list[dict[str, Intervals]] = []
    for layer in activations.layers:
        layer_values: dict[str, Groups] = {}
        layer_intervals: dict[str, Intervals] = {}
        for site in (name for name in SITES if name in layer.sites):
            sums = layer.sites[site]
            table, largest, width = sums.table.cpu().numpy(), sums.largest.cpu().numpy(), len(sums.total)
            layer_values[site], layer_intervals[site] = {}, {}
            for name, rows in groups.items():
                point = _from_sums(table[rows].sum(0), width, site)
                resampled = _from_sums(weights[:, rows] @ table[rows], width, site)
                layer_values[site][name] = {key: float(value) for key, value in point.items()}
                layer_values[site][name]["max_abs"] = float(largest[rows].max(initial=0.0))
                layer_intervals[site][name] = _intervals(point, resampled)
            layer_values[site]["all"].update(_dimension_statistics(sums, site))
        if layer.gate_square is not None and "a" in layer_values:
            tokens = float(layer.sites["a"].table[:, 0].sum())
            layer_values["a"]["all"]["gate_rms"] = (float(layer.gate_square) / max(tokens, 1.0)) ** 0.5
        values.append(layer_values)
        intervals.append(layer_intervals)
    documents = len({probe.doc for probe in activations.tokenized.probes})
    channels = {
        f"activation:{site}": _verdict(activations, site, weights, documents, seed)
        for site in SITES
        if any(site in layer.sites for layer in activations.layers)
    }
    return ActivationStatistics(values, intervals, channels)


def _from_sums(sums: np.ndarray, width: int, site: str) -> dict[str, np.ndarray]:
    """Statistics from table sums of shape (..., COLUMNS); each of shape (...)."""
    tokens, first, second, third, fourth, ratio, cosine, firing = np.moveaxis(sums, -1, 0)
    count, tokens = np.maximum(tokens * width, 1.0), np.maximum(tokens, 1.0)
    mean, square = first / count, second / count
    variance = np.maximum(square - mean**2, 0.0)
    central4 = fourth / count - 4 * mean * third / count + 6 * mean**2 * square - 3 * mean**4
    flat = variance <= 1e-20
    out = {
        "rms": np.sqrt(square),
        "mean": mean,
        "std": np.sqrt(variance),
        "kurtosis": np.where(flat, 0.0, central4 / np.where(flat, 1.0, variance) ** 2 - 3),
    }
    if site in ("f", "m"):
        out["increment_ratio"] = ratio / tokens
    if site == "h_out":
        out["block_influence"] = 1 - cosine / tokens
    if site == "a":
        out["firing"] = firing / tokens
    return out


def _intervals(point: dict[str, np.ndarray], resampled: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    out = {}
    for name, draws in resampled.items():
        low, high = np.percentile(draws, [2.5, 97.5])
        out[name] = (float(min(low, point[name])), float(max(high, point[name])))
    return out


def _dimension_statistics(sums: SiteSums, site: str) -> dict[str, float]:
    square = sums.square.double()
    out = {"outliers": float((square > OUTLIER_FACTOR**2 * square.mean()).sum())}
    if site == "a":
        out["dead"] = float((sums.peak < 1e-6).double().mean())
    if sums.moment is not None:
        tokens = sums.table[:, 0].sum().clamp_min(1)
        mean = (sums.total.double() / tokens).unsqueeze(1)
        covariance = sums.moment.double() / tokens - mean @ mean.T
        squared = (covariance**2).sum()
        out["participation_ratio"] = float(covariance.trace() ** 2 / squared) if squared > 0 else 0.0
    return out


def _verdict(activations: Activations, site: str, weights: np.ndarray, documents: int, seed: int) -> Channel:
    """Whether layers differ in the site's headline statistic beyond what resampling documents moves it."""
    name, buckets = HEADLINE[site], activations.units.buckets
    present = [layer.sites[site] for layer in activations.layers if site in layer.sites]
    tables = [(sums.table.cpu().numpy(), len(sums.total)) for sums in present]
    values = np.array([_from_sums(table.sum(0), width, site)[name] for table, width in tables])
    resampled = np.stack([_from_sums(weights @ table, width, site)[name] for table, width in tables], axis=1)
    by_bucket = []
    for table, width in tables:
        sums = np.stack([table[buckets == bucket].sum(0) for bucket in sorted(set(buckets))])
        by_bucket.append(_from_sums(sums, width, site)[name])
    p_value = 1.0
    if documents >= MIN_DOCUMENTS and len(tables) > 1:
        p_value = permutation_p(np.array(by_bucket), lambda t: t.mean(1), name=f"activation:{site}", seed=seed)
    return channel(values, resampled, p_value, documents)
