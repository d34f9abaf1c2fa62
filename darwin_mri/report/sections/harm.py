"""Why layers are frozen or free: what blending each of them costs the protected texts, by other parent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from darwin_mri.records import PairScan, Prior, PriorLayer, Scan
from darwin_mri.records.roles import MOTHER, PARENTS, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import ROOMY, Forest, ForestPanel, ForestRow
from darwin_mri.report.model.elements import Figure, Row, Table, table
from darwin_mri.report.sections.layer_tables import mixer
from darwin_mri.report.sections.parent_matrix import Heading, Plane, Value, matrix_figure
from darwin_mri.translation import labels, say


@dataclass(frozen=True)
class Harm:
    """What blending one layer costs a protected text.

    Attributes:
        value: rise of NLL, nats per byte.
        low: lower end of its interval; None where the layer has several genes.
        high: upper end of its interval; None where the layer has several genes.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """The rise with its interval, as tables print it."""
        text = formats.signed(self.value, 4)
        return text if self.low is None else f"{text} [{formats.signed(self.low, 4)}, {formats.signed(self.high, 4)}]"


@dataclass(frozen=True)
class Harms:
    """What was measured of the protected texts.

    Attributes:
        by_text: protected text -> other parent -> father layer -> harm.
        ratio: at which each other parent was blended.
    """

    by_text: dict[str, dict[str, dict[int, Harm]]] = field(default_factory=dict)
    ratio: float = 0.0

    def of(self, name: str, layer: PriorLayer) -> Harm | None:
        """The harm of one parent's layer to a text; None where it was not measured."""
        return self.by_text[name].get(layer.parent, {}).get(layer.index)


def harms(prior: Prior, pairs: Mapping[str, PairScan]) -> Harms:
    """Harm of each layer of each other parent to each protected text: the sum over the layer's genes."""
    genes = {gene.name: gene for gene in prior.genes}
    result: dict[str, dict[str, dict[int, Harm]]] = {}
    for name in prior.protect:
        parts: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
        for response in (response for pair in pairs.values() for response in pair.response):
            gene = genes.get(response.gene)
            if response.loss == f"protect:{name}" and gene is not None and gene.layer is not None:
                parts.setdefault((gene.parent, gene.layer), []).append((response.harm, response.low, response.high))
        for (parent, layer), values in parts.items():
            result.setdefault(name, {}).setdefault(parent, {})[layer] = _sum_harms(values)
    ratios = [pair.reference_ratio for pair in pairs.values()]
    return Harms(result, ratios[0] if ratios else 0.0)


def _sum_harms(parts: Sequence[tuple[float, float, float]]) -> Harm:
    total = sum(harm for harm, _, _ in parts)
    return Harm(total, parts[0][1], parts[0][2]) if len(parts) == 1 else Harm(total, None, None)


def harm_figure(prior: Prior, found: Harms, father: Scan | None) -> Figure | None:
    """Each layer's harm to the protected texts, beside the tolerance.

    Args:
        prior: the layers, and what is protected.
        found: what was measured of the protected texts.
        father: its MRI.

    Returns:
        the figure; None where nothing was measured.
    """
    if not found.by_text:
        return None
    if len({layer.parent for layer in prior.layers}) > 1:
        return _harm_matrix(prior, found, father)
    drawn = []
    for name in found.by_text:
        rows = []
        for layer in prior.layers:
            harm = found.of(name, layer)
            if harm is not None:
                more = _stability(layer)
                label = (
                    say("layer {index}, frozen", index=layer.index)
                    if layer.frozen
                    else say("layer {index}", index=layer.index)
                )
                rows.append(
                    ForestRow(label, "father", harm.value, harm.low, harm.high, harm.text, more, strong=layer.frozen)
                )
        limit = tolerance_of(prior, father, name)
        if not rows:
            continue
        drawn.append(
            ForestPanel(
                say("harm to {name}", name=name), tuple(rows), reference=limit, reference_label=say("tolerance")
            )
        )
    if not drawn:
        return None
    chart = Forest(
        "fig-harm",
        say(
            "What blending each layer at ratio {ratio} would cost the protected texts", ratio=formats.fixed(found.ratio)
        ),
        say(
            "One line per father layer: the rise of NLL per byte when it is blended. Layers right of the tolerance in"
            " most resamples are frozen.",
        ),
        tuple(drawn),
        signed=True,
        unit=say("rise of NLL, nats per byte"),
        scale=1.0,
    )
    note = say(
        "A layer's harm is the sum over its genes; its interval is known where one gene is the whole layer. Stability:"
        " the share of resamples in which it exceeds the tolerance.",
    )
    if all(panel.reference is not None for panel in drawn):
        note += _tolerance_note(prior)
    return Figure(chart, (frozen_table(prior, found, father),), note)


def _harm_matrix(prior: Prior, found: Harms, father: Scan | None) -> Figure:
    """The harm of every layer of several other parents: parents by layers, one panel per protected text."""
    planes, limits = [], []
    for name in found.by_text:
        values: dict[str, dict[int, Value]] = {}
        for layer in prior.layers:
            harm = found.of(name, layer)
            if harm is not None:
                more = f", {_stability(layer)}" + (f", {say('frozen')}" if layer.frozen else "")
                value = Value(harm.value, harm.text + more, "*" if layer.frozen else "")
                values.setdefault(layer.parent, {})[layer.index] = value
        planes.append(Plane(say("harm to {name}", name=name), values))
        limit = tolerance_of(prior, father, name)
        limits += [] if limit is None else [say("{limit} for {name}", limit=formats.fixed(limit, 4), name=name)]
    heading = Heading(
        "fig-harm",
        say(
            "What blending each layer at ratio {ratio} would cost the protected texts", ratio=formats.fixed(found.ratio)
        ),
        say(
            "Other parents as rows, father layers as columns: the rise of NLL per byte when that parent's layer is"
            " blended. Orange: it rises; blue: it falls. An asterisk: frozen.",
        ),
        say("Rise of NLL, nats per byte. An asterisk: the layer is frozen for that parent.")
        + (" " + say("Tolerance: {limits}.", limits=", ".join(limits)) if limits else ""),
    )
    return matrix_figure(
        heading,
        planes,
        lambda v: formats.signed(v, 3),
        diverging=True,
        tables=(frozen_table(prior, found, father),),
    )


def _stability(layer: PriorLayer) -> str:
    return say("stability {share}", share=formats.fixed(layer.frozen_stability))


def _tolerance_note(prior: Prior) -> str:
    return " " + say(
        "Tolerance: {tolerance} of the father's NLL per byte on that text, from the MRI.",
        tolerance=formats.percent(prior.tolerance),
    )


def tolerance_of(prior: Prior, father: Scan | None, name: str) -> float | None:
    """How much a text's loss may rise.

    Args:
        prior: the tolerance, as a share of the father's loss.
        father: its MRI.
        name: of the protected text.

    Returns:
        nats per byte; None where the scan does not know the father's loss on the text.
    """
    bits = father.bits_per_byte if father else {}
    loss = bits.get(f"language:{name}", bits.get(f"domain:{name}"))
    return None if loss is None else prior.tolerance * loss * math.log(2)


def frozen_table(prior: Prior, found: Harms, father: Scan | None) -> Table:
    """Every layer of the prior, of several other parents parent by parent, with its harm to each protected text.

    Args:
        prior: the layers, and what is protected.
        found: what was measured of the protected texts.
        father: its MRI.

    Returns:
        the table; folded where a figure shows the same.
    """
    mixers = {layer.index: mixer(layer.mixer) for layer in father.layers} if father else {}
    several = len({layer.parent for layer in prior.layers}) > 1
    rows, last = [], ""
    for layer in prior.layers:
        harm = [found.of(name, layer) for name in found.by_text]
        cells = (
            *((role_label(layer.parent),) if several else ()),
            str(layer.index),
            mixers.get(layer.index, formats.ABSENT),
            str(layer.mother_layer),
            say("frozen") if layer.frozen else say("free"),
            formats.fixed(layer.frozen_stability),
            formats.fixed(layer.trust),
            *(formats.ABSENT if one is None else one.text for one in harm),
        )
        role = layer.parent if several and layer.parent in PARENTS else ""
        rows.append(Row(cells, role, strong=layer.frozen, group=several and layer.parent != last))
        last = layer.parent
    columns = (
        *(labels("parent") if several else ()),
        *labels("layer", "mixer"),
        say("its layer") if several else say("{parent} layer", parent=role_label(MOTHER)),
        *labels("frozen", "stability", "trust"),
        *(say("harm to {name}", name=name) for name in found.by_text),
    )
    note = ""
    if found.by_text:
        ratio = formats.fixed(found.ratio)
        note = say(
            "Harm: rise of NLL per byte (nats) when the layer is blended at ratio {ratio}, summed over its genes.",
            ratio=ratio,
        )
    text = (0, 2, 4) if several else (1, 3)
    return table(
        say("Frozen layers"), columns, rows, text=text, note=note, folded=bool(found.by_text) or len(rows) > ROOMY
    )
