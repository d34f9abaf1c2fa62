"""Language sensitivity, and the frozen layers with the reason why they were frozen, as a section."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from darwin_mri.records import Estimate, LayerScan, PairScan, Prior, Scan
from darwin_mri.records.roles import FATHER, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import HeatMap
from darwin_mri.report.model.elements import Block, Figure, Row, Section, Table, Text, table
from darwin_mri.report.model.findings import frozen_sentence, stability
from darwin_mri.report.sections.harm import frozen_table, harm_figure, harms
from darwin_mri.report.sections.heat_maps import drawn_pair, scanned_parents
from darwin_mri.report.sections.layer_panels import Column, Parents, layer_links, panels
from darwin_mri.report.sections.layer_tables import layer_label, rise_writer
from darwin_mri.translation import say


def languages_section(scans: Mapping[str, Scan], pairs: Mapping[str, PairScan], prior: Prior | None) -> Section:
    """Section 'language': which layers a language needs more than others do, and which are frozen for it.

    Args:
        scans: role -> MRI of that parent.
        pairs: role of another parent -> layer map, and how losses respond to each of its genes.
        prior: frozen layers and trust.

    Returns:
        the section; it says what is missing.
    """
    key, title = "language", say("Language sensitivity and frozen layers")
    parents = [
        (role, scan)
        for role, scan in scanned_parents(scans)
        if any(layer.language.sensitivity for layer in scan.layers)
    ]
    blocks: list[Block] = []
    if parents:
        blocks.append(
            Text(
                say(
                    "How much more one language suffers than the others when a layer's FFN is replaced by its mean, on"
                    " parallel passages only. An asterisk: the 95 % interval leaves out zero.",
                )
            )
        )
        blocks.append(_sensitivity_figure(parents, drawn_pair(dict(parents), pairs), prior))
    if prior is not None and prior.layers:
        blocks.append(Text(frozen_sentence(prior)))
        father = scans.get(FATHER)
        found = harms(prior, pairs)
        harm = harm_figure(prior, found, father)
        blocks.append(harm if harm is not None else frozen_table(prior, found, father))
    blocks += [more for _, scan in parents if (more := _more_channels(scan)) is not None]
    if not blocks:
        return Section(
            key,
            title,
            missing=say(
                "No language was measured: run darwin-mri scan FATHER --against MOTHER with probes in two languages"
                " or more.",
            ),
        )
    return Section(
        key, title, tuple(blocks), missing="" if prior else say("prior.json is missing: frozen layers are not known.")
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
            shares = stability(prior)
            indices = [layer.index for layer in scan.layers]
            panel = replace(
                panel,
                frozen=tuple(row for row, index in enumerate(indices) if index in prior.frozen),
                strip=tuple(shares.get(i) for i in indices),
                strip_title=say("stability"),
            )
        starred.append(panel)
    chart = HeatMap(
        "fig-language",
        say("Language sensitivity"),
        say(
            "Layers as rows, languages as columns. Orange: this language needs the layer more than the others do; blue:"
            " less.",
        )
        + (
            " " + say("Bars: the share of resamples in which the layer would be frozen; hatched: frozen.")
            if prior
            else ""
        ),
        tuple(names),
        tuple(starred),
        (f"{formats.MINUS}{formats.percent(top)}", f"+{formats.percent(top)}"),
        diverging=True,
        links=layer_links(parents, pair),
    )
    show = rise_writer([scan for _, scan in parents])
    tables = tuple(
        table(
            say("{role}: language sensitivity, per cent", role=role_label(role)),
            (
                say("layer"),
                *names,
            ),
            [
                Row((layer_label(layer), *(show(layer.language.sensitivity.get(name)) for name in names)))
                for layer in scan.layers
            ],
            folded=True,
        )
        for role, scan in parents
    )
    return Figure(chart, tables, _strip_note(len(parents)) if prior else "")


def _strip_note(parents: int) -> str:
    """How to read the bars beside the father's layers."""
    if parents > 2:
        return say(
            "Bars beside the father's layers: share of resamples in which the freezing rule holds, for the parent least"
            " sure of it. Hatched: frozen."
        )
    return say("Bars beside the father's layers: share of resamples in which the freezing rule holds. Hatched: frozen.")


def _sensitivity_reader(name: str) -> Callable[[LayerScan], float | None]:
    return lambda layer: e.value if (e := layer.language.sensitivity.get(name)) else None


def _star(estimate: Estimate | None) -> str:
    return "*" if estimate is not None and (estimate.low > 0 or estimate.high < 0) else ""


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
    columns = (
        say("layer"),
        *(say("alignment {language}", language=k) for k in aligned),
        *(say("neurons {language}", language=k) for k in neurons),
    )
    note = say(
        "Alignment: cosine of parallel passages minus that of mismatched ones. Neurons: count that fire for one"
        " language almost alone.",
    )
    return table(
        say("Alignment and language-specific neurons of {ref}", ref=scan.model.ref),
        columns,
        rows,
        note=note,
        folded=True,
    )
