"""Verdict and alerts: records in, words out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darwin_mri.records import (
    Alert,
    Comparison,
    Contrast,
    Genome,
    Health,
    HealthGate,
    LedgerLine,
    Manifest,
    Prior,
    Vigor,
)
from darwin_mri.records.score import MIXED_PROTOCOLS
from darwin_mri.report.model.findings import read_contrast
from darwin_mri.report.model.run_alerts import find_alerts, find_missing
from darwin_mri.report.model.run_records import RunRecords, load_run
from darwin_mri.report.model.verdict import judge
from tests.report.sample_scores import make_comparison


def contrast(low: float, high: float, p: float, holm: float | None = None, **more: Any) -> Contrast:
    values: dict[str, Any] = {
        "name": "child - father",
        "benchmark": "composite",
        "difference": (low + high) / 2,
        "low": low,
        "high": high,
        "p_value": p,
        "p_holm": holm,
        "p_mcnemar": p,
        "n": 100,
        "wins": 10,
        "losses": 5,
        "detectable": 0.06,
    }
    return Contrast(**(values | more))


def vigor(better: float, low: float, high: float, claimed: bool = False) -> Vigor:
    return Vigor(
        mid_parent=better + 0.02,
        better_parent=better,
        better_parent_low=low,
        better_parent_high=high,
        p_value=0.03,
        claimed=claimed,
        sentence="as measured",
    )


def with_vigor(value: Vigor | None) -> RunRecords:
    return RunRecords("it", comparison=make_comparison().model_copy(update={"vigor": value}))


def answers(run: RunRecords) -> str:
    return " ".join(answer for _, answer in judge(run).answers)


def texts(run: RunRecords, level: str) -> str:
    return " ".join(alert.text for alert in find_alerts(run) if alert.level == level)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (contrast(0.01, 0.05, 0.01), "above"),
        (contrast(-0.05, -0.01, 0.01), "below"),
        (contrast(-0.01, 0.05, 0.2), "within noise of"),
        (contrast(0.001, 0.05, 0.03, 0.09), "within noise of"),  # Holm decides where it is given
        (contrast(0.001, 0.05, 0.06), "within noise of"),
        (contrast(-0.001, 0.05, 0.04), "within noise of"),  # the interval has a say too
    ],
)
def test_reading_a_contrast(given: Contrast, expected: str) -> None:
    assert read_contrast(given) == expected


@pytest.mark.parametrize(
    ("given", "tone", "start"),
    [
        (vigor(0.05, 0.01, 0.09, claimed=True), "gain", "Hybrid vigor: the child beats both parents."),
        (vigor(0.02, -0.01, 0.05), "level", "No hybrid vigor shown"),
        (vigor(-0.01, -0.04, 0.02), "level", "No hybrid vigor: the child does not beat"),
        (vigor(0.0, -0.04, 0.04), "level", "No hybrid vigor: the child does not beat"),
        (vigor(-0.05, -0.09, -0.01), "loss", "No hybrid vigor: the child falls below"),
        (None, "none", "Hybrid vigor cannot be judged"),
    ],
)
def test_headline(given: Vigor | None, tone: str, start: str) -> None:
    verdict = judge(with_vigor(given))
    assert verdict.tone == tone and verdict.headline.startswith(start)


@pytest.mark.parametrize(
    ("run", "start"),
    [
        (RunRecords("it"), "No verdict: this run holds nothing"),
        (
            RunRecords(
                "it",
                ledger=(
                    LedgerLine(
                        evaluation=0,
                        generation=0,
                        candidate=0,
                        genes={},
                        fitness=None,
                        scores={},
                        items=0,
                        seconds=0.1,
                        status="failed",
                    ),
                ),
            ),
            "No verdict: the search has not ended",
        ),
        (
            RunRecords(
                "it", genome=Genome(space="ffn", method="raw", seed=1, father="f", mother="m", genes={}, ratios=())
            ),
            "No verdict: a genome was found",
        ),
    ],
)
def test_verdict_without_a_comparison(run: RunRecords, start: str) -> None:
    assert judge(run).headline.startswith(start)


def test_the_detail_says_where_the_child_stands_on_each_benchmark() -> None:
    detail = answers(RunRecords("it", comparison=make_comparison()))
    assert "the child scores 66.8 %" in detail and "the father (61.4 %)" in detail
    assert "On nursery_click the child is within noise of the father and above the mother" in detail
    assert "on nursery_gpqa within noise of both parents (under 12.7 pp" in detail.replace("12.8", "12.7")


def test_a_null_child_that_does_as_well_is_named() -> None:
    comparison = make_comparison()
    scores = tuple(
        s.model_copy(update={"value": 0.9}) if s.role == "null:random" and s.benchmark == "composite" else s
        for s in comparison.scores
    )
    detail = answers(RunRecords("it", comparison=comparison.model_copy(update={"scores": scores})))
    assert "null child 'random' scores as much (90.0 %): the search is not the reason" in detail


def test_alerts_of_the_comparison_come_first_by_level() -> None:
    levels = [alert.level for alert in find_alerts(RunRecords("it", comparison=make_comparison()))]
    assert levels == sorted(levels, key=("serious", "warning", "note").index)
    comparison = Comparison(
        scores=(), contrasts=(), vigor=None, alerts=(Alert(level="serious", text="impossible score"),) * 2
    )
    assert [a.text for a in find_alerts(RunRecords("it", comparison=comparison))].count("impossible score") == 1


def test_published_evidence_is_noted() -> None:
    assert "Published scores stand beside measured ones" in texts(
        RunRecords("it", comparison=make_comparison()), "note"
    )


def test_a_failed_health_check_is_serious() -> None:
    health = Health(passed=False, gates=(HealthGate(name="norm ratio", passed=False, value=9.5, limit="at most 2"),))
    assert "failed its health check: norm ratio is 9.50, limit at most 2" in texts(
        RunRecords("it", health=health), "serious"
    )


@pytest.mark.parametrize(("failed", "level"), [(0, None), (1, "warning"), (3, "serious")])
def test_failed_candidates(failed: int, level: str | None) -> None:
    lines = tuple(
        LedgerLine(
            evaluation=i,
            generation=0,
            candidate=i,
            genes={},
            fitness=None if i < failed else 0.5,
            scores={},
            items=8,
            seconds=0.1,
            status="failed" if i < failed else "ok",
            reason="out of memory" if i < failed else "",
        )
        for i in range(3)
    )
    levels = {a.level for a in find_alerts(RunRecords("it", ledger=lines)) if "out of memory" in a.text}
    assert levels == ({level} if level else set())


@pytest.mark.parametrize(
    ("search", "retest", "level"), [(0.50, 0.49, "note"), (0.50, 0.45, "warning"), (0.45, 0.50, "note")]
)
def test_gap_between_search_and_fresh_items(search: float, retest: float, level: str) -> None:
    genome = Genome(
        space="ffn",
        method="raw",
        seed=1,
        father="f",
        mother="m",
        genes={},
        ratios=(),
        search_score=search,
        retest_score=retest,
    )
    assert f"a gap of {'+' if search > retest else '−'}0.0" in texts(RunRecords("it", genome=genome), level)


def test_gap_between_search_and_held_out_scores() -> None:
    comparison = make_comparison()
    child = next(
        s for s in comparison.scores if s.role == "child" and s.benchmark == "nursery_click" and s.slice == "all"
    )
    seen = child.model_copy(update={"split": "search", "value": child.value + 0.1})
    run = RunRecords("it", comparison=comparison.model_copy(update={"scores": (*comparison.scores, seen)}))
    assert "On nursery_click the child has 84.2 % on search items but 74.2 % on held-out ones (−10.0 pp)" in texts(
        run, "warning"
    )
    assert "the child scores 66.8 %" in answers(run)


def test_scores_that_are_nowhere_held_out_are_a_warning() -> None:
    comparison = make_comparison()
    scores = tuple(s.model_copy(update={"split": "search"}) for s in comparison.scores)
    assert "No score is held-out" in texts(
        RunRecords("it", comparison=comparison.model_copy(update={"scores": scores})), "warning"
    )


def changed(**change: Any) -> RunRecords:
    """The sample's comparison with the child's score on nursery_click changed."""
    comparison = make_comparison()
    scores = tuple(
        s.model_copy(update=change) if (s.role, s.benchmark, s.slice) == ("child", "nursery_click", "all") else s
        for s in comparison.scores
    )
    return RunRecords("it", comparison=comparison.model_copy(update={"scores": scores}))


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        (
            {"value": 0.80, "high": 0.85},
            "serious",
            "genesis-nursery on nursery_click is impossible: 80.0 % is not 178.0 right of 240",
        ),
        ({"low": 0.8, "high": 0.9}, "serious", "does not hold its own score (74.2 % [80.0, 90.0]"),
        (
            {"value": 0.80, "correct": 192.0, "high": 0.85},
            "serious",
            "given as +3.3 pp, but the scores differ by +9.2 pp",
        ),
        (
            {"protocol": "chat v2"},
            "warning",
            "nursery_click come from different protocols (cloze-logprob-sum v1; chat v2)",
        ),
    ],
)
def test_scores_that_contradict_themselves(change: dict[str, Any], level: str, text: str) -> None:
    assert text in texts(changed(**change), level)
    assert not any(word in texts(changed(), "serious") for word in ("impossible", "hold its own", "but the scores"))


def test_mixed_protocols_are_reported_once() -> None:
    run = changed(protocol="chat v2")
    assert run.comparison is not None
    for text, fields in (
        ("Scores on nursery_click come from different protocols: as an earlier version wrote.", {}),
        ("In other words, protocols differ.", {"kind": MIXED_PROTOCOLS, "benchmark": "nursery_click"}),
    ):
        alert = Alert(level="warning", text=text, **fields)
        repeated = RunRecords("it", comparison=run.comparison.model_copy(update={"alerts": (alert,)}))
        assert [a for a in find_alerts(repeated) if a.kind == MIXED_PROTOCOLS] == [alert]


def test_silent_channels_and_an_empty_prior_are_alerts(view: Any) -> None:
    assert any("language:de (reliability 0.11, p 0.430)" in alert.text for alert in view.alerts)
    prior = Prior(
        preset="flat",
        informative=False,
        note="no signal",
        protect=("ko",),
        tolerance=0.01,
        frozen=(),
        layers=(),
        genes=(),
        upper=1,
    )
    assert "The prior carries no information" in texts(RunRecords("it", prior=prior), "warning")


def test_a_narrow_claim_of_vigor_is_marked() -> None:
    comparison = make_comparison()
    weak = tuple(
        c.model_copy(update={"p_holm": 0.08}) if (c.name, c.benchmark) == ("child - father", "composite") else c
        for c in comparison.contrasts
    )
    run = RunRecords("it", comparison=comparison.model_copy(update={"contrasts": weak}))
    assert "A narrow claim" in texts(run, "warning")
    assert "A narrow claim" not in texts(RunRecords("it", comparison=comparison), "warning")


@pytest.mark.parametrize(
    ("status", "level"), [("failed", "serious"), ("interrupted", "warning"), ("running", "warning"), ("done", None)]
)
def test_status(status: str, level: str | None) -> None:
    manifest = Manifest(
        created="2026-11-20T09:30:00Z",
        argv=(),
        config={},
        commit=None,
        dirty=True,
        versions={},
        device="cpu",
        seed=1,
        status=status,
        note="disk full",
    )
    run = RunRecords("it", manifest=manifest)
    assert {a.level for a in find_alerts(run) if "disk full" in a.text} == ({level} if level else set())
    assert "the commit alone cannot repeat" in texts(run, "note")


def test_missing_parts_name_the_command_that_makes_them() -> None:
    missing = {part.file: part.command for part in find_missing(RunRecords("it"))}
    assert len(missing) == 12 and missing["scan/pair.json"].startswith("darwin-mri scan")
    assert "Not in this run: provenance (manifest.json)" in texts(RunRecords("it"), "note")


def test_a_bred_run_is_never_scanned_over() -> None:
    run = load_run(Path("reports/nursery/david"))
    commands = {part.command for part in find_missing(replace(run, scans={}, prior=None, health=None))}
    assert commands == {"darwin-mri breed --resume RUN"}
