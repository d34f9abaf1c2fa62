"""The fitness: scores of search items, in blocks, of a candidate in place of the father."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Protocol

import numpy as np

from darwin_mri.benchmarks import Grader, Item, ItemScorer, Scorer, open_grader
from darwin_mri.benchmarks.vllm_engine import EngineFailure
from darwin_mri.breeding import ItemScores, block_slices
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.config import Config
from darwin_mri.errors import DarwinError
from darwin_mri.merging import Candidate
from darwin_mri.merging.settings import Exceptions
from darwin_mri.problem.space import MergeSpace


def open_scorer(model: LoadedModel, config: Config) -> Scorer:
    """The fast scorer of a model, which reads what the config lets it read."""
    return Scorer(model.model, model.tokenizer, beyond_context=config.bench.long_items == "beyond")


class InPlace(Protocol):
    """A model that becomes one candidate after the other, as ``Candidate``."""

    @property
    def kept_out(self) -> Collection[str]:
        """Tensors that are computed anew for each candidate for want of memory."""
        ...

    def apply(self, genes: Mapping[str, float], exceptions: Exceptions | None = None) -> None:
        """As ``Candidate.apply``."""
        ...

    def restore(self) -> None:
        """Make the model the father again."""
        ...

    def release(self) -> None:
        """Let go of what is kept from one candidate to the next."""
        ...


class Evaluator:
    """The father, the space that is searched, and the scorer: what every fitness of one search shares.

    Args:
        config: of the run.
        father: resident; its weights become the candidate's.
        space: with the genome that is searched.
    """

    def __init__(self, config: Config, father: LoadedModel, space: MergeSpace) -> None:
        self.config, self.space = config, space
        self.candidate, self.scorer = self._in_place(father)

    def _in_place(self, father: LoadedModel) -> tuple[InPlace, ItemScorer]:
        """The model that becomes the candidates, and what scores it."""
        return Candidate(father.model, self.space.tensors(), self.space.merge), open_scorer(father, self.config)

    def searching(self, space: MergeSpace) -> Evaluator:
        """The same model and scorer, for another genome over the same tensors."""
        other = copy(self)
        other.space = space
        return other

    def on(self, items: Mapping[str, Sequence[Item]], *, blocks: int = 1) -> Fitness:
        """The fitness on these items, in the order they are given, asked in so many blocks."""
        self.expect(items)
        return Fitness(self, items, blocks)

    def expect(self, *parts: Mapping[str, Sequence[Item]]) -> None:
        """Say which items will be asked, so that an engine is started for the longest; ``on`` says it too."""

    def start(self) -> None:
        """Start the engine where there is one, so that its start is no candidate's time."""

    def stop(self) -> None:
        """Let go of what is kept, and of the engine's processes where there are some; a candidate starts them again."""
        self.candidate.release()

    @contextmanager
    def instead_of(self, father: LoadedModel) -> Iterator[None]:
        """While open, candidates are scored in the place of the father; ``stop`` is called in the end."""
        try:
            yield
        finally:
            self.stop()


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
        self.graders = {name: open_grader(part, evaluator.scorer) for name, part in self.items.items()}
        self.slices = {name: block_slices(len(part), blocks) for name, part in self.items.items()}

    def __call__(self, genes: Mapping[str, float], block: int = 0) -> ItemScores:
        """Scores of a block's items, by benchmark, of the candidate with these genes."""
        self.evaluator.candidate.apply(genes, self.evaluator.space.exceptions(genes))
        indices = {name: range(len(items))[self.slices[name][block]] for name, items in self.items.items()}
        return {name: item_scores(grader, indices[name], smooth=self.smooth) for name, grader in self.graders.items()}

    def whole(self, genes: Mapping[str, float]) -> ItemScores:
        """Scores of all items, of one block, of a candidate that the run cannot do without.

        Raises:
            DarwinError: the engine died twice.
        """
        try:
            return self(genes)
        except EngineFailure:
            try:
                return self(genes)
            except EngineFailure as error:
                raise DarwinError(f"{error}; it failed twice on the same items: go on with --resume") from error


def item_scores(grader: Grader, indices: Sequence[int], *, smooth: bool) -> list[float]:
    """One score per item.

    Args:
        grader: of a task's items.
        indices: which of them, n.
        smooth: the score that moves where credit does not, such as the right choice's probability; credit when false.

    Returns:
        n scores, higher is better.
    """
    grades = dict(grader.grades(indices))
    return [grades[index].smooth if smooth else grades[index].answer.credit for index in indices]


def least_scores(config: Config, scores: Mapping[str, ItemScores]) -> dict[str, float]:
    """Task with a limit -> the least score that a candidate may have on the search items.

    Args:
        config: of the run.
        scores: of the parents that limits name, by role.

    Returns:
        The parent's score, less what the limit allows.
    """
    limits = config.limits.items()
    return {name: float(np.mean(scores[limit.against][name])) - limit.worsen_by for name, limit in limits}


def weighted(scores: ItemScores, weights: Mapping[str, float]) -> float:
    """The fitness of item scores."""
    return float(sum(weight * np.mean(scores[name]) for name, weight in weights.items()))
