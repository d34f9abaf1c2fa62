"""Layers in words: which numbers a layer has, how they are called, and one line per layer for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from darwin_mri.records import Estimate, LayerScan, PairScan, Prior, Scan
from darwin_mri.records.roles import named, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import ROOMY
from darwin_mri.report.model.elements import Row, Table, table
from darwin_mri.report.model.findings import is_identity, rises, stability
from darwin_mri.translation import later, say

MIXERS = {
    "full_attention": later("full"),
    "sliding_attention": later("sliding"),
    "linear_attention": later("linear"),
    "other": later("other"),
}
LABELS = (later("layer"), later("mixer"), later("trust"), later("frozen"))


@dataclass(frozen=True)
class Statistic:
    """One number of a layer: where it lies in the record and what it is called.

    Attributes:
        title: of its column.
        site: where in the layer it was measured.
        name: in the record.
        meaning: in words.
        digits: after the point; None for about four characters in all.
    """

    title: str
    site: str
    name: str
    meaning: str
    digits: int | None = 2

    def read(self, layer: LayerScan) -> float | None:
        """The number over all probes, or None where this layer has none."""
        return layer.activation.get(self.site, {}).get("all", {}).get(self.name)

    def show(self, value: float | None) -> str:
        """The number as tables print it."""
        return formats.compact(value) if self.digits is None else formats.fixed(value, self.digits)


STATISTICS = (
    Statistic(later("rms h"), "h_out", "rms", later("root mean square of the residual stream after the layer"), None),
    Statistic(later("max |h|"), "h_out", "max_abs", later("largest magnitude in it"), None),
    Statistic(later("kurtosis"), "h_out", "kurtosis", later("its excess kurtosis"), None),
    Statistic(later("outliers"), "h_out", "outliers", later("count of outlier features in it"), None),
    Statistic(
        later("directions"), "h_out", "participation_ratio", later("its participation ratio, (tr C)² / tr C²"), None
    ),
    Statistic(later("influence"), "h_out", "block_influence", later("1 − cos(input, output) of the layer"), 3),
    Statistic(
        "|f|/|h|", "f", "increment_ratio", later("size of the FFN's increment beside the stream it is added to"), 2
    ),
    Statistic("|m|/|h|", "m", "increment_ratio", later("the same for the mixer (attention or linear attention)"), 2),
    Statistic(later("firing"), "a", "firing", later("share of neurons that fire"), 2),
    Statistic(later("dead"), "a", "dead", later("share of neurons that never fire"), 2),
)
IN_TABLE = ("rms h", "|f|/|h|", "influence", "|m|/|h|")
SPARE = ("|m|/|h|", "|f|/|h|", "influence", "rms h")  # what a narrow terminal goes without, the first one first
RAISED = later("per cent that NLL per byte rises when the layer's FFN is replaced by its mean")


def mixer(name: str) -> str:
    """Short name of a mixer."""
    return say(MIXERS[name]) if name in MIXERS else name


def layer_label(layer: LayerScan) -> str:
    """Mixer and number of a layer, as heat maps and their tables name it."""
    return f"{mixer(layer.mixer)} {layer.index}"


def rise_writer(scans: Sequence[Scan]) -> Callable[[Estimate | None], str]:
    """How tables print a rise: with its interval for models of few layers; scan/*.json has those of deep models."""
    return formats.rise if all(len(scan.layers) <= ROOMY for scan in scans) else formats.rise_number


def layer_table(
    scan: Scan,
    pairs: Mapping[str, PairScan] | None = None,
    prior: Prior | None = None,
    languages: Sequence[str] | None = None,
) -> Table:
    """One line per layer with the numbers a person needs.

    Args:
        scan: of one parent.
        pairs: the father beside each other parent; adds the layer maps to the father, of several those that are not
            the identity.
        prior: adds trust and frozen layers to the father; trust in several parents stands with the genes.
        languages: to show; Korean and English, or the first two, when absent.

    Returns:
        the table; columns that were not measured are left out.
    """
    measured = list(dict.fromkeys(k for layer in scan.layers for k in layer.language.raw_rise))
    chosen = (
        [k for k in languages if k in measured]
        if languages
        else [k for k in ("ko", "en") if k in measured] or measured[:2]
    )
    domains = list(dict.fromkeys(k for layer in scan.layers for k in layer.importance))
    maps = dict(pairs or {})
    is_father = all(pair.father.digest == scan.model.digest for pair in maps.values())
    columns: list[tuple[str, Callable[[LayerScan], str]]] = [
        ("layer", lambda layer: str(layer.index)),
        ("mixer", lambda layer: mixer(layer.mixer)),
    ]
    for statistic in STATISTICS:
        if statistic.title in IN_TABLE and any(statistic.read(layer) is not None for layer in scan.layers):
            columns.append((statistic.title, _statistic_reader(statistic)))
    columns += [(k, _rise_reader(("language", k))) for k in chosen]
    columns += [(name, _rise_reader(("domain", name))) for name in domains]
    if is_father:
        shown = {role: pair for role, pair in maps.items() if len(maps) == 1 or not is_identity(pair)}
        columns += [(role, _map_reader(pair)) for role, pair in shown.items()]
    if prior is not None and is_father:
        columns += _prior_columns(prior)
    frozen_layers = set(prior.frozen) if prior and is_father else set()
    rows = [
        Row(tuple(read(layer) for _, read in columns), strong=layer.index in frozen_layers) for layer in scan.layers
    ]
    titles = [name for name, _ in columns]
    note = "; ".join(f"{say(s.title)}: {say(s.meaning)}" for s in STATISTICS if s.title in titles)
    if chosen or domains:
        note += f". {', '.join([*chosen, *domains])}: {say(RAISED)}."
    note += "".join(
        " "
        + say("{label}: {parent}'s layer in the layer map.", label=role_label(role).capitalize(), parent=named(role))
        for role in maps
        if role in titles
    )
    if "trust" in titles:
        note += " " + say("Trust: how reliable the evidence for the layer's gene is, 0 to 1.")
    if "frozen" in titles:
        note += " " + say("Frozen: the layer is kept as the father's; the number is the share of resamples that agree.")
    spare = tuple(titles.index(name) for name in (*SPARE, *reversed(domains)) if name in titles)
    shown_titles = [_column_label(name) for name in titles]
    return replace(
        table(say("Layers of {ref}", ref=scan.model.ref), shown_titles, rows, text=(1,), note=note, folded=True),
        spare=spare,
    )


def _column_label(name: str) -> str:
    """A column's title in the language in use; names of languages and domains stay."""
    return say(name) if name in LABELS or any(name == s.title for s in STATISTICS) else role_label(name)


def _statistic_reader(statistic: Statistic) -> Callable[[LayerScan], str]:
    return lambda layer: statistic.show(statistic.read(layer))


def _rise_reader(key: tuple[str, str]) -> Callable[[LayerScan], str]:
    return lambda layer: formats.rise_number(rises(layer).get(key))


def _map_reader(pair: PairScan) -> Callable[[LayerScan], str]:
    return lambda layer: str(pair.layer_map[layer.index]) if 0 <= layer.index < len(pair.layer_map) else formats.ABSENT


def _prior_columns(prior: Prior) -> list[tuple[str, Callable[[LayerScan], str]]]:
    layers = {layer.index: layer for layer in prior.layers}
    shares = stability(prior)
    several = len({layer.parent for layer in prior.layers}) > 1

    def trust(layer: LayerScan) -> str:
        known = layers.get(layer.index)
        return formats.fixed(known.trust) if known else formats.ABSENT

    def frozen(layer: LayerScan) -> str:
        known = layers.get(layer.index)
        kept = known is not None and (layer.index in prior.frozen if several else known.frozen)
        return formats.fixed(shares[layer.index]) if kept else ""

    return [("frozen", frozen)] if several else [("trust", trust), ("frozen", frozen)]
