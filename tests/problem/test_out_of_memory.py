"""Work that does not fit in memory ends in one clear line; other failures stay what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from darwin_mri.checkpoints.model import explain_out_of_memory
from darwin_mri.errors import CheckpointError, DarwinError, InputError
from darwin_mri.pipeline import check
from darwin_mri.problem import health


def allocate_too_much() -> None:
    """Ask the real allocator for more than any machine has."""
    torch.empty(2**60, dtype=torch.uint8)


def fail_with(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    "fail",
    [
        allocate_too_much,
        lambda: bytearray(2**62),
        lambda: fail_with(torch.OutOfMemoryError("CUDA out of memory")),
    ],
    ids=["torch on a CPU", "Python", "torch on a GPU"],
)
def test_a_failed_allocation_says_what_to_do(fail: Any) -> None:
    with pytest.raises(DarwinError, match=r"^the scan does not fit in memory: use less$") as raised:  # noqa: SIM117
        with explain_out_of_memory("the scan", "use less"):
            fail()
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("no"), CheckpointError("cut short"), DarwinError("no vigor")]
)
def test_another_failure_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, explain_out_of_memory("the scan", "use less"):
        raise error
    assert raised.value is error


def test_no_memory_for_the_health_check_is_one_clear_line(
    family: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = health.load_model

    def load_without_memory(*args: Any, **options: Any) -> Any:
        allocate_too_much()
        return original(*args, **options)

    monkeypatch.setattr(health, "load_model", load_without_memory)
    with pytest.raises(DarwinError, match=r"the health check does not fit in memory: free memory") as raised:
        check(str(family["sister"]), str(family["father"]), device="cpu")
    assert not isinstance(raised.value, InputError)
