"""What single records say, each rule in one place: reading a contrast, the better parent, what a layer is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from darwin_mri.records import Comparison, Contrast, Estimate, Genome, LayerScan, PairScan, Prior, Score
from darwin_mri.records.roles import FATHER, MOTHER, PARENTS, named
from darwin_mri.records.score import COMPOSITE
from darwin_mri.report import formats
from darwin_mri.stats.vigor import LEVEL, ParentWords, parent_words
from darwin_mri.translation import later, say, say_count

Reading = Literal["above", "below", "within noise of"]
READINGS: dict[Reading, str] = {
    "above": later("gain"),
    "below": later("loss"),
    "within noise of": later("within noise"),
}


def reading_label(contrast: Contrast) -> str:
    """What a contrast says, in a word or two."""
    return say(READINGS[read_contrast(contrast)])


def read_contrast(contrast: Contrast) -> Reading:
    """Above or below only when the interval and the p-value (Holm's, where given) both say so."""
    p_value = contrast.p_value if contrast.p_holm is None else contrast.p_holm
    if p_value <= LEVEL and contrast.low > 0:
        return "above"
    if p_value <= LEVEL and contrast.high < 0:
        return "below"
    return "within noise of"


def is_accuracy(metric: str) -> bool:
    """Whether a metric counts right answers: acc, acc_norm, maj@k, mean@k, exact_match."""
    return metric.startswith(("acc", "maj@", "mean@", "exact_match"))


def measured_scores(comparison: Comparison, benchmark: str) -> list[Score]:
    """Measured scores on the whole of a benchmark, those on the search's own items left out."""
    return [s for s in comparison.scores if s.benchmark == benchmark and s.measured_whole and s.split != "search"]


def measured_score(comparison: Comparison, role: str, benchmark: str = COMPOSITE) -> Score | None:
    """The measured score of one role on the whole of a benchmark.

    Args:
        comparison: the scores.
        role: father, mother, parent3 and so on, child, base, baseline or ``null:KIND``.
        benchmark: its name.

    Returns:
        the first such score, or None.
    """
    return next((s for s in measured_scores(comparison, benchmark) if s.role == role), None)


def parents_of(comparison: Comparison) -> list[str]:
    """Roles of the parents: father and mother, and every further one that has a score."""
    scored = {s.role for s in comparison.scores}
    return [role for role in PARENTS if role in (FATHER, MOTHER) or role in scored]


def words_of(comparison: Comparison | None) -> ParentWords:
    """How sentences speak of the parents."""
    return parent_words(len(parents_of(comparison)) if comparison else 2)


def better_parent(comparison: Comparison, benchmark: str = COMPOSITE) -> Score | None:
    """The parent with the highest measured score, or None when one of them was not measured."""
    parents = [s for s in measured_scores(comparison, benchmark) if s.role in PARENTS]
    complete = {s.role for s in parents} == set(parents_of(comparison))
    return max(parents, key=lambda s: s.value) if complete else None


def contrast_with(comparison: Comparison, other: Score | None) -> Contrast | None:
    """The child's contrast with the model of a score, on the same benchmark."""
    return next((c for c in comparison.contrasts if c.against(other)), None) if other else None


def against_better_parent(comparison: Comparison, benchmark: str = COMPOSITE) -> Contrast | None:
    """The child's contrast with its better or best parent on a benchmark."""
    return contrast_with(comparison, better_parent(comparison, benchmark))


def fitness_gap(genome: Genome | None) -> float | None:
    """How much the winner's fitness falls from the items that chose it to fresh ones; None where one is not known."""
    if genome is None or genome.search_score is None or genome.retest_score is None:
        return None
    return genome.search_score - genome.retest_score


def rises(layer: LayerScan) -> dict[tuple[str, str], Estimate]:
    """Rise of NLL per byte without the layer's FFN, by (``language`` or ``domain``, name)."""
    languages = {("language", name): rise for name, rise in layer.language.raw_rise.items()}
    return languages | {("domain", name): rise for name, rise in layer.importance.items()}


def mean_similarity(pair: PairScan, layers: Sequence[int]) -> float | None:
    """Mean CKA along a layer map, which gives the other parent's layer for each of the father's."""
    values = map_similarity(pair, layers)
    return sum(values) / len(values) if values else None


def map_similarity(pair: PairScan, layers: Sequence[int]) -> list[float]:
    """CKA along a layer map, by father layer."""
    return [row[m] for row, m in zip(pair.cka, layers, strict=False) if m < len(row)]


def is_identity(pair: PairScan) -> bool:
    """Whether each layer of the father is paired with the other parent's layer of the same number."""
    return all(index == mapped for index, mapped in enumerate(pair.layer_map))


def stability(prior: Prior) -> dict[int, float]:
    """Share of resamples that would freeze a father layer; of several parents the one least sure of it decides."""
    least: dict[int, float] = {}
    for layer in prior.layers:
        least[layer.index] = min(layer.frozen_stability, least.get(layer.index, 1.0))
    return least


def frozen_sentence(prior: Prior) -> str:
    """Which layers are frozen, for which language or domain, by which rule, and how sure that is."""
    protected = formats.listing(list(prior.protect)) or say("nothing")
    tolerance = formats.percent(prior.tolerance)
    apart = _frozen_apart(prior)
    if not prior.frozen:
        sentence = (
            say(
                "No layer is frozen for every parent (protected: {protected}; tolerance {tolerance} of NLL per byte).",
                protected=protected,
                tolerance=tolerance,
            )
            if apart
            else say(
                "No layer is frozen (protected: {protected}; tolerance {tolerance} of NLL per byte).",
                protected=protected,
                tolerance=tolerance,
            )
        )
        return sentence + apart
    known = {layer.index for layer in prior.layers if layer.frozen and not (apart and layer.index not in prior.frozen)}
    shares = {index: share for index, share in stability(prior).items() if index in known}
    stable = ", ".join(
        say("{share} (layer {index})", share=formats.fixed(share), index=index) for index, share in shares.items()
    )
    sentence = say_count(
        "Layer {layers} is frozen, kept as the father's: blending would raise NLL per byte on {protected} by more than"
        " {tolerance}.",
        "Layers {layers} are frozen, kept as the father's: blending would raise NLL per byte on {protected} by more"
        " than {tolerance}.",
        len(prior.frozen),
        layers=formats.ranges(list(prior.frozen)),
        protected=protected,
        tolerance=tolerance,
    )
    agreement = say("Stability, the share of bootstrap resamples that agree: {stable}.", stable=stable)
    return f"{sentence} {agreement}{apart}"


def _frozen_apart(prior: Prior) -> str:
    """Layers that are frozen for some of several parents only."""
    if len({layer.parent for layer in prior.layers}) < 2:
        return ""
    by_parent: dict[str, list[int]] = {}
    for layer in prior.layers:
        if layer.frozen and layer.index not in prior.frozen:
            by_parent.setdefault(named(layer.parent), []).append(layer.index)
    parts = [f"{name} ({formats.ranges(layers)})" for name, layers in by_parent.items()]
    return " " + say("Layers frozen for single parents: {parts}.", parts=formats.listing(parts)) if parts else ""
