"""The search: seeded, bounded, replayable, and robust to candidates that fail."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darwin_mri.breeding import (
    Devices,
    Evaluate,
    GenerationStats,
    InProcess,
    ItemScores,
    Ledger,
    Means,
    SearchCallbacks,
    SearchOptions,
    SearchResult,
    Space,
    Start,
    Workers,
    null_genomes,
    search,
)
from darwin_mri.breeding.ranking import best_first, best_whole, violation
from darwin_mri.breeding.spaces import Gene
from darwin_mri.breeding.workers import Task, evaluate_task
from darwin_mri.errors import BrokenModel, DarwinError
from darwin_mri.records import LedgerLine

GENES = 6
NAMES = tuple(f"L{i}.ffn" for i in range(GENES))
ITEMS, BLOCKS = 40, 4
OPTIONS = SearchOptions(budget=60, population=8, seed=0)
DIFFICULTY = np.random.default_rng(0).uniform(-0.1, 0.1, ITEMS)


def start(frozen: tuple[int, ...] = (), mean: float = 0.5, sigma: float = 0.2) -> Start:
    still = np.array([i in frozen for i in range(GENES)])
    means = np.where(still, 0.0, mean)
    return Start(
        names=NAMES,
        mean=means,
        sigma=np.full(GENES, sigma),
        low=np.zeros(GENES),
        high=np.ones(GENES),
        frozen=still,
        opening=np.outer((1.0, 0.5, 0.0), means),
    )


def bowl(genes: Mapping[str, float], block: int) -> ItemScores:
    """Best at .8 everywhere."""
    loss = sum((value - 0.8) ** 2 for value in genes.values()) / len(genes)
    size = ITEMS // BLOCKS
    return {"toy": [float(0.9 - loss + d) for d in DIFFICULTY[block * size : (block + 1) * size]]}


def run(
    folder: Path,
    evaluate: Evaluate = bowl,
    begin: Start | None = None,
    options: SearchOptions = OPTIONS,
    *,
    workers: Workers | None = None,
    callbacks: SearchCallbacks | None = None,
) -> tuple[SearchResult, Ledger]:
    ledger = Ledger(folder / "ledger.jsonl", folder / "blocks.jsonl")
    estimate = Means(BLOCKS, {"toy": 1.0})
    return search(begin or start(), workers or InProcess(evaluate), estimate, ledger, options, callbacks), ledger


def timeless(ledger: Ledger) -> list[dict]:
    return [line.model_dump(exclude={"seconds"}) for line in ledger.lines]


def test_a_search_climbs_stays_in_the_box_and_spends_its_budget(tmp_path: Path) -> None:
    result, ledger = run(tmp_path)
    assert len(ledger.lines) == 60 and ledger.lines[0].genes == dict.fromkeys(NAMES, 0.5)
    assert all(0.0 <= value <= 1.0 for line in ledger.lines for value in line.genes.values())
    best, first = result.ranking[0].fitness, ledger.lines[0].fitness
    assert best is not None and first is not None and best > first + 0.05


def test_the_search_starts_from_the_best_of_the_opening(tmp_path: Path) -> None:
    """A prior that overshoots: the father is better than its mean, and the search starts near the father."""

    def near_father(genes: Mapping[str, float], block: int) -> ItemScores:
        return {"toy": [1 - sum((value - 0.1) ** 2 for value in genes.values())] * 10}

    _, ledger = run(tmp_path, near_father, begin=start(mean=0.9), options=replace(OPTIONS, budget=11))
    opening = [line for line in ledger.lines if line.generation == 0]
    assert [round(line.genes["L0.ffn"], 3) for line in opening] == [0.9, 0.45, 0.0]
    first = [line for line in ledger.lines if line.generation == 1]
    assert max(sum(line.genes.values()) / GENES for line in first) < 0.5


def test_the_ledger_depends_on_the_seed_and_not_on_the_workers(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a")[1], run(tmp_path / "b")[1]
    assert timeless(one) == timeless(other)
    threads = run(tmp_path / "c", workers=Devices([bowl, bowl, bowl]))[1]
    assert timeless(one) == timeless(threads)


def test_racing_saves_items_and_keeps_the_better_half(tmp_path: Path) -> None:
    raced, whole = (run(tmp_path / str(on), options=replace(OPTIONS, racing=on)) for on in (True, False))
    assert {line.status for line in whole[1].lines} == {"ok"}
    stopped = [line for line in raced[1].lines if line.status == "raced"]
    assert stopped and all(line.items < ITEMS and "better half" in line.reason for line in stopped)
    assert sum(line.items for line in raced[1].lines) < 0.8 * sum(line.items for line in whole[1].lines)
    assert raced[0].ranking[0].fitness == pytest.approx(whole[0].ranking[0].fitness, abs=0.01)
    # Here all items agree, so no candidate whose score on all items is in the better half may ever be stopped.
    for generation in range(1, max(line.generation for line in raced[1].lines) + 1):
        lines = [line for line in raced[1].lines if line.generation == generation]
        lines.sort(key=lambda line: -sum(sum(bowl(line.genes, block)["toy"]) for block in range(BLOCKS)))
        assert {line.status for line in lines[: len(lines) // 2]} <= {"ok"}


@pytest.mark.parametrize("cut", [0, 1, 5, 30, 77, 120, 150])
def test_resuming_evaluates_only_unknown_blocks_and_ends_the_same(tmp_path: Path, cut: int) -> None:
    whole = run(tmp_path / "whole")[1]
    blocks = (tmp_path / "whole" / "blocks.jsonl").read_text().splitlines(keepends=True)
    lines = (tmp_path / "whole" / "ledger.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part").mkdir()
    # What a kill leaves: some blocks, the last one cut short, and the lines that were complete by then.
    (tmp_path / "part" / "blocks.jsonl").write_text("".join(blocks[:cut]) + blocks[cut][:40])
    (tmp_path / "part" / "ledger.jsonl").write_text("".join(lines[: cut // BLOCKS - 8 if cut > 40 else 0]))
    evaluated = []

    def counting(genes: Mapping[str, float], block: int) -> ItemScores:
        evaluated.append(genes)
        return bowl(genes, block)

    resumed = run(tmp_path / "part", counting)[1]
    assert len(evaluated) == len(blocks) - cut
    assert timeless(resumed) == timeless(whole)
    assert len((tmp_path / "part" / "ledger.jsonl").read_text().splitlines()) == 60


def test_a_ledger_of_another_search_is_refused(tmp_path: Path) -> None:
    run(tmp_path, options=replace(OPTIONS, budget=10))
    with pytest.raises(DarwinError, match="does not belong to this search"):
        run(tmp_path, begin=start(mean=0.4))


def test_frozen_genes_never_move(tmp_path: Path) -> None:
    for strategy in ("cma", "random"):
        _, ledger = run(tmp_path / strategy, begin=start(frozen=(1, 4)), options=replace(OPTIONS, strategy=strategy))
        assert (
            {line.genes["L1.ffn"] for line in ledger.lines} == {line.genes["L4.ffn"] for line in ledger.lines} == {0.0}
        )


def test_with_all_genes_frozen_only_the_father_is_evaluated(tmp_path: Path) -> None:
    result, ledger = run(tmp_path, begin=start(frozen=tuple(range(GENES))))
    assert len(ledger.lines) == 1 and result.stopped == "nothing to search"


def test_a_prior_outside_the_box_starts_at_its_edge(tmp_path: Path) -> None:
    outside = replace(start(), mean=np.full(GENES, 1.4), opening=np.full((1, GENES), 1.4))
    _, ledger = run(tmp_path, begin=outside, options=replace(OPTIONS, budget=20))
    assert all(0.0 <= value <= 1.0 for line in ledger.lines for value in line.genes.values())


def test_failed_candidates_are_recorded_with_a_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    """NaN, an exception, no memory and a hang for a third of the candidates: a valid result all the same."""
    faults = {
        0: lambda: {"toy": [math.nan] * 10},
        1: lambda: (_ for _ in ()).throw(RuntimeError("out of memory, tried to allocate 2 GiB")),
        2: lambda: (_ for _ in ()).throw(MemoryError()),
        3: lambda: time.sleep(30),
    }

    order: dict[tuple[float, ...], int] = {}

    def shaky(genes: Mapping[str, float], block: int) -> ItemScores:
        key = tuple(genes.values())  # a candidate fails the same way on every block
        if len(set(key)) == 1:  # the opening candidates work
            return bowl(genes, block)
        number = order.setdefault(key, len(order))
        return faults[number // 3 % 4]() if number % 3 == 0 else bowl(genes, block)

    result, ledger = run(tmp_path, workers=InProcess(shaky, limit=0.2))
    failed = [line for line in ledger.lines if line.status == "failed"]
    assert 8 < len(failed) < 30 and {line.reason for line in failed} == {
        "fitness is not finite",
        "RuntimeError: out of memory, tried to allocate 2 GiB",
        "MemoryError: no message",
        "OutOfTime: no result within 0.2 s",
    }
    assert all(line.fitness is None for line in failed)
    best, first = result.ranking[0].fitness, ledger.lines[0].fitness
    assert best is not None and first is not None and best > first


def test_only_failures_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    def broken(genes: Mapping[str, float], block: int) -> ItemScores:
        raise RuntimeError("no such device")

    with pytest.raises(DarwinError, match="every candidate failed.*no such device"):
        run(tmp_path, broken, options=replace(OPTIONS, budget=9))


def test_an_interrupt_finishes_the_block_and_leaves_it_on_disk(tmp_path: Path) -> None:
    blocks = 0

    def interrupted() -> bool:
        nonlocal blocks
        blocks += 1
        return blocks == 12

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, callbacks=SearchCallbacks(interrupted=interrupted))
    assert len(Ledger(tmp_path / "ledger.jsonl", tmp_path / "blocks.jsonl").blocks) == 12
    assert timeless(run(tmp_path)[1]) == timeless(run(tmp_path / "whole")[1])


def test_budget_one_is_the_start(tmp_path: Path) -> None:
    result, ledger = run(tmp_path, options=replace(OPTIONS, budget=1))
    assert len(ledger.lines) == 1 and result.ranking[0].generation == 0


def test_population_larger_than_the_budget(tmp_path: Path) -> None:
    assert len(run(tmp_path, options=replace(OPTIONS, budget=4, population=50))[1].lines) == 4


def test_a_time_limit_ends_the_search_between_generations(tmp_path: Path) -> None:
    def slow(genes: Mapping[str, float], block: int) -> ItemScores:
        time.sleep(0.01)
        return bowl(genes, block)

    # The whole budget would sleep for ten seconds at least, on any machine.
    result, ledger = run(tmp_path, slow, options=replace(OPTIONS, budget=1000, time_limit=0.5))
    assert result.stopped == "time" and len(ledger.lines) < 1000
    assert (len(ledger.lines) - len(start().opening)) % OPTIONS.population == 0


def test_a_converged_search_starts_again_with_budget_left(tmp_path: Path) -> None:
    def two_peaks(genes: Mapping[str, float], block: int) -> ItemScores:
        values = np.array(list(genes.values()))
        near, far = ((values - 0.3) ** 2).sum(), ((values - 0.95) ** 2).sum()
        return {"toy": [float(0.5 * np.exp(-20 * near) + 0.9 * np.exp(-20 * far))] * 10}

    narrow = start(mean=0.3, sigma=0.02)
    ledger, options = Ledger(tmp_path / "ledger.jsonl"), replace(OPTIONS, budget=2000)
    search(narrow, InProcess(two_peaks), Means(1, {"toy": 1.0}), ledger, options)
    sizes = {sum(line.generation == g for line in ledger.lines) for g in range(1, ledger.lines[-1].generation)}
    assert {8, 16} <= sizes  # a doubled population is a restart


def test_random_candidates_fill_the_box_and_learn_nothing(tmp_path: Path) -> None:
    """The same candidates whatever the fitness, spread over the whole box."""

    def flat(genes: Mapping[str, float], block: int) -> ItemScores:
        return {"toy": [0.5] * 10}

    options = replace(OPTIONS, strategy="random", budget=200, racing=False)
    ledgers = [run(tmp_path / name, evaluate, options=options)[1] for name, evaluate in (("a", bowl), ("b", flat))]
    first, second = ([line.genes for line in ledger.lines] for ledger in ledgers)
    assert first == second and len(first) == 200
    drawn = np.array([list(genes.values()) for genes in first[len(start().opening) :]])
    assert drawn.min() < 0.05 and drawn.max() > 0.95 and abs(drawn.mean() - 0.5) < 0.05


def test_prior_mean_evaluates_the_mean_alone(tmp_path: Path) -> None:
    result, ledger = run(tmp_path, options=replace(OPTIONS, strategy="prior-mean", budget=20))
    assert [line.genes for line in ledger.lines] == [dict.fromkeys(NAMES, 0.5)] and len(result.ranking) == 1


def test_callbacks_see_every_line_and_generation(tmp_path: Path) -> None:
    lines: list[LedgerLine] = []
    generations: list[GenerationStats] = []
    _, ledger = run(tmp_path, callbacks=SearchCallbacks(lines.append, generations.append))
    assert lines == ledger.lines
    assert [stats.generation for stats in generations] == list(range(len(generations)))
    assert sum(stats.candidates for stats in generations) == OPTIONS.budget
    assert generations[-1].items == sum(line.items for line in lines)
    assert generations[-1].best == max(line.fitness or 0.0 for line in lines if line.status == "ok")
    assert generations[0].sigma is None and all(stats.sigma for stats in generations[1:])


def test_null_genomes_keep_the_winners_size_without_its_choices() -> None:
    space = Space("ffn", tuple(Gene(name, i, ()) for i, name in enumerate(NAMES)))
    winner = {name: 0.1 * i for i, name in enumerate(NAMES)}
    nulls = null_genomes(space, start(frozen=(0,)), winner, seed=3)
    assert set(nulls) == {"uniform", "prior-mean", "random"}
    assert {nulls[name]["L0.ffn"] for name in ("uniform", "prior-mean", "random")} == {0.0}
    norms = [sum(v**2 for v in genes.values()) for genes in (winner, nulls["random"])]
    assert max(nulls["random"].values()) < 1.0  # nothing was clipped to the box
    assert norms[1] == pytest.approx(norms[0])
    assert nulls["uniform"] == {name: 0.0 if name == "L0.ffn" else pytest.approx(0.3) for name in NAMES}
    assert nulls["prior-mean"] == {name: 0.0 if name == "L0.ffn" else 0.5 for name in NAMES}
    assert nulls == null_genomes(space, start(frozen=(0,)), winner, seed=3)


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
    assert again.before == [line]
    again.append(line)
    again.append(line.model_copy(update={"evaluation": 1}))
    assert [x.evaluation for x in Ledger(tmp_path / "l.jsonl").before] == [0, 1]


LINE = LedgerLine(
    evaluation=0, generation=0, candidate=0, genes={}, fitness=0.5, scores={}, items=1, seconds=0.0, status="ok"
)


def test_limits_rank_before_fitness_and_failures_are_last() -> None:
    kept, better = LINE.model_copy(update={"fitness": 0.1}), LINE.model_copy(update={"fitness": 0.2, "evaluation": 1})
    broken = LINE.model_copy(update={"fitness": 0.9, "violation": 0.02, "evaluation": 2})
    worse = LINE.model_copy(update={"fitness": 0.9, "violation": 0.3, "evaluation": 3})
    failed = LINE.model_copy(update={"fitness": None, "status": "failed", "evaluation": 4})
    ranked = sorted([failed, worse, broken, kept, better], key=best_first)
    assert [line.evaluation for line in ranked] == [1, 0, 2, 3, 4]
    best = best_whole([broken, kept])
    assert best is not None and best.fitness == 0.1
    assert violation({"ko": -0.8, "en": -0.5}, {"ko": -0.75, "en": -0.6}) == pytest.approx(0.05)


def test_a_broken_model_is_a_failed_candidate() -> None:
    def evaluate(genes: Mapping[str, float], block: int) -> dict[str, list[float]]:
        raise BrokenModel("task item 3: a score is not finite")

    outcome = evaluate_task(evaluate, Task(1, 2, 0, {"a": 1.0}))
    assert outcome.scores is None and outcome.reason == "BrokenModel: task item 3: a score is not finite"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_equal_candidates_are_scored_once(tmp_path: Path, asynchronous: bool) -> None:
    """An opening that is the father three times: one evaluation per block, three lines, and the same when resumed."""
    asked = list[tuple[int, tuple[float, ...]]]()

    def count(genes: Mapping[str, float], block: int) -> ItemScores:
        asked.append((block, tuple(genes.values())))
        return bowl(genes, block)

    options = replace(OPTIONS, budget=3, asynchronous=asynchronous)
    _, ledger = run(tmp_path / "a", count, start(mean=0.0), options)
    assert len(asked) == BLOCKS == len(set(asked))
    assert [line.fitness for line in ledger.lines] == [ledger.lines[0].fitness] * 3
    _, again = run(tmp_path / "a", count, start(mean=0.0), options)
    assert len(asked) == BLOCKS and timeless(again) == timeless(ledger)


def test_a_candidate_equal_to_a_failed_one_fails_with_its_reason(tmp_path: Path) -> None:
    def fail(genes: Mapping[str, float], block: int) -> ItemScores:
        if not any(genes.values()):
            raise RuntimeError("no father")
        return bowl(genes, block)

    begin = replace(start(), opening=np.array([[0.5] * GENES, [0.0] * GENES, [0.0] * GENES]))
    _, ledger = run(tmp_path, fail, begin, replace(OPTIONS, budget=3))
    by_number = {line.candidate: line for line in ledger.lines}
    assert [by_number[number].status for number in range(3)] == ["ok", "failed", "failed"]
    assert by_number[1].reason == by_number[2].reason
