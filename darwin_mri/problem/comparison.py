"""The models of one comparison, and the record that compares what they answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from darwin_mri.benchmarks import chance, published_scores
from darwin_mri.config import LimitConfig
from darwin_mri.problem.model_bench import AnswersByTask, ModelBench
from darwin_mri.records import BenchmarkInfo, Comparison
from darwin_mri.stats.compare import compare


@dataclass
class Contestants:
    """Answers of the models that are compared, the child among them.

    Attributes:
        answers: key -> answers by task.
        names: key -> (model name, role).
    """

    answers: dict[str, AnswersByTask] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, key: str, name: str, role: str, answers: AnswersByTask) -> None:
        """Add a model.

        Args:
            key: its name in this run.
            name: as it is shown.
            role: father, mother, child, baseline or ``null:NAME``.
            answers: by task.
        """
        self.names[key], self.answers[key] = (name, role), answers

    def distinct(self, name: str) -> str:
        """The name, numbered where another model has it: two folders of one name, or a model and its served copy."""
        taken = sum(other == name or other.startswith(f"{name} (") for other, _ in self.names.values())
        return f"{name} ({taken + 1})" if taken else name

    def compare(
        self,
        bench: ModelBench,
        benchmarks: tuple[BenchmarkInfo, ...],
        weights: dict[str, float],
        seed: int,
        *,
        split: Literal["held-out", "all"] = "held-out",
        limits: Mapping[str, LimitConfig] | None = None,
    ) -> Comparison:
        """The comparison record.

        Args:
            bench: that asked them.
            benchmarks: what the tasks' names stand for.
            weights: of the tasks in the composite.
            seed: of the resamples.
            split: which items they were asked.
            limits: task -> what the child must not lose on it.

        Returns:
            Scores, contrasts, vigor and alerts.
        """
        return compare(
            self.answers,
            self.names,
            bench.protocols(),
            {task: chance(tuple(items)) for task, items in bench.items.items()},
            weights,
            seed,
            published_scores(bench.items),
            split=split,
            benchmarks=benchmarks,
            limits=limits or {},
        )
