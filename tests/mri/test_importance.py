"""Ablation channels find a planted truth, and say so where there is none."""

from __future__ import annotations

import numpy as np
import torch

from darwin_mri.checkpoints import ffn_matrices, layer_modules
from darwin_mri.mri import scan_pair, scan_parent
from darwin_mri.mri.reliability import channel, permutation_p
from darwin_mri.mri.similarity import paired_positions
from darwin_mri.stages.parents import Loaded
from tests.mri.conftest import as_parent


def test_a_zeroed_ffn_has_importance_zero(mother: Loaded) -> None:
    parent = as_parent(mother)
    layer = layer_modules(mother.model, mother.anatomy)[1]
    ffn = mother.anatomy.layers[1].ffn
    assert ffn is not None
    down = ffn_matrices(layer, ffn)[2]
    weight = next(p for p in layer.parameters() if p.shape == down.shape and torch.equal(p.float(), down))
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.zero_()
        scan, _ = scan_parent(parent, positions=[], resamples=60, seed=0)
        weight.copy_(kept)
    for estimate in scan.layers[1].importance.values():
        assert abs(estimate.value) < 1e-9
    assert any(abs(e.value) > 1e-6 for e in scan.layers[0].importance.values())
    assert scan.layers[1].activation["f"]["all"]["increment_ratio"] == 0.0


def test_a_scan_is_finite_and_repeats_itself(father: Loaded) -> None:
    parent = as_parent(father)
    one, _ = scan_parent(parent, positions=[], resamples=60, seed=0)
    other, _ = scan_parent(parent, positions=[], resamples=60, seed=0)
    assert one.to_json() == other.to_json() and "NaN" not in one.to_json()
    assert set(one.layers[0].language.sensitivity) == {"en", "ko"}
    assert {"importance:prose", "importance:math", "language:ko"} <= set(one.channels)


def test_two_copies_of_one_model_map_to_themselves(father: Loaded) -> None:
    parent = as_parent(father)
    left, right, documents = paired_positions(parent.reading, parent.reading, 500, 0)
    assert left == right
    _, activations = scan_parent(parent, positions=left, resamples=60, seed=0)
    pair = scan_pair(parent, parent, activations, activations, documents, reference_ratio=1.0)
    np.testing.assert_allclose(np.diag(pair.cka), 1.0, atol=1e-6)
    assert pair.layer_map == tuple(range(len(father.anatomy.layers)))


def test_noise_over_layers_is_called_no_signal() -> None:
    table = np.random.default_rng(0).normal(size=(6, 12))
    weights = np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), size=200)
    p_value = permutation_p(table, lambda t: t.mean(1))
    verdict = channel(table.mean(1), weights @ table.T / 12, p_value, 12)
    assert not verdict.informative and "no signal" in verdict.note
    planted = table * 0.1
    planted[3] += 5
    p_value = permutation_p(planted, lambda t: t.mean(1))
    assert channel(planted.mean(1), weights @ planted.T / 12, p_value, 12).informative


def test_too_few_documents_give_no_verdict() -> None:
    verdict = channel(np.array([1.0, 2.0]), np.ones((50, 2)), 0.01, 1)
    assert not verdict.informative and "too few documents" in verdict.note
