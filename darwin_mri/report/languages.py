"""Language sensitivity, and the frozen layers with the reason why they were frozen, as a section."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from darwin_mri.records import Estimate, LayerScan, PairScan, Prior, Scan
from darwin_mri.report import words
from darwin_mri.report.charts import ROOMY, Forest, ForestPanel, ForestRow, HeatMap
from darwin_mri.report.elements import Block, Figure, Row, Section, Table, Text, table
from darwin_mri.report.layers import layer_label, mixer, rise_writer
from darwin_mri.report.scans import Column, Parents, layer_links, panels, scanned


def languages_section(father: Scan | None, mother: Scan | None, pair: PairScan | None, prior: Prior | None) -> Section:
    """Section 'language': which layers a language needs more than others do, and which are frozen for it."""
    key, title = "language", "Language sensitivity and frozen layers"
    parents = [
        (role, scan)
        for role, scan in scanned(father, mother)
        if any(layer.language.sensitivity for layer in scan.layers)
    ]
    blocks: list[Block] = []
    if parents:
        blocks.append(
            Text(
                "How much more one language suffers than the others when a layer's FFN is replaced by its mean, on parallel"
                " passages only. An asterisk: the 95 % interval leaves out zero."
            )
        )
        blocks.append(_sensitivity_figure(parents, pair, prior))
    if prior is not None and prior.layers:
        blocks.append(Text(frozen_sentence(prior)))
        harm = _harm_figure(prior, pair, father)
        blocks.append(harm if harm is not None else _frozen_table(prior, {}, father, pair))
    blocks += [made for _, scan in parents if (made := _more_channels(scan)) is not None]
    if not blocks:
        return Section(
            key,
            title,
            missing="No language was measured: run darwin-mri scan FATHER --against MOTHER with probes in two languages or more.",
        )
    return Section(
        key, title, tuple(blocks), missing="" if prior else "prior.json is missing: frozen layers are not known."
    )


def _sensitivity_figure(parents: Parents, pair: PairScan | None, prior: Prior | None) -> Figure:
    names = list(dict.fromkeys(k for _, scan in parents for layer in scan.layers for k in layer.language.sensitivity))
    every = [e.value for _, scan in parents for layer in scan.layers for e in layer.language.sensitivity.values()]
    top = max(map(abs, every), default=0.0) or 1.0
    columns = [
        Column(name, _sensitivity_reader(name), lambda v: words.signed(100 * v, 1), words.signed_percent)
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
            facts = {layer.index: layer for layer in prior.layers}
            indices = [layer.index for layer in scan.layers]
            panel = replace(
                panel,
                frozen=tuple(row for row, index in enumerate(indices) if index in prior.frozen),
                strip=tuple(facts[i].frozen_stability if i in facts else None for i in indices),
                strip_title="stability",
            )
        starred.append(panel)
    chart = HeatMap(
        "fig-language",
        "Language sensitivity",
        "Layers as rows, languages as columns. Orange: this language needs the layer more than the others do; blue: less."
        + (" Bars: the share of resamples in which the layer would be frozen; hatched: frozen." if prior else ""),
        tuple(names),
        tuple(starred),
        (f"{words.MINUS}{words.percent(top)}", f"+{words.percent(top)}"),
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


def frozen_sentence(prior: Prior) -> str:
    """Which layers are frozen, for whom, by which rule, and how sure that is."""
    protected = words.listing(list(prior.protect)) or "nothing"
    tolerance = words.percent(prior.tolerance)
    if not prior.frozen:
        return f"No layer is frozen (protected: {protected}; tolerance {tolerance} of NLL per byte)."
    layers = (
        f"Layer {prior.frozen[0]} is" if len(prior.frozen) == 1 else f"Layers {words.ranges(list(prior.frozen))} are"
    )
    stable = ", ".join(
        f"{words.fixed(layer.frozen_stability)} (layer {layer.index})" for layer in prior.layers if layer.frozen
    )
    return (
        f"{layers} frozen, kept as the father's: blending would raise NLL per byte on {protected} by more than {tolerance}."
        f" Stability, the share of bootstrap resamples that agree: {stable}."
    )


@dataclass(frozen=True)
class Harm:
    """What blending one layer costs a protected text, in nats per byte; no interval where the layer has several genes."""

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
            kind, _, target = response.loss.partition(":")
            if target == name and kind in ("protect", "language", "domain") and layer is not None:
                parts.setdefault(layer, []).append((response.harm, response.low, response.high))
        if parts:
            result[name] = {layer: _summed(found) for layer, found in parts.items()}
    return result


def _summed(parts: Sequence[tuple[float, float, float]]) -> Harm:
    total = sum(harm for harm, _, _ in parts)
    return Harm(total, parts[0][1], parts[0][2]) if len(parts) == 1 else Harm(total, None, None)


def _harm_text(harm: Harm | None) -> str:
    if harm is None:
        return words.ABSENT
    text = words.signed(harm.value, 4)
    return text if harm.low is None else f"{text} [{words.signed(harm.low, 4)}, {words.signed(harm.high, 4)}]"


def _harm_figure(prior: Prior, pair: PairScan | None, father: Scan | None) -> Figure | None:
    """Why layers are frozen or free: each layer's harm to the protected texts, beside the tolerance."""
    found = harms(prior, pair)
    if not found or pair is None:
        return None
    made = []
    for name, by_layer in found.items():
        rows = []
        for layer in prior.layers:
            harm = by_layer.get(layer.index)
            if harm is not None:
                more = f"stability {words.fixed(layer.frozen_stability)}"
                label = f"layer {layer.index}" + (", frozen" if layer.frozen else "")
                rows.append(
                    ForestRow(
                        label, "father", harm.value, harm.low, harm.high, _harm_text(harm), more, strong=layer.frozen
                    )
                )
        limit = _tolerance(prior, father, name)
        if not rows:
            continue
        made.append(ForestPanel(f"harm to {name}", tuple(rows), reference=limit, reference_label="tolerance"))
    if not made:
        return None
    chart = Forest(
        "fig-harm",
        f"What blending each layer at ratio {words.fixed(pair.reference_ratio)} would cost the protected texts",
        "One line per father layer: the rise of NLL per byte when it is blended. Layers right of the tolerance in most resamples"
        " are frozen.",
        tuple(made),
        signed=True,
        unit="rise of NLL, nats per byte",
        scale=1.0,
    )
    note = (
        "A layer's harm is the sum over its genes; its interval is known where one gene is the whole layer."
        " Stability: the share of resamples in which it exceeds the tolerance."
    )
    if all(panel.reference is not None for panel in made):
        note += f" Tolerance: {words.percent(prior.tolerance)} of the father's NLL per byte on that text, from the MRI."
    return Figure(chart, (_frozen_table(prior, found, father, pair),), note)


def _tolerance(prior: Prior, father: Scan | None, name: str) -> float | None:
    """The tolerance in nats per byte; None where the scan does not know the father's loss on the text."""
    bits = father.bits_per_byte if father else {}
    loss = bits.get(f"language:{name}", bits.get(f"domain:{name}"))
    return None if loss is None else prior.tolerance * loss * math.log(2)


def _frozen_table(prior: Prior, found: dict[str, dict[int, Harm]], father: Scan | None, pair: PairScan | None) -> Table:
    mixers = {layer.index: mixer(layer.mixer) for layer in father.layers} if father else {}
    columns = ["layer", "mixer", "mother layer", "frozen", "stability", "trust", *(f"harm to {name}" for name in found)]
    rows = []
    for layer in prior.layers:
        cells = (
            str(layer.index),
            mixers.get(layer.index, words.ABSENT),
            str(layer.mother_layer),
            "frozen" if layer.frozen else "free",
            words.fixed(layer.frozen_stability),
            words.fixed(layer.trust),
            *(_harm_text(harm.get(layer.index)) for harm in found.values()),
        )
        rows.append(Row(cells, strong=layer.frozen))
    note = ""
    if found and pair:
        note = f"Harm: rise of NLL per byte (nats) when the layer is blended at ratio {words.fixed(pair.reference_ratio)}, summed over its genes."
    return table("Frozen layers", columns, rows, text=(1, 3), note=note, folded=bool(found) or len(rows) > ROOMY)


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
                    *(words.ABSENT if e is None else words.signed(e.value, 3) for e in cosines),
                    *(words.ABSENT if n is None else str(n) for n in counts),
                )
            )
        )
    columns = ("layer", *(f"alignment {k}" for k in aligned), *(f"neurons {k}" for k in neurons))
    note = "Alignment: cosine of parallel passages minus that of mismatched ones. Neurons: count that fire for one language almost alone."
    return table(f"Alignment and language-specific neurons of {scan.model.ref}", columns, rows, note=note, folded=True)
