"""Ablations restarted at a layer are those of whole forwards, bit for bit, in every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from darwin_mri.checkpoints import find_model, load
from darwin_mri.errors import CheckpointError
from darwin_mri.mri.ablation import ablation_nll
from darwin_mri.mri.activations import measure_activations
from darwin_mri.probes import PrefixCache
from tests.mri.conftest import tokenized
from tests.toys import FAMILIES, pico

WHOLE = {"gptj", "falcon", "falcon_h1", "bamba"}  # their layers hand on tuples: they are read from the start each time


@pytest.mark.parametrize("family", FAMILIES)
def test_restarted_ablations_are_those_of_whole_forwards(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        parent = load(find_model(str(pico(family, tmp_path / family))), device="cpu", dtype="float32")
    except CheckpointError as error:  # no plain FFN
        pytest.skip(str(error))
    texts = tokenized(parent)
    activations = measure_activations(parent, texts)
    assert PrefixCache(parent, texts.batches).exact == (family not in WHOLE)
    for part in ("f", "m"):
        restarted = ablation_nll(parent, activations, part)
        with monkeypatch.context() as patch:
            patch.setattr(PrefixCache, "_is_exact", lambda self: False)
            whole = ablation_nll(parent, activations, part)
        assert np.array_equal(restarted, whole)
    assert not any("forward" in layer.__dict__ for layer in parent.model.modules())
