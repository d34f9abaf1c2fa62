"""What a reviewer must know before reading the scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from darwin_mri.records import Alert, BenchmarkInfo, Contrast, Score
from darwin_mri.records.roles import named
from darwin_mri.records.score import LEVELS, MIXED_PROTOCOLS
from darwin_mri.stats.vigor import LEVEL
from darwin_mri.translation import say, say_count
from darwin_mri.units import difference_text, score_text

FEW_ITEMS = 100
FEW_CLUSTERS = 6  # fewer have less than 40 patterns of signs: the two-sided p-value of sign flips stays above .05
FEW_TEXTS = 30  # of fewer, more than one sample in 20 holds none of the texts that a model loses one time in ten
SILENT = 0.05  # share of generated answers without a choice from which on the reader must know
ONE_PLACE = 0.9  # from this share of answers at one place of the list on, a score says where the right answers lie


def possible_score(value_percent_rounded: float, decimals: int, n: int) -> bool:
    """Whether some whole number of right answers out of ``n`` prints as this percentage.

    65.0 of 198 items is impossible at one decimal (128 gives 64.6, 129 gives 65.2). Either rounding of a half is
    accepted. (The GRIM test, Brown and Heathers 2017.)

    Args:
        value_percent_rounded: the printed per cent.
        decimals: its digits after the point.
        n: number of items.

    Returns:
        False for a percentage that no count gives, and where there are no items.
    """
    if n <= 0:
        return False
    half = 0.5 * 10.0**-decimals + 1e-9
    near = value_percent_rounded * n / 100
    return any(
        0 <= right <= n and abs(100 * right / n - value_percent_rounded) <= half
        for right in (math.floor(near), math.ceil(near))
    )


def find_alerts(
    measured: Sequence[Score],
    published: Sequence[Score],
    contrasts: Sequence[Contrast],
    composite: str,
    benchmarks: Sequence[BenchmarkInfo] = (),
    silent: Mapping[tuple[str, str], tuple[float, float]] | None = None,
    places: Mapping[tuple[str, str], Sequence[tuple[int, int]]] | None = None,
) -> tuple[Alert, ...]:
    """Alerts of a comparison, the serious first.

    Args:
        measured: scores taken here.
        published: scores taken by others.
        contrasts: of the child with each other model.
        composite: the composite's benchmark name.
        benchmarks: what the benchmarks' names stand for.
        silent: by (model, benchmark) the shares of generated answers that name no choice, and that were cut off.
        places: by (model, benchmark) each item's (choice, gold).

    Returns:
        the alerts; those of one level in the order in which they are looked for.
    """
    alerts = [
        *_beaten_by_nulls(measured, contrasts, composite),
        *_impossible(published),
        *mixed_protocols((*measured, *published), composite),
        *_unknown_protocols(measured, published),
        *_incomplete(benchmarks),
        *_in_parts(benchmarks),
        *_silent(silent or {}),
        *_one_place(places or {}),
        *_few_items(measured, contrasts, composite),
        *_few_clusters(measured, contrasts, composite),
    ]
    return tuple(sorted(alerts, key=lambda alert: LEVELS.index(alert.level)))


def _beaten_by_nulls(measured: Sequence[Score], contrasts: Sequence[Contrast], composite: str) -> Iterable[Alert]:
    nulls = [score for score in measured if score.benchmark == composite and score.null is not None]
    child = next((score for score in measured if score.benchmark == composite and score.role == "child"), None)
    if not nulls or child is None:
        return
    best = max(nulls, key=lambda score: score.value)
    p_value = next(c.p_value for c in contrasts if c.against(best))
    mine, other = (score_text(score.value, score.unit) for score in (child, best))
    figures = say(
        "child {child}, null '{null}' {score}, p = {p_value}",
        child=mine,
        null=best.null,
        score=other,
        p_value=f"{p_value:.2g}",
    )
    if best.value >= child.value:
        text = say("The search found nothing that a null child does not have: {figures}.", figures=figures)
        yield Alert(level="serious", text=text, kind="null-child")
    elif p_value > LEVEL:
        text = say("The child cannot be told from its best null child: {figures}.", figures=figures)
        yield Alert(level="warning", text=text, kind="null-child")


def _impossible(published: Sequence[Score]) -> Iterable[Alert]:
    for score in published:
        if score.n is None or score.evidence == "estimated":  # a guess is not a count
            continue
        # digits of the per cent as given
        decimals = max(0, len(f"{score.value:.6f}".rstrip("0").partition(".")[2]) - 2)
        printed = round(100 * score.value, decimals)
        if not possible_score(printed, decimals, score.n):
            yield Alert(
                level="serious",
                text=say(
                    "The {evidence} score {score} of {model} on {benchmark} is impossible for {n} items: no whole"
                    " number of right answers rounds to it.",
                    evidence=say(score.evidence),
                    score=f"{printed:.{decimals}f} %",
                    model=score.model,
                    benchmark=score.benchmark,
                    n=score.n,
                ),
                kind="impossible-score",
                benchmark=score.benchmark,
            )


def _incomplete(benchmarks: Sequence[BenchmarkInfo]) -> Iterable[Alert]:
    for info in benchmarks:
        if not info.complete:
            parts = [
                say("{part} {items} of {full}", part=c.part, items=c.items, full=c.full)
                for c in info.coverage
                if c.full is not None
            ]
            have, full = sum(c.items for c in info.coverage), sum(c.full or 0 for c in info.coverage)
            counts = f" ({', '.join(parts)})" if len(parts) > 1 else ""
            yield _about(
                info.name,
                "incomplete-benchmark",
                say(
                    "{name} is not the published set: {have} of its {full} items are at hand{counts}; do not compare"
                    " its scores with published ones.",
                    name=info.name,
                    have=have,
                    full=full,
                    counts=counts,
                ),
            )
        if info.left_out:
            yield _about(
                info.name,
                "items-left-out",
                say(
                    "{left_out} items of {name} are longer than a compared model's context and were left out for"
                    " every model: its scores are those of the shorter items.",
                    left_out=info.left_out,
                    name=info.name,
                ),
            )
        if info.beyond:
            yield _about(
                info.name,
                "beyond-context",
                say(
                    "{beyond} items of {name} are longer than a compared model's stated context and are read all"
                    " the same: what a model does beyond its context is not what it was made for.",
                    beyond=info.beyond,
                    name=info.name,
                ),
            )


def _about(benchmark: str, kind: str, text: str) -> Alert:
    """A warning about one benchmark."""
    return Alert(level="warning", text=text, kind=kind, benchmark=benchmark)


def _in_parts(benchmarks: Sequence[BenchmarkInfo]) -> Iterable[Alert]:
    for model in dict.fromkeys(model for info in benchmarks for model in info.in_parts):
        text = say(
            "The chat template of {model} leaves plain text out of the prompt: it is asked in a list of parts.",
            model=model,
        )
        yield Alert(level="note", text=text, kind="content-parts")


def _silent(shares: Mapping[tuple[str, str], tuple[float, float]]) -> Iterable[Alert]:
    for (model, benchmark), (share, cut_off) in shares.items():
        if share > SILENT:
            remedy = f" {_percent(cut_off)} were cut off: give more --max-new-tokens." if cut_off else ""
            yield _about(
                benchmark,
                "silent-answers",
                f"{_percent(share)} of the answers of {model} on {benchmark} name no choice and count as wrong: it may"
                f" not have followed the instruction, or run out of tokens while thinking.{remedy}",
            )


def _one_place(places: Mapping[tuple[str, str], Sequence[tuple[int, int]]]) -> Iterable[Alert]:
    """Always giving the same letter scores that letter's share of the right answers, which need not be chance."""
    for (model, benchmark), answered in places.items():
        if not answered:
            continue
        place, count = Counter(choice for choice, _ in answered).most_common(1)[0]
        right = sum(gold == place for _, gold in answered) / len(answered)
        if place >= 0 and count / len(answered) >= ONE_PLACE > right:
            yield _about(
                benchmark,
                "one-place",
                f"{model} gives choice {place + 1} on {_percent(count / len(answered))} of {benchmark}: always giving"
                f" it scores {_percent(right)}, so being above chance shows no knowledge.",
            )


def mixed_protocols(scores: Sequence[Score], composite: str) -> Iterable[Alert]:
    """One warning per benchmark whose scores come from different known protocols.

    Args:
        scores: measured and published ones, in the order in which to name their protocols.
        composite: the composite's benchmark name; its protocol is its benchmarks'.
    """
    known: dict[str, dict[str, str]] = {}  # per benchmark, in order: protocol (by hash where there is one) -> its name
    for score in scores:
        if not _unknown(score.protocol) and score.benchmark != composite:
            known.setdefault(score.benchmark, {})[score.protocol_hash or score.protocol] = score.protocol
    for benchmark, protocols in known.items():
        if len(protocols) > 1:
            names = "; ".join(protocols.values())
            text = say(
                "Scores on {benchmark} come from different protocols ({names}): do not subtract them.",
                benchmark=benchmark,
                names=names,
            )
            yield _about(benchmark, MIXED_PROTOCOLS, text)


def _unknown_protocols(measured: Sequence[Score], published: Sequence[Score]) -> Iterable[Alert]:
    benchmarks = {score.benchmark for score in measured}
    for score in published:
        if _unknown(score.protocol) and score.benchmark in benchmarks:
            yield Alert(
                level="note",
                text=say(
                    "The {evidence} score of {model} on {benchmark} ({score}) was taken"
                    " under an unknown protocol: it stands beside the measured scores for orientation only.",
                    evidence=say(score.evidence),
                    model=score.model,
                    benchmark=score.benchmark,
                    score=_percent(score.value),
                ),
                kind="unknown-protocol",
                benchmark=score.benchmark,
            )


def _few_items(measured: Sequence[Score], contrasts: Sequence[Contrast], composite: str) -> Iterable[Alert]:
    sizes = {s.benchmark: s.n for s in measured if s.slice == "all" and s.benchmark != composite and s.n is not None}
    for benchmark, n in sizes.items():
        if n >= FEW_ITEMS:
            continue
        text = say_count(
            "{benchmark} has only {count} item", "{benchmark} has only {count} items", n, benchmark=benchmark
        )
        contrast = next((c for c in contrasts if c.benchmark == benchmark), None)
        if contrast is not None:
            least = difference_text(contrast.detectable, contrast.unit).removeprefix("+")
            text = say(
                "{few}: a difference from {other} under {least} could not have been seen",
                few=text,
                other=_other(contrast),
                least=least,
            )
        yield _about(benchmark, "few-items", say("{few}.", few=text))


def _few_clusters(measured: Sequence[Score], contrasts: Sequence[Contrast], composite: str) -> Iterable[Alert]:
    """Benchmarks on which no difference can be shown, or whose losses have no bound and may not be in the sample."""
    compared = {contrast.benchmark: contrast.unit for contrast in contrasts if contrast.benchmark != composite}
    clusters = {s.benchmark: s.clusters for s in measured if s.slice == "all" and s.clusters is not None}
    for benchmark, count in clusters.items():
        if compared.get(benchmark) and FEW_CLUSTERS <= count < FEW_TEXTS:
            yield _about(
                benchmark,
                "few-texts",
                say(
                    "Differences on {benchmark} rest on {count} clusters: a model that breaks down on one text in ten"
                    " may have none of these among them, and no interval or p-value would show it.",
                    benchmark=benchmark,
                    count=count,
                ),
            )
        if benchmark in compared and count < FEW_CLUSTERS:
            yield _about(
                benchmark,
                "few-clusters",
                say_count(
                    "The items of {benchmark} form only {count} cluster (such as stories): too few for a difference of"
                    " any size to reach p .05 there.",
                    "The items of {benchmark} form only {count} clusters (such as stories): too few for a difference of"
                    " any size to reach p .05 there.",
                    count,
                    benchmark=benchmark,
                ),
            )


def _other(contrast: Contrast) -> str:
    if contrast.null is not None:
        return say("the null child '{null}'", null=contrast.null)
    return contrast.model if contrast.other == "baseline" else named(contrast.other)


def _unknown(protocol: str) -> bool:
    return not protocol or "unknown" in protocol.lower()


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
