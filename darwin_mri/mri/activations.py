"""The one pass that channels 1, 3 and 4 share: probes run once, and what each layer does is added up on the device.

Per layer and site only sums survive a batch: a table with one row per resampling unit (so that groups and bootstrap resamples
are sums of rows), per-dimension sums, and for h_out and f one second-moment matrix. Accumulation is float32 or wider whatever
the model's dtype; padding and prefix tokens are left out; nothing leaves the device until the pass is over. The size of all
this depends on the model and on ``BUCKETS``, not on the number of probes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from darwin_mri.mri.adding import Groups, Tokens
from darwin_mri.probes import Batch, Probe, Reading, document_nll, observe
from darwin_mri.records import Anatomy

COVARIANCE_SITES = ("h_out", "f")
# Columns of the tables: tokens, then sums over tokens of per-token sums of powers, then of per-token ratios.
COLUMNS = ("tokens", "sum", "square", "cube", "fourth", "ratio", "cosine", "firing")
POWERS = ("sum", "square", "cube", "fourth")
BUCKETS = 64  # documents are resampled in at most this many buckets
PASSAGES = 64  # parallel passages whose pooled states are kept, for the representational language channel


@dataclass(frozen=True)
class Units:
    """Resampling units: documents in buckets, apart by language and domain.

    A document in several languages falls into one bucket, so that resampling buckets keeps parallel passages together.
    """

    keys: tuple[tuple[str, str, int], ...]  # (language, domain, bucket) per row
    row: tuple[int, ...]  # row of each probe

    def select(self, group: str) -> np.ndarray:
        """Rows of a group, boolean: ``all``, ``language:xx`` or ``domain:xx``."""
        kind, _, name = group.partition(":")
        return np.array([kind == "all" or name == (key[0] if kind == "language" else key[1]) for key in self.keys])

    @property
    def buckets(self) -> np.ndarray:
        return np.array([bucket for _, _, bucket in self.keys])

    def groups(self) -> list[str]:
        languages = sorted({key[0] for key in self.keys})
        domains = sorted({key[1] for key in self.keys})
        return ["all", *(f"language:{name}" for name in languages), *(f"domain:{name}" for name in domains)]


def resampling_units(probes: Sequence[Probe]) -> Units:
    """One bucket per document while there are at most ``BUCKETS``; beyond that documents share them in turn."""
    bucket = {doc: number % BUCKETS for number, doc in enumerate(dict.fromkeys(probe.doc for probe in probes))}
    keys = [(probe.language, probe.domain, bucket[probe.doc]) for probe in probes]
    rows = {key: row for row, key in enumerate(sorted(set(keys)))}
    return Units(tuple(rows), tuple(rows[key] for key in keys))


@dataclass
class SiteSums:
    """Sums of one site of one layer. ``table`` (units, COLUMNS) float64; ``largest`` (units,); the others per dimension."""

    table: torch.Tensor
    largest: torch.Tensor  # largest magnitude
    total: torch.Tensor  # (width,)
    square: torch.Tensor  # (width,)
    peak: torch.Tensor  # (width,) largest magnitude of each dimension
    moment: torch.Tensor | None  # (width, width)


@dataclass
class LayerSums:
    sites: dict[str, SiteSums] = field(default_factory=dict)
    pooled: torch.Tensor | None = (
        None  # (kept passages + 1, hidden): sum of h_out over tokens; the last row is the rest
    )
    state: torch.Tensor | None = None  # (languages x domains, hidden): sum of h_out over tokens
    firing: torch.Tensor | None = None  # (languages x domains, neurons): count of tokens with a positive gate
    gate_square: torch.Tensor | None = None  # scalar: sum over tokens of the mean square of the gate's pre-activation


@dataclass(frozen=True)
class Activations:
    """What one pass left: sums per layer, NLL per document in nats, values at paired positions where they were asked for.

    ``cells`` names the rows of ``LayerSums.state`` and ``firing``, (language, domain); ``passages`` the rows of ``pooled``,
    (pair, language) -> row. ``sampled`` (positions, hidden) of f and ``neurons`` (fewer positions, width) of a, per layer.
    """

    reading: Reading
    units: Units
    cells: tuple[tuple[str, str], ...]
    passages: dict[tuple[str, str], int]
    layers: tuple[LayerSums, ...]
    nll: np.ndarray  # (documents,)
    sampled: tuple[torch.Tensor | None, ...]
    neurons: tuple[torch.Tensor | None, ...]

    def mean(self, layer: int, site: str) -> torch.Tensor | None:
        """The mean over all tokens of a site, (width,); None where the layer has no such site."""
        sums = self.layers[layer].sites.get(site)
        return None if sums is None else sums.total / sums.table[:, 0].sum().clamp_min(1).float()


class _Recorder:
    """Receives sites from the hooks and adds them up; ``start`` announces the batch that is running, ``finish`` ends it."""

    def __init__(
        self, reading: Reading, layers: int, device: str, positions: Sequence[tuple[int, int]], neuron_positions: int
    ) -> None:
        probes = reading.probes
        self.layers = [LayerSums() for _ in range(layers)]
        self.device = device
        self.units = resampling_units(probes)
        self.cells = tuple(sorted({(p.language, p.domain) for p in probes}))
        self.passages = _kept_passages(probes)
        cell = {name: row for row, name in enumerate(self.cells)}
        rest = len(self.passages)
        self.unit_of = torch.tensor(self.units.row, device=device)
        self.cell_of = torch.tensor([cell[p.language, p.domain] for p in probes], device=device)
        slots = [self.passages.get((p.pair, p.language), rest) if p.pair else rest for p in probes]
        self.passage_of = torch.tensor(slots, device=device)
        self.limits = {"f": len(positions), "a": min(neuron_positions, len(positions))}
        self.kept: dict[str, list[torch.Tensor | None]] = {site: [None] * layers for site in self.limits}
        self.where = [_places(batch, positions, device) for batch in reading.batches]

    def start(self, number: int, batch: Batch) -> None:
        self.text = batch.positions
        self.units_here = Groups(self.unit_of[batch.owner], len(self.units.keys))
        self.cells_here = Groups(self.cell_of[batch.owner], len(self.cells))
        self.passages_here = Groups(self.passage_of[batch.owner], len(self.passages) + 1)
        self.tokens_here, self.slots_here = self.where[number]
        self.left: torch.Tensor | None = None  # what the layer before handed on
        self.squares_in: dict[int, torch.Tensor] = {}  # of each layer's input
        self.shares: dict[int, torch.Tensor] = {}  # of neurons that fire
        self.found: dict[str, dict[int, dict[str, torch.Tensor]]] = {}  # site -> layer -> sums over each token

    def __call__(self, index: int, site: str, value: torch.Tensor) -> None:
        layer, flat = self.layers[index], value.detach().flatten(0, 1)
        if site == "h_in":
            if value is not self.left:  # else both are known
                self.h_in = Tokens(flat, self.text)
                self.square_in = self.h_in.sums("square")["square"]
            self.squares_in[index] = self.square_in
        elif site == "gate":
            self._fire(index, Tokens(flat, self.text))
        elif site == "h_out":
            tokens = Tokens(flat, self.text, self.h_in)
            found = self._add(index, site, tokens, "dot")
            self._pool(layer, tokens.values)
            tokens.other = None  # or every layer's would be held
            self.left, self.h_in, self.square_in = value, tokens, found["square"]
        else:
            tokens = Tokens(flat, self.text)
            self._add(index, site, tokens)
            if site in self.kept:
                self._keep(index, site, tokens)

    def _fire(self, index: int, gate: Tokens) -> None:
        layer, width = self.layers[index], gate.everything.shape[-1]
        if layer.firing is None or layer.gate_square is None:
            layer.firing = torch.zeros(len(self.cells), width, device=self.device)
            layer.gate_square = torch.zeros((), device=self.device, dtype=torch.float64)
        sums = gate.sums("square", "positive")
        gate.add_positive(layer.firing, self.cells_here)
        layer.gate_square += sums["square"].sum(dtype=torch.float64) / width
        self.shares[index] = sums["positive"] / width

    def _add(self, index: int, site: str, tokens: Tokens, *more: str) -> dict[str, torch.Tensor]:
        """Add up what all sites have over tokens; what they have of each token waits for the end of the batch."""
        layer = self.layers[index]
        if site not in layer.sites:
            layer.sites[site] = self._empty(site, tokens.everything.shape[-1])
        sums = layer.sites[site]
        found = self.found.setdefault(site, {})[index] = tokens.sums(*POWERS, "largest", *more)
        tokens.add_dimensions(sums.total, sums.square, sums.peak)
        if sums.moment is not None:
            tokens.add_moment(sums.moment)
        return found

    def finish(self) -> None:
        """Add up by resampling unit what the batch's tokens left: all layers of a site at once, since a device's time goes by launches."""
        for site, found in self.found.items():

            def stacked(name: str, found: dict[int, dict[str, torch.Tensor]] = found) -> torch.Tensor:
                return torch.stack([sums[name] for sums in found.values()])  # (layers, tokens)

            powers = [stacked(name) for name in POWERS]
            zero, norm = torch.zeros_like(powers[0]), powers[1].sqrt()
            norm_in = torch.stack([self.squares_in[index] for index in found]).sqrt()
            ratio = norm / norm_in.clamp_min(1e-12) if site in ("f", "m") else zero
            cosine = stacked("dot") / (norm * norm_in).clamp_min(1e-24) if site == "h_out" else zero
            firing = torch.stack([self.shares[index] for index in found]) if site == "a" else zero
            columns = torch.stack([torch.ones_like(zero), *powers, ratio, cosine, firing], dim=-1)
            table = columns.new_zeros(len(self.units.keys), len(found) * len(COLUMNS), dtype=torch.float64)
            self.units_here.add(table, columns.transpose(0, 1).flatten(1).contiguous())
            largest = torch.zeros(len(found), len(self.units.keys), device=self.device)
            self.units_here.raise_to(largest, stacked("largest"))
            tables = table.view(len(self.units.keys), len(found), len(COLUMNS)).unbind(1)
            for index, mine, peak in zip(found, tables, largest, strict=True):
                sums = self.layers[index].sites[site]
                sums.table += mine
                torch.maximum(sums.largest, peak, out=sums.largest)
        self.found.clear()

    def _empty(self, site: str, width: int) -> SiteSums:
        zeros = torch.zeros(width, device=self.device)
        moment = torch.zeros(width, width, device=self.device) if site in COVARIANCE_SITES else None
        table = torch.zeros(len(self.units.keys), len(COLUMNS), device=self.device, dtype=torch.float64)
        largest = torch.zeros(len(self.units.keys), device=self.device)
        return SiteSums(table, largest, zeros, zeros.clone(), zeros.clone(), moment)

    def _pool(self, layer: LayerSums, tokens: torch.Tensor) -> None:
        if layer.pooled is None or layer.state is None:
            layer.pooled = torch.zeros(len(self.passages) + 1, tokens.shape[-1], device=self.device)
            layer.state = torch.zeros(len(self.cells), tokens.shape[-1], device=self.device)
        self.passages_here.add(layer.pooled, tokens)
        self.cells_here.add(layer.state, tokens)

    def _keep(self, index: int, site: str, tokens: Tokens) -> None:
        limit = self.limits[site]
        if limit == 0:
            return
        wanted = tokens.some(self.tokens_here)
        buffer = self.kept[site][index]
        if buffer is None:
            # One row more than asked for: positions beyond the limit land there.
            buffer = self.kept[site][index] = torch.zeros(limit + 1, wanted.shape[-1], device=self.device)
        buffer[self.slots_here.clamp_max(limit)] = wanted


def _kept_passages(probes: Sequence[Probe]) -> dict[tuple[str, str], int]:
    """(pair, language) -> row, for the passages that every language has, ``PASSAGES`` of them at most."""
    languages = sorted({p.language for p in probes if p.pair})
    there = {(p.pair, p.language) for p in probes if p.pair}
    names = sorted({p.pair for p in probes if p.pair})
    names = [name for name in names if all((name, k) in there for k in languages)][:PASSAGES]
    return {(name, k): row for row, (name, k) in enumerate((n, k) for n in names for k in languages)}


def _places(batch: Batch, positions: Sequence[tuple[int, int]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Where wanted (probe, token) positions lie among a batch's text tokens, and their numbers."""
    offset = dict(zip(batch.documents.tolist(), batch.offsets, strict=True))
    found = [(offset[i] + token, slot) for slot, (i, token) in enumerate(positions) if i in offset]
    tokens, slots = (torch.tensor([pair[side] for pair in found], dtype=torch.long, device=device) for side in (0, 1))
    return tokens, slots


@torch.inference_mode()
def measure_activations(
    model: Any,
    anatomy: Anatomy,
    reading: Reading,
    *,
    positions: Sequence[tuple[int, int]] = (),
    neuron_positions: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> Activations:
    """Run every batch once with hooks on and return the sums.

    Args:
        positions: (probe index, token index) pairs whose FFN increment is kept, for FFN similarity.
        neuron_positions: of these, how many also keep their neurons.
        advance: called with the number of documents done.
    """
    device = str(next(model.parameters()).device)
    recorder = _Recorder(reading, len(anatomy.layers), device, positions, neuron_positions)
    nll = torch.zeros(len(reading.probes), device=device, dtype=torch.float64)
    with observe(model, anatomy, recorder):
        for number, batch in enumerate(reading.batches):
            recorder.start(number, batch)
            nll[batch.documents] = document_nll(model, batch).double()
            recorder.finish()
            advance(len(batch.ids))
    kept = {
        site: tuple(None if buffer is None else buffer[: recorder.limits[site]] for buffer in buffers)
        for site, buffers in recorder.kept.items()
    }
    return Activations(
        reading, recorder.units, recorder.cells, recorder.passages, tuple(recorder.layers), nll.cpu().numpy(),
        kept["f"], kept["a"],
    )  # fmt: skip
