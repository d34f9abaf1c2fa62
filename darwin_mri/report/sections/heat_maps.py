"""The MRI as a section: heat maps of all parents, of two along the layer map, and how far to trust each channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from darwin_mri.records import Channel, LayerScan, PairScan, Scan
from darwin_mri.records.roles import MOTHER, PARENTS, scan_file
from darwin_mri.report import formats
from darwin_mri.report.charts import HeatMap, HeatPanel
from darwin_mri.report.model.elements import Block, Figure, Row, Section, Table, Text, table
from darwin_mri.report.model.findings import rises
from darwin_mri.report.sections.experts import expert_tables
from darwin_mri.report.sections.layer_tables import RAISED, STATISTICS, layer_label, rise_writer
from darwin_mri.report.sections.words import word_tables
from darwin_mri.stats.vigor import parent_words

Parents = Sequence[tuple[str, Scan]]  # (role, scan) of those that were scanned, the father first

# Weight statistics worth a map, the most telling first; others stay in scan/*.json.
WEIGHTS = {
    "relative_change": "how far each tensor is from the base's, |W − base| / |base|",
    "sign_agreement": "share of entries whose task vector has the other parent's sign",
    "stable_rank": "stable rank of each tensor, |W|² / ‖W‖²",
    "entropy": "entropy of each tensor's entries",
}
WEIGHT_MAPS = 2


def scans_section(scans: Mapping[str, Scan], pairs: Mapping[str, PairScan], roles: Sequence[str]) -> Section:
    """Section 'mri': what each layer is worth, what happens inside, and its weights.

    Args:
        scans: role -> MRI of that parent.
        pairs: the father beside each other parent; of one other parent it adds the layer map.
        roles: of all parents that the run has.

    Returns:
        the section; it says what is missing.
    """
    key, title = "mri", f"MRI of {parent_words(len(roles)).every}"
    parents, pair = scanned_parents(scans), drawn_pair(scans, pairs)
    if not parents:
        return Section(
            key,
            title,
            missing="scan/father.json and scan/mother.json are missing: run darwin-mri scan FATHER --against MOTHER.",
        )
    blocks: list[Block] = []
    if pair is not None:
        blocks.append(Text(_map_sentence(parents[1][1], pair)))
    blocks.append(
        Text("What each layer's FFN is worth: how far NLL per byte rises, by language and by domain, without it.")
    )
    blocks.append(_rise_figure(parents, pair))
    blocks.append(Text("What happens inside: activation statistics over all probes."))
    blocks.append(_statistics_figure(parents, pair))
    blocks += [*_weight_figures(parents, pair), *expert_tables(*(scan for _, scan in parents))]
    blocks += word_tables((scan for _, scan in parents), pairs)
    named = [(role, scan.channels) for role, scan in parents]
    named += [
        ("pair" if role == MOTHER else f"pair with {role}", one.channels) for role, one in pairs.items() if one.channels
    ]
    blocks.append(channels_table(named))
    return Section(key, title, tuple(blocks), missing=_absent(scans, roles))


def _absent(scans: Mapping[str, Scan], roles: Sequence[str]) -> str:
    """Which parents' scans are not there."""
    files = [scan_file(role) for role in roles if role not in scans]
    if not files:
        return ""
    shown = "one parent is" if len(scans) == 1 else f"{formats.listing(list(scans))} are"
    return f"{formats.listing(files)} {'is' if len(files) == 1 else 'are'} missing: only {shown} shown."


def scanned_parents(scans: Mapping[str, Scan]) -> Parents:
    """The parents that were scanned."""
    return [(role, scans[role]) for role in PARENTS if role in scans]


def drawn_pair(scans: Mapping[str, Scan], pairs: Mapping[str, PairScan]) -> PairScan | None:
    """The layer map that is drawn between two parents side by side; of more parents section 'similarity' has them."""
    return pairs.get(MOTHER) if set(scans) == set(PARENTS[:2]) else None


def _map_sentence(mother: Scan, pair: PairScan) -> str:
    text = (
        "Both parents stand at equal height, so that level rows are equally deep; the curves between them are the layer"
        " map, darker where the two layers are more alike."
    )
    unused = sorted(set(range(len(mother.layers))) - set(pair.layer_map))
    return text + (f" The mother's layers {formats.ranges(unused)} are paired with none." if unused else "")


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
                title=f"{role}: {scan.model.ref}",
                rows=tuple(layer_label(layer) for layer in scan.layers),
                layers=tuple(str(layer.index) for layer in scan.layers),
                shades=tuple(tuple(None if v is None else shade(v, c) for c, v in enumerate(row)) for row in values),
                texts=tuple(tuple("" if v is None else columns[c].short(v) for c, v in enumerate(r)) for r in values),
                details=tuple(
                    tuple("not measured" if v is None else columns[c].long(v) for c, v in enumerate(r)) for r in values
                ),
            )
        )
    return tuple(drawn)


def _rise_figure(parents: Parents, pair: PairScan | None) -> Figure:
    keys = list(dict.fromkeys(key for _, scan in parents for layer in scan.layers for key in rises(layer)))
    keys.sort(key=lambda key: key[0] != "language")
    languages = sum(kind == "language" for kind, _ in keys)
    every = [e.value for _, scan in parents for layer in scan.layers for e in rises(layer).values()]
    links = layer_links(parents, pair)
    top = max(every, default=0.0) or 1.0

    def reader(key: tuple[str, str]) -> Callable[[LayerScan], float | None]:
        return lambda layer: rise.value if (rise := rises(layer).get(key)) else None

    columns = [
        Column(
            name,
            reader((kind, name)),
            lambda v: formats.fixed(100 * v, 0 if abs(v) >= 1 else 1),
            formats.signed_percent,
        )
        for kind, name in keys
    ]
    chart = HeatMap(
        "fig-rise",
        "Rise of NLL per byte without each FFN",
        f"Layers as rows; {languages} languages, then domains as columns. Brighter is a larger rise, on one scale for"
        f" {parent_words(len(parents)).every}.{' Curves join the layers that the layer map pairs.' if links else ''}",
        tuple(name for _, name in keys),
        panels(parents, columns, lambda v, _: (max(v, 0.0) / top) ** 0.5),
        ("0 %", f"{formats.percent(top)} (square-root scale)"),
        breaks=(languages,) if 0 < languages < len(keys) else (),
        links=links,
    )
    show = rise_writer([scan for _, scan in parents])
    tables = tuple(
        table(
            f"{role}: rise of NLL per byte without each FFN, per cent",
            ("layer", *(name for _, name in keys)),
            [Row((layer_label(layer), *(show(rises(layer).get(key)) for key in keys))) for layer in scan.layers],
            note=f"{RAISED.capitalize()}, with its 95 % interval over documents where printed.",
            folded=True,
        )
        for role, scan in parents
    )
    return Figure(chart, tables)


def _statistics_figure(parents: Parents, pair: PairScan | None) -> Figure:
    shown = [s for s in STATISTICS if any(s.read(layer) is not None for _, p in parents for layer in p.layers)]
    columns = [Column(s.title, s.read, formats.compact, s.show) for s in shown]
    chart = HeatMap(
        "fig-activation",
        "Activation statistics",
        "Layers as rows, statistics as columns. Each column has its own scale, from its lowest to its highest value in"
        f" {'either' if len(parents) < 3 else 'any'} parent.",
        tuple(s.title for s in shown),
        panels(parents, columns, column_scale(parents, columns)),
        ("lowest", "highest, by column"),
        links=layer_links(parents, pair),
    )
    note = "; ".join(f"{s.title}: {s.meaning}" for s in shown) + "."
    tables = tuple(
        table(
            f"{role}: activation statistics",
            ("layer", *(s.title for s in shown)),
            [Row((layer_label(layer), *(s.show(s.read(layer)) for s in shown))) for layer in scan.layers],
            folded=True,
        )
        for role, scan in parents
    )
    return Figure(chart, tables, note)


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


def _weight_figures(parents: Parents, pair: PairScan | None) -> list[Block]:
    """Maps of the weights: tensors as columns, one map per statistic."""
    measured = {
        statistic
        for _, scan in parents
        for layer in scan.layers
        for statistics in layer.weights.values()
        for statistic in statistics
    }
    chosen = [name for name in WEIGHTS if name in measured][:WEIGHT_MAPS]
    blocks: list[Block] = [Text("What the weights look like, tensor by tensor.")] if chosen else []
    return blocks + [_weight_figure(name, parents, pair) for name in chosen]


def _weight_figure(statistic: str, parents: Parents, pair: PairScan | None) -> Figure:
    """One statistic of every tensor; each parent has the tensors of its own architecture as columns."""
    title = statistic.replace("_", " ").capitalize()
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
        note = f"{title}: {WEIGHTS[statistic]}."
        tables.append(table(f"{role}: {title.lower()} of the weights", ("layer", *names), rows, note=note, folded=True))
    chart = HeatMap(
        f"fig-weights-{statistic.replace('_', '-')}",
        f"{title} of the weights",
        f"Layers as rows, tensors as columns: {WEIGHTS[statistic]}. Each column has its own scale, from its lowest to"
        " its highest layer.",
        (),
        tuple(drawn),
        ("lowest", "highest, by column"),
        links=layer_links(parents, pair),
    )
    return Figure(chart, tuple(tables))


def _tensor(name: str) -> str:
    """``self_attn.q_proj.weight`` -> ``q_proj``."""
    return name.removesuffix(".weight").rpartition(".")[2]


def _weight_reader(tensor: str, statistic: str) -> Callable[[LayerScan], float | None]:
    return lambda layer: layer.weights.get(tensor, {}).get(statistic)


def channels_table(scans: Sequence[tuple[str, dict[str, Channel]]]) -> Table:
    """How far each channel can be trusted, channels without signal named as such."""
    names = list(dict.fromkeys(name for _, channels in scans for name in channels))
    rows = [Row((name, *(_channel(channels.get(name)) for _, channels in scans))) for name in names]
    columns = ("channel", *(f"{role}: reliability, p" for role, _ in scans))
    note = "Reliability is 1 − bootstrap variance / variance over layers; p from shuffling layers within documents."
    return table("How far each channel can be trusted", columns, rows, note=note, text=range(len(columns)), folded=True)


def _channel(channel: Channel | None) -> str:
    if channel is None:
        return formats.ABSENT
    text = f"{formats.fixed(channel.reliability)}, {formats.probability(channel.p_value)}"
    return text if channel.informative else f"{text}, no signal"
