"""Channel 1 and the sums other channels share: one pass over the probes, streamed into small tables on the device.

Per layer and site only sums survive a batch: a table with one row per document (so that groups and bootstrap resamples are
sums of rows), per-dimension sums, and for h_out and f one second-moment matrix. Accumulation is float32 or wider whatever
the model's dtype, padding and prefix tokens have weight zero, and nothing leaves the device until the pass is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from darwin_mri.probes import Batch, Reading, document_nll, observe
from darwin_mri.records import Anatomy

SITES = ("h_out", "m", "x", "a", "f")
COVARIANCE_SITES = ("h_out", "f")
# Columns of the per-document tables: tokens, then sums over tokens of per-token sums of powers, then ratios.
COLUMNS = ("tokens", "sum", "square", "cube", "fourth", "ratio", "cosine", "firing")
OUTLIER_FACTOR = 6.0  # a feature is an outlier when its mean magnitude exceeds this many times the site's average


@dataclass
class SiteSums:
    """Sums of one site of one layer. ``table`` (documents, COLUMNS) float64; the others per dimension, float32."""

    table: torch.Tensor
    largest: torch.Tensor  # (documents,)
    magnitude: torch.Tensor  # (width,)
    total: torch.Tensor  # (width,)
    peak: torch.Tensor  # (width,) largest magnitude of each dimension
    moment: torch.Tensor | None  # (width, width)


@dataclass
class LayerSums:
    sites: dict[str, SiteSums] = field(default_factory=dict)
    pooled: torch.Tensor | None = None  # (documents, hidden): sum of h_out over tokens
    firing: torch.Tensor | None = None  # (languages, neurons): count of tokens with a positive gate
    gate_square: torch.Tensor | None = None  # scalar: sum over tokens of the mean square of the gate's pre-activation


@dataclass(frozen=True)
class Activations:
    """What one pass left: sums per layer, NLL per document in nats, paired FFN increments where positions were asked for."""

    reading: Reading
    layers: tuple[LayerSums, ...]
    nll: np.ndarray  # (documents,)
    sampled: tuple[torch.Tensor | None, ...]  # per layer (positions, hidden) of f, in the order asked for
    mean_f: tuple[torch.Tensor | None, ...]  # per layer (hidden,)


class _Recorder:
    """Receives sites from the hooks and adds them up; ``start`` announces the batch that is running."""

    def __init__(self, reading: Reading, layers: int, device: str, positions: Sequence[tuple[int, int]]) -> None:
        self.layers = [LayerSums() for _ in range(layers)]
        self.documents = len(reading.probes)
        self.device = device
        languages = sorted({probe.language for probe in reading.probes})
        rows = [languages.index(probe.language) for probe in reading.probes]
        self.language_rows = torch.tensor(rows, device=device)
        self.languages = len(languages)
        # Where each wanted (probe, token) sits in the output buffer.
        self.wanted: dict[int, list[tuple[int, int]]] = {}
        for slot, (document, token) in enumerate(positions):
            self.wanted.setdefault(document, []).append((token, slot))
        self.slots = len(positions)
        self.prefix = len(reading.prefix)
        self.sampled: list[torch.Tensor | None] = [None] * layers
        self.h_in = torch.empty(0)
        self.h_in_norm = torch.empty(0)

    def start(self, batch: Batch) -> None:
        self.batch = batch
        self.weight = batch.text.float()  # (rows, length)
        rows, columns, slots = [], [], []
        for row, document in enumerate(batch.documents.tolist()):
            for token, slot in self.wanted.get(document, ()):
                rows.append(row)
                columns.append(token + self.prefix)
                slots.append(slot)
        self.gather = tuple(torch.tensor(v, device=self.device, dtype=torch.long) for v in (rows, columns, slots))

    def __call__(self, index: int, site: str, value: torch.Tensor) -> None:
        value = value.detach().float()
        layer = self.layers[index]
        if site == "h_in":
            self.h_in = value
            self.h_in_norm = value.norm(dim=-1)
            return
        if site == "gate":
            self._fire(layer, value)
            return
        ratio = value.norm(dim=-1) / self.h_in_norm.clamp_min(1e-12) if site in ("f", "m") else None
        cosine = torch.nn.functional.cosine_similarity(value, self.h_in, dim=-1) if site == "h_out" else None
        self._add(layer, site, value, ratio, cosine)
        if site == "h_out":
            if layer.pooled is None:
                layer.pooled = torch.zeros(self.documents, value.shape[-1], device=self.device)
            layer.pooled.index_add_(0, self.batch.documents, (value * self.weight.unsqueeze(-1)).sum(1))
        if site == "f" and self.slots:
            buffer = self.sampled[index]
            if buffer is None:
                buffer = self.sampled[index] = torch.zeros(self.slots, value.shape[-1], device=self.device)
            rows, columns, slots = self.gather
            buffer[slots] = value[rows, columns]

    def _fire(self, layer: LayerSums, gate: torch.Tensor) -> None:
        if layer.firing is None:
            layer.firing = torch.zeros(self.languages, gate.shape[-1], device=self.device, dtype=torch.float64)
        fired = ((gate > 0) * self.weight.unsqueeze(-1)).sum(1)  # (rows, neurons)
        layer.firing.index_add_(0, self.language_rows[self.batch.documents], fired.double())
        square = (gate.square().mean(-1) * self.weight).sum().double()
        layer.gate_square = square if layer.gate_square is None else layer.gate_square + square
        share = ((gate > 0).float().mean(-1) * self.weight).sum(1)
        self.fired_share = share  # joined to site "a", which follows in the same layer

    def _add(
        self, layer: LayerSums, site: str, value: torch.Tensor, ratio: torch.Tensor | None, cosine: torch.Tensor | None
    ) -> None:
        width = value.shape[-1]
        sums = layer.sites.get(site)
        if sums is None:
            zeros = torch.zeros(width, device=self.device)
            moment = torch.zeros(width, width, device=self.device) if site in COVARIANCE_SITES else None
            table = torch.zeros(self.documents, len(COLUMNS), device=self.device, dtype=torch.float64)
            largest = torch.zeros(self.documents, device=self.device)
            sums = layer.sites[site] = SiteSums(table, largest, zeros, zeros.clone(), zeros.clone(), moment)
        weight, magnitude = self.weight, value.abs()
        square = value * value
        columns = [
            weight,
            value.sum(-1) * weight,
            square.sum(-1) * weight,
            (square * value).sum(-1) * weight,
            (square * square).sum(-1) * weight,
            torch.zeros_like(weight) if ratio is None else ratio * weight,
            torch.zeros_like(weight) if cosine is None else cosine * weight,
        ]
        rows = [column.sum(1).double() for column in columns]
        rows.append(self.fired_share.double() if site == "a" else torch.zeros_like(rows[0]))
        sums.table.index_add_(0, self.batch.documents, torch.stack(rows, dim=1))
        weighted = magnitude * weight.unsqueeze(-1)
        sums.largest[self.batch.documents] = torch.maximum(
            sums.largest[self.batch.documents], weighted.amax(dim=(1, 2))
        )
        sums.magnitude += weighted.sum((0, 1))
        sums.total += (value * weight.unsqueeze(-1)).sum((0, 1))
        sums.peak = torch.maximum(sums.peak, weighted.amax(dim=(0, 1)))
        if sums.moment is not None:
            flat = (value * weight.unsqueeze(-1)).flatten(0, 1)
            sums.moment += flat.T @ flat


@torch.inference_mode()
def measure_activations(
    model: Any,
    anatomy: Anatomy,
    reading: Reading,
    *,
    positions: Sequence[tuple[int, int]] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> Activations:
    """Run every batch once with hooks on and return the sums.

    Args:
        positions: (probe index, token index) pairs whose FFN increment is kept, for FFN similarity.
        advance: called with the number of documents done.
    """
    device = str(next(model.parameters()).device)
    recorder = _Recorder(reading, len(anatomy.layers), device, positions)
    nll = torch.zeros(len(reading.probes), device=device, dtype=torch.float64)
    with observe(model, anatomy, recorder):
        for batch in reading.batches:
            recorder.start(batch)
            nll[batch.documents] = document_nll(model, batch).double()
            advance(len(batch.ids))
    means: list[torch.Tensor | None] = []
    for layer in recorder.layers:
        site = layer.sites.get("f")
        means.append(None if site is None else site.total / site.table[:, 0].sum().clamp_min(1).float())
    return Activations(reading, tuple(recorder.layers), nll.cpu().numpy(), tuple(recorder.sampled), tuple(means))


def summarise(activations: Activations) -> list[dict[str, dict[str, dict[str, float]]]]:
    """Per layer ``{site: {group: {statistic: value}}}``; groups are ``all``, ``language:xx`` and ``domain:xx``.

    rms, mean, std and excess kurtosis are over all values of the site; max_abs is the largest magnitude; increment_ratio is
    the mean over tokens of |f|/|h_in| (or |m|/|h_in|); block_influence is the mean of 1 - cos(h_in, h_out) (arXiv
    2403.03853); firing is the share of neurons with a positive gate; dead the share that never exceed 1e-6; outliers counts
    features whose mean magnitude exceeds six times the site's; participation_ratio is (tr C)^2 / tr(C^2) of the centred
    second moment.
    """
    probes = activations.reading.probes
    groups: dict[str, np.ndarray] = {"all": np.ones(len(probes), dtype=bool)}
    for name in sorted({p.language for p in probes}):
        groups[f"language:{name}"] = np.array([p.language == name for p in probes])
    for name in sorted({p.domain for p in probes}):
        groups[f"domain:{name}"] = np.array([p.domain == name for p in probes])
    result = []
    for layer in activations.layers:
        sites: dict[str, dict[str, dict[str, float]]] = {}
        for site in SITES:
            if site in layer.sites:
                sums = layer.sites[site]
                table, largest = sums.table.cpu().numpy(), sums.largest.cpu().numpy()
                sites[site] = {
                    g: _moments(table[keep], largest[keep], len(sums.total), site) for g, keep in groups.items()
                }
                sites[site]["all"].update(_dimension_statistics(sums, site))
        if layer.gate_square is not None and "a" in sites:
            tokens = float(layer.sites["a"].table[:, 0].sum())
            sites["a"]["all"]["gate_rms"] = (float(layer.gate_square) / max(tokens, 1.0)) ** 0.5
        result.append(sites)
    return result


def _moments(table: np.ndarray, largest: np.ndarray, width: int, site: str) -> dict[str, float]:
    tokens, first, second, third, fourth, ratio, cosine, firing = table.sum(0)
    count = max(tokens * width, 1.0)
    mean, square = first / count, second / count
    variance = max(square - mean**2, 0.0)
    central4 = fourth / count - 4 * mean * third / count + 6 * mean**2 * square - 3 * mean**4
    out = {
        "rms": square**0.5,
        "mean": mean,
        "std": variance**0.5,
        "kurtosis": central4 / variance**2 - 3 if variance > 1e-20 else 0.0,
        "max_abs": float(largest.max(initial=0.0)),
    }
    if site in ("f", "m"):
        out["increment_ratio"] = ratio / max(tokens, 1)
    if site == "h_out":
        out["block_influence"] = 1 - cosine / max(tokens, 1)
    if site == "a":
        out["firing"] = firing / max(tokens, 1)
    return {name: float(value) for name, value in out.items()}


def _dimension_statistics(sums: SiteSums, site: str) -> dict[str, float]:
    magnitude = sums.magnitude
    out = {"outliers": float((magnitude > OUTLIER_FACTOR * magnitude.mean()).sum())}
    if site == "a":
        out["dead"] = float((sums.peak < 1e-6).float().mean())
    if sums.moment is not None:
        tokens = sums.table[:, 0].sum()
        mean = (sums.total.double() / tokens).unsqueeze(1)
        covariance = sums.moment.double() / tokens - mean @ mean.T
        squared = (covariance**2).sum()
        out["participation_ratio"] = float(covariance.trace() ** 2 / squared) if squared > 0 else 0.0
    return out
