"""What an arena leaves: one record per cell (an arm or one of its nulls, at one seed), and the result of all."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record
from darwin_mri.records.score import Answer, Comparison

CHILD = "child"  # ``null`` of a cell that is no null
PARENTS_ARM = "parents"  # ``arm`` of a parent alone, whose role is its ``null``


def cell_name(arm: str, null: str) -> str:
    """What scores and tables call a cell: the arm alone, or the arm and its null."""
    return arm if null == CHILD else f"{arm} {null}"


class ArenaCell(Record):
    """One arm or null at one seed.

    Attributes:
        arm: name of the arm; ``PARENTS_ARM`` for a parent alone.
        null: ``CHILD``, or which control; the role of a parent alone.
        seed: of splits, prompts, texts and nulls.
        identity: hash of everything the cell depends on.
        ratio: the ratio with the best composite on search items.
        search: composite on search items, by ratio, and by learning rate and rank where there are several.
        fit: means over layers of the donors' figures, and the learning rate and rank that were taken.
        seconds: CPU time of making the donors, in the mean of what was tried.
        rises: language -> how much higher the NLL per byte of general prose is than the father's, relative.
        answers: benchmark -> answers to the held-out items at the chosen ratio.
    """

    arm: str
    null: str
    seed: int
    identity: str
    ratio: float
    search: dict[str, float]
    fit: dict[str, float] = {}
    seconds: float
    rises: dict[str, float] = {}
    answers: dict[str, tuple[Answer, ...]]


class ArenaRow(Part):
    """One line of the table: an arm or null over all seeds.

    Attributes:
        arm: name of the arm; ``PARENTS_ARM`` for a parent alone.
        null: ``CHILD``, or which control; the role of a parent alone.
        ratios: chosen ratios, by seed.
        values: composites of held-out items, by seed.
        search: mean over seeds of the chosen ratio's composite on search items.
        seconds: mean CPU time of making the donors.
        rises: language -> relative rise of the NLL per byte of general prose over the father's, mean over seeds;
            languages that every seed measured.
    """

    arm: str
    null: str
    ratios: tuple[float, ...]
    values: tuple[float, ...]
    search: float
    seconds: float
    rises: dict[str, float] = {}


class ArenaResult(Record):
    """All cells of a pair.

    Attributes:
        name: of the arena.
        father: name of the father.
        mother: name of the mother.
        ignorant: name of the mother that does not know what is tested; None without one.
        seeds: of splits, prompts, texts and nulls.
        items: held out, per seed, over all benchmarks.
        best: the arm with the best composite on search items.
        rows: one per arm and null.
        comparison: held-out items of all seeds pooled (a fact or story is one cluster whatever the seed), with Holm's
            correction over every contrast of the composite.
        vigor: whether the best arm's child beats both parents and every null.
        sentence: the same in words.
        config: the arena's settings.
    """

    name: str
    father: str
    mother: str
    ignorant: str | None
    seeds: tuple[int, ...]
    items: int
    best: str
    rows: tuple[ArenaRow, ...]
    comparison: Comparison
    vigor: bool
    sentence: str
    config: dict[str, object] = {}
