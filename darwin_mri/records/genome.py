"""The search vector: the winner with its null children, and the ledger of every evaluation."""

from __future__ import annotations

from typing import Any

from darwin_mri.records.base import Part, Record


class Genome(Record):
    """A child's recipe. ``genes`` are named values; ``ratios`` the FFN ratio per father layer they lead to.

    ``method`` is an operator (dare_ties, task_arithmetic, ...) or a cross-architecture arm (raw, folded, ...). ``nulls`` are
    named genomes that show what no search or no mother would have given.
    """

    space: str
    method: str
    seed: int
    father: str
    mother: str
    base: str | None = None
    genes: dict[str, float]
    ratios: tuple[float, ...]
    nulls: dict[str, dict[str, float]] = {}
    layer_map: tuple[int, ...] = ()
    gate_rms: tuple[
        float, ...
    ] = ()  # mother's measured gate spread by layer: what a cross-architecture donor was built with
    settings: dict[str, float | str] = {}  # method parameters outside the genome, e.g. density, rescale
    exceptions: dict[str, dict[str, float | str]] = {}  # tensor on disk, or pattern -> its own ratio, density, ...
    tensors: dict[
        str, tuple[str, ...]
    ] = {}  # gene -> tensors on the father's disk: what a merge needs beside the parents
    donors: dict[str, str] = {}  # of a cross-architecture child: file in state/donors -> sha256
    arm: dict[str, Any] = {}  # settings those donors were built with, to build them again
    search_score: float | None = None  # the winner's fitness on the search items that chose it
    retest_score: float | None = None  # on fresh search items
    held_out_score: float | None = None  # on held-out items, looked at after the winner was named
    account: dict[str, int] = {}  # item evaluations spent and saved, by what for
    stopped: str = ""  # why the search ended


class AnchorItems(Part):
    """The items of one benchmark that candidates are asked, and what was known when they were chosen.

    ``logged``: model -> its score on every item of the pool; ``anchors``: indices into the pool in the order asked, each with
    the share of the pool it stands for.
    """

    benchmark: str
    logged: dict[str, tuple[float, ...]]
    anchors: tuple[int, ...]
    weights: tuple[float, ...]


class AnchorRecord(Record):
    benchmarks: tuple[AnchorItems, ...]


class LedgerLine(Part):
    """One evaluation. ``status``: ok, failed, raced (stopped early); ``reason`` in words unless ok."""

    evaluation: int
    generation: int
    candidate: int
    genes: dict[str, float]
    fitness: float | None
    scores: dict[str, float]
    items: int
    seconds: float
    status: str
    reason: str = ""
    sigma: float | None = None
