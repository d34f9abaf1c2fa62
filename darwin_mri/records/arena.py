"""What an arena leaves: one record per cell (an arm or one of its nulls, at one seed), and the result they add up to."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record
from darwin_mri.records.score import Answer, Comparison

CHILD = "child"  # the name of a cell that is no null


class ArenaCell(Record):
    """One arm or null at one seed. ``search`` maps each ratio to its composite on search items, where the ratio was chosen;
    ``answers`` are the held-out items' at that ratio. ``identity`` is the hash of everything the cell depends on."""

    arm: str
    null: str  # CHILD, or which control
    seed: int
    identity: str
    ratio: float
    search: dict[str, float]
    fit: dict[str, float] = {}  # means over layers of the donors' figures
    seconds: float  # CPU time of making the donors
    answers: dict[str, tuple[Answer, ...]]


class ArenaRow(Part):
    """One line of the table: an arm or null over all seeds. ``values`` are composites of held-out items, by seed."""

    arm: str
    null: str
    ratios: tuple[float, ...]
    values: tuple[float, ...]
    search: float  # mean over seeds of the chosen ratio's composite on search items
    seconds: float


class ArenaResult(Record):
    """All cells of a pair. ``best`` is the arm with the best composite on search items; ``comparison`` pools the held-out items of
    all seeds (a fact or story is one cluster whatever the seed), with Holm over every contrast of the composite."""

    name: str
    father: str
    mother: str
    ignorant: str | None
    seeds: tuple[int, ...]
    items: int  # held out, per seed, over all benchmarks
    best: str
    rows: tuple[ArenaRow, ...]
    comparison: Comparison
    vigor: bool
    sentence: str
    config: dict[str, object] = {}
