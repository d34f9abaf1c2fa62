"""Several objectives: seeded, bounded, resumable, within limits, and better than random candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darwin_mri.breeding import (
    Evaluate,
    InProcess,
    ItemScores,
    Ledger,
    Means,
    SearchOptions,
    SearchResult,
    Start,
    search,
)
from darwin_mri.records import LedgerLine

pytest.importorskip("pymoo")
HV = pytest.importorskip("pymoo.indicators.hv").HV
pytest.importorskip("deap")

GENES, ITEMS, BLOCKS = 16, 4, 2
NAMES = tuple(f"L{i}.ffn" for i in range(GENES))
STRATEGIES = ("nsga2", "mo-cma")
OPTIONS = SearchOptions(budget=43, population=8, seed=0)
WEIGHTS = {"one": 0.6, "other": 0.4}


def start(frozen: tuple[int, ...] = (2,)) -> Start:
    still = np.array([i in frozen for i in range(GENES)])
    mean = np.where(still, 0.0, 0.5)
    return Start(
        NAMES, mean, np.full(GENES, 0.2), np.zeros(GENES), np.ones(GENES), still, np.outer((1.0, 0.5, 0.0), mean)
    )


def two_peaks(genes: Mapping[str, float], block: int) -> ItemScores:
    """The first objective is best with every gene at .8, the second at .3; the second is below zero, as an NLL is."""
    values = np.array(list(genes.values()))
    one, other = 1 - ((values - 0.8) ** 2).mean(), -5 * ((values - 0.3) ** 2).mean()
    return {"one": [float(one)] * (ITEMS // BLOCKS), "other": [float(other)] * (ITEMS // BLOCKS)}


def run(
    folder: Path,
    strategy: str,
    evaluate: Evaluate = two_peaks,
    options: SearchOptions = OPTIONS,
    limits: dict[str, float] | None = None,
) -> tuple[SearchResult, Ledger]:
    ledger = Ledger(folder / "ledger.jsonl", folder / "blocks.jsonl")
    estimate = Means(BLOCKS, WEIGHTS, limits or {})
    return search(start(), InProcess(evaluate), estimate, ledger, replace(options, strategy=strategy)), ledger


def scores(lines: list[LedgerLine]) -> np.ndarray:
    return np.array([[line.scores["one"], line.scores["other"]] for line in lines if line.status == "ok"])


def timeless(ledger: Ledger) -> list[str]:
    return [line.model_dump_json(exclude={"seconds"}) for line in ledger.lines]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_front_search_stays_in_the_box_and_beats_random_candidates(tmp_path: Path, strategy: str) -> None:
    _, ledger = run(tmp_path / "own", strategy)
    assert len(ledger.lines) == OPTIONS.budget and {line.status for line in ledger.lines} == {"ok"}
    assert all(0.0 <= value <= 1.0 for line in ledger.lines for value in line.genes.values())
    assert all(line.genes["L2.ffn"] == 0.0 for line in ledger.lines)
    first = [line for line in ledger.lines if line.generation == 1]
    assert len({tuple(line.genes.values()) for line in first}) == OPTIONS.population
    assert np.mean([list(line.genes.values()) for line in first]) == pytest.approx(0.5 * 15 / 16, abs=0.1)
    random = run(tmp_path / "random", "random")[1]
    area = HV(ref_point=-np.array([0.5, -3.0]))  # pymoo wants low values
    assert area(-scores(ledger.lines)) > area(-scores(random.lines))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_gives_the_same_ledger_whatever_numpys_global_state(tmp_path: Path, strategy: str) -> None:
    np.random.seed(1)
    before = repr(np.random.get_state())
    one = run(tmp_path / "a", strategy)[1]
    assert repr(np.random.get_state()) == before
    np.random.seed(2)
    assert timeless(one) == timeless(run(tmp_path / "b", strategy)[1])
    assert timeless(one) != timeless(run(tmp_path / "c", strategy, options=replace(OPTIONS, seed=1))[1])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_search_killed_after_any_block_ends_the_same(tmp_path: Path, strategy: str) -> None:
    options = replace(OPTIONS, budget=27)
    whole = run(tmp_path / "whole", strategy, options=options)[1]
    blocks = (tmp_path / "whole" / "blocks.jsonl").read_text().splitlines(keepends=True)
    lines = (tmp_path / "whole" / "ledger.jsonl").read_text().splitlines(keepends=True)
    for cut in range(0, len(blocks), 7):
        part = tmp_path / f"part{cut}"
        part.mkdir()
        (part / "blocks.jsonl").write_text("".join(blocks[:cut]) + blocks[cut][:40])
        (part / "ledger.jsonl").write_text("".join(lines[: max(0, cut // BLOCKS - options.population)]))
        resumed = run(part, strategy, options=options)[1]
        assert timeless(resumed) == timeless(whole)
        assert len((part / "ledger.jsonl").read_text().splitlines()) == len(lines)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_candidates_that_break_a_limit_or_fail_do_not_lead_the_search(tmp_path: Path, strategy: str) -> None:
    """The limit cuts the first objective's peak off; every fifth candidate fails."""
    count = 0

    def limited(genes: Mapping[str, float], block: int) -> ItemScores:
        nonlocal count
        count += block == 0
        if count % 5 == 4:
            raise RuntimeError("no memory")
        return {**two_peaks(genes, block), "guard": [1 - float(np.mean(list(genes.values())))] * 4}

    def kept(limits: dict[str, float]) -> float:
        nonlocal count
        count = 0
        lines = run(tmp_path / str(len(limits)), strategy, limited, replace(OPTIONS, budget=83), limits)[1].lines
        assert sum(line.status == "failed" for line in lines) >= 10
        late = [line for line in lines[43:] if line.status == "ok"]
        return float(np.mean([1 - np.mean(list(line.genes.values())) >= 0.6 for line in late]))

    assert kept({"guard": 0.6}) > max(0.5, kept({}) + 0.1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_free_gene_is_enough(tmp_path: Path, strategy: str) -> None:
    """Where mating finds nothing new, candidates are drawn from the prior."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    begin = start(frozen=tuple(range(1, GENES)))
    search(begin, InProcess(two_peaks), Means(BLOCKS, WEIGHTS), ledger, replace(OPTIONS, strategy=strategy))
    assert len(ledger.lines) == OPTIONS.budget
