from __future__ import annotations

import numpy as np
import pytest

from darwin_mri.records import Answer, Comparison, Contrast, Score
from darwin_mri.stats import StatsError
from darwin_mri.stats.compare import compare
from darwin_mri.stats.distributions import student_quantile
from darwin_mri.stats.intervals import clustered_error, clustered_interval, wilson
from tests.stats.toys import draw_credits, make_answers

Answers = dict[str, dict[str, list[Answer]]]
MODELS = {
    "F": ("opus", "father"),
    "M": ("sage", "mother"),
    "C": ("david", "child"),
    "B": ("root", "base"),
    "N": ("flat", "null:uniform"),
    "R": ("noise", "null:random"),
    "XL": ("big-27B", "baseline"),
}
CHANCE = {"click": 0.25, "musr": 0.4, "gpqa": 0.25}
WEIGHTS = {"click": 0.6, "musr": 0.4}


def run(
    answers: Answers, seed: int = 1, published: tuple[Score, ...] = (), weights: dict[str, float] = WEIGHTS
) -> Comparison:
    return compare(answers, MODELS, "own scorer, 0-shot", CHANCE, weights, seed, published, resamples=499)


def family(n: int = 200, **accuracy: float) -> Answers:
    """Independent models of the given accuracies on three benchmarks; MuSR comes in clusters of two."""
    rng = np.random.default_rng(11)
    return {
        key: {
            name: make_answers(name, draw_credits(rng, share, n), 2 if name == "musr" else 1)
            for name in ("click", "musr", "gpqa")
        }
        for key, share in accuracy.items()
    }


def find(comparison: Comparison, name: str, benchmark: str) -> Contrast:
    return next(c for c in comparison.contrasts if (c.name, c.benchmark) == (name, benchmark))


def score(comparison: Comparison, role: str, benchmark: str, part: str = "all") -> Score:
    return next(s for s in comparison.scores if (s.role, s.benchmark, s.slice) == (role, benchmark, part))


def test_scores_hold_counts_and_intervals() -> None:
    answers = family(F=0.6, M=0.5, C=0.7)
    comparison = run(answers)
    click, musr = score(comparison, "child", "click"), score(comparison, "child", "musr")
    right = sum(answer.credit for answer in answers["C"]["click"])
    assert (click.correct, click.n, click.clusters, click.chance) == (right, 200, 200, 0.25)
    assert (click.low, click.high) == wilson(right, 200)
    pairs = np.array([answer.credit for answer in answers["C"]["musr"]]).reshape(100, 2).sum(axis=1)
    assert musr.clusters == 100
    assert (musr.low, musr.high) == pytest.approx(clustered_interval(pairs, np.full(100, 2)))
    assert score(comparison, "child", "musr", "s1").n == 100
    assert score(comparison, "child", "musr", "s1").chance == 0.25  # counted from the items: four choices each
    both = score(comparison, "child", "composite")
    assert both.value == pytest.approx(0.6 * click.value + 0.4 * musr.value)
    assert (both.n, both.correct, both.chance) == (400, None, pytest.approx(0.31))
    assert both.low is not None and both.high is not None and both.low < both.value < both.high
    assert comparison.headline == ("click", "musr", "gpqa", "composite")


def test_contrasts_are_paired_and_the_family_is_declared() -> None:
    comparison = run(family(F=0.6, M=0.5, B=0.4, C=0.7, N=0.6, XL=0.9))
    names = list(dict.fromkeys(c.name for c in comparison.contrasts))
    assert names == ["child - father", "child - mother", "child - base", "child - null:uniform", "child - big-27B"]
    others = {(c.other, c.null, c.model) for c in comparison.contrasts}
    assert others == {
        ("father", None, "opus"),
        ("mother", None, "sage"),
        ("base", None, "root"),
        ("null", "uniform", "flat"),
        ("baseline", None, "big-27B"),
    }
    adjusted = {(c.name, c.benchmark) for c in comparison.contrasts if c.p_holm is not None}
    assert adjusted == {
        (f"child - {parent}", benchmark)
        for parent in ("father", "mother")
        for benchmark in ("click", "musr", "composite")
    }
    for contrast in comparison.contrasts:
        assert contrast.low <= contrast.difference <= contrast.high
        assert 0 < contrast.p_value <= (contrast.p_holm or 1)
        if contrast.benchmark != "composite":
            assert contrast.difference * contrast.n == pytest.approx(contrast.wins - contrast.losses)


def test_a_composite_of_one_benchmark_is_one_question() -> None:
    comparison = run(family(F=0.6, M=0.5, C=0.7), weights={"click": 1.0})
    for parent in ("father", "mother"):
        alone, composite = (find(comparison, f"child - {parent}", name) for name in ("click", "composite"))
        assert alone.p_holm == composite.p_holm is not None
    smallest = min(
        (find(comparison, f"child - {p}", "composite") for p in ("father", "mother")), key=lambda c: c.p_value
    )
    assert smallest.p_holm == pytest.approx(2 * smallest.p_value)  # two questions, one of each parent


def test_swapping_the_models_mirrors_the_contrast() -> None:
    answers = family(F=0.6, M=0.5, C=0.7)
    one = run(answers)
    other = run({"F": answers["C"], "M": answers["M"], "C": answers["F"]})
    for benchmark in ("click", "musr", "gpqa", "composite"):
        forward, backward = find(one, "child - father", benchmark), find(other, "child - father", benchmark)
        assert backward.difference == pytest.approx(-forward.difference)
        assert (backward.low, backward.high) == pytest.approx((-forward.high, -forward.low))
        assert (backward.p_value, backward.wins, backward.losses) == (forward.p_value, forward.losses, forward.wins)


def test_the_interval_of_a_composite_adds_up_variances() -> None:
    """The errors of the benchmarks' paired differences, with Satterthwaite's degrees; bounds of scores add up too."""
    answers = family(n=400, F=0.6, M=0.5, C=0.7)
    comparison = compare(answers, MODELS, "p", CHANCE, WEIGHTS, 1, resamples=99)
    contrast = find(comparison, "child - father", "composite")
    errors = []
    for name, size in (("click", 1), ("musr", 2)):
        child, father = (np.array([answer.credit for answer in answers[key][name]]) for key in "CF")
        sums = (child - father).reshape(-1, size).sum(axis=1)  # (clusters,)
        errors.append(WEIGHTS[name] * clustered_error(sums, np.full(len(sums), float(size))))
    degrees = sum(e**2 for e in errors) ** 2 / (errors[0] ** 4 / 399 + errors[1] ** 4 / 199)
    half = student_quantile(degrees, 0.975) * np.hypot(*errors)
    assert (contrast.low, contrast.high) == pytest.approx((contrast.difference - half, contrast.difference + half))
    whole, click, musr = (score(comparison, "child", name) for name in ("composite", "click", "musr"))
    assert whole.low is not None and click.low is not None and musr.low is not None
    below = np.hypot(0.6 * (click.value - click.low), 0.4 * (musr.value - musr.low))
    assert whole.value - whole.low == pytest.approx(below)


def test_the_same_arguments_give_the_same_bytes() -> None:
    answers = family(F=0.6, M=0.5, C=0.7)
    assert run(answers).to_json() == run(answers).to_json()
    assert run(answers).to_json() != run(answers, seed=2).to_json()
    shuffled = {**answers, "C": {name: rows[::-1] for name, rows in answers["C"].items()}}
    assert run(shuffled).to_json() == run(answers).to_json()  # paired by key, not by position
    alone = compare({k: {"click": v["click"]} for k, v in answers.items()}, MODELS, "p", CHANCE, {}, 1, resamples=499)
    assert find(alone, "child - father", "click").low == find(run(answers), "child - father", "click").low


def test_vigor_is_claimed_only_over_both_parents() -> None:
    clear = run(family(F=0.5, M=0.5, C=0.8)).vigor
    assert clear is not None and clear.claimed and clear.sentence.startswith("Hybrid vigor:")
    assert clear.p_value is not None and clear.p_value <= 0.05
    one_parent = run(family(F=0.85, M=0.4, C=0.8)).vigor
    assert one_parent is not None and not one_parent.claimed
    assert one_parent.mid_parent > 0 > one_parent.better_parent
    assert "does not beat the better parent" in one_parent.sentence and "the father" in one_parent.sentence
    rows = family(F=0.6, M=0.5, C=0.6)
    same = run({**rows, "C": rows["F"]}).vigor
    assert same is not None and same.better_parent == 0 and "as the better parent does" in same.sentence
    near = run(family(n=40, F=0.5, M=0.45, C=0.55)).vigor
    assert near is not None and not near.claimed and near.sentence.startswith("No hybrid vigor:")


def test_vigor_is_not_claimed_where_an_interval_holds_zero() -> None:
    """A lead of 1.85 standard errors: the one-sided p-value is below .05, the 95 % interval is not above 0."""
    spread = np.linspace(-1, 1, 300)
    child = 0.5 + 0.1 * (spread + 1.85 * spread.std(ddof=1) / np.sqrt(300))
    rows = {"F": {"click": make_answers("click", [0.5] * 300)}, "C": {"click": make_answers("click", child.tolist())}}
    rows["M"] = {"click": make_answers("click", [0.0] * 300)}
    comparison = run(rows, weights={"click": 1.0})
    vigor = comparison.vigor
    assert vigor is not None and vigor.p_value is not None and vigor.p_value <= 0.05 and vigor.better_parent > 0
    assert vigor.better_parent_low is not None and vigor.better_parent_low <= 0
    assert not vigor.claimed and "but within noise" in vigor.sentence


def test_without_child_or_weights_there_are_only_scores() -> None:
    answers = family(F=0.6, M=0.5)
    comparison = run(answers)
    assert comparison.contrasts == () and comparison.vigor is None
    plain = run(family(F=0.6, M=0.5, C=0.7), weights={})
    assert plain.vigor is None and plain.composite == {} and "composite" not in plain.headline


def test_weights_are_scaled_and_a_partial_model_has_no_composite() -> None:
    answers = family(F=0.6, M=0.5, C=0.7, XL=0.9)
    del answers["XL"]["musr"]
    comparison = run(answers, weights={"click": 3, "musr": 2, "gpqa": 0})
    assert comparison.composite == pytest.approx(WEIGHTS)
    assert {c.benchmark for c in comparison.contrasts if c.name == "child - big-27B"} == {"click", "gpqa"}
    assert not [s for s in comparison.scores if s.role == "baseline" and s.benchmark == "composite"]


def test_perfect_scores_keep_a_width() -> None:
    rows = {key: {"click": make_answers("click", [1.0] * 30)} for key in "FMC"}
    comparison = run(rows, weights={"click": 1})
    both = score(comparison, "child", "composite")
    assert (both.low, both.high) == (wilson(30, 30)[0], 1.0)
    contrast = find(comparison, "child - father", "composite")
    assert (contrast.difference, contrast.p_value, contrast.p_mcnemar) == (0, 1, 1)
    assert contrast.detectable > 0


def test_unpaired_answers_are_refused() -> None:
    answers = family(F=0.6, M=0.5, C=0.7)
    short = {**answers, "C": {**answers["C"], "click": answers["C"]["click"][:-1]}}
    with pytest.raises(StatsError, match=r"click: F and C were not given the same items \(1 keys.*click-199"):
        run(short)
    twice = {**answers, "C": {**answers["C"], "click": answers["C"]["click"] + answers["C"]["click"][:1]}}
    with pytest.raises(StatsError, match="an item twice"):
        run(twice)
    moved = [answer.model_copy(update={"gold": 3}) for answer in answers["C"]["click"]]
    with pytest.raises(StatsError, match="gold choice"):
        run({**answers, "C": {**answers["C"], "click": moved}})
    with pytest.raises(StatsError, match="no answers"):
        run({"F": {"click": []}}, weights={})


def test_wrong_arguments_are_refused_in_words() -> None:
    answers = family(F=0.6, M=0.5, C=0.7)
    with pytest.raises(StatsError, match="'ghost' have no model"):
        run({**answers, "ghost": answers["C"]})
    with pytest.raises(StatsError, match="must not be negative"):
        run(answers, weights={"click": -1})
    with pytest.raises(StatsError, match="no model answered"):
        run(answers, weights={"kobest": 1})
    with pytest.raises(StatsError, match="no chance level"):
        run({"F": {"kobest": answers["F"]["click"]}}, weights={})
    with pytest.raises(StatsError, match="role 'father'"):
        compare({"F": answers["F"], "G": answers["M"]}, {**MODELS, "G": ("x", "father")}, "p", CHANCE, {}, 1)
    with pytest.raises(StatsError, match="cannot be called"):
        compare({"F": {"composite": answers["F"]["click"]}}, MODELS, "p", {"composite": 0.2}, {}, 1)
