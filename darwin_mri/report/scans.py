"""The MRI as sections: heat maps of both parents along the layer map, and one line per layer for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from darwin_mri.records import Channel, Estimate, LayerScan, PairScan, Prior, Scan
from darwin_mri.report import words
from darwin_mri.report.charts import ROOMY, HeatMap
from darwin_mri.report.elements import Block, Figure, Figures, Row, Section, Table, Text, table

MIXERS = {"full_attention": "full", "sliding_attention": "sliding", "linear_attention": "linear", "other": "other"}


@dataclass(frozen=True)
class Statistic:
    """One number of a layer: where it lies in the record and how it is called."""

    title: str
    site: str
    name: str
    meaning: str
    digits: int | None = 2  # None: compact


STATISTICS = (
    Statistic("rms h", "h_out", "rms", "root mean square of the residual stream after the layer", None),
    Statistic("max |h|", "h_out", "max_abs", "largest magnitude in it", None),
    Statistic("kurtosis", "h_out", "kurtosis", "its excess kurtosis", None),
    Statistic("outliers", "h_out", "outliers", "count of outlier features in it", None),
    Statistic("directions", "h_out", "participation_ratio", "its participation ratio, (tr C)² / tr C²", None),
    Statistic("influence", "h_out", "block_influence", "1 − cos(input, output) of the layer", 3),
    Statistic("|f|/|h|", "f", "increment_ratio", "size of the FFN's increment beside the stream it is added to", 2),
    Statistic("|m|/|h|", "m", "increment_ratio", "the same for the mixer (attention or linear attention)", 2),
    Statistic("firing", "a", "firing", "share of neurons that fire", 2),
    Statistic("dead", "a", "dead", "share of neurons that never fire", 2),
)
IN_TABLE = ("rms h", "|f|/|h|", "influence")


def read_statistic(layer: LayerScan, statistic: Statistic) -> float | None:
    """The number over all probes, or None where this layer has none."""
    return layer.activation.get(statistic.site, {}).get("all", {}).get(statistic.name)


def mixer(name: str) -> str:
    """Short name of a mixer."""
    return MIXERS.get(name, name)


def layer_table(
    scan: Scan, pair: PairScan | None = None, prior: Prior | None = None, languages: Sequence[str] | None = None
) -> Table:
    """One line per layer with the numbers a person needs; columns nobody measured are left out."""
    spoken = list(dict.fromkeys(k for layer in scan.layers for k in layer.language.raw_rise))
    chosen = (
        [k for k in languages if k in spoken] if languages else [k for k in ("ko", "en") if k in spoken] or spoken[:2]
    )
    domains = list(dict.fromkeys(k for layer in scan.layers for k in layer.importance))
    facts = {layer.index: layer for layer in prior.layers} if prior else {}
    is_father = pair is None or pair.father.digest == scan.model.digest

    def mapped(layer: LayerScan) -> str:
        if not is_father or pair is None or layer.index >= len(pair.layer_map):
            return words.ABSENT
        return str(pair.layer_map[layer.index])

    def frozen(layer: LayerScan) -> str:
        fact = facts.get(layer.index)
        return words.fixed(fact.frozen_stability) if fact and fact.frozen else ""

    def trust(layer: LayerScan) -> str:
        fact = facts.get(layer.index)
        return words.fixed(fact.trust) if fact else words.ABSENT

    columns: list[tuple[str, Callable[[LayerScan], str]]] = [
        ("layer", lambda layer: str(layer.index)),
        ("mixer", lambda layer: mixer(layer.mixer)),
    ]
    for statistic in STATISTICS:
        if statistic.title in IN_TABLE and any(read_statistic(layer, statistic) is not None for layer in scan.layers):
            columns.append((statistic.title, _statistic_reader(statistic)))
    columns += [(k, _rise_reader(k, "language")) for k in chosen]
    columns += [(name, _rise_reader(name, "importance")) for name in domains]
    if pair is not None and is_father:
        columns.append(("mother", mapped))
    if prior is not None and is_father:
        columns += [("trust", trust), ("frozen", frozen)]
    frozen_layers = set(prior.frozen) if prior and is_father else set()
    rows = [
        Row(tuple(read(layer) for _, read in columns), strong=layer.index in frozen_layers) for layer in scan.layers
    ]
    note = "; ".join(f"{s.title}: {s.meaning}" for s in STATISTICS if s.title in [name for name, _ in columns])
    by = ", ".join([*chosen, *domains])
    note += f". {by}: per cent that NLL per byte rises when the layer's FFN is mean-ablated."
    if pair is not None and is_father:
        note += " Mother: her layer in the layer map."
    if prior is not None and is_father:
        note += " Trust: how reliable the evidence for the layer's gene is, 0 to 1. Frozen: the layer is kept as the father's; the number is the share of resamples that agree."
    titles = [name for name, _ in columns]
    return table(f"Layers of {scan.model.ref}", titles, rows, text=(1,), note=note, folded=True)


def _statistic_reader(statistic: Statistic) -> Callable[[LayerScan], str]:
    return lambda layer: _show(statistic, read_statistic(layer, statistic))


def _show(statistic: Statistic, value: float | None) -> str:
    return words.compact(value) if statistic.digits is None else words.fixed(value, statistic.digits)


def _rise_reader(name: str, channel: str) -> Callable[[LayerScan], str]:
    def read(layer: LayerScan) -> str:
        found = (layer.language.raw_rise if channel == "language" else layer.importance).get(name)
        return words.ABSENT if found is None else words.signed(100 * found.value, 1)

    return read


def scans_section(father: Scan | None, mother: Scan | None, pair: PairScan | None) -> Section:
    """Section 'mri': importance and activation heat maps, father left, mother right, and the channels' reliability."""
    key, title = "mri", "MRI of both parents"
    if father is None and mother is None:
        return Section(
            key,
            title,
            missing="scan/father.json and scan/mother.json are missing: run darwin-mri scan FATHER --against MOTHER.",
        )
    sides = aligned_sides(father, mother, pair)
    blocks: list[Block] = []
    if len(sides) == 2 and pair is not None:
        unused = sorted(set(range(len(mother.layers) if mother else 0)) - set(pair.layer_map))
        text = "Rows follow the father: beside each of his layers stands the mother's layer that the layer map pairs with it."
        if unused:
            text += f" Her layers {words.ranges(unused)} are paired with none."
        blocks.append(Text(text))
    blocks += [
        Text(
            "What each layer's FFN is worth: how far NLL per byte rises, by language and by domain, when its output is replaced by its mean."
        )
    ]
    blocks.append(Figures(tuple(_rise_figure(side, sides) for side in sides)))
    blocks.append(Text("What happens inside: activation statistics over all probes."))
    blocks.append(Figures(tuple(_statistics_figure(side, sides) for side in sides)))
    scans = [(name, scan.channels) for name, scan in (("father", father), ("mother", mother)) if scan]
    blocks.append(channels_table([*scans, *([("pair", pair.channels)] if pair and pair.channels else [])]))
    absent = [f"scan/{name}.json" for name, scan in (("father", father), ("mother", mother)) if scan is None]
    return Section(
        key, title, tuple(blocks), missing=f"{absent[0]} is missing: only one parent is shown." if absent else ""
    )


@dataclass(frozen=True)
class Side:
    """A parent as a heat map shows it: its scan and the layers in the order of the rows."""

    role: str
    scan: Scan
    layers: tuple[LayerScan, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Row labels: mixer and layer number."""
        return tuple(layer_label(layer) for layer in self.layers)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Layer numbers of the rows."""
        return tuple(layer.index for layer in self.layers)


def layer_label(layer: LayerScan) -> str:
    """Mixer and number of a layer, as heat maps and their tables name it."""
    return f"{mixer(layer.mixer)} {layer.index}"


def aligned_sides(father: Scan | None, mother: Scan | None, pair: PairScan | None) -> list[Side]:
    """The parents there are; the mother's layers stand in the order of the layer map where there is one."""
    sides = [Side("father", father, father.layers)] if father else []
    if mother:
        by_index = {layer.index: layer for layer in mother.layers}
        usable = pair is not None and father is not None and all(m in by_index for m in pair.layer_map)
        layers = tuple(by_index[m] for m in pair.layer_map) if usable and pair else mother.layers
        sides.append(Side("mother", mother, layers))
    return sides


def rise_estimates(layer: LayerScan) -> dict[str, Estimate]:
    """Languages, then domains, with the rise of NLL per byte."""
    return {
        **layer.language.raw_rise,
        **{f"{name} ": e for name, e in layer.importance.items()},
    }  # a space keeps names apart


def rise_writer(sides: Sequence[Side]) -> Callable[[Estimate | None], str]:
    """How tables print a rise: with its interval for models of few layers; for deep ones scan/*.json has the intervals."""
    return words.rise if all(len(side.scan.layers) <= ROOMY for side in sides) else words.rise_number


def _rise_figure(side: Side, sides: Sequence[Side]) -> Figure:
    columns = list(dict.fromkeys(k for s in sides for layer in s.layers for k in rise_estimates(layer)))
    languages = sum(not name.endswith(" ") for name in columns)
    top = (
        max((e.value for s in sides for layer in s.layers for e in rise_estimates(layer).values()), default=0.0) or 1.0
    )
    found = [[rise_estimates(layer).get(name) for name in columns] for layer in side.layers]
    names = tuple(name.strip() for name in columns)
    chart = HeatMap(
        f"fig-rise-{side.role}",
        f"{side.role.capitalize()}: rise of NLL per byte without each FFN",
        f"Layers as rows; {languages} languages, then domains as columns. Brighter is a larger rise, on one scale for both parents.",
        side.labels,
        side.numbers,
        names,
        tuple(tuple(None if e is None else (max(e.value, 0.0) / top) ** 0.5 for e in row) for row in found),
        tuple(
            tuple("" if e is None else words.fixed(100 * e.value, 0 if top >= 1 else 1) for e in row) for row in found
        ),
        tuple(tuple(words.rise_value(e) for e in row) for row in found),
        ("0 %", f"{words.percent(top)} (square-root scale)"),
        breaks=(languages,) if 0 < languages < len(columns) else (),
    )
    show = rise_writer(sides)
    rows = [
        Row((layer_label(layer), *(show(rise_estimates(layer).get(name)) for name in columns)))
        for layer in side.scan.layers
    ]
    return Figure(
        chart,
        table(f"{side.role}: rise of NLL per byte, per cent", ("layer", *names), rows, folded=True),
        side.scan.model.ref,
    )


def _statistics_figure(side: Side, sides: Sequence[Side]) -> Figure:
    shown = [s for s in STATISTICS if any(read_statistic(layer, s) is not None for p in sides for layer in p.layers)]
    values = [[read_statistic(layer, s) for s in shown] for layer in side.layers]
    bounds = []
    for s in shown:
        column = [v for p in sides for layer in p.layers if (v := read_statistic(layer, s)) is not None]
        bounds.append((min(column), max(column)))

    def shade(value: float | None, bound: tuple[float, float]) -> float | None:
        low, high = bound
        return None if value is None else ((value - low) / (high - low)) ** 0.5 if high > low else 0.0

    texts = tuple(tuple("" if v is None else words.compact(v) for v in row) for row in values)
    details = tuple(tuple(_show(s, v) for s, v in zip(shown, row, strict=True)) for row in values)
    chart = HeatMap(
        f"fig-activation-{side.role}",
        f"{side.role.capitalize()}: activation statistics",
        "Layers as rows, statistics as columns. Each column has its own scale, from its lowest to its highest value in either parent.",
        side.labels,
        side.numbers,
        tuple(s.title for s in shown),
        tuple(tuple(shade(v, b) for v, b in zip(row, bounds, strict=True)) for row in values),
        texts,
        details,
        ("lowest", "highest of the column, both parents"),
    )
    rows = [
        Row((layer_label(layer), *(_show(s, read_statistic(layer, s)) for s in shown))) for layer in side.scan.layers
    ]
    note = "; ".join(f"{s.title}: {s.meaning}" for s in shown)
    return Figure(
        chart,
        table(
            f"{side.role}: activation statistics", ("layer", *(s.title for s in shown)), rows, note=note, folded=True
        ),
        side.scan.model.ref,
    )


def channels_table(scans: Sequence[tuple[str, dict[str, Channel]]]) -> Table:
    """How far each channel can be trusted, silent ones said to be silent."""
    names = list(dict.fromkeys(name for _, channels in scans for name in channels))
    rows = [Row((name, *(_channel(channels.get(name)) for _, channels in scans))) for name in names]
    columns = ("channel", *(f"{who}: reliability, p" for who, _ in scans))
    note = "Reliability is 1 − bootstrap variance / variance over layers; p from shuffling layers within documents."
    return table("How far each channel can be trusted", columns, rows, note=note, text=range(len(columns)), folded=True)


def _channel(channel: Channel | None) -> str:
    if channel is None:
        return words.ABSENT
    text = f"{words.fixed(channel.reliability)}, {words.probability(channel.p_value)}"
    return text if channel.informative else f"{text}, no signal"
