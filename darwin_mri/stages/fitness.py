"""The fitness: scores of search items, in blocks, of the candidate written into the resident model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from darwin_mri.benchmarks import Item, Scorer, gold_probability, to_answers
from darwin_mri.breeding import ItemScores, block_slices
from darwin_mri.merging import Candidate
from darwin_mri.stages.merging import Breed


class Fitness:
    """Called with (genes, block); the same items in the same order for every candidate.

    Args:
        items: by benchmark, in the order they are asked.
        blocks: how many blocks they are asked in.
        smooth: score an item by its gold choice's probability; by credit for the right answer when false.
    """

    def __init__(
        self,
        candidate: Candidate,
        breed: Breed,
        scorer: Scorer,
        items: Mapping[str, Sequence[Item]],
        *,
        blocks: int = 1,
        smooth: bool,
    ) -> None:
        self.candidate, self.breed, self.scorer, self.smooth = candidate, breed, scorer, smooth
        self.items = {name: tuple(part) for name, part in items.items()}
        self.prepared = {name: scorer.prepare(part) for name, part in self.items.items()}
        self.slices = {name: block_slices(len(part), blocks) for name, part in self.items.items()}

    def __call__(self, genes: Mapping[str, float], block: int = 0) -> ItemScores:
        self.candidate.apply(genes, self.breed.exceptions(genes))
        scores: ItemScores = {}
        for name, items in self.items.items():
            where = self.slices[name][block]
            asked = items[where]
            found = self.scorer.log_probabilities(self.prepared[name], range(len(items))[where])
            if self.smooth:
                scores[name] = gold_probability(asked, found).tolist()
            else:
                scores[name] = [float(answer.credit) for answer in to_answers(asked, found)]
        return scores


def weighted(scores: ItemScores, weights: Mapping[str, float]) -> float:
    """The fitness of item scores."""
    return float(sum(weight * np.mean(scores[name]) for name, weight in weights.items()))
