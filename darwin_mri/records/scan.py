"""What the MRI saw: one record per parent, one for the pair."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class Estimate(Part):
    """A value with its 95 % bootstrap interval over probe documents."""

    value: float
    low: float
    high: float


class ModelInfo(Part):
    """Who was scanned. ``digest`` is the sha256 over the weight files' digests; ``ref`` is as the user wrote it, without folders."""

    ref: str
    digest: str
    family: str
    layers: int
    hidden_size: int
    ffn_size: int
    mixers: tuple[str, ...]
    parameters: int = 0


class ProbesInfo(Part):
    digest: str
    languages: tuple[str, ...]
    domains: tuple[str, ...]
    documents: int
    tokens: int


class Channel(Part):
    """How far a channel can be trusted: reliability = 1 - mean bootstrap variance / variance over layers, in [0, 1]."""

    reliability: float
    p_value: float
    informative: bool
    note: str = ""


class LanguageScan(Part):
    """Language channels of one layer.

    ``sensitivity``: causal, relative rise of NLL per byte in language k when the FFN is mean-ablated, minus the mean of the
    other languages. ``raw_rise``: the rise itself. ``specific_neurons``: count of neurons firing for that language almost alone.
    ``alignment``: cosine of parallel passages minus cosine of mismatched ones, at the layer's output.
    """

    sensitivity: dict[str, Estimate] = {}
    raw_rise: dict[str, Estimate] = {}
    specific_neurons: dict[str, int] = {}
    alignment: dict[str, Estimate] = {}


class LayerScan(Part):
    """One layer. ``activation[site][group][statistic]``, group being ``all``, ``language:ko`` or ``domain:math``;
    ``weights[tensor][statistic]``; ``importance[domain]``: relative rise of NLL per byte when the FFN is mean-ablated."""

    index: int
    mixer: str
    activation: dict[str, dict[str, dict[str, float]]] = {}
    weights: dict[str, dict[str, float]] = {}
    language: LanguageScan = LanguageScan()
    importance: dict[str, Estimate] = {}


class Scan(Record):
    """The scan of one parent."""

    model: ModelInfo
    probes: ProbesInfo
    layers: tuple[LayerScan, ...]
    channels: dict[str, Channel]
    bits_per_byte: dict[str, float] = {}  # unablated model, by language and domain


class Response(Part):
    """How a loss moves when the child leaves the father along one gene.

    ``slope`` at ratio 0 and ``slope_reference`` at the reference ratio, both d loss / d ratio; ``low`` and ``high`` bound
    ``harm``, the loss at the reference ratio minus the loss at 0 by the trapezoid of both slopes.
    """

    gene: str
    loss: str  # "fitness", "language:ko", "domain:math"
    slope: float
    slope_reference: float
    harm: float
    low: float
    high: float


class PairScan(Record):
    """Both parents side by side. ``cka`` is (father layers x mother layers); ``layer_map[i]`` is father layer i's mother layer."""

    father: ModelInfo
    mother: ModelInfo
    cka: tuple[tuple[float, ...], ...]
    layer_map: tuple[int, ...]
    map_proportional: tuple[int, ...]
    reference_ratio: float
    response: tuple[Response, ...] = ()
    channels: dict[str, Channel] = {}
