"""A real local Ray: actors evaluate, one is killed, and the ledger is the one of a single process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("ray")

from ray.cluster_utils import Cluster

from darwin_mri.breeding import ItemScores, Ledger, Means, ObservedWorkers, SearchOptions, WorkerStates, search
from darwin_mri.breeding.cluster import RayWorkers
from darwin_mri.breeding.workers import Evaluate, Outcome, Task
from darwin_mri.errors import DarwinError
from darwin_mri.records import WorkerState
from speed.asynchronous import SimulatedWorkers
from tests.breeding.test_search import BLOCKS, bowl, run, start, timeless
from tests.slow import slow, slow_param

OPTIONS = SearchOptions(budget=27, population=8, seed=0)


def build(folder: str, hang: bool = False) -> Evaluate:
    """An actor's evaluation; leaves its process id in the folder."""
    Path(folder, str(os.getpid())).touch()

    def evaluate(genes: Mapping[str, float], block: int) -> ItemScores:
        time.sleep(0.02)
        if hang and int(1e6 * sum(genes.values())) % 25 == 0:
            time.sleep(600)
        return bowl(genes, block)

    return evaluate


class Striking:
    """Workers, and something that happens to them in the middle of the search.

    Args:
        inner: the workers.
        after: results.
        strike: what happens.
    """

    def __init__(self, inner: RayWorkers, after: int, strike: Callable[[], object]) -> None:
        self.inner, self.after, self.strike = inner, after, strike
        self.count = inner.count

    def submit(self, task: Task, worker: int) -> None:
        self.inner.submit(task, worker)

    def next(self) -> Outcome:
        self.after -= 1
        if self.after == 0:
            self.strike()
        return self.inner.next()

    def close(self) -> None:
        self.inner.close()


def kill_first(pids: Path) -> None:
    """End one actor's process."""
    os.kill(int(sorted(pids.iterdir())[0].name), signal.SIGKILL)


@slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_node_that_dies_leaves_its_tasks_to_the_other_one(tmp_path: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    pids = tmp_path / "pids"
    pids.mkdir()
    replaced = list[int]()
    workers = RayWorkers(
        partial(build, str(pids)), actors=2, address=cluster.address, limit=60, on_replaced=replaced.append
    )
    ledger = Ledger(tmp_path / "ledger.jsonl")
    try:
        losing = Striking(workers, 20, lambda: cluster.remove_node(node, allow_graceful=False))
        search(start(), losing, Means(BLOCKS, {"toy": 1.0}), ledger, OPTIONS)
    finally:
        workers.close()
        cluster.shutdown()
    assert replaced  # one machine's task was asked again, no other was lost
    assert len(ledger.lines) == OPTIONS.budget and not any(line.status == "failed" for line in ledger.lines)
    assert timeless(ledger) == timeless(run(tmp_path / "alone", options=OPTIONS)[1])


@slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_where_room_is_left_for_one_actor_alone_it_does_all_tasks(tmp_path: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    node = cluster.add_node(num_cpus=2)
    pids = tmp_path / "pids"
    pids.mkdir()
    workers = RayWorkers(partial(build, str(pids)), actors=2, address=cluster.address, limit=60)

    def strike() -> None:
        cluster.add_node(num_cpus=1)
        cluster.remove_node(node, allow_graceful=False)

    ledger = Ledger(tmp_path / "ledger.jsonl")
    try:
        search(start(), Striking(workers, 20, strike), Means(BLOCKS, {"toy": 1.0}), ledger, OPTIONS)
    finally:
        workers.close()
        cluster.shutdown()
    failed = [line for line in ledger.lines if line.status == "failed"]
    assert len(ledger.lines) == OPTIONS.budget and len(failed) <= 2  # a task may have met both actors of that machine


# Ray's own subprocesses and sockets are still open when it is shut down.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("asynchronous", [slow_param(False), True])
def test_a_killed_actor_costs_one_task_and_changes_nothing(tmp_path: Path, asynchronous: bool) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    options = replace(OPTIONS, asynchronous=asynchronous)
    told = list[tuple[WorkerState, ...]]()
    states = WorkerStates(["Ray actor 0", "Ray actor 1"], told.append)
    ray = RayWorkers(partial(build, str(pids)), actors=2, limit=60, on_replaced=states.replace)
    workers = ObservedWorkers(Striking(ray, 20, lambda: kill_first(pids)), states)
    ledger = Ledger(tmp_path / "ray" / "ledger.jsonl", tmp_path / "ray" / "blocks.jsonl")
    try:
        result = search(start(), workers, Means(BLOCKS, {"toy": 1.0}), ledger, options)
        until = time.monotonic() + 60
        while len(list(pids.iterdir())) < 3 and time.monotonic() < until:
            time.sleep(0.1)
        assert len(list(pids.iterdir())) == 3  # another actor takes its place, however short the search was
    finally:
        workers.close()
    last = told[-2]  # before the search ended, whereupon no worker is there to be seen
    assert not told[-1] and sum(state.replaced for state in last) == 1 and not any(state.task for state in last)
    assert 20 < sum(state.done for state in last) <= len(ledger.blocks)  # equal candidates are scored once
    assert all(state.memory and (state.memory.host or 0) > 2**20 for state in last)
    assert any(seen and all(state.task for state in seen) for seen in told)
    assert len(ledger.lines) == OPTIONS.budget and not any(line.status == "failed" for line in ledger.lines)
    if asynchronous:  # the order of events is Ray's; a replay of it comes to the same
        again, replayed = run(tmp_path / "ray", workers=SimulatedWorkers(bowl, (1.0, 1.0)), options=options)
        assert replayed.lines == ledger.lines and again.ranking == result.ranking
    else:
        assert timeless(ledger) == timeless(run(tmp_path / "alone", options=OPTIONS)[1])


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@slow
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_actor_that_hangs_is_killed_and_its_candidate_fails(tmp_path: Path, asynchronous: bool) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    workers = RayWorkers(partial(build, str(pids), hang=True), actors=2, limit=3)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    try:
        search(start(), workers, Means(BLOCKS, {"toy": 1.0}), ledger, replace(OPTIONS, asynchronous=asynchronous))
    finally:
        workers.close()
    failed = [line for line in ledger.lines if line.status == "failed"]
    assert failed and {line.reason for line in failed} == {"no result within 3 s"}
    assert sum(line.status != "failed" for line in ledger.lines) > len(ledger.lines) / 2


def test_a_ray_that_does_not_start_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was too busy for Ray's own time limit made a traceback of it."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file"))
    with pytest.raises(DarwinError, match=r"^Ray did not start \(.+\): free processors, and go on with --resume$"):
        RayWorkers(partial(build, str(tmp_path)), actors=1)
