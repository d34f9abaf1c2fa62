"""What is measured, fixed before it was run: numbers of specialists, seeds, items, budgets (docs/proving.md)."""

from __future__ import annotations

from dataclasses import dataclass

from proving.methods.bench import Sizes

LEVEL = 0.01  # of Holm's p for a win
SMALL, LARGE = 50, 200  # candidates of a search


@dataclass(frozen=True)
class Plan:
    """One size of the study.

    Attributes:
        counts: numbers of specialists beside the base; seven are as many parents as a run takes, eight.
        seeds: each draws the specialists' order, the split of the items and the searches.
        budgets: candidates of the searches.
        search: items of each specialist that a search sees.
        fresh: items of each, for finalists and grids.
        held_out: items of each that are reported.
        truth: held-out items on which genes are moved one by one, with two specialists.
        documents: of each domain, in the scans that channels come from.
        later: seeds of H6, which was written when cells of the others were known.
    """

    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    budgets: tuple[int, ...]
    search: int = 24
    fresh: int = 16
    held_out: int = 500
    truth: int = 192
    documents: int = 8
    later: tuple[int, ...] = ()

    @property
    def units(self) -> tuple[tuple[int, int], ...]:
        """(seed, number of specialists), the smallest numbers first."""
        return tuple((seed, count) for count in self.counts for seed in (*self.seeds, *self.later))

    def sizes(self, count: int) -> Sizes:
        """Of the bench with so many specialists."""
        return Sizes(
            search=self.search,
            fresh=self.fresh,
            held_out=self.held_out * count,
            budget=self.budgets[0],
            truth=self.truth,
        )


FULL = Plan(counts=(2, 4, 7), seeds=(1, 2, 3), budgets=(SMALL, LARGE), later=(6, 7, 8))
SHORT = Plan(counts=(2,), seeds=(1, 2), budgets=(SMALL,), held_out=240, truth=64, documents=3, later=(6,))
"""What `make proving` runs, meant for half an hour on two cores: all hypotheses with two specialists."""
TINY = Plan(counts=(2,), seeds=(1,), budgets=(4,), search=4, fresh=2, held_out=8, truth=4, documents=1, later=(6,))
"""What the tests run."""
