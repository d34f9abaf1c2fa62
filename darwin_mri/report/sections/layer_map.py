"""FFN similarity of the parents and the layer map drawn from it, as a section."""

from __future__ import annotations

from darwin_mri.records import PairScan
from darwin_mri.report import formats
from darwin_mri.report.charts import SimilarityMap
from darwin_mri.report.model.elements import Figure, Row, Section, Text, table
from darwin_mri.report.model.findings import mean_similarity


def similarity_section(pair: PairScan | None) -> Section:
    """Section 'similarity': CKA of all layer pairs and the map drawn from it."""
    key, title = "similarity", "FFN similarity and the layer map"
    if pair is None or not pair.cka:
        return Section(key, title, missing="scan/pair.json is missing: run darwin-mri scan FATHER --against MOTHER.")
    chart = SimilarityMap(
        "fig-similarity",
        "Debiased linear CKA of FFN increments, father layers by mother layers",
        "Father layers as rows, mother layers as columns, brighter is more alike. The line joins the pairs of the layer"
        " map; the dashed line is the proportional map.",
        pair.cka,
        pair.layer_map,
        pair.map_proportional,
    )
    rows = []
    for index, row in enumerate(pair.cka):
        best = max(range(len(row)), key=lambda m: row[m]) if row else None
        mapped = pair.layer_map[index] if index < len(pair.layer_map) else None
        proportional = pair.map_proportional[index] if index < len(pair.map_proportional) else None
        cells = [str(index)]
        for m in (mapped, proportional, best):
            cells += [formats.ABSENT, formats.ABSENT] if m is None or m >= len(row) else [str(m), formats.fixed(row[m])]
        rows.append(Row(tuple(cells)))
    columns = ("father layer", "mapped to", "CKA", "proportional", "CKA", "most alike", "CKA")
    shown = table("Layer map", columns, rows, note="The whole matrix is in scan/pair.json.", folded=True)
    return Section(key, title, (Text(_map_sentence(pair)), Figure(chart, (shown,))))


def _map_sentence(pair: PairScan) -> str:
    mapped, proportional = mean_similarity(pair, pair.layer_map), mean_similarity(pair, pair.map_proportional)
    return (
        f"Mean CKA along the layer map is {formats.fixed(mapped)}, along the proportional map"
        f" {formats.fixed(proportional)}. Of all maps that never step back, the one in use has the largest total."
    )
