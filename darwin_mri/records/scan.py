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
    """One layer. ``activation[site][group][statistic]``, group being ``all``, ``language:ko`` or ``domain:math``, and
    ``activation_intervals`` its 95 % (low, high); ``weights[tensor][statistic]``; ``importance[domain]``: relative rise of NLL
    per byte when the FFN is mean-ablated, ``mixer_importance`` when the mixer is; ``probe_distance[kind]``: 1 - cos of the mean
    state over a kind of text and over plain prose. ``note`` says why a layer has no plain FFN.
    """

    index: int
    mixer: str
    activation: dict[str, dict[str, dict[str, float]]] = {}
    activation_intervals: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    weights: dict[str, dict[str, float]] = {}
    language: LanguageScan = LanguageScan()
    importance: dict[str, Estimate] = {}
    mixer_importance: dict[str, Estimate] = {}
    probe_distance: dict[str, float] = {}
    note: str = ""


class Scan(Record):
    """The scan of one parent."""

    model: ModelInfo
    probes: ProbesInfo
    layers: tuple[LayerScan, ...]
    channels: dict[str, Channel]
    bits_per_byte: dict[str, float] = {}  # unablated model, by language and domain
    outside: dict[str, dict[str, float]] = {}  # weight statistics of matrices outside the layers (embeddings)


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


class PairWeights(Part):
    """Siblings' weights against each other in one layer: ``part`` is ``ffn`` or ``mixer``; ``relative_change`` is
    |mother - father| / |father|; ``sign_agreement`` the share of weights of equal sign."""

    index: int
    part: str
    cosine: float
    relative_change: float
    sign_agreement: float


class MappedLayer(Part):
    """A father layer beside the mother layer the map gives it.

    ``cka`` with its 95 % interval (jackknife over documents); ``procrustes``: share of the father's FFN increment that no
    rotation and scale of the mother's explains, in [0, 1]; ``neuron_match``: mean over his neurons of the best absolute
    correlation with one of hers; ``*_null`` the same against shuffled positions.
    """

    index: int
    mother_layer: int
    cka: Estimate
    procrustes: float | None = None
    procrustes_null: float | None = None
    neuron_match: float | None = None
    neuron_match_null: float | None = None


class PresetFit(Part):
    """How well a preset foresaw the truth: Spearman's rho of its prediction per gene with the measured fitness change.

    ``spearman``: mean over random halvings of the items, one half foretelling, the other the truth; ``low`` and ``high``: the
    range of 95 % of the halvings. ``same_items``: rho with all items on both sides, the luck of the items included; None where a
    side is constant. Of the layers a preset freezes, ``precision`` is the share that really harm the protected text beyond the tolerance, ``recall`` the share of harmful
    layers it freezes; None where nothing is frozen, or nothing harms.
    """

    preset: str
    spearman: float | None
    low: float | None = None
    high: float | None = None
    same_items: float | None = None
    prediction: dict[str, float]
    frozen: tuple[int, ...] = ()
    precision: float | None = None
    recall: float | None = None


class Validation(Part):
    """The measured truth of blending each gene alone at the reference ratio, and what each preset had said.

    ``gain``: change of the smooth fitness on all search items; ``ceiling``: mean rho between the truth of one half of them and that
    of the other, about as much as a preset can reach; ``harm``: relative rise of NLL per byte of
    each protected text, by layer, on documents not used for freezing where the probe set has more (``harm_documents``).
    """

    reference_ratio: float
    items: int
    gain: dict[str, Estimate]
    ceiling: float | None = None
    harm: dict[str, dict[int, float]] = {}
    harm_documents: str = ""
    harmful: tuple[int, ...] = ()
    presets: tuple[PresetFit, ...] = ()


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
    mapped: tuple[MappedLayer, ...] = ()
    weights: tuple[PairWeights, ...] = ()
    validation: Validation | None = None
