"""The one number format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_mri.report import formats
from tests.report.sample_scores import make_comparison


@pytest.mark.parametrize(
    ("given_", "expected"), [(0.7131, "71.3 %"), (0.0, "0.0 %"), (1.0, "100.0 %"), (-0.0004, "0.0 %"), (None, "–")]
)
def test_percent(given_: float | None, expected: str) -> None:
    assert formats.percent(given_) == expected


@pytest.mark.parametrize(
    ("given_", "expected"), [(0.031, "+3.1 pp"), (-0.02, "−2.0 pp"), (0.0001, "0.0 pp"), (-0.0001, "0.0 pp")]
)
def test_points(given_: float, expected: str) -> None:
    assert formats.points(given_) == expected


def test_score() -> None:
    score = make_comparison().scores[0].model_copy(update={"value": 0.713, "low": 0.666, "high": 0.731, "n": 756})
    assert formats.score(score) == "71.3 % [66.6, 73.1]  n = 756"


@pytest.mark.parametrize(
    ("given_", "expected"),
    [(0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.0, "1e4"), (-3.0, "−3.00"), (0.0, "0.00")],
)
def test_compact(given_: float, expected: str) -> None:
    assert formats.compact(given_) == expected


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("--out /home/me/runs/x", "--out …/x"),
        ("--out=/home/me/x", "--out=…/x"),
        ("C:\\Users\\me\\x", "…/x"),
        ("configs/sub/genesis.yaml", "configs/sub/genesis.yaml"),
        ("google/gemma-4-E4B-it@main", "google/gemma-4-E4B-it@main"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("a\x1b[0m\u202e", "a\ufffd[0m\ufffd"),
        ("한국어 문화", "한국어 문화"),
    ],
)
def test_clean(given_: str, expected: str) -> None:
    assert formats.clean(given_) == expected


@given(st.text())
def test_clean_leaves_nothing_that_moves_a_cursor(text: str) -> None:
    cleaned = formats.clean(text)
    assert "\x1b" not in cleaned and "\r" not in cleaned and "\u202e" not in cleaned


def test_lists_and_ranges() -> None:
    assert formats.ranges([15, 16, 22, 23, 24, 25]) == "15–16, 22–25"
    assert formats.listing(["a", "b", "c"]) == "a, b and c"
