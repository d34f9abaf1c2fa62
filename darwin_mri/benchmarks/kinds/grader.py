"""What scores items: one interface for all kinds, so that search, splits and reports need not know the kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from darwin_mri.benchmarks.items import Item, item_hash
from darwin_mri.errors import BrokenModel
from darwin_mri.records import Answer


class Grade(NamedTuple):
    """What a model earns on one item.

    Attributes:
        answer: its credit by the headline metric, higher is better.
        smooth: a score that also moves where the credit does not, such as the right choice's probability; the credit
            where there is none.
    """

    answer: Answer
    smooth: float


class Grader(Protocol):
    """Scores the items that it was opened for; they are tokenised once, and nothing kept depends on weights."""

    def grades(self, indices: Sequence[int], protocol: str = "") -> Iterator[tuple[int, Grade]]:
        """Grades of some items, each as soon as it is known.

        Args:
            indices: which items.
            protocol: hash of the protocol, kept in every answer.

        Yields:
            (index, grade).
        """
        ...


def plain_answer(item: Item, credit: float, protocol: str, **metrics: float) -> Answer:
    """The answer to an item without choices.

    Args:
        item: the item.
        credit: by the headline metric, higher is better.
        protocol: hash of the protocol.
        **metrics: by other metrics.

    Returns:
        The answer.

    Raises:
        BrokenModel: the credit is not finite.
    """
    if not np.isfinite(credit):
        raise BrokenModel(f"{item.name}: a score is not finite: the model is broken")
    return Answer(
        key=item_hash(item),
        cluster=item.cluster,
        slice=item.slice,
        gold=item.gold,
        choice=-1,
        credit=credit,
        protocol=protocol,
        metrics=metrics,
    )
