"""What layers write, in the vocabulary's words: tables of the tokens that a difference promotes and suppresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from darwin_mri.records import Channel, PairScan, Scan, Word, Words
from darwin_mri.records.roles import named
from darwin_mri.report import formats
from darwin_mri.report.model.elements import Row, Table, table
from darwin_mri.translation import labels, later, say

PREFIX = "words:"
SEPARATOR = "  "
FEW = 3  # tokens in a cell of a table of all layers
HOW_TO_READ = later(
    "layer: where the difference is largest. logits: standard deviation over the vocabulary of the change of the"
    " logits, with its 95 % interval. ␣: a space.",
)

KINDS = {"language": later("language"), "domain": later("domain"), "topic": later("topic")}

ByLayer = Sequence[tuple[int, Mapping[str, Words]]]
"""(layer, group -> words)."""


def word_tables(scans: Iterable[Scan | None], pairs: Mapping[str, PairScan] | None = None) -> tuple[Table, ...]:
    """What FFNs write by kind of text, of every model, and what each other parent writes that the father does not.

    Args:
        scans: of the models, None where there is none.
        pairs: role of another parent -> the father beside it.

    Returns:
        The tables; none for records without words.
    """
    tables = [one for scan in scans if scan is not None for one in scan_tables(scan)]
    return (*tables, *(one for role, pair in (pairs or {}).items() for one in pair_tables(role, pair)))


def scan_tables(scan: Scan) -> tuple[Table, ...]:
    """Of one model: the groups, and folded all layers."""
    layers = [(layer.index, layer.words) for layer in scan.layers]
    caption = say("What the FFNs of {ref} write", ref=scan.model.ref)
    note = f"{say('The mean on these texts beside that on others.')} {say(HOW_TO_READ)}"
    return _tables(caption, note, layers, scan.channels, PREFIX)


def pair_tables(role: str, pair: PairScan) -> tuple[Table, ...]:
    """Of siblings: the streams after the layers, and the FFNs' increments."""
    sites: tuple[tuple[str, str, Callable[..., Mapping[str, Words]]], ...] = (
        ("h_out", say("layers"), lambda layer: layer.h_out),
        ("end", say("layers at the end of a text"), lambda layer: layer.end),
        ("f", say("FFNs"), lambda layer: layer.f),
    )
    found: list[Table] = []
    for site, what, read in sites:
        caption = say("What {parent}'s {parts} write that the father's do not", parent=named(role), parts=what)
        note = f"{say('The mean difference on the same tokens.')} {say(HOW_TO_READ)}"
        layers = [(layer.index, read(layer)) for layer in pair.words]
        found += _tables(caption, note, layers, pair.channels, f"{PREFIX}{site}:")
    return tuple(found)


def _tables(
    caption: str, note: str, layers: ByLayer, channels: Mapping[str, Channel], prefix: str
) -> tuple[Table, ...]:
    """A line per group that was measured, and a folded table with a line per layer."""
    groups = [name.removeprefix(prefix) for name in channels if name.startswith(prefix)]
    if not groups:
        return ()
    shown_as = _group_names(groups)
    rows = [_group_row(name, shown_as[name], layers, channels[prefix + name]) for name in groups]
    tables = [
        table(caption, labels("texts", "layer", "logits", "promotes", "suppresses"), rows, text=(0, 3, 4), note=note)
    ]
    telling = [name for name in groups if any(name in words for _, words in layers)]
    if telling:
        shown = [
            Row((str(index), *(_tokens(words[name].promoted[:FEW]) if name in words else "" for name in telling)))
            for index, words in layers
            if words
        ]
        names = (say("layer"), *(shown_as[name] for name in telling))
        tables.append(
            table(say("{caption}, layer by layer", caption=caption), names, shown, text=range(len(names)), folded=True)
        )
    return tuple(tables)


def _group_row(group: str, shown_as: str, layers: ByLayer, channel: Channel) -> Row:
    found = [(index, words[group]) for index, words in layers if group in words]
    if not found:
        why = channel.note if channel.note and channel.p_value == 1 else say("no signal")
        return Row((shown_as, formats.ABSENT, formats.ABSENT, why, ""))
    index, words = max(found, key=lambda one: one[1].strength.value)
    size = words.strength
    logits = f"{formats.fixed(size.value)} [{formats.fixed(size.low)}, {formats.fixed(size.high)}]"
    return Row((shown_as, str(index), logits, _tokens(words.promoted), _tokens(words.suppressed)))


def _tokens(words: Sequence[Word]) -> str:
    return SEPARATOR.join(word.token for word in words)


def _group_names(groups: Sequence[str]) -> dict[str, str]:
    """Groups of texts as tables name them; with their kind where a language, a domain or a topic have one name."""
    parts = {group: group.partition(":")[::2] for group in groups}
    names = Counter(name for _, name in parts.values())
    return {
        group: say("{name} ({kind})", name=name, kind=say(KINDS[kind]) if kind in KINDS else kind)
        if names[name] > 1
        else name or say("all texts")
        for group, (kind, name) in parts.items()
    }
