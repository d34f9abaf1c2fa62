"""Maps of the weights: tensors as columns, one map per statistic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from darwin_mri.records import LayerScan, PairScan
from darwin_mri.records.roles import role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import HeatMap
from darwin_mri.report.model.elements import Block, Figure, Row, Text, table
from darwin_mri.report.sections.layer_panels import Column, Parents, column_scale, layer_links, panels
from darwin_mri.report.sections.layer_tables import layer_label
from darwin_mri.translation import later, say

# Weight statistics worth a map, the most telling first; others stay in scan/*.json.
WEIGHTS = {
    "relative_change": later("how far each tensor is from the base's, |W − base| / |base|"),
    "sign_agreement": later("share of entries whose task vector has the other parent's sign"),
    "stable_rank": later("stable rank of each tensor, |W|² / ‖W‖²"),
    "entropy": later("entropy of each tensor's entries"),
}
WEIGHT_TITLES = {
    "relative_change": later("Relative change"),
    "sign_agreement": later("Sign agreement"),
    "stable_rank": later("Stable rank"),
    "entropy": later("Entropy"),
}
WEIGHT_MAPS = 2


def weight_figures(parents: Parents, pair: PairScan | None) -> list[Block]:
    """Maps of the weights: tensors as columns, one map per statistic."""
    measured = {
        statistic
        for _, scan in parents
        for layer in scan.layers
        for statistics in layer.weights.values()
        for statistic in statistics
    }
    chosen = [name for name in WEIGHTS if name in measured][:WEIGHT_MAPS]
    blocks: list[Block] = [Text(say("What the weights look like, tensor by tensor."))] if chosen else []
    return blocks + [_weight_figure(name, parents, pair) for name in chosen]


def _weight_figure(statistic: str, parents: Parents, pair: PairScan | None) -> Figure:
    """One statistic of every tensor; each parent has the tensors of its own architecture as columns."""
    title = say(WEIGHT_TITLES[statistic])
    by_role: list[list[Column]] = []
    for _, scan in parents:
        tensors = dict.fromkeys(t for layer in scan.layers for t, s in layer.weights.items() if statistic in s)
        by_role.append(
            [Column(_tensor(t), _weight_reader(t, statistic), formats.compact, formats.compact) for t in tensors]
        )
    drawn, tables = [], []
    for (role, scan), columns in zip(parents, by_role, strict=True):
        names = tuple(column.name for column in columns)
        (panel,) = panels([(role, scan)], columns, column_scale([(role, scan)], columns))
        drawn.append(replace(panel, columns=names))
        rows = [
            Row((layer_label(layer), *(formats.compact(column.read(layer)) for column in columns)))
            for layer in scan.layers
        ]
        note = f"{title}: {say(WEIGHTS[statistic])}."
        tables.append(
            table(
                say("{role}: {title} of the weights", role=role_label(role), title=title.lower()),
                (
                    say("layer"),
                    *names,
                ),
                rows,
                note=note,
                folded=True,
            )
        )
    chart = HeatMap(
        f"fig-weights-{statistic.replace('_', '-')}",
        say("{title} of the weights", title=title),
        say(
            "Layers as rows, tensors as columns: {meaning}. Each column has its own scale, from its lowest to its"
            " highest layer.",
            meaning=say(WEIGHTS[statistic]),
        ),
        (),
        tuple(drawn),
        (say("lowest"), say("highest, by column")),
        links=layer_links(parents, pair),
    )
    return Figure(chart, tuple(tables))


def _tensor(name: str) -> str:
    """``self_attn.q_proj.weight`` -> ``q_proj``."""
    return name.removesuffix(".weight").rpartition(".")[2]


def _weight_reader(tensor: str, statistic: str) -> Callable[[LayerScan], float | None]:
    return lambda layer: layer.weights.get(tensor, {}).get(statistic)
