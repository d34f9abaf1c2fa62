"""relax: the child's difference from the father, held back by columns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_mri.errors import ConfigError
from darwin_mri.merging.operators import blend
from darwin_mri.merging.relaxing import relaxed
from darwin_mri.merging.settings import Settings

METHODS = ("linear", "task_arithmetic", "ties", "dare_ties")


@settings(deadline=None)
@given(st.sampled_from(METHODS), st.floats(0, 1.2), st.floats(0, 1), st.booleans(), st.integers(0, 1000), st.booleans())
def test_a_columns_difference_is_multiplied(
    method: str, ratio: float, omega: float, transposed: bool, seed: int, keeps: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    father, mother, base = torch.randn(3, 6, 4, generator=generator)
    magnitude = torch.rand(6 if transposed else 4, generator=generator)
    plain = blend(method, (father, mother), base, Settings(), seed=1, name="w")
    held = relaxed(plain, father, magnitude, omega, transposed=transposed)
    held = held.kept(torch.device("cpu")) if keeps else held
    factors = 1 - (1 - omega) * magnitude
    expected = father + (plain.child(ratio) - father) * (factors[:, None] if transposed else factors)
    assert torch.allclose(held.child(ratio), expected, atol=1e-6)
    if omega == 1:
        assert torch.allclose(held.child(ratio), plain.child(ratio), atol=1e-6)
    target = torch.empty(6, 4, dtype=torch.bfloat16)
    held.write(target, ratio, torch.bfloat16)
    assert torch.equal(target, held.child(ratio, torch.bfloat16))
    assert set(held.known) <= {(0.0,)} and held.kept_bytes(torch.device("cpu")) > father.nbytes


def test_omega_is_a_share() -> None:
    with pytest.raises(ConfigError, match="relax 1.5 must be a number between 0 and 1"):
        Settings(relax=1.5)
