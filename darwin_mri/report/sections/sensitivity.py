"""Language sensitivity, and the frozen layers with the reason why they were frozen, as a section."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from darwin_mri.records import Estimate, LayerScan, PairScan, Prior, Scan
from darwin_mri.report import formats
from darwin_mri.report.charts import ROOMY, Forest, ForestPanel, ForestRow, HeatMap
from darwin_mri.report.model.elements import Block, Figure, Row, Section, Table, Text, table
from darwin_mri.report.model.findings import frozen_sentence
from darwin_mri.report.sections.heat_maps import Column, Parents, layer_links, panels, scanned_parents
from darwin_mri.report.sections.layer_tables import layer_label, mixer, rise_writer


def languages_section(father: Scan | None, mother: Scan | None, pair: PairScan | None, prior: Prior | None) -> Section:
    """Section 'language': which layers a language needs more than others do, and which are frozen for it.

    Args:
        father: the father's MRI.
        mother: the mother's MRI.
        pair: layer map, and how losses respond to each gene.
        prior: frozen layers and trust.

    Returns:
        the section; it says what is missing.
    """
    key, title = "language", "Language sensitivity and frozen layers"
    parents = [
        (role, scan)
        for role, scan in scanned_parents(father, mother)
        if any(layer.language.sensitivity for layer in scan.layers)
    ]
    blocks: list[Block] = []
    if parents:
        blocks.append(
            Text(
                "How much more one language suffers than the others when a layer's FFN is replaced by its mean, on"
                " parallel passages only. An asterisk: the 95 % interval leaves out zero."
            )
        )
        blocks.append(_sensitivity_figure(parents, pair, prior))
    if prior is not None and prior.layers:
        blocks.append(Text(frozen_sentence(prior)))
        harm = _harm_figure(prior, pair, father)
        blocks.append(harm if harm is not None else _frozen_table(prior, {}, father, pair))
    blocks += [more for _, scan in parents if (more := _more_channels(scan)) is not None]
    if not blocks:
        return Section(
            key,
            title,
            missing="No language was measured: run darwin-mri scan FATHER --against MOTHER with probes in two languages"
            " or more.",
        )
    return Section(
        key, title, tuple(blocks), missing="" if prior else "prior.json is missing: frozen layers are not known."
    )


def _sensitivity_figure(parents: Parents, pair: PairScan | None, prior: Prior | None) -> Figure:
    names = list(dict.fromkeys(k for _, scan in parents for layer in scan.layers for k in layer.language.sensitivity))
    every = [e.value for _, scan in parents for layer in scan.layers for e in layer.language.sensitivity.values()]
    top = max(map(abs, every), default=0.0) or 1.0
    columns = [
        Column(name, _sensitivity_reader(name), lambda v: formats.signed(100 * v, 1), formats.signed_percent)
        for name in names
    ]
    shown = panels(parents, columns, lambda v, _: math.copysign((abs(v) / top) ** 0.5, v))
    starred = []
    for panel, (role, scan) in zip(shown, parents, strict=True):
        texts = tuple(
            tuple(text + _star(layer.language.sensitivity.get(name)) for text, name in zip(row, names, strict=True))
            for row, layer in zip(panel.texts, scan.layers, strict=True)
        )
        panel = replace(panel, texts=texts)
        if role == "father" and prior is not None:
            layers = {layer.index: layer for layer in prior.layers}
            indices = [layer.index for layer in scan.layers]
            panel = replace(
                panel,
                frozen=tuple(row for row, index in enumerate(indices) if index in prior.frozen),
                strip=tuple(layers[i].frozen_stability if i in layers else None for i in indices),
                strip_title="stability",
            )
        starred.append(panel)
    chart = HeatMap(
        "fig-language",
        "Language sensitivity",
        "Layers as rows, languages as columns. Orange: this language needs the layer more than the others do; blue:"
        " less."
        + (" Bars: the share of resamples in which the layer would be frozen; hatched: frozen." if prior else ""),
        tuple(names),
        tuple(starred),
        (f"{formats.MINUS}{formats.percent(top)}", f"+{formats.percent(top)}"),
        diverging=True,
        links=layer_links(parents, pair),
    )
    show = rise_writer([scan for _, scan in parents])
    tables = tuple(
        table(
            f"{role}: language sensitivity, per cent",
            ("layer", *names),
            [
                Row((layer_label(layer), *(show(layer.language.sensitivity.get(name)) for name in names)))
                for layer in scan.layers
            ],
            folded=True,
        )
        for role, scan in parents
    )
    note = (
        "Bars beside the father's layers: share of resamples in which the freezing rule holds. Hatched: frozen."
        if prior
        else ""
    )
    return Figure(chart, tables, note)


def _sensitivity_reader(name: str) -> Callable[[LayerScan], float | None]:
    return lambda layer: e.value if (e := layer.language.sensitivity.get(name)) else None


def _star(estimate: Estimate | None) -> str:
    return "*" if estimate is not None and (estimate.low > 0 or estimate.high < 0) else ""


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


def harms(prior: Prior, pair: PairScan | None) -> dict[str, dict[int, Harm]]:
    """Harm of each layer to each protected text: the sum over the layer's genes."""
    layer_of = {gene.name: gene.layer for gene in prior.genes}
    result: dict[str, dict[int, Harm]] = {}
    for name in prior.protect:
        parts: dict[int, list[tuple[float, float, float]]] = {}
        for response in pair.response if pair else ():
            layer = layer_of.get(response.gene)
            if response.loss == f"protect:{name}" and layer is not None:
                parts.setdefault(layer, []).append((response.harm, response.low, response.high))
        if parts:
            result[name] = {layer: _sum_harms(genes) for layer, genes in parts.items()}
    return result


def _sum_harms(parts: Sequence[tuple[float, float, float]]) -> Harm:
    total = sum(harm for harm, _, _ in parts)
    return Harm(total, parts[0][1], parts[0][2]) if len(parts) == 1 else Harm(total, None, None)


def _harm_text(harm: Harm | None) -> str:
    if harm is None:
        return formats.ABSENT
    text = formats.signed(harm.value, 4)
    return text if harm.low is None else f"{text} [{formats.signed(harm.low, 4)}, {formats.signed(harm.high, 4)}]"


def _harm_figure(prior: Prior, pair: PairScan | None, father: Scan | None) -> Figure | None:
    """Why layers are frozen or free: each layer's harm to the protected texts, beside the tolerance."""
    by_text = harms(prior, pair)
    if not by_text or pair is None:
        return None
    drawn = []
    for name, by_layer in by_text.items():
        rows = []
        for layer in prior.layers:
            harm = by_layer.get(layer.index)
            if harm is not None:
                more = f"stability {formats.fixed(layer.frozen_stability)}"
                label = f"layer {layer.index}" + (", frozen" if layer.frozen else "")
                rows.append(
                    ForestRow(
                        label, "father", harm.value, harm.low, harm.high, _harm_text(harm), more, strong=layer.frozen
                    )
                )
        limit = _tolerance(prior, father, name)
        if not rows:
            continue
        drawn.append(ForestPanel(f"harm to {name}", tuple(rows), reference=limit, reference_label="tolerance"))
    if not drawn:
        return None
    chart = Forest(
        "fig-harm",
        f"What blending each layer at ratio {formats.fixed(pair.reference_ratio)} would cost the protected texts",
        "One line per father layer: the rise of NLL per byte when it is blended. Layers right of the tolerance in most"
        " resamples are frozen.",
        tuple(drawn),
        signed=True,
        unit="rise of NLL, nats per byte",
        scale=1.0,
    )
    note = (
        "A layer's harm is the sum over its genes; its interval is known where one gene is the whole layer. Stability:"
        " the share of resamples in which it exceeds the tolerance."
    )
    if all(panel.reference is not None for panel in drawn):
        note += (
            f" Tolerance: {formats.percent(prior.tolerance)} of the father's NLL per byte on that text, from the MRI."
        )
    return Figure(chart, (_frozen_table(prior, by_text, father, pair),), note)


def _tolerance(prior: Prior, father: Scan | None, name: str) -> float | None:
    """The tolerance in nats per byte; None where the scan does not know the father's loss on the text."""
    bits = father.bits_per_byte if father else {}
    loss = bits.get(f"language:{name}", bits.get(f"domain:{name}"))
    return None if loss is None else prior.tolerance * loss * math.log(2)


def _frozen_table(
    prior: Prior, by_text: dict[str, dict[int, Harm]], father: Scan | None, pair: PairScan | None
) -> Table:
    mixers = {layer.index: mixer(layer.mixer) for layer in father.layers} if father else {}
    columns = [
        "layer",
        "mixer",
        "mother layer",
        "frozen",
        "stability",
        "trust",
        *(f"harm to {name}" for name in by_text),
    ]
    rows = []
    for layer in prior.layers:
        cells = (
            str(layer.index),
            mixers.get(layer.index, formats.ABSENT),
            str(layer.mother_layer),
            "frozen" if layer.frozen else "free",
            formats.fixed(layer.frozen_stability),
            formats.fixed(layer.trust),
            *(_harm_text(harm.get(layer.index)) for harm in by_text.values()),
        )
        rows.append(Row(cells, strong=layer.frozen))
    note = ""
    if by_text and pair:
        ratio = formats.fixed(pair.reference_ratio)
        note = f"Harm: rise of NLL per byte (nats) when the layer is blended at ratio {ratio}, summed over its genes."
    return table("Frozen layers", columns, rows, text=(1, 3), note=note, folded=bool(by_text) or len(rows) > ROOMY)


def _more_channels(scan: Scan) -> Table | None:
    """Alignment and language-specific neurons, folded away."""
    layers = scan.layers
    aligned = list(dict.fromkeys(k for layer in layers for k in layer.language.alignment))
    neurons = list(dict.fromkeys(k for layer in layers for k in layer.language.specific_neurons))
    if not aligned and not neurons:
        return None
    rows = []
    for layer in layers:
        cosines = [layer.language.alignment.get(k) for k in aligned]
        counts = [layer.language.specific_neurons.get(k) for k in neurons]
        rows.append(
            Row(
                (
                    layer_label(layer),
                    *(formats.ABSENT if e is None else formats.signed(e.value, 3) for e in cosines),
                    *(formats.ABSENT if n is None else str(n) for n in counts),
                )
            )
        )
    columns = ("layer", *(f"alignment {k}" for k in aligned), *(f"neurons {k}" for k in neurons))
    note = (
        "Alignment: cosine of parallel passages minus that of mismatched ones. Neurons: count that fire for one"
        " language almost alone."
    )
    return table(f"Alignment and language-specific neurons of {scan.model.ref}", columns, rows, note=note, folded=True)
