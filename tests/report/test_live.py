"""A run while it goes: the ledger is read on from where the last look ended; what is shown fits the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from darwin_mri.records import LedgerLine, LiveStep, PeakMemory
from darwin_mri.report import LiveRun, live_tables
from darwin_mri.report.live import LiveStage, LiveWorker
from darwin_mri.report.live_search import LedgerTail
from darwin_mri.stats.domination import non_dominated

TASKS = ("a", "b")


def line(number: int, a: float, b: float, status: str = "ok") -> LedgerLine:
    return LedgerLine(
        evaluation=number,
        generation=number // 4,
        candidate=number % 4,
        genes={"L0.ffn": number / 100},
        fitness=(a + b) / 2,
        scores={"a": a, "b": b},
        items=10,
        seconds=1.0,
        status=status,
    )


def write(path: Path, *lines: LedgerLine) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(own.model_dump(mode="json")) + "\n" for own in lines)


def test_a_look_reads_only_what_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    tail = LedgerTail(path)
    tail.read()
    assert not tail.lines
    write(path, line(0, 0.1, 0.2), line(1, 0.3, 0.1))
    tail.read()
    assert [own.evaluation for own in tail.lines] == [0, 1] and tail.offset == path.stat().st_size
    with path.open("r+b") as stream:  # whoever read this again would find no line
        stream.write(b"#" * (tail.offset - 1))
    write(path, line(2, 0.4, 0.4))
    with path.open("ab") as stream:
        stream.write(b'{"evaluation": 3, "gener')
    tail.read()
    assert [own.evaluation for own in tail.lines] == [0, 1, 2]  # the one that is being written waits
    with path.open("r+b") as stream:  # a resumed search cuts it off
        stream.truncate(tail.offset)
    write(path, line(3, 0.2, 0.9))
    tail.read()
    assert [own.evaluation for own in tail.lines] == [0, 1, 2, 3] and tail.generations()[0].items == 40


@pytest.mark.parametrize("shorter", [True, False])
def test_a_ledger_that_is_begun_anew_is_read_anew(tmp_path: Path, shorter: bool) -> None:
    path, other = tmp_path / "ledger.jsonl", tmp_path / "other.jsonl"
    tail = LedgerTail(path, TASKS)
    write(path, line(0, 0.9, 0.9), line(1, 0.3, 0.1))
    tail.read()
    write(other, *(line(n, 0.1, 0.1) for n in range(1 if shorter else 5)))
    other.replace(path)
    tail.read()
    assert len(tail.lines) == (1 if shorter else 5) and tail.front()[0].scores == {"a": 0.1, "b": 0.1}


def test_the_front_of_many_looks_is_that_of_all_lines(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    points = rng.random((40, 2)).round(2)
    tail, path = LedgerTail(tmp_path / "ledger.jsonl", TASKS), tmp_path / "ledger.jsonl"
    for number, (a, b) in enumerate(points):
        write(path, line(number, float(a), float(b)))
        if number % 7 == 0:
            write(path, line(100 + number, 2.0, 2.0, status="raced"))  # not scored on all items: no member
        tail.read()
    wanted = points[non_dominated(points)]
    assert sorted(tuple(member.scores.values()) for member in tail.front()) == sorted(map(tuple, wanted))
    firsts = [member.scores["a"] for member in tail.front()]
    assert firsts == sorted(firsts, reverse=True)


def busy_run(tmp_path: Path) -> LiveRun:
    """A run with all there is to show."""
    path = tmp_path / "ledger.jsonl"
    tail = LedgerTail(path, ("nursery_click_with_a_long_name", "nursery_musr"))
    for n in range(48):
        own = line(n, 0.0, 0.0)
        scores = {"nursery_click_with_a_long_name": n / 48, "nursery_musr": 1 - n / 48}
        write(path, own.model_copy(update={"scores": scores, "sigma": 0.3}))
    tail.read()
    worker = LiveWorker(0, "cuda:0", "busy", 3.0, (11, 2, 1), 140, 0, None)
    own_memory = PeakMemory(host=2**31, devices={"cuda:0": 2**33})
    actors = [
        LiveWorker(n, "Ray actor", "idle" if n == 1 else "busy", 900.0 - n, (11, n, 1), 7, n, own_memory)
        for n in range(1, 12)
    ]
    stages = ("inputs", "scan", "moments", "donors", "references", "prior", "search", "child", "health", "bench")
    states = [
        LiveStage(name, "done" if i < 6 else "running" if i == 6 else "to come", 70.0) for i, name in enumerate(stages)
    ]
    return LiveRun(
        name="a [bold]name[/] \x1b[31m",
        status="running",
        note="",
        device="cuda",
        silent=700.0,
        stages=tuple(states),
        step=LiveStep(title="search", done=48, total=200, since=0.0),
        step_left=300.0,
        memory=own_memory,
        workers=(worker, *actors),
        generations=tail.generations(),
        objectives=tail.objectives,
        front=tail.front(),
        evaluated=48,
        budget=200,
        best=0.5,
        items=480,
        seconds_left=300.0,
    )


@pytest.mark.parametrize(("width", "height"), [(40, 50), (80, 36), (80, 24), (200, 80)])
def test_what_is_shown_fits_the_terminal(tmp_path: Path, width: int, height: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=True, color_system=None)
    console.print(live_tables(busy_run(tmp_path), fits=True))
    lines = stream.getvalue().splitlines()
    text = " ".join(stream.getvalue().split())
    assert max(map(len, lines)) <= width and len(lines) <= max(height, 32)
    assert "a [bold]name[/]" in text and "\x1b[31m" not in text
    for wanted in (
        "no sign of life",
        "done: inputs 70 s",
        "now: search",
        "to come: child",
        "2.0 GiB host",
        "48 of 200 candidates",
        "spread",
        "no other one dominates",
        "11 of 12 at work",
        "15 min",
    ):
        assert wanted in text, text


def test_the_worker_that_has_been_busy_longest_is_never_left_out(tmp_path: Path) -> None:
    stream = io.StringIO()
    Console(file=stream, width=100, height=24).print(live_tables(busy_run(tmp_path), fits=True))
    assert "2 Ray actor" in stream.getvalue() and "1 Ray actor" not in stream.getvalue().replace("11 Ray", "")
