"""Language sensitivity, frozen layers and FFN similarity as sections."""

from __future__ import annotations

from collections.abc import Sequence

from darwin_mri.records import Estimate, PairScan, Prior, Scan
from darwin_mri.report import words
from darwin_mri.report.charts import ROOMY, HeatMap, SimilarityMap
from darwin_mri.report.elements import Block, Figure, Figures, Row, Section, Table, Text, table
from darwin_mri.report.scans import Side, aligned_sides, layer_label, mixer, rise_writer


def languages_section(father: Scan | None, mother: Scan | None, pair: PairScan | None, prior: Prior | None) -> Section:
    """Section 'language': which layers a language needs more than others do, and which are frozen for it."""
    key, title = "language", "Language sensitivity and frozen layers"
    blocks: list[Block] = []
    sides = [s for s in aligned_sides(father, mother, pair) if any(layer.language.sensitivity for layer in s.layers)]
    frozen = prior.frozen if prior else ()
    if sides:
        blocks.append(
            Text(
                "How much more one language suffers than the others when a layer's FFN is replaced by its mean, on parallel passages"
                " only. An asterisk: the 95 % interval leaves out zero."
                + (" Hatched at the edge: frozen." if frozen else "")
            )
        )
        blocks.append(Figures(tuple(_sensitivity_figure(side, sides, frozen) for side in sides)))
    if prior is not None and prior.layers:
        blocks += [Text(_frozen_sentence(prior)), _frozen_table(prior, pair, father)]
    if sides:
        blocks += [t for t in (_more_channels(side) for side in sides) if t is not None]
    if not blocks:
        return Section(
            key,
            title,
            missing="No language was measured: run darwin-mri scan FATHER --against MOTHER with probes in two languages or more.",
        )
    return Section(
        key, title, tuple(blocks), missing="" if prior else "prior.json is missing: frozen layers are not known."
    )


def _sensitivity_figure(side: Side, sides: Sequence[Side], frozen: Sequence[int]) -> Figure:
    columns = list(dict.fromkeys(k for s in sides for layer in s.layers for k in layer.language.sensitivity))
    found = [[layer.language.sensitivity.get(name) for name in columns] for layer in side.layers]
    every = [e.value for s in sides for layer in s.layers for e in layer.language.sensitivity.values()]
    top = max(map(abs, every), default=0.0) or 1.0

    def shade(e: Estimate | None) -> float | None:
        return None if e is None else (1 if e.value > 0 else -1) * (abs(e.value) / top) ** 0.5

    def short(e: Estimate | None) -> str:
        star = "*" if e is not None and (e.low > 0 or e.high < 0) else ""
        return "" if e is None else words.signed(100 * e.value, 1) + star

    chart = HeatMap(
        f"fig-language-{side.role}",
        f"{side.role.capitalize()}: language sensitivity",
        "Layers as rows, languages as columns. Orange: this language needs the layer more than the others do; blue: less."
        + (" Hatched at the edge: frozen." if frozen and side.role == "father" else ""),
        side.labels,
        side.numbers,
        tuple(columns),
        tuple(tuple(shade(e) for e in row) for row in found),
        tuple(tuple(short(e) for e in row) for row in found),
        tuple(tuple(words.rise_value(e) for e in row) for row in found),
        (f"{words.MINUS}{words.percent(top)}", f"+{words.percent(top)}"),
        diverging=True,
        frozen=tuple(frozen) if side.role == "father" else (),
    )
    show = rise_writer(sides)
    rows = [
        Row((layer_label(layer), *(show(layer.language.sensitivity.get(name)) for name in columns)))
        for layer in side.scan.layers
    ]
    return Figure(
        chart,
        table(f"{side.role}: language sensitivity, per cent", ("layer", *columns), rows, folded=True),
        side.scan.model.ref,
    )


def _frozen_sentence(prior: Prior) -> str:
    protected = words.listing(list(prior.protect)) or "nothing"
    rule = f"protected: {protected}; tolerance {words.percent(prior.tolerance)} of NLL per byte"
    if not prior.frozen:
        return f"No layer is frozen ({rule})."
    layers = (
        f"Layer {prior.frozen[0]} is" if len(prior.frozen) == 1 else f"Layers {words.ranges(list(prior.frozen))} are"
    )
    stable = ", ".join(
        f"{words.fixed(layer.frozen_stability)} (layer {layer.index})" for layer in prior.layers if layer.frozen
    )
    return f"{layers} frozen, kept as the father's ({rule}). Stability, the share of bootstrap resamples in which the rule holds: {stable}."


def _frozen_table(prior: Prior, pair: PairScan | None, father: Scan | None) -> Table:
    mixers = {layer.index: mixer(layer.mixer) for layer in father.layers} if father else {}
    harms = _harms(prior, pair)
    columns = ["layer", "mixer", "mother layer", "frozen", "stability", "trust", *(f"harm to {name}" for name in harms)]
    rows = []
    for layer in prior.layers:
        cells = [
            str(layer.index),
            mixers.get(layer.index, words.ABSENT),
            str(layer.mother_layer),
            "frozen" if layer.frozen else "free",
            words.fixed(layer.frozen_stability),
            words.fixed(layer.trust),
            *(harm.get(layer.index, words.ABSENT) for harm in harms.values()),
        ]
        rows.append(Row(tuple(cells), strong=layer.frozen))
    note = ""
    if harms and pair:
        note = f"Harm: rise of NLL per byte (nats) when the layer is blended at ratio {words.fixed(pair.reference_ratio)}, summed over its genes."
    return table("Frozen layers", columns, rows, text=(1, 3), note=note, folded=len(rows) > ROOMY)


def _harms(prior: Prior, pair: PairScan | None) -> dict[str, dict[int, str]]:
    """Per protected text the harm of each layer; the interval is given where one gene is the whole layer."""
    layer_of = {gene.name: gene.layer for gene in prior.genes}
    result: dict[str, dict[int, str]] = {}
    for name in prior.protect:
        sums: dict[int, list[tuple[float, float, float]]] = {}
        for response in pair.response if pair else ():
            layer = layer_of.get(response.gene)
            if response.loss in (f"language:{name}", f"domain:{name}") and layer is not None:
                sums.setdefault(layer, []).append((response.harm, response.low, response.high))
        if sums:
            result[name] = {layer: _harm(parts) for layer, parts in sums.items()}
    return result


def _harm(parts: list[tuple[float, float, float]]) -> str:
    text = words.signed(sum(harm for harm, _, _ in parts), 4)
    if len(parts) == 1:
        text += f" [{words.signed(parts[0][1], 4)}, {words.signed(parts[0][2], 4)}]"
    return text


def _more_channels(side: Side) -> Table | None:
    """Alignment and language-specific neurons, folded away."""
    layers = side.scan.layers
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
    return table(f"{side.role}: alignment and language-specific neurons", columns, rows, note=note, folded=True)


def similarity_section(pair: PairScan | None) -> Section:
    """Section 'similarity': CKA of all layer pairs and the map drawn from it."""
    key, title = "similarity", "FFN similarity and the layer map"
    if pair is None or not pair.cka:
        return Section(key, title, missing="scan/pair.json is missing: run darwin-mri scan FATHER --against MOTHER.")
    chart = SimilarityMap(
        "fig-similarity",
        "Debiased linear CKA of FFN increments, father layers by mother layers",
        "Father layers as rows, mother layers as columns, brighter is more alike. The line joins the pairs of the layer map; the"
        " dashed line is the proportional map.",
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
            cells += [words.ABSENT, words.ABSENT] if m is None or m >= len(row) else [str(m), words.fixed(row[m])]
        rows.append(Row(tuple(cells)))
    columns = ("father layer", "mapped to", "CKA", "proportional", "CKA", "most alike", "CKA")
    shown = table("Layer map", columns, rows, note="The whole matrix is in scan/pair.json.", folded=True)
    text = _map_sentence(pair)
    return Section(key, title, (Text(text), Figure(chart, shown)))


def _map_sentence(pair: PairScan) -> str:
    def mean(layers: Sequence[int]) -> float | None:
        values = [row[m] for row, m in zip(pair.cka, layers, strict=False) if m < len(row)]
        return sum(values) / len(values) if values else None

    here, proportional = mean(pair.layer_map), mean(pair.map_proportional)
    return (
        f"Mean CKA along the layer map is {words.fixed(here)}, along the proportional map {words.fixed(proportional)}."
        " Of all maps that never step back, the one in use has the largest total."
    )
