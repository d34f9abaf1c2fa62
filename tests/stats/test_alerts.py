from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_mri.records import BenchmarkInfo, Score
from darwin_mri.stats.alerts import possible_score
from darwin_mri.stats.compare import compare
from tests.stats.test_compare import CHANCE, MODELS, family, run
from tests.stats.toys import make_answers


def published(value: float, n: int | None, protocol: str = "unknown", benchmark: str = "gpqa") -> Score:
    return Score(
        model="big-27B",
        role="baseline",
        benchmark=benchmark,
        slice="all",
        evidence="published",
        protocol=protocol,
        correct=None,
        n=n,
        value=value,
        low=None,
        high=None,
        chance=None,
        source="a model card",
    )


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.integers(0, 3))
def test_a_count_always_prints_as_a_possible_score(case: tuple[int, int], decimals: int) -> None:
    right, n = case
    assert possible_score(round(100 * right / n, decimals), decimals, n)


@pytest.mark.parametrize(
    ("percent", "decimals", "n", "expected"),
    [
        (65.0, 1, 198, False),
        (65.2, 1, 198, True),
        (65, 0, 198, True),
        (92, 0, 10, False),
        (101, 0, 50, False),
        (0, 0, 0, False),
    ],
)
def test_possible_score(percent: float, decimals: int, n: int, expected: bool) -> None:
    assert possible_score(percent, decimals, n) is expected


def test_possible_score_equals_enumeration() -> None:
    for n in (7, 40, 198):
        printable = {round(100 * right / n, 1) for right in range(n + 1)}
        for tenth in range(1001):
            if not np.isclose(n * tenth % 500, 0):  # ties may round either way
                assert possible_score(tenth / 10, 1, n) == (tenth / 10 in printable)


def test_a_null_that_equals_the_child_is_serious_and_first() -> None:
    rows = family(n=60, F=0.6, M=0.5, C=0.7)
    alerts = run({**rows, "N": rows["C"]}).alerts
    assert (alerts[0].level, alerts[0].kind) == ("serious", "null-child") and "null 'uniform'" in alerts[0].text
    assert any(alert.text.startswith("click has only 60 items") for alert in alerts)


def test_a_null_within_noise_is_a_warning() -> None:
    close = run(family(F=0.6, M=0.5, C=0.72, R=0.68, N=0.3)).alerts
    assert [alert.level for alert in close] == ["warning"] and "cannot be told from its best null" in close[0].text
    assert run(family(F=0.6, M=0.5, C=0.8, N=0.3)).alerts == ()


def test_an_impossible_published_score_is_flagged() -> None:
    rows = family(F=0.6, M=0.5, C=0.8)
    texts = [alert.text for alert in run(rows, published=(published(0.651, 198, "own scorer, 0-shot"),)).alerts]
    assert len(texts) == 1 and "65.1 %" in texts[0] and "impossible for 198 items" in texts[0]
    assert run(rows, published=(published(129 / 198, 198, "own scorer, 0-shot"),)).alerts == ()


def test_mixed_and_unknown_protocols_raise_alerts() -> None:
    rows = family(F=0.6, M=0.5, C=0.8)
    unknown = published(0.794, None)
    comparison = run(rows, published=(unknown,))
    assert [alert.level for alert in comparison.alerts] == ["note"] and "79.4 %" in comparison.alerts[0].text
    assert comparison.scores[-1] == unknown
    other = run(rows, published=(published(0.794, None, "5-shot"),)).alerts
    assert [alert.level for alert in other] == ["warning"] and "own scorer, 0-shot; 5-shot" in other[0].text
    assert run(rows, published=(published(0.6, None, benchmark="kobest"),)).alerts == ()


def test_so_few_clusters_that_no_difference_can_show_are_told() -> None:
    won, lost = [1.0] * 150, [0.0] * 150
    for clusters, told in ((5, True), (6, False)):
        rows = {key: {"musr": make_answers("musr", own, 150 // clusters)} for key, own in (("C", won), ("F", lost))}
        comparison = run(rows, weights={"musr": 1.0})
        texts = [alert.text for alert in comparison.alerts if alert.kind == "few-clusters"]
        assert [f"only {clusters} clusters" in text for text in texts] == [True] * told
        assert (comparison.contrasts[0].p_value > 0.05) == told
    alone = {"C": {"musr": make_answers("musr", won, 30)}}
    assert not [alert for alert in run(alone, weights={"musr": 1.0}).alerts if alert.kind == "few-clusters"]


def test_few_texts_without_bound_to_their_losses_are_told() -> None:
    for texts, unit, told in ((12, "nats/byte", True), (30, "nats/byte", False), (12, "", False)):
        credits = np.linspace(0.1, 0.9, texts).tolist()
        rows = {key: {"musr": make_answers("musr", credits)} for key in "CF"}
        info = BenchmarkInfo(name="musr", title="MuSR", unit=unit)
        alerts = compare(rows, MODELS, "p", CHANCE, {"musr": 1.0}, 1, benchmarks=(info,), resamples=99).alerts
        assert any(alert.kind == "few-texts" for alert in alerts) == told


def test_always_giving_one_letter_is_a_warning() -> None:
    """CLIcK's right answers lean to A: a model that says A throughout scores 30 % where chance is 24 %."""
    rng = np.random.default_rng(2)
    golds = rng.choice(4, size=200, p=(0.4, 0.2, 0.2, 0.2))

    def answers(choices: np.ndarray) -> dict:
        rows = make_answers("click", (choices == golds).astype(float).tolist())
        changed_rows = [
            row.model_copy(update={"choice": int(choice), "gold": int(gold)})
            for row, choice, gold in zip(rows, choices, golds, strict=True)
        ]
        return {"C": {"click": changed_rows}}

    constant = np.where(rng.random(200) < 0.95, 0, 2)
    share = f"{100 * (golds == 0).mean():.1f} %"
    (alert,) = run(answers(constant), weights={"click": 1}).alerts
    assert alert.level == "warning" and "david gives choice 1 on" in alert.text and f"scores {share}" in alert.text
    assert run(answers(golds), weights={"click": 1}).alerts == ()
