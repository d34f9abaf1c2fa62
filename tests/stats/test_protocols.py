"""Scores of different protocols stand side by side and never meet in a contrast."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_mri.config import Generation
from darwin_mri.records import Answer, BenchmarkInfo, Comparison, Coverage, Protocol
from darwin_mri.records.score import MIXED_PROTOCOLS
from darwin_mri.stats import StatsError
from darwin_mri.stats.compare import compare
from darwin_mri.stats.table import Table
from tests.stats.toys import draw_credits, make_answers

TEXT = Protocol(name="text", kind="loglikelihood", metric="acc_norm", prompt="{x}")
CHAT = Protocol(
    name="chat", kind="generate", metric="maj@4", prompt="answer", generation=Generation(samples=4, temperature=1)
)
MODELS = {"C": ("david", "child"), "F": ("opus", "father"), "M": ("sage", "mother"), "XL": ("big", "baseline")}
CHANCE = {"click": 0.25, "musr": 0.4}


def sat(under: dict[str, dict[str, str]], n: int = 60) -> dict[str, dict[str, list[Answer]]]:
    """Answers of each model on each benchmark under the protocol of that hash."""
    rng = np.random.default_rng(4)
    return {
        key: {
            benchmark: [
                answer.model_copy(update={"protocol": protocol})
                for answer in make_answers(benchmark, draw_credits(rng, 0.5, n))
            ]
            for benchmark, protocol in by_benchmark.items()
        }
        for key, by_benchmark in under.items()
    }


def run(answers: dict[str, dict[str, list[Answer]]], **options: object) -> Comparison:
    weights = {"click": 0.6, "musr": 0.4}
    return compare(answers, MODELS, [TEXT, CHAT], CHANCE, weights, 1, resamples=199, **options)  # pyright: ignore[reportArgumentType]


ASSIGNMENTS = st.fixed_dictionaries(
    {key: st.fixed_dictionaries({name: st.sampled_from([TEXT.hash, CHAT.hash]) for name in CHANCE}) for key in MODELS}
)


@given(ASSIGNMENTS)
def test_no_contrast_ever_crosses_protocols(under: dict[str, dict[str, str]]) -> None:
    comparison = run(sat(under, n=12))
    keys = {name: key for key, (name, _) in MODELS.items()}
    for contrast in comparison.contrasts:
        other = keys[contrast.model]
        for benchmark in CHANCE if contrast.benchmark == "composite" else [contrast.benchmark]:
            assert under["C"][benchmark] == under[other][benchmark]
    expected = {(key, name) for key in "FM" for name in CHANCE if under["C"][name] == under[key][name]}
    assert {(keys[c.model], c.benchmark) for c in comparison.contrasts if c.benchmark != "composite"} >= expected
    alike = all(under["C"] == under[key] for key in "FM")
    assert (comparison.vigor is not None) == alike
    for key, (model, _) in MODELS.items():
        for name in CHANCE:
            score = next(s for s in comparison.scores if (s.model, s.benchmark, s.slice) == (model, name, "all"))
            assert score.protocol_hash == under[key][name]
            assert score.protocol == {TEXT.hash: TEXT.label, CHAT.hash: CHAT.label}[under[key][name]]
            assert score.metric == {TEXT.hash: "acc_norm", CHAT.hash: "maj@4"}[under[key][name]]
    warned = {alert.benchmark for alert in comparison.alerts if alert.kind == MIXED_PROTOCOLS}
    assert warned == {name for name in CHANCE if len({u[name] for u in under.values()}) > 1}
    assert {p.hash for p in comparison.protocols} == {h for u in under.values() for h in u.values()}


def test_a_table_refuses_answers_of_two_protocols() -> None:
    rows = sat({"C": {"click": TEXT.hash}, "F": {"click": CHAT.hash}})
    with pytest.raises(StatsError, match=f"answered under different protocols .{TEXT.hash} and {CHAT.hash}"):
        Table.align("click", {key: by["click"] for key, by in rows.items()}, 1)
    mixed = [*rows["C"]["click"][:5], *rows["F"]["click"][5:]]
    with pytest.raises(StatsError, match="C answered under 2 protocols"):
        run({"C": {"click": mixed, "musr": mixed}})


def test_other_metrics_stand_apart_from_the_headline() -> None:
    rows = sat({key: dict.fromkeys(CHANCE, TEXT.hash) for key in "CFM"})
    for by_benchmark in rows.values():
        by_benchmark["musr"] = [
            a.model_copy(update={"metrics": {"acc": 1.0 - a.credit, "acc_norm": a.credit}})
            for a in by_benchmark["musr"]
        ]
    comparison = run(rows)
    assert {(s.benchmark, s.metric) for s in comparison.secondary} == {("musr", "acc")}
    for second in comparison.secondary:
        first = next(s for s in comparison.scores if (s.model, s.benchmark, s.slice) == (second.model, "musr", "all"))
        assert first.metric == "acc_norm" and second.value == pytest.approx(1 - first.value)
    assert {s.metric for s in comparison.scores if s.slice == "all" and s.benchmark != "composite"} == {"acc_norm"}


def test_cut_off_answers_are_counted() -> None:
    rows = sat({"C": {"click": CHAT.hash}, "F": {"click": CHAT.hash}})
    ended = {"C": ("stop", "stop", "length", "length"), "F": ("stop", "stop", "", "")}
    for key, reasons in ended.items():
        update = {"votes": (2, 0, 0, 0), "finish_reasons": reasons}
        rows[key]["click"] = [answer.model_copy(update=update) for answer in rows[key]["click"]]
    texts = [alert.text for alert in compare(rows, MODELS, [CHAT], CHANCE, {"click": 1.0}, 1, resamples=199).alerts]
    told = {
        model: next(t for t in texts if f"answers of {model} on click name no choice" in t)
        for model in ("david", "opus")
    }
    assert told["david"].endswith(" 50.0 % were cut off: give more --max-new-tokens.")
    assert told["opus"].endswith("run out of tokens while thinking.")


def test_silent_answers_partial_sets_and_left_out_items_raise_alerts() -> None:
    rows = sat({"C": {"click": CHAT.hash, "musr": CHAT.hash}, "F": {"click": CHAT.hash, "musr": CHAT.hash}})
    for key, votes in (("C", (4, 0, 0, 0)), ("F", (3, 0, 0, 0))):
        for name in CHANCE:
            rows[key][name] = [a.model_copy(update={"votes": votes}) for a in rows[key][name]]
    info = BenchmarkInfo(
        name="musr",
        title="MuSR",
        complete=False,
        left_out=3,
        coverage=(
            Coverage(part="murder_mysteries", items=250, full=250),
            Coverage(part="team_allocation", items=5, full=250),
        ),
    )
    texts = [alert.text for alert in run(rows, benchmarks=(info,)).alerts]
    assert [t for t in texts if "name no choice" in t] == [
        f"25.0 % of the answers of opus on {name} name no choice and count as wrong: it may not have followed the"
        " instruction,"
        " or run out of tokens while thinking."
        for name in CHANCE
    ]
    assert any(
        "255 of its 500 items are at hand (murder_mysteries 250 of 250, team_allocation 5 of 250)" in t for t in texts
    )
    assert any("3 items of musr are longer than a compared model's context and were left out" in t for t in texts)


def test_slices_with_a_category_are_also_pooled() -> None:
    rows = sat({"C": {"click": TEXT.hash}})
    names = ("Culture/History", "Culture/Law", "Language/Grammar")
    rows["C"]["click"] = [a.model_copy(update={"slice": names[i % 3]}) for i, a in enumerate(rows["C"]["click"])]
    sizes = {s.slice: s.n for s in compare(rows, MODELS, [TEXT], CHANCE, {}, 1, resamples=99).scores}
    assert sizes == {"all": 60, "Culture": 40, "Language": 20, **dict.fromkeys(names, 20)}
