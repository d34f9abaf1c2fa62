"""The search: seeded, bounded, replayable, and it survives bad candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from darwin_mri.breeding import Evaluation, Ledger, null_genomes, search
from darwin_mri.errors import DarwinError
from darwin_mri.records import LedgerLine, Prior, PriorGene

GENES = 6


def prior(frozen: tuple[int, ...] = (), mean: float = 0.5) -> Prior:
    genes = tuple(
        PriorGene(name=f"L{i}.ffn", layer=i, mean=0.0 if i in frozen else mean, sigma=0.0 if i in frozen else 0.2, trust=0.0, frozen=i in frozen)
        for i in range(GENES)
    )  # fmt: skip
    return Prior(
        preset="flat",
        informative=False,
        protect=("ko",),
        tolerance=0.01,
        frozen=frozen,
        layers=(),
        genes=genes,
        upper=1.0,
    )


def bowl(genes: Mapping[str, float]) -> Evaluation:
    """Best at .8 everywhere."""
    loss = sum((value - 0.8) ** 2 for value in genes.values()) / len(genes)
    return Evaluation(1 - loss, {"toy": 1 - loss}, 10)


def run(folder: Path, evaluate=bowl, given: Prior | None = None, budget: int = 60):
    ledger = Ledger(folder / "ledger.jsonl")
    return search(given or prior(), evaluate, ledger, budget=budget, population=8, seed=0), ledger


def test_it_climbs_stays_in_the_box_and_spends_its_budget(tmp_path: Path) -> None:
    result, ledger = run(tmp_path)
    assert len(ledger.lines) == 60 and ledger.lines[0].genes == {f"L{i}.ffn": 0.5 for i in range(GENES)}
    assert all(0.0 <= value <= 1.0 for line in ledger.lines for value in line.genes.values())
    best, start = result.ranking[0].fitness, ledger.lines[0].fitness
    assert best is not None and start is not None and best > start + 0.05


def test_it_starts_from_the_best_of_the_opening(tmp_path: Path) -> None:
    """A prior that overshoots: the father is better than its mean, and the search starts near him."""

    def near_father(genes: Mapping[str, float]) -> Evaluation:
        loss = sum((value - 0.1) ** 2 for value in genes.values())
        return Evaluation(1 - loss, {"toy": 1 - loss}, 10)

    _, ledger = run(tmp_path, near_father, given=prior(mean=0.9), budget=12)
    opening = [line for line in ledger.lines if line.generation == 0]
    assert [round(line.genes["L0.ffn"], 3) for line in opening] == [0.9, 0.45, 0.225, 0.0]
    first = [line for line in ledger.lines if line.generation == 1]
    assert max(sum(line.genes.values()) / GENES for line in first) < 0.5


def test_same_seed_same_ledger(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a")[1], run(tmp_path / "b")[1]
    assert [line.genes for line in one.lines] == [line.genes for line in other.lines]


@pytest.mark.parametrize("cut", [0, 1, 5, 9, 17, 30, 59])
def test_resuming_replays_the_ledger_and_ends_the_same(tmp_path: Path, cut: int) -> None:
    whole = run(tmp_path / "whole")[1].lines
    text = (tmp_path / "whole" / "ledger.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part").mkdir()
    # What a kill leaves: some lines, the last one cut short.
    (tmp_path / "part" / "ledger.jsonl").write_text("".join(text[:cut]) + (text[cut][:40] if cut < len(text) else ""))
    evaluated = []

    def counting(genes: Mapping[str, float]) -> Evaluation:
        evaluated.append(genes)
        return bowl(genes)

    resumed = run(tmp_path / "part", counting)[1].lines
    assert len(evaluated) == 60 - cut
    assert [(line.genes, line.fitness) for line in resumed] == [(line.genes, line.fitness) for line in whole]


def test_a_ledger_of_another_search_is_refused(tmp_path: Path) -> None:
    run(tmp_path, budget=10)
    with pytest.raises(DarwinError, match="does not belong to this search"):
        run(tmp_path, given=prior(mean=0.4))


def test_frozen_genes_never_move(tmp_path: Path) -> None:
    _, ledger = run(tmp_path, given=prior(frozen=(1, 4)))
    assert {line.genes["L1.ffn"] for line in ledger.lines} == {line.genes["L4.ffn"] for line in ledger.lines} == {0.0}


def test_all_frozen_is_one_evaluation_of_the_father(tmp_path: Path) -> None:
    result, ledger = run(tmp_path, given=prior(frozen=tuple(range(GENES))))
    assert len(ledger.lines) == 1 and result.stopped == "nothing to search"


def test_failed_candidates_are_told_worst_and_recorded_with_a_reason(tmp_path: Path) -> None:
    calls = 0

    def shaky(genes: Mapping[str, float]) -> Evaluation:
        nonlocal calls
        calls += 1
        if calls % 4 == 0:
            raise RuntimeError("out of memory, tried to allocate 2 GiB")
        if calls % 4 == 2:
            return Evaluation(math.nan, {}, 10)
        return bowl(genes)

    result, ledger = run(tmp_path, shaky)
    failed = [line for line in ledger.lines if line.status == "failed"]
    assert len(failed) == 30 and {line.reason for line in failed} == {
        "RuntimeError: out of memory, tried to allocate 2 GiB",
        "fitness is not finite",
    }
    best, start = result.ranking[0].fitness, ledger.lines[0].fitness
    assert best is not None and start is not None and best > start


def test_nothing_but_failures_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    def broken(genes: Mapping[str, float]) -> Evaluation:
        raise RuntimeError("no such device")

    with pytest.raises(DarwinError, match="every candidate failed.*no such device"):
        run(tmp_path, broken, budget=9)


def test_an_interrupt_leaves_the_ledger(tmp_path: Path) -> None:
    calls = 0

    def stopped(genes: Mapping[str, float]) -> Evaluation:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return bowl(genes)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stopped)
    assert len(Ledger(tmp_path / "ledger.jsonl").lines) == 11


def test_budget_one_is_the_start(tmp_path: Path) -> None:
    result, ledger = run(tmp_path, budget=1)
    assert len(ledger.lines) == 1 and result.ranking[0].generation == 0


def test_population_larger_than_the_budget(tmp_path: Path) -> None:
    assert len(run(tmp_path, budget=4)[1].lines) == 4


def test_null_genomes() -> None:
    winner = {f"L{i}.ffn": 0.1 * i for i in range(GENES)}
    nulls = null_genomes(prior(frozen=(0,)), winner, seed=3)
    assert set(nulls) == {"uniform", "prior-mean", "random", "shuffled-donor"}
    assert nulls["shuffled-donor"] == winner
    assert {nulls[name]["L0.ffn"] for name in ("uniform", "prior-mean", "random")} == {0.0}
    norms = [sum(v**2 for v in genes.values()) for genes in (winner, nulls["random"])]
    assert norms[1] == pytest.approx(norms[0]) or max(nulls["random"].values()) == 1.0
    assert nulls == null_genomes(prior(frozen=(0,)), winner, seed=3)


def test_a_ledger_drops_a_line_cut_short(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.jsonl")
    line = LedgerLine(
        evaluation=0,
        generation=0,
        candidate=0,
        genes={"a": 0.1},
        fitness=0.5,
        scores={},
        items=1,
        seconds=0.1,
        status="ok",
    )
    ledger.append(line)
    with (tmp_path / "l.jsonl").open("a") as stream:
        stream.write('{"evaluation": 1, "gener')
    again = Ledger(tmp_path / "l.jsonl")
    assert again.lines == [line]
    again.append(line.model_copy(update={"evaluation": 1}))
    assert [x.evaluation for x in Ledger(tmp_path / "l.jsonl").lines] == [0, 1]
