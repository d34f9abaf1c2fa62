"""Layers as rows of heat maps: one panel per parent, columns read from the records, the layer map between two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from darwin_mri.records import LayerScan, PairScan, Scan
from darwin_mri.records.roles import role_label
from darwin_mri.report.charts import HeatPanel
from darwin_mri.report.sections.layer_tables import layer_label
from darwin_mri.translation import say

Parents = Sequence[tuple[str, Scan]]  # (role, scan) of those that were scanned, the father first


@dataclass(frozen=True)
class Column:
    """One column of a map.

    Attributes:
        name: its title.
        read: its number in a layer, or None.
        short: how a cell prints it.
        long: how the hover text prints it.
    """

    name: str
    read: Callable[[LayerScan], float | None]
    short: Callable[[float], str]
    long: Callable[[float], str]


def panels(parents: Parents, columns: Sequence[Column], shade: Callable[[float, int], float]) -> tuple[HeatPanel, ...]:
    """One panel per parent.

    Args:
        parents: (role, scan) pairs.
        columns: what to show.
        shade: turns a value and its column's number into a place on the colour scale.

    Returns:
        the panels, in the order of the parents.
    """
    drawn = []
    for role, scan in parents:
        values = [[column.read(layer) for column in columns] for layer in scan.layers]
        drawn.append(
            HeatPanel(
                title=f"{role_label(role)}: {scan.model.ref}",
                rows=tuple(layer_label(layer) for layer in scan.layers),
                layers=tuple(str(layer.index) for layer in scan.layers),
                shades=tuple(tuple(None if v is None else shade(v, c) for c, v in enumerate(row)) for row in values),
                texts=tuple(tuple("" if v is None else columns[c].short(v) for c, v in enumerate(r)) for r in values),
                details=tuple(
                    tuple(say("not measured") if v is None else columns[c].long(v) for c, v in enumerate(r))
                    for r in values
                ),
            )
        )
    return tuple(drawn)


def layer_links(parents: Parents, pair: PairScan | None) -> tuple[tuple[int, int, float], ...]:
    """The layer map as (row of the father, row of the mother, CKA); empty where one of them was not scanned."""
    if pair is None or len(parents) < 2:
        return ()
    rows = [{layer.index: row for row, layer in enumerate(scan.layers)} for _, scan in parents]
    links = []
    for index, mapped in enumerate(pair.layer_map):
        if index in rows[0] and mapped in rows[1]:
            known = index < len(pair.cka) and mapped < len(pair.cka[index])
            links.append((rows[0][index], rows[1][mapped], pair.cka[index][mapped] if known else 0.0))
    return tuple(links)


def column_scale(parents: Parents, columns: Sequence[Column]) -> Callable[[float, int], float]:
    """Each column from its lowest to its highest value over all parents, the square root to spread the low ones."""
    bounds = []
    for column in columns:
        values = [v for _, scan in parents for layer in scan.layers if (v := column.read(layer)) is not None]
        bounds.append((min(values, default=0.0), max(values, default=0.0)))

    def shade(value: float, number: int) -> float:
        low, high = bounds[number]
        return ((value - low) / (high - low)) ** 0.5 if high > low else 0.0

    return shade
