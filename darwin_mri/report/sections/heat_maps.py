"""The MRI as a section: heat maps of all parents, of two along the layer map, and how far to trust each channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from darwin_mri.records import Channel, LayerScan, PairScan, Scan
from darwin_mri.records.roles import MOTHER, PARENTS, role_label, scan_file
from darwin_mri.report import formats
from darwin_mri.report.charts import HeatMap
from darwin_mri.report.model.elements import Block, Figure, Row, Section, Table, Text, table
from darwin_mri.report.model.findings import rises
from darwin_mri.report.sections.experts import expert_tables
from darwin_mri.report.sections.layer_panels import Column, Parents, column_scale, layer_links, panels
from darwin_mri.report.sections.layer_tables import STATISTICS, layer_label, rise_writer
from darwin_mri.report.sections.reading import reading_tables
from darwin_mri.report.sections.weight_maps import weight_figures
from darwin_mri.report.sections.words import word_tables
from darwin_mri.stats.vigor import parent_words
from darwin_mri.translation import say, say_count


def scans_section(scans: Mapping[str, Scan], pairs: Mapping[str, PairScan], roles: Sequence[str]) -> Section:
    """Section 'mri': what each layer is worth, what happens inside, and its weights.

    Args:
        scans: role -> MRI of that parent.
        pairs: the father beside each other parent; of one other parent it adds the layer map.
        roles: of all parents that the run has.

    Returns:
        the section; it says what is missing.
    """
    key, title = "mri", say("MRI of {parents}", parents=parent_words(len(roles)).every)
    parents, pair = scanned_parents(scans), drawn_pair(scans, pairs)
    if not parents:
        return Section(
            key,
            title,
            missing=say(
                "scan/father.json and scan/mother.json are missing: run darwin-mri scan FATHER --against MOTHER."
            ),
        )
    blocks: list[Block] = []
    if pair is not None:
        blocks.append(Text(_map_sentence(parents[1][1], pair)))
    blocks.append(
        Text(say("What each layer's FFN is worth: how far NLL per byte rises, by language and by domain, without it."))
    )
    blocks.append(_rise_figure(parents, pair))
    blocks.append(Text(say("What happens inside: activation statistics over all probes.")))
    blocks.append(_statistics_figure(parents, pair))
    blocks += [*weight_figures(parents, pair), *expert_tables(*(scan for _, scan in parents))]
    blocks += reading_tables(pairs)
    blocks += word_tables((scan for _, scan in parents), pairs)
    named = [(role_label(role), scan.channels) for role, scan in parents]
    named += [
        (say("pair") if role == MOTHER else say("pair with {role}", role=role_label(role)), one.channels)
        for role, one in pairs.items()
        if one.channels
    ]
    blocks.append(channels_table(named))
    return Section(key, title, tuple(blocks), missing=_absent(scans, roles))


def _absent(scans: Mapping[str, Scan], roles: Sequence[str]) -> str:
    """Which parents' scans are not there."""
    files = [scan_file(role) for role in roles if role not in scans]
    if not files:
        return ""
    if len(scans) == 1:
        shown = say("only one parent is shown")
    else:
        shown = say("only {parents} are shown", parents=formats.listing([role_label(role) for role in scans]))
    return say_count(
        "{files} is missing: {shown}.",
        "{files} are missing: {shown}.",
        len(files),
        files=formats.listing(files),
        shown=shown,
    )


def scanned_parents(scans: Mapping[str, Scan]) -> Parents:
    """The parents that were scanned."""
    return [(role, scans[role]) for role in PARENTS if role in scans]


def drawn_pair(scans: Mapping[str, Scan], pairs: Mapping[str, PairScan]) -> PairScan | None:
    """The layer map that is drawn between two parents side by side; of more parents section 'similarity' has them."""
    return pairs.get(MOTHER) if set(scans) == set(PARENTS[:2]) else None


def _map_sentence(mother: Scan, pair: PairScan) -> str:
    text = say(
        "Both parents stand at equal height, so that level rows are equally deep; the curves between them are the layer"
        " map, darker where the two layers are more alike.",
    )
    unused = sorted(set(range(len(mother.layers))) - set(pair.layer_map))
    return text + (
        " " + say("The mother's layers {layers} are paired with none.", layers=formats.ranges(unused)) if unused else ""
    )


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
        say("Rise of NLL per byte without each FFN"),
        say(
            "Layers as rows; {languages} languages, then domains as columns. Brighter is a larger rise, on one scale"
            " for {parents}.",
            languages=languages,
            parents=parent_words(len(parents)).every,
        )
        + (" " + say("Curves join the layers that the layer map pairs.") if links else ""),
        tuple(name for _, name in keys),
        panels(parents, columns, lambda v, _: (max(v, 0.0) / top) ** 0.5),
        ("0 %", say("{top} (square-root scale)", top=formats.percent(top))),
        breaks=(languages,) if 0 < languages < len(keys) else (),
        links=links,
    )
    show = rise_writer([scan for _, scan in parents])
    tables = tuple(
        table(
            say("{role}: rise of NLL per byte without each FFN, per cent", role=role_label(role)),
            (
                say("layer"),
                *(name for _, name in keys),
            ),
            [Row((layer_label(layer), *(show(rises(layer).get(key)) for key in keys))) for layer in scan.layers],
            note=say(
                "Per cent that nll per byte rises when the layer's ffn is replaced by its mean, with its 95 % interval"
                " over documents where printed."
            ),
            folded=True,
        )
        for role, scan in parents
    )
    return Figure(chart, tables)


def _statistics_figure(parents: Parents, pair: PairScan | None) -> Figure:
    shown = [s for s in STATISTICS if any(s.read(layer) is not None for _, p in parents for layer in p.layers)]
    columns = [Column(say(s.title), s.read, formats.compact, s.show) for s in shown]
    chart = HeatMap(
        "fig-activation",
        say("Activation statistics"),
        say(
            "Layers as rows, statistics as columns. Each column has its own scale, from its lowest to its highest value"
            " in either parent."
        )
        if len(parents) < 3
        else say(
            "Layers as rows, statistics as columns. Each column has its own scale, from its lowest to its highest value"
            " in any parent."
        ),
        tuple(say(s.title) for s in shown),
        panels(parents, columns, column_scale(parents, columns)),
        (say("lowest"), say("highest, by column")),
        links=layer_links(parents, pair),
    )
    note = "; ".join(f"{say(s.title)}: {say(s.meaning)}" for s in shown) + "."
    tables = tuple(
        table(
            say("{role}: activation statistics", role=role_label(role)),
            (say("layer"), *(say(s.title) for s in shown)),
            [Row((layer_label(layer), *(s.show(s.read(layer)) for s in shown))) for layer in scan.layers],
            folded=True,
        )
        for role, scan in parents
    )
    return Figure(chart, tables, note)


def channels_table(scans: Sequence[tuple[str, dict[str, Channel]]]) -> Table:
    """How far each channel can be trusted, channels without signal named as such."""
    names = list(dict.fromkeys(name for _, channels in scans for name in channels))
    rows = [Row((name, *(_channel(channels.get(name)) for _, channels in scans))) for name in names]
    columns = (
        say("channel"),
        *(say("{role}: reliability, p", role=role) for role, _ in scans),
    )
    note = say(
        "Reliability is 1 − bootstrap variance / variance over layers; p from shuffling layers within documents."
    )
    return table(
        say("How far each channel can be trusted"), columns, rows, note=note, text=range(len(columns)), folded=True
    )


def _channel(channel: Channel | None) -> str:
    if channel is None:
        return formats.ABSENT
    text = f"{formats.fixed(channel.reliability)}, {formats.probability(channel.p_value)}"
    return text if channel.informative else say("{figures}, no signal", figures=text)
