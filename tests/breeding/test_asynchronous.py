"""The asynchronous search in simulated time: who gets what and when, and resuming from every event."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    Workers,
    search,
)
from darwin_mri.breeding.strategies import CMA, AroundPrior
from darwin_mri.breeding.workers import Outcome, Task
from darwin_mri.errors import DarwinError
from darwin_mri.records import LedgerLine
from speed.asynchronous import PACES, SimulatedWorkers
from tests.breeding.test_search import BLOCKS, DIFFICULTY, GENES, ITEMS, NAMES, bowl, run, start

OPTIONS = SearchOptions(budget=60, population=8, seed=0, asynchronous=True)
Key = tuple[int, int, int]
FAST = (1.0, 1.0, 1.0, 1.0)


class Recording(SimulatedWorkers):
    """Simulated workers that keep who did what: (begin, end, worker, generation, candidate, block)."""

    def __init__(self, evaluate: Evaluate, paces: Sequence[float]) -> None:
        super().__init__(evaluate, paces)
        self.done: list[tuple[float, float, int, tuple[int, int], int]] = []

    def next(self) -> Outcome:
        end, worker, task = self._running[0]
        self.done.append((end - self.paces[worker], end, worker, (task.generation, task.candidate), task.block))
        return super().next()


def test_no_worker_waits_for_a_slower_one(tmp_path: Path) -> None:
    """Each has work from the beginning to the end, where only what is left to share out leaves some without."""
    workers = Recording(bowl, PACES)
    run(tmp_path / "a", workers=workers, options=OPTIONS)
    assert workers.wasted < 0.1
    for number in range(len(PACES)):
        mine = sorted(part for part in workers.done if part[2] == number)
        assert mine[0][0] == 0.0
        assert all(before[1] == after[0] for before, after in zip(mine[:-1], mine[1:], strict=True))
    waiting = SimulatedWorkers(bowl, PACES)
    run(tmp_path / "b", workers=waiting, options=replace(OPTIONS, asynchronous=False))
    assert waiting.wasted > 0.25 and waiting.now > workers.now


def test_a_candidate_stays_with_its_worker_block_after_block(tmp_path: Path) -> None:
    workers = Recording(bowl, PACES)
    _, ledger = run(tmp_path, workers=workers, options=OPTIONS)
    for number in range(len(PACES)):
        mine = [(candidate, block) for _, _, worker, candidate, block in workers.done if worker == number]
        for (before, block), (after, following) in zip(mine[:-1], mine[1:], strict=True):
            assert following == (block + 1 if before == after else 0)
    assert len({(line.generation, line.candidate) for line in ledger.lines}) == len(ledger.lines) == OPTIONS.budget


def test_a_slow_worker_gets_no_last_candidate_that_all_others_would_wait_for(tmp_path: Path) -> None:
    workers = Recording(bowl, (1.0, 1.0, 1.0, 16.0))
    run(tmp_path, workers=workers, options=replace(OPTIONS, racing=False))
    ends = [max(end for _, end, worker, _, _ in workers.done if worker == number) for number in range(4)]
    assert ends[3] <= max(ends[:3])
    begun = [begin for begin, _, worker, _, block in workers.done if worker == 3 and block == 0]
    assert 0 < len(begun) < 4


def test_the_opening_comes_first_and_the_search_starts_from_its_best(tmp_path: Path) -> None:
    def near_father(genes: Mapping[str, float], block: int) -> ItemScores:
        return {"toy": [1 - sum((value - 0.1) ** 2 for value in genes.values())] * 10}

    _, ledger = run(tmp_path, begin=start(mean=0.9), workers=SimulatedWorkers(near_father, FAST), options=OPTIONS)
    opening = sorted((line for line in ledger.lines if line.generation == 0), key=lambda line: line.candidate)
    assert [round(line.genes["L0.ffn"], 3) for line in opening] == [0.9, 0.45, 0.0]
    first = [line for line in ledger.lines if line.generation == 1]
    means = [sum(line.genes.values()) / GENES for line in sorted(first, key=lambda line: line.candidate)]
    assert min(means[:3]) > 0.7  # drawn around the prior for workers that were free before the opening was scored
    assert max(means[3:8]) < 0.5


@pytest.mark.parametrize("paces", [(40.0, 1.0), (1.0, 40.0)])
def test_a_slow_opening_lets_the_prelude_fill_a_population(paces: tuple[float, ...], tmp_path: Path) -> None:
    """The strategy is then told of candidates before any of its own has been scored."""
    _, ledger = run(tmp_path, workers=Recording(bowl, paces), options=replace(OPTIONS, population=4))
    assert len(ledger.lines) == OPTIONS.budget


def test_generations_count_how_often_the_strategy_was_told(tmp_path: Path) -> None:
    lines: list[LedgerLine] = []
    stats: list[GenerationStats] = []
    callbacks = SearchCallbacks(lines.append, stats.append)
    _, ledger = run(tmp_path, workers=SimulatedWorkers(bowl, PACES), options=OPTIONS, callbacks=callbacks)
    assert lines == ledger.lines and [line.evaluation for line in lines] == list(range(60))
    assert [one.generation for one in stats] == list(range(len(stats)))
    assert sum(one.candidates for one in stats) == OPTIONS.budget
    for generation in range(1, stats[-1].generation + 1):
        drawn = [line for line in lines if line.generation == generation]
        assert sorted(line.candidate for line in drawn) == list(range(len(drawn)))
        assert len({line.sigma for line in drawn}) == 1
        # What was told before a generation was drawn had been finished.
        assert sum(line.generation < generation for line in lines) >= (generation - 1) * OPTIONS.population


def test_it_climbs_as_the_generational_search_does(tmp_path: Path) -> None:
    found: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(3):
        for asynchronous, best in found.items():
            options = replace(OPTIONS, seed=seed, asynchronous=asynchronous, budget=80)
            folder = tmp_path / f"{seed}{asynchronous}"
            result, _ = run(folder, workers=SimulatedWorkers(bowl, PACES), options=options)
            best.append(result.ranking[0].fitness or 0.0)
    assert np.median(found[True]) == pytest.approx(np.median(found[False]), abs=0.02)


def test_racing_stops_only_candidates_of_the_worse_half(tmp_path: Path) -> None:
    _, ledger = run(tmp_path / "raced", workers=SimulatedWorkers(bowl, PACES), options=OPTIONS)
    raced = [line for line in ledger.lines if line.status == "raced"]
    assert len(raced) > 5 and all("better half" in line.reason and line.generation for line in raced)

    def whole(line: LedgerLine) -> float:
        return sum(sum(bowl(line.genes, block)["toy"]) for block in range(BLOCKS))

    for line in raced:  # all items agree here, so the last population's better half must be better on all of them
        last = [other for other in ledger.lines[: line.evaluation] if other.generation][1 - OPTIONS.population :]
        assert sum(whole(other) > whole(line) for other in last) >= OPTIONS.population // 2
    limited = Means(BLOCKS, {"toy": 1.0}, {"toy": 0.5})
    free = Ledger(tmp_path / "limited.jsonl")
    search(start(), SimulatedWorkers(bowl, PACES), limited, free, OPTIONS)
    assert {line.status for line in free.lines} == {"ok"}


def noisy(genes: Mapping[str, float], block: int) -> ItemScores:
    """As ``bowl``, and every fifth candidate fails on its second block."""
    if block == 1 and int(1e6 * sum(genes.values())) % 5 == 0 and len(set(genes.values())) > 1:
        raise RuntimeError("no memory")
    return bowl(genes, block)


class Stopped(Exception):
    """Raised where an outcome is waited for."""


class Asked:
    """Workers that only take note of what they are given."""

    count = len(PACES)

    def __init__(self) -> None:
        self.tasks: dict[int, Key] = {}

    def submit(self, task: Task, worker: int) -> None:
        assert worker not in self.tasks
        self.tasks[worker] = task.key

    def next(self) -> Outcome:
        raise Stopped

    def close(self) -> None:
        pass


def texts(folder: Path) -> tuple[list[str], list[str]]:
    blocks, lines = ((folder / name).read_text().splitlines(keepends=True) for name in ("blocks.jsonl", "ledger.jsonl"))
    return blocks, lines


def resume(
    folder: Path, blocks: Sequence[str], lines: Sequence[str], workers: Workers, options: SearchOptions
) -> tuple[SearchResult, Ledger]:
    """Run on from what these lines of an earlier part know."""
    folder.mkdir()
    (folder / "blocks.jsonl").write_text("".join(blocks))
    (folder / "ledger.jsonl").write_text("".join(lines))
    return run(folder, workers=workers, options=options)


def test_every_beginning_of_the_events_leads_to_the_same_decisions(tmp_path: Path) -> None:
    """Cut after each event: the lines that were written come out again, and what follows is what was under way."""
    options = replace(OPTIONS, budget=24)
    written: list[LedgerLine] = []
    seen: list[tuple[dict[int, Key], int]] = []  # before each event: who had what, and how many lines there were

    class Noting(SimulatedWorkers):
        def next(self) -> Outcome:
            seen.append(({number: task.key for _, number, task in self._running}, len(written)))
            return super().next()

    callbacks = SearchCallbacks(on_line=written.append)
    run(tmp_path / "whole", workers=Noting(noisy, PACES), options=options, callbacks=callbacks)
    blocks, lines = texts(tmp_path / "whole")
    assert len(seen) == len(blocks)
    for cut, (tasks, finished) in enumerate(seen):
        asked = Asked()
        with pytest.raises(Stopped):
            resume(tmp_path / str(cut), blocks[:cut], lines[:finished], asked, options)
        assert asked.tasks == tasks
        assert texts(tmp_path / str(cut)) == (blocks[:cut], lines[:finished])
    result, ledger = resume(tmp_path / "end", blocks, lines, Asked(), options)
    whole, _ = resume(tmp_path / "end without lines", blocks, (), Asked(), options)
    assert result.ranking == whole.ranking and len(ledger.lines) == options.budget
    assert texts(tmp_path / "end") == (blocks, lines) == texts(tmp_path / "end without lines")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paces=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    budget=st.integers(1, 40),
    population=st.integers(4, 9),
    strategy=st.sampled_from(("cma", "random", "prior-mean")),
    data=st.data(),
)
def test_a_killed_search_ends_and_its_finished_ledger_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    paces: list[float],
    seed: int,
    budget: int,
    population: int,
    strategy: str,
    data: st.DataObject,
) -> None:
    """Killed anywhere and resumed with other speeds: the budget is spent, and a replay of it all changes nothing."""
    folder = tmp_path_factory.mktemp("search")
    options = replace(OPTIONS, seed=seed, budget=budget, population=population, strategy=strategy)
    run(folder / "whole", workers=SimulatedWorkers(noisy, paces), options=options)
    blocks, lines = texts(folder / "whole")
    cut = data.draw(st.integers(0, len(blocks)))
    finished = 0  # lines that were written by then
    for number, line in enumerate(Ledger(folder / "whole" / "ledger.jsonl").before, 1):
        keys = [f'"generation": {line.generation}, "candidate": {line.candidate}, ' in block for block in blocks[:cut]]
        if sum(keys) < sum(f'"generation": {line.generation}, "candidate": {line.candidate}, ' in b for b in blocks):
            break
        finished = number
    other = SimulatedWorkers(noisy, paces[::-1])
    result, ledger = resume(folder / "part", blocks[:cut], lines[:finished], other, options)
    assert len(ledger.lines) == (1 if strategy == "prior-mean" else budget)
    done = texts(folder / "part")
    assert done[0][:cut] == blocks[:cut] and done[1][:finished] == lines[:finished]
    again, _ = resume(folder / "again", *done, SimulatedWorkers(noisy, paces), options)
    assert texts(folder / "again") == done and again.ranking == result.ranking


def test_a_ledger_of_another_order_is_refused(tmp_path: Path) -> None:
    """A search by generations is not gone on with asynchronously."""
    run(tmp_path, options=replace(OPTIONS, asynchronous=False, budget=30))
    with pytest.raises(DarwinError, match="does not belong to this search"):
        run(tmp_path, workers=SimulatedWorkers(bowl, FAST), options=replace(OPTIONS, budget=30))


def test_frozen_genes_stay_and_with_all_frozen_one_candidate_is_evaluated(tmp_path: Path) -> None:
    for strategy in ("cma", "random"):
        options = replace(OPTIONS, strategy=strategy)
        workers = SimulatedWorkers(bowl, PACES)
        _, ledger = run(tmp_path / strategy, begin=start(frozen=(1, 4)), workers=workers, options=options)
        assert {line.genes["L1.ffn"] for line in ledger.lines} == {0.0}
    whole = start(frozen=tuple(range(GENES)))
    result, ledger = run(tmp_path / "frozen", begin=whole, workers=SimulatedWorkers(bowl, FAST), options=OPTIONS)
    assert len(ledger.lines) == 1 and result.stopped == "nothing to search"


def test_random_candidates_are_the_same_whatever_the_fitness(tmp_path: Path) -> None:
    def flat(genes: Mapping[str, float], block: int) -> ItemScores:
        return {"toy": [0.5] * 10}

    options = replace(OPTIONS, strategy="random", racing=False)
    ledgers = [run(tmp_path / f.__name__, workers=SimulatedWorkers(f, FAST), options=options)[1] for f in (bowl, flat)]
    first, second = ([line.genes for line in ledger.lines] for ledger in ledgers)
    assert first == second and len({tuple(genes.values()) for genes in first}) == OPTIONS.budget


def test_a_restart_leaves_out_what_was_drawn_before_it(tmp_path: Path) -> None:
    def two_peaks(genes: Mapping[str, float], block: int) -> ItemScores:
        values = np.array(list(genes.values())[:2])
        near, far = ((values - 0.3) ** 2).sum(), ((values - 0.95) ** 2).sum()
        return {"toy": [float(0.5 * np.exp(-20 * near) + 0.9 * np.exp(-20 * far))] * 10}

    ledger = Ledger(tmp_path / "ledger.jsonl", tmp_path / "blocks.jsonl")
    options = replace(OPTIONS, budget=500)
    begin, estimate = start(frozen=(2, 3, 4, 5), mean=0.3, sigma=0.02), Means(1, {"toy": 1.0})
    search(begin, SimulatedWorkers(two_peaks, PACES), estimate, ledger, options)
    sizes = {sum(line.generation == g for line in ledger.lines) for g in range(1, ledger.lines[-1].generation)}
    assert 8 in sizes and max(sizes) >= 16  # a doubled population is a restart
    replayed = Ledger(tmp_path / "ledger.jsonl", tmp_path / "blocks.jsonl")
    search(begin, SimulatedWorkers(two_peaks, PACES), estimate, replayed, options)
    assert replayed.lines == ledger.lines


def test_cma_learns_from_candidates_of_earlier_distributions_and_from_elsewhere() -> None:
    """Told late, or drawn around the prior by something else: the search still climbs."""

    def told(vector: np.ndarray) -> tuple[np.ndarray, LedgerLine]:
        genes = dict(zip(NAMES, map(float, vector), strict=True))
        fitness = float(np.mean(bowl(genes, 0)["toy"]))
        common = {"evaluation": 0, "generation": 1, "candidate": 0, "items": 10, "seconds": 0.0, "status": "ok"}
        return vector, LedgerLine(genes=genes, fitness=fitness, scores={}, **common)

    begin = start()
    strategy = CMA(begin, begin.mean, 8, 0)
    foreign, late = AroundPrior(begin, 8, 0, "elsewhere").ask(), strategy.ask()
    strategy.tell([told(vector) for vector in foreign])
    for _ in range(20):
        fresh = strategy.ask()
        strategy.tell([told(vector) for vector in [*late[:4], *fresh[:4]]])
        late = fresh[4:]
    assert len(strategy._asked) <= 12  # what was told is forgotten
    assert told(strategy.ask()[0])[1].fitness == pytest.approx(0.9 + DIFFICULTY[:10].mean(), abs=0.03)


def test_failed_candidates_are_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    _, ledger = run(tmp_path, workers=SimulatedWorkers(noisy, PACES), options=OPTIONS)
    failed = [line for line in ledger.lines if line.status == "failed"]
    assert len(failed) > 3 and {line.reason for line in failed} == {"RuntimeError: no memory"}
    assert all(line.fitness is None and line.items == ITEMS // BLOCKS for line in failed)
    assert max(line.fitness or 0.0 for line in ledger.lines) > (ledger.lines[0].fitness or math.inf) + 0.03

    def broken(genes: Mapping[str, float], block: int) -> ItemScores:
        raise RuntimeError("no such device")

    with pytest.raises(DarwinError, match="every candidate failed.*no such device"):
        run(tmp_path / "broken", workers=SimulatedWorkers(broken, PACES), options=OPTIONS)


def test_an_interrupt_leaves_the_block_on_disk_and_the_search_goes_on_from_it(tmp_path: Path) -> None:
    seen = iter(range(1000))
    callbacks = SearchCallbacks(interrupted=lambda: next(seen) == 11)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, workers=SimulatedWorkers(bowl, PACES), options=OPTIONS, callbacks=callbacks)
    assert len(Ledger(tmp_path / "ledger.jsonl", tmp_path / "blocks.jsonl").blocks) == 12
    assert len(run(tmp_path, workers=SimulatedWorkers(bowl, PACES), options=OPTIONS)[1].lines) == OPTIONS.budget


@pytest.mark.parametrize("make", [lambda one: InProcess(one), lambda one: Devices([one, one, one])])
def test_a_time_limit_ends_the_drawing_and_what_was_drawn_is_finished(
    tmp_path: Path, make: Callable[[Evaluate], Workers]
) -> None:
    def slow(genes: Mapping[str, float], block: int) -> ItemScores:
        time.sleep(0.01)
        return bowl(genes, block)

    # The whole budget would sleep for ten seconds at least, on any machine.
    options = replace(OPTIONS, budget=3000, time_limit=0.5)
    workers = make(slow)
    result, ledger = run(tmp_path, workers=workers, options=options)
    workers.close()
    assert result.stopped == "time" and len(start().opening) <= len(ledger.lines) < 3000
    drawn = {(block[0], block[1]) for block in ledger.blocks}
    assert drawn == {(line.generation, line.candidate) for line in ledger.lines}
    # Resumed after its end: no time is left, and the end is the same.
    workers, options = make(slow), replace(options, time_limit=1e-9)
    again, replayed = run(tmp_path, workers=workers, options=options)
    workers.close()
    assert replayed.lines == ledger.lines and again.ranking == result.ranking and again.stopped == "time"


def test_threads_evaluate_and_their_errors_are_raised(tmp_path: Path) -> None:
    ended: list[str] = []
    workers = Devices([bowl, bowl, bowl], lambda: ended.append("engines"))
    assert len(run(tmp_path / "a", workers=workers, options=OPTIONS)[1].lines) == OPTIONS.budget
    assert not ended
    workers.close()
    assert ended == ["engines"]

    def wrong(genes: Mapping[str, float], block: int) -> ItemScores:
        raise DarwinError("other benchmark files")

    workers = Devices([bowl, wrong])
    with pytest.raises(DarwinError, match="other benchmark files"):
        run(tmp_path / "b", workers=workers, options=OPTIONS)
    workers.close()


@pytest.mark.parametrize("budget", [1, 2, 4, 7])
def test_small_budgets(tmp_path: Path, budget: int) -> None:
    options = replace(OPTIONS, budget=budget, population=50)
    result, ledger = run(tmp_path, workers=SimulatedWorkers(bowl, (1.0,) * 6), options=options)
    assert len(ledger.lines) == budget and result.ranking


def test_one_worker_is_enough(tmp_path: Path) -> None:
    assert len(run(tmp_path, options=OPTIONS)[1].lines) == OPTIONS.budget
