"""The front of a search with several objectives: its members, and other models on the same items."""

from __future__ import annotations

from darwin_mri.records.base import Part


class FrontMember(Part):
    """A candidate that no other one dominates on the search items. Scores are in the search's unit, higher is better.

    Attributes:
        number: within the front, from 1, by the first objective on search items, highest first.
        evaluation: its line in the ledger.
        genes: as ``Genome.genes``.
        ratios: as ``Genome.ratios``.
        exceptions: as ``Genome.exceptions``, where they follow from the genes; empty where the genome's own hold.
        search: objective -> score on the search items that put it into the front.
        fresh: objective -> score on fresh search items; empty where none were left.
        held_out: objective -> score on held-out items; empty where there are none.
    """

    number: int
    evaluation: int
    genes: dict[str, float]
    ratios: tuple[float, ...]
    exceptions: dict[str, dict[str, float | str]] = {}
    search: dict[str, float]
    fresh: dict[str, float] = {}
    held_out: dict[str, float] = {}


class FrontBaseline(Part):
    """The front of a search without the scan, with as many evaluations as the run's own.

    Attributes:
        search: ``flat``: the same strategy from a flat start; ``random``: random candidates.
        candidates: evaluations.
        held_out: by member, objective -> score on held-out items.
        hypervolume: as ``Genome.hypervolume``.
    """

    search: str
    candidates: int
    held_out: tuple[dict[str, float], ...]
    hypervolume: float | None = None


class FrontReference(Part):
    """Another model beside the front, scored as its members are.

    Attributes:
        role: a parent's, or ``null``.
        null: kind of null child (uniform, prior-mean, ...); None for a parent.
        held_out: objective -> score on held-out items.
    """

    role: str
    null: str | None = None
    held_out: dict[str, float]
