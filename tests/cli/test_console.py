"""What a long stage reports where there is no terminal: a line now and then, with what is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from darwin_mri.cli import console


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=stream, width=200))
    return stream


def _lines(log: io.StringIO, quiet: bool = False) -> list[str]:
    with console.ConsoleProgress(quiet).stage("reading [all]", 10) as advance:
        for _ in range(10):
            advance(1)
    return log.getvalue().splitlines()


def test_a_short_stage_prints_its_name_alone(log: io.StringIO) -> None:
    assert _lines(log) == ["reading [all] ..."]


def test_a_long_stage_prints_how_far_it_is(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 2000, 40))  # seconds: every second step is over a minute after the last line
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    lines = _lines(log)
    assert lines[1] == "reading [all]: 2 of 10 after 1 min, about 5 min left"
    assert len(lines) == 6 and "10 of 10" in lines[-1]


def test_a_quiet_stage_prints_nothing(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LOGGED_EVERY", 0.0)
    assert not _lines(log, quiet=True)
