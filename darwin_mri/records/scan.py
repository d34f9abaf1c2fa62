"""What the MRI saw: one record per parent, one for the pair."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record
from darwin_mri.records.estimate import Estimate
from darwin_mri.records.roles import MOTHER
from darwin_mri.records.words import PairWords, Words


class ModelInfo(Part):
    """The model that was scanned.

    Attributes:
        ref: as the user wrote it, without folders.
        digest: sha256 over the weight files' digests.
        family: the configuration's model type.
        layers: number of layers.
        hidden_size: width of the residual stream.
        ffn_size: width of the widest FFN.
        mixers: kind of mixer, by layer.
        parameters: number of weights.
    """

    ref: str
    digest: str
    family: str
    layers: int
    hidden_size: int
    ffn_size: int
    mixers: tuple[str, ...]
    parameters: int = 0


class ProbesInfo(Part):
    """The texts that a model was scanned with.

    Attributes:
        digest: over the texts.
        languages: of the texts.
        domains: of the texts.
        documents: number of texts.
        tokens: number of tokens in all texts.
    """

    digest: str
    languages: tuple[str, ...]
    domains: tuple[str, ...]
    documents: int
    tokens: int


class Channel(Part):
    """How far a channel can be trusted.

    Attributes:
        reliability: 1 - mean bootstrap variance / variance over layers, in [0, 1].
        p_value: of the hypothesis that layers do not differ.
        informative: whether the channel tells layers apart.
        note: figures and caveats, in words.
    """

    reliability: float
    p_value: float
    informative: bool
    note: str = ""


class LanguageScan(Part):
    """Language channels of one layer, each by language.

    Attributes:
        sensitivity: causal: relative rise of NLL per byte when the FFN is mean-ablated, minus the mean rise of the
            other languages.
        raw_rise: the rise itself.
        specific_neurons: number of neurons that fire for the language almost alone.
        alignment: cosine of parallel passages minus cosine of mismatched ones, at the layer's output.
    """

    sensitivity: dict[str, Estimate] = {}
    raw_rise: dict[str, Estimate] = {}
    specific_neurons: dict[str, int] = {}
    alignment: dict[str, Estimate] = {}


class ExpertLoad(Part):
    """How one layer's tokens spread over its experts; a group is ``all``, ``language:ko`` or ``domain:math``.

    Attributes:
        experts: number of experts.
        share: group -> each expert's share of the group's tokens, (experts,); they add up to the experts per token.
        entropy: group -> entropy of the load over its largest value: 1 where all experts carry the same.
        imbalance: group -> load of the busiest expert over the mean.
        difference: group -> total variation distance of its load from that of all probes, in [0, 1].
    """

    experts: int
    share: dict[str, tuple[float, ...]]
    entropy: dict[str, float]
    imbalance: dict[str, float]
    difference: dict[str, float]


class LayerScan(Part):
    """One layer.

    Attributes:
        index: number of the layer.
        mixer: kind of mixer.
        activation: site -> group -> statistic -> value; a group is ``all``, ``language:ko`` or ``domain:math``.
        activation_intervals: their 95 % intervals (low, high).
        weights: tensor -> statistic -> value.
        language: the language channels.
        importance: domain -> relative rise of NLL per byte when the FFN is mean-ablated.
        mixer_importance: the same when the mixer is ablated.
        probe_distance: kind of text -> 1 - cosine of the mean states over that kind and over plain prose.
        words: group -> what the FFN writes more on its texts than on others; groups without signal are left out.
        experts: load of the experts; None where the layer has no mixture of experts.
        note: why the layer has no plain FFN.
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
    words: dict[str, Words] = {}
    experts: ExpertLoad | None = None
    note: str = ""


class AblationInfo(Part):
    """How the losses of the ablated models were obtained.

    Attributes:
        mode: ``exact``: measured on every document; ``fast``: measured on some, estimated on the others.
        forwards: what it took, in plain forwards with the loss over the same tokens, by count of operations.
        documents: how many were measured with each part of each layer ablated.
        note: why the mode is not the one asked for.
    """

    mode: str
    forwards: float
    documents: int
    note: str = ""


class Scan(Record):
    """The scan of one parent.

    Attributes:
        model: what was scanned.
        probes: with which texts.
        layers: the channels, by layer.
        channels: channel -> how far it can be trusted.
        bits_per_byte: loss of the model, not ablated, by ``language:xx`` and ``domain:xx``.
        outside: tensor -> statistic -> value, of matrices outside the layers (embeddings).
        ablation: how language sensitivity and importance were obtained; None in records of earlier versions, which are
            exact.
    """

    model: ModelInfo
    probes: ProbesInfo
    layers: tuple[LayerScan, ...]
    channels: dict[str, Channel]
    bits_per_byte: dict[str, float] = {}
    outside: dict[str, dict[str, float]] = {}
    ablation: AblationInfo | None = None


class Response(Part):
    """How a loss moves when the child leaves the father along one gene.

    Attributes:
        gene: its name.
        loss: "fitness", "language:ko", "domain:math", ...
        slope: d loss / d ratio at ratio 0.
        slope_reference: d loss / d ratio at the reference ratio.
        harm: loss at the reference ratio minus loss at 0, by the trapezoid of both slopes.
        low: lower bound of ``harm``.
        high: upper bound of ``harm``.
    """

    gene: str
    loss: str
    slope: float
    slope_reference: float
    harm: float
    low: float
    high: float


class PairWeights(Part):
    """Weights of two parents of one architecture against each other, in one layer.

    Attributes:
        index: number of the layer.
        part: ``ffn``, ``experts``, ``shared``, ``router`` or ``mixer``.
        cosine: of the two parts' weights.
        relative_change: |mother - father| / |father|.
        sign_agreement: share of weights of equal sign.
    """

    index: int
    part: str
    cosine: float
    relative_change: float
    sign_agreement: float


class MappedLayer(Part):
    """A father layer beside the mother layer that the map gives it.

    Attributes:
        index: number of the father layer.
        mother_layer: number of the mother layer.
        cka: of the layers' FFN increments, with its 95 % interval (jackknife over documents).
        procrustes: share of the father's FFN increment that no rotation and scale of the mother's explains, in [0, 1].
        procrustes_null: the same against shuffled positions.
        neuron_match: mean over the father's neurons of the best absolute correlation with one of the mother's.
        neuron_match_null: the same against shuffled positions.
    """

    index: int
    mother_layer: int
    cka: Estimate
    procrustes: float | None = None
    procrustes_null: float | None = None
    neuron_match: float | None = None
    neuron_match_null: float | None = None


class PresetFit(Part):
    """How well a preset predicts the truth: Spearman's rho of its prediction per gene with the measured fitness change.

    Attributes:
        preset: its name.
        spearman: mean over random halvings of the items, one half for the prediction, the other for the truth; None
            where a side is constant.
        low: lower end of the range of 95 % of the halvings.
        high: upper end of that range.
        same_items: rho with all items on both sides, the luck of the items included; None where a side is constant.
        prediction: gene -> predicted fitness change.
        frozen: father layers that the preset freezes.
        precision: share of the frozen layers that really harm the protected text beyond the tolerance; None where none
            is frozen.
        recall: share of the harmful layers that are frozen; None where none is harmful.
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
    """The measured truth of blending each gene alone at the reference ratio, and what each preset predicted.

    Attributes:
        reference_ratio: that every gene was blended at.
        items: number of search items.
        gain: gene -> change of the smooth fitness on all search items.
        ceiling: mean rho between the truth of one half of the items and that of the other, about as much as a preset
            can reach; None where it is not defined.
        harm: protected text -> layer -> relative rise of NLL per byte.
        harm_documents: which documents ``harm`` was measured on: where the probe set has more, those not used for
            freezing.
        harmful: father layers whose harm exceeds the tolerance.
        presets: how well each predicts.
    """

    reference_ratio: float
    items: int
    gain: dict[str, Estimate]
    ceiling: float | None = None
    harm: dict[str, dict[int, float]] = {}
    harm_documents: str = ""
    harmful: tuple[int, ...] = ()
    presets: tuple[PresetFit, ...] = ()


class Reading(Part):
    """How well the states of one layer's FFN tell questions apart, in wordings that the readout was not fitted on.

    Attributes:
        questions: how many; a guess is right at one in so many.
        answer: site (``x``: the FFN's input, ``a``: its neurons) -> share of the questions that a linear readout
            recognises at the place where the answer follows.
        subject: the same at the last token of the subject.
    """

    questions: int
    answer: dict[str, Estimate]
    subject: dict[str, Estimate]


class PairScan(Record):
    """The father beside another parent.

    Attributes:
        father: the father.
        mother: the other parent, whichever of several it is (``parent``).
        parent: role of the other parent.
        cka: of FFN increments at shared positions, (father layers, mother layers).
        layer_map: the mother layer of each father layer.
        map_proportional: the same by depth alone.
        reference_ratio: that responses and validation are measured at.
        response: how losses move along each gene.
        channels: channel -> how far it can be trusted.
        mapped: each father layer with its mother layer, closer up.
        weights: their weights against each other, where both have one architecture.
        words: by layer, of siblings that read the same tokens; empty for others.
        reading: by layer, where the father could be taught answers, None for a layer without a plain FFN; empty where
            the parents are siblings, or no question comes in two wordings.
        validation: measured truth of every gene; None where it was not measured.
    """

    father: ModelInfo
    mother: ModelInfo
    parent: str = MOTHER
    cka: tuple[tuple[float, ...], ...]
    layer_map: tuple[int, ...]
    map_proportional: tuple[int, ...]
    reference_ratio: float
    response: tuple[Response, ...] = ()
    channels: dict[str, Channel] = {}
    mapped: tuple[MappedLayer, ...] = ()
    weights: tuple[PairWeights, ...] = ()
    words: tuple[PairWords, ...] = ()
    reading: tuple[Reading | None, ...] = ()
    validation: Validation | None = None

    @property
    def best_reading(self) -> Reading | None:
        """Of the layer whose neurons tell most questions apart where the answer follows; None where none was read."""
        read = [reading for reading in self.reading if reading is not None]
        return max(read, key=lambda reading: reading.answer["a"].value, default=None)

    def teachable_subject(self, share: float) -> bool:
        """Whether a layer of the first half tells so many questions apart at the subject: later ones can carry it."""
        return any(r is not None and r.subject["a"].value >= share for r in self.reading[: len(self.reading) // 2])
