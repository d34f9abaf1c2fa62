"""The fitness: scores of search items, in blocks, of the candidate written into the resident model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from darwin_mri.benchmarks import Item, Scorer, gold_probability, to_answers
from darwin_mri.breeding import ItemScores, block_slices
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.config import Config
from darwin_mri.merging import Candidate
from darwin_mri.problem.space import MergeSpace


def open_scorer(model: LoadedModel, config: Config) -> Scorer:
    """The fast scorer of a model, which reads what the config lets it read."""
    return Scorer(model.model, model.tokenizer, beyond_context=config.bench.long_items == "beyond")


class Evaluator:
    """A resident father, the space that is searched, and the scorer: what every fitness of one search shares.

    Args:
        config: of the run.
        father: resident; its weights become the candidate's.
        space: with the genome that is searched.
    """

    def __init__(self, config: Config, father: LoadedModel, space: MergeSpace) -> None:
        self.config, self.space = config, space
        self.candidate = Candidate(father.model, space.tensors(), space.merge)
        self.scorer = open_scorer(father, config)

    def on(self, items: Mapping[str, Sequence[Item]], *, blocks: int = 1) -> Fitness:
        """The fitness on these items, in the order they are given, asked in so many blocks."""
        return Fitness(self, items, blocks)


class Fitness:
    """Called with (genes, block); the same items in the same order for every candidate.

    Args:
        evaluator: writes and scores a candidate.
        items: by benchmark, in the order they are asked.
        blocks: how many blocks they are asked in.
    """

    def __init__(self, evaluator: Evaluator, items: Mapping[str, Sequence[Item]], blocks: int) -> None:
        self.evaluator, self.smooth = evaluator, evaluator.config.search.smooth
        self.items = {name: tuple(part) for name, part in items.items()}
        self.prepared = {name: evaluator.scorer.prepare(part) for name, part in self.items.items()}
        self.slices = {name: block_slices(len(part), blocks) for name, part in self.items.items()}

    def __call__(self, genes: Mapping[str, float], block: int = 0) -> ItemScores:
        """Scores of a block's items, by benchmark, of the candidate with these genes."""
        self.evaluator.candidate.apply(genes, self.evaluator.space.exceptions(genes))
        scores: ItemScores = {}
        for name, items in self.items.items():
            part = self.slices[name][block]
            log_probabilities = self.evaluator.scorer.log_probabilities(self.prepared[name], range(len(items))[part])
            scores[name] = item_scores(items[part], log_probabilities, smooth=self.smooth)
        return scores


def item_scores(items: Sequence[Item], log_probabilities: list[np.ndarray], *, smooth: bool) -> list[float]:
    """One score per item.

    Args:
        items: n items.
        log_probabilities: of every item's choices, n arrays (choices,).
        smooth: the right choice's probability; credit for the right answer when false.

    Returns:
        n scores in [0, 1].
    """
    if smooth:
        return gold_probability(items, log_probabilities).tolist()
    return [float(answer.credit) for answer in to_answers(items, log_probabilities)]


def weighted(scores: ItemScores, weights: Mapping[str, float]) -> float:
    """The fitness of item scores."""
    return float(sum(weight * np.mean(scores[name]) for name, weight in weights.items()))
