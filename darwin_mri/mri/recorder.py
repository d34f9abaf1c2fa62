"""From the sites that hooks report to the running sums of a pass.

A batch has a state of its own (``BatchSums``): which token belongs to which unit, and what of each token waits for the
end of the batch. The sums of the whole pass are the recorder's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from darwin_mri.mri.accumulators import MaskedRows, SegmentSum
from darwin_mri.mri.sums import COLUMNS, POWERS, LayerSums, SiteSums, complete_passages, resampling_units
from darwin_mri.probes import Batch, TokenizedProbes


class Recorder:
    """The sums of one pass, and the observer that hooks call: ``start`` a batch, run it, ``finish`` it.

    Args:
        tokenized: the probes in the model's tokens; batches are announced by their number.
        layers: number of layers.
        device: where the sums are kept.
        positions: (probe index, token index) pairs whose FFN increment is kept.
        neuron_positions: of these, how many also keep their neurons.
        experts: layer -> number of its experts, for the layers that have a mixture.

    Attributes:
        layers: sums of each layer.
        units: resampling units, rows of the tables.
        cells: (language, domain) pairs, rows of ``LayerSums.firing`` and ``routed``.
        passages: (pair, language) -> row of ``LayerSums.pooled``.
    """

    def __init__(
        self,
        tokenized: TokenizedProbes,
        layers: int,
        device: str,
        positions: Sequence[tuple[int, int]],
        neuron_positions: int,
        experts: Mapping[int, int] | None = None,
    ) -> None:
        probes = tokenized.probes
        self.layers = [LayerSums() for _ in range(layers)]
        for index, count in (experts or {}).items():
            shape = (len({(p.language, p.domain) for p in probes}), count)
            self.layers[index].routed = torch.zeros(shape, device=device, dtype=torch.float64)
        self.device = device
        self.units = resampling_units(probes)
        self.cells = tuple(sorted({(p.language, p.domain) for p in probes}))
        self.passages = complete_passages(probes)
        cell = {name: row for row, name in enumerate(self.cells)}
        rest = len(self.passages)
        slots = [self.passages.get((p.pair, p.language), rest) if p.pair else rest for p in probes]
        # Row of each probe in the three kinds of tables, (probes,).
        self.unit_of = torch.tensor(self.units.row, device=device)
        self.cell_of = torch.tensor([cell[p.language, p.domain] for p in probes], device=device)
        self.passage_of = torch.tensor(slots, device=device)
        self.places = [_places(batch, positions, device) for batch in tokenized.batches]
        self._limits = {"f": len(positions), "a": min(neuron_positions, len(positions))}
        self._kept: dict[str, list[torch.Tensor | None]] = {site: [None] * layers for site in self._limits}
        self._batch: BatchSums | None = None

    def start(self, number: int, batch: Batch) -> None:
        """Announce the batch whose sites the hooks report next."""
        self._batch = BatchSums(self, number, batch)

    def __call__(self, index: int, site: str, value: torch.Tensor) -> None:
        """Take what a layer (``index``) does at a site, (rows, length, width): the observer that hooks call."""
        assert self._batch is not None
        self._batch.add(index, site, value)

    def finish(self) -> None:
        """End the batch that is running."""
        assert self._batch is not None
        self._batch.finish()
        self._batch = None

    def site_sums(self, index: int, site: str, width: int) -> SiteSums:
        """The running sums of a site, zeros when it is first seen.

        Args:
            index: of the layer.
            site: its name.
            width: of the site.

        Returns:
            The sums themselves, to be added to.
        """
        sites = self.layers[index].sites
        if site not in sites:
            sites[site] = SiteSums.zeros(site, width, len(self.units.keys), self.device)
        return sites[site]

    def keep(self, index: int, site: str, tokens: MaskedRows, number: int) -> None:
        """Keep a site's values at the wanted positions.

        Args:
            index: of the layer.
            site: ``f`` or ``a``; no other site is kept.
            tokens: the batch's tokens at this site.
            number: of the batch.
        """
        limit = self._limits.get(site, 0)
        if limit == 0:
            return
        places, slots = self.places[number]  # (wanted,) each
        values = tokens.pick(places)  # (wanted, width)
        buffer = self._kept[site][index]
        if buffer is None:
            # One row more than asked for: positions beyond the limit land there.
            buffer = self._kept[site][index] = torch.zeros(limit + 1, values.shape[-1], device=self.device)
        buffer[slots.clamp_max(limit)] = values

    def kept(self, site: str) -> tuple[torch.Tensor | None, ...]:
        """Per layer the values at the wanted positions, (positions, width); None where the layer has no such site."""
        limit = self._limits[site]
        return tuple(None if buffer is None else buffer[:limit] for buffer in self._kept[site])


class _Stream(NamedTuple):
    """The residual stream where a layer took or left it.

    ``value`` is the tensor itself, by whose identity the next layer's input is recognised.
    """

    value: torch.Tensor
    tokens: MaskedRows
    square: torch.Tensor  # (tokens,) sum of squares


class BatchSums:
    """The state of one batch's forward.

    Sites of a layer come in the order of ``probes.hooks.SITES``: ``h_in`` first, ``h_out`` last, the FFN's and the
    mixer's between them. Sums over tokens go into the recorder's at once. What needs the unit of each token, or two
    sites of a layer, waits here until ``finish``: that takes one launch for all layers of a site.

    Args:
        totals: the recorder whose sums are added to.
        number: of the batch among the recorder's.
        batch: the batch.
    """

    def __init__(self, totals: Recorder, number: int, batch: Batch) -> None:
        self.totals, self.number, self.positions = totals, number, batch.positions
        self.units = SegmentSum(totals.unit_of[batch.owner], len(totals.units.keys))
        self.last = torch.tensor([*batch.offsets[1:], len(batch.owner)], device=totals.device) - 1  # of each text
        self.ends = SegmentSum(self.units.group[self.last], self.units.count)
        self.cells = SegmentSum(totals.cell_of[batch.owner], len(totals.cells))
        self.passages = SegmentSum(totals.passage_of[batch.owner], len(totals.passages) + 1)
        self.stream: _Stream | None = None  # where the newest layer took or left it
        self.squares_in: dict[int, torch.Tensor] = {}  # layer -> (tokens,) |h_in|^2
        self.firing: dict[int, torch.Tensor] = {}  # layer -> (tokens,) share of neurons with a positive gate
        # site -> layer -> name -> (tokens,) sums over each token's values
        self.token_sums: dict[str, dict[int, dict[str, torch.Tensor]]] = {}

    def add(self, index: int, site: str, value: torch.Tensor) -> None:
        """Add up one site of one layer.

        Args:
            index: of the layer.
            site: its name, one of ``probes.hooks.SITES``.
            value: (rows, length, width), in the model's dtype.
        """
        flat = value.detach().flatten(0, 1)  # (rows x length, width)
        if site == "h_in":
            if self.stream is None or value is not self.stream.value:  # else the layer before left its sums
                tokens = MaskedRows(flat, self.positions)
                self.stream = _Stream(value, tokens, tokens.sums("square")["square"])
            self.squares_in[index] = self.stream.square
        elif site == "route":
            self._add_route(index, flat[self.positions])
        elif site == "gate":
            self._add_gate(index, MaskedRows(flat, self.positions))
        elif site == "h_out":
            assert self.stream is not None
            tokens = MaskedRows(flat, self.positions, self.stream.tokens)
            sums = self._add_site(index, site, tokens, "dot")
            self._pool(index, tokens.values)
            tokens.other = None  # else this layer's input would stay in memory until the batch ends
            self.stream = _Stream(value, tokens, sums["square"])
        else:
            tokens = MaskedRows(flat, self.positions)
            self._add_site(index, site, tokens)
            self.totals.keep(index, site, tokens, self.number)

    def _add_route(self, index: int, chosen: torch.Tensor) -> None:
        """Count the experts chosen for each token, (tokens, experts per token), by language and domain."""
        routed = self.totals.layers[index].routed
        assert routed is not None
        places = self.cells.group[:, None] * routed.shape[1] + chosen  # (tokens, experts per token)
        counts = torch.ones_like(places, dtype=routed.dtype)
        routed.view(-1).scatter_add_(0, places.flatten(), counts.flatten())  # whole numbers: exact in any order

    def _add_gate(self, index: int, gate: MaskedRows) -> None:
        layer, width = self.totals.layers[index], gate.matrix.shape[-1]
        if layer.firing is None or layer.gate_square is None:
            layer.firing = torch.zeros(len(self.totals.cells), width, device=self.totals.device)
            layer.gate_square = torch.zeros((), device=self.totals.device, dtype=torch.float64)
        sums = gate.sums("square", "positive")
        gate.add_positive(layer.firing, self.cells)
        layer.gate_square += sums["square"].sum(dtype=torch.float64) / width
        self.firing[index] = sums["positive"] / width

    def _add_site(self, index: int, site: str, tokens: MaskedRows, *more: str) -> dict[str, torch.Tensor]:
        """Add the sums over tokens that all sites have; returns the sums over each token's values, (tokens,) each."""
        totals = self.totals.site_sums(index, site, tokens.matrix.shape[-1])
        sums = self.token_sums.setdefault(site, {})[index] = tokens.sums(*POWERS, "largest", *more)
        tokens.add_dimensions(totals.total, totals.square, totals.peak)
        if totals.moment is not None:
            tokens.add_moment(totals.moment)
        if totals.by_unit is not None:
            self.units.add(totals.by_unit, tokens.values)
        return sums

    def _pool(self, index: int, states: torch.Tensor) -> None:
        """Add h_out, (tokens, hidden), by passage, and each text's last one by unit."""
        layer = self.totals.layers[index]
        if layer.pooled is None:
            layer.pooled = torch.zeros(len(self.totals.passages) + 1, states.shape[-1], device=self.totals.device)
            layer.ends = torch.zeros(self.units.count, states.shape[-1], device=self.totals.device)
        self.passages.add(layer.pooled, states)
        assert layer.ends is not None, "begun with pooled"
        self.ends.add(layer.ends, states[self.last])

    def finish(self) -> None:
        """Add the sums over each token's values to the tables, by resampling unit.

        All layers of a site go at once, since a device's time goes by launches.
        """
        for site, by_layer in self.token_sums.items():
            powers = [_stack(by_layer, name) for name in POWERS]  # (layers, tokens) each
            zero, norm = torch.zeros_like(powers[0]), powers[1].sqrt()
            norm_in = torch.stack([self.squares_in[index] for index in by_layer]).sqrt()  # (layers, tokens)
            ratio = norm / norm_in.clamp_min(1e-12) if site in ("f", "m") else zero
            cosine = _stack(by_layer, "dot") / (norm * norm_in).clamp_min(1e-24) if site == "h_out" else zero
            firing = torch.stack([self.firing[index] for index in by_layer]) if site == "a" else zero
            # (layers, tokens, columns) -> (tokens, layers x columns), added up to (units, layers x columns)
            columns = torch.stack([torch.ones_like(zero), *powers, ratio, cosine, firing], dim=-1)
            table = columns.new_zeros(self.units.count, len(by_layer) * len(COLUMNS), dtype=torch.float64)
            self.units.add(table, columns.transpose(0, 1).flatten(1).contiguous())
            largest = torch.zeros(len(by_layer), self.units.count, device=self.totals.device)  # (layers, units)
            self.units.raise_to(largest, _stack(by_layer, "largest"))
            tables = table.view(self.units.count, len(by_layer), len(COLUMNS)).unbind(1)  # layers x (units, columns)
            for index, layer_table, peak in zip(by_layer, tables, largest, strict=True):
                sums = self.totals.layers[index].sites[site]
                sums.table += layer_table
                torch.maximum(sums.largest, peak, out=sums.largest)


def _stack(by_layer: dict[int, dict[str, torch.Tensor]], name: str) -> torch.Tensor:
    """(layers, tokens) of one sum."""
    return torch.stack([sums[name] for sums in by_layer.values()])


def _places(batch: Batch, positions: Sequence[tuple[int, int]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Where wanted (probe, token) positions lie among a batch's text tokens, and their numbers; (wanted,) each."""
    offset = dict(zip(batch.documents.tolist(), batch.offsets, strict=True))
    pairs = [(offset[i] + token, slot) for slot, (i, token) in enumerate(positions) if i in offset]
    places, slots = (torch.tensor([pair[side] for pair in pairs], dtype=torch.long, device=device) for side in (0, 1))
    return places, slots
