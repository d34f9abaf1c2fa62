"""FFN similarity of the parents and the layer map drawn from it, as a section."""

from __future__ import annotations

from collections.abc import Mapping

from darwin_mri.records import PairScan
from darwin_mri.records.roles import MOTHER, named, pair_file, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import SimilarityMap
from darwin_mri.report.model.elements import Block, Figure, Row, Section, Text, table
from darwin_mri.report.model.findings import is_identity, map_similarity, mean_similarity
from darwin_mri.report.sections.parent_matrix import Heading, Plane, Value, matrix_figure
from darwin_mri.translation import labels, say


def similarity_section(pairs: Mapping[str, PairScan]) -> Section:
    """Section 'similarity': CKA of all layer pairs and the map drawn from it, for each other parent."""
    known = {role: pair for role, pair in pairs.items() if pair.cka}
    key, title = "similarity", say("FFN similarity and the layer map")
    if not known:
        return Section(
            key, title, missing=say("scan/pair.json is missing: run darwin-mri scan FATHER --against MOTHER.")
        )
    if len(known) == 1:
        ((role, pair),) = known.items()
        return Section(key, title, (Text(_map_sentence(pair)), _map_figure(role, pair)))
    identities = [role for role, pair in known.items() if is_identity(pair)]
    blocks: list[Block] = [_alike_figure(known)]
    if identities:
        blocks.append(Text(_identity_sentence(identities)))
    for role, pair in known.items():
        if role not in identities:
            blocks += [
                Text(say("Father and {parent}: {sentence}", parent=role_label(role), sentence=_map_sentence(pair))),
                _map_figure(role, pair),
            ]
    return Section(key, title, tuple(blocks))


def _identity_sentence(roles: list[str]) -> str:
    if len(roles) == 1:
        return say(
            "The layer map of father and {parent} is the identity: each layer is paired with that of its number.",
            parent=role_label(roles[0]),
        )
    return say(
        "The layer maps of the father with {parents} are identities: each layer is paired with that of its number.",
        parents=formats.listing([named(role) for role in roles]),
    )


def _alike_figure(pairs: Mapping[str, PairScan]) -> Figure:
    """CKA along each layer map: parents by father layers."""
    values = {
        role: {i: Value(v, formats.fixed(v)) for i, v in enumerate(map_similarity(pair, pair.layer_map))}
        for role, pair in pairs.items()
    }
    means = [
        f"{role_label(role)} {formats.fixed(mean_similarity(pair, pair.layer_map))}" for role, pair in pairs.items()
    ]
    heading = Heading(
        "fig-alike",
        say("Debiased linear CKA of FFN increments along each layer map"),
        say("Other parents as rows, father layers as columns, brighter is more alike."),
        say("Mean over layers: {means}. The whole matrices are in scan/pair*.json.", means=", ".join(means)),
    )
    return matrix_figure(heading, [Plane(say("CKA with the father"), values, 1.0)], formats.fixed)


def _map_figure(role: str, pair: PairScan) -> Figure:
    chart = SimilarityMap(
        "fig-similarity" if role == MOTHER else f"fig-similarity-{role}",
        say("Debiased linear CKA of FFN increments, father layers by {parent} layers", parent=role_label(role)),
        say(
            "Father layers as rows, {parent} layers as columns, brighter is more alike. The line joins the pairs of the"
            " layer map; the dashed line is the proportional map.",
            parent=role_label(role),
        ),
        pair.cka,
        pair.layer_map,
        pair.map_proportional,
        role,
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
    columns = labels("father layer", "mapped to", "CKA", "proportional", "CKA", "most alike", "CKA")
    shown = table(
        say("Layer map"),
        columns,
        rows,
        note=say("The whole matrix is in {file}.", file=pair_file(role)),
        folded=True,
    )
    return Figure(chart, (shown,))


def _map_sentence(pair: PairScan) -> str:
    mapped, proportional = mean_similarity(pair, pair.layer_map), mean_similarity(pair, pair.map_proportional)
    return say(
        "Mean CKA along the layer map is {mapped}, along the proportional map {proportional}. Of all maps"
        " that never step back, the one in use has the largest total.",
        mapped=formats.fixed(mapped),
        proportional=formats.fixed(proportional),
    )
