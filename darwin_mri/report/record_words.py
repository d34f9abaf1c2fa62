"""Words that records use as values, as a page writes them: statuses, splits, evidence, levels, the composite."""

from __future__ import annotations

from darwin_mri.records.score import COMPOSITE
from darwin_mri.translation import later, say

_STATUSES = {  # of a run and of an evaluation
    "running": later("running"),
    "interrupted": later("interrupted"),
    "failed": later("failed"),
    "done": later("done"),
    "ok": later("ok"),
    "raced": later("raced"),
}
_SPLITS = {
    "held-out": later("held-out"),
    "search": later("search"),
    "full": later("full"),
    "all": later("all"),
    "unknown": later("unknown"),
}
_EVIDENCE = {"measured": later("measured"), "published": later("published"), "estimated": later("estimated")}
_LEVELS = {"serious": later("serious"), "warning": later("warning"), "note": later("note")}


def status_label(status: str) -> str:
    """How a run or an evaluation ended."""
    return _said(_STATUSES, status)


def split_label(split: str) -> str:
    """Which items a score is on."""
    return _said(_SPLITS, split)


def evidence_label(evidence: str) -> str:
    """Who took a score, and how."""
    return _said(_EVIDENCE, evidence)


def level_label(level: str) -> str:
    """How much an alert matters."""
    return _said(_LEVELS, level)


def benchmark_label(name: str) -> str:
    """A benchmark's own name; the composite is no benchmark but a word."""
    return say("composite") if name == COMPOSITE else name


def _said(words: dict[str, str], value: str) -> str:
    return say(words[value]) if value in words else value
