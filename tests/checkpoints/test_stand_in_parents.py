"""The parents of random weights that ``speed/`` writes: no value of a full model is left without a start."""

from __future__ import annotations

import pytest

from darwin_mri.checkpoints.meta import whole_meta_model
from speed.shapes import PARENTS, _kind, _starts, configuration


@pytest.mark.parametrize("role", PARENTS)
def test_every_vector_of_a_full_model_has_a_start(role: str) -> None:
    model, _ = whole_meta_model(configuration(role, small=False), role)
    starts = _starts(role)
    vectors = {name: starts[_kind(name)] for name, value in model.state_dict().items() if value.dim() < 2}
    scalars = [value for name, value in vectors.items() if name.endswith("layer_scalar")]
    assert all(value == 1.0 for value in scalars), "a layer whose output is multiplied by 0 hands nothing on"
    assert len(scalars) == (42 if role == "father" else 0)
