"""Less at a time when memory runs out: what is tried again, when it stops, and what it says."""

from __future__ import annotations

import weakref

import pytest
import torch

from darwin_mri.checkpoints.devices import retry_smaller
from darwin_mri.errors import DarwinError


class Budget:
    """An attempt that fits below a limit, with the budgets it was tried with."""

    def __init__(self, budget: int, limit: int, error: RuntimeError) -> None:
        self.budget, self.limit, self.error, self.tried = budget, limit, error, list[int]()

    def attempt(self) -> int:
        self.tried.append(self.budget)
        if self.budget > self.limit:
            raise self.error
        return self.budget

    def halve(self) -> bool:
        self.budget //= 2
        return self.budget > 0


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_an_attempt_is_halved_until_it_fits(error: RuntimeError) -> None:
    budget = Budget(64, 10, error)
    assert retry_smaller(budget.attempt, budget.halve, str) == 8
    assert budget.tried == [64, 32, 16, 8]


def test_nothing_smaller_left_is_an_error_with_the_callers_advice() -> None:
    budget = Budget(4, 0, torch.OutOfMemoryError("full"))
    with pytest.raises(DarwinError, match=r"^one text does not fit: use a larger device$") as caught:
        retry_smaller(budget.attempt, budget.halve, lambda: "one text does not fit: use a larger device")
    assert budget.tried == [4, 2, 1] and "full" in str(caught.value.__cause__)


def test_other_errors_are_raised_as_they_are() -> None:
    budget = Budget(64, 10, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        retry_smaller(budget.attempt, budget.halve, str)
    assert budget.tried == [64]


def test_tensors_of_a_failed_attempt_are_freed_before_the_next() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    seen: list[bool] = []

    def attempt() -> int:
        seen.append(any(tensor() is not None for tensor in alive))
        large = torch.zeros(1000)
        alive.append(weakref.ref(large))
        if len(alive) < 3:
            raise torch.OutOfMemoryError("full")
        return len(alive)

    assert retry_smaller(attempt, lambda: True, str) == 3
    assert seen == [False, False, False]
