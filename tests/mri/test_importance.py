"""Ablation channels find a planted truth, and say so where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from darwin_mri.checkpoints import LoadedModel, ffn_matrices
from darwin_mri.errors import InputError
from darwin_mri.mri import ScanOptions, gate_rms, scan_pair, scan_parent
from darwin_mri.mri.reliability import channel, permutation_p
from darwin_mri.mri.similarity import paired_positions
from tests.mri.conftest import tokenized

OPTIONS = ScanOptions(resamples=60, seed=0)


def test_a_zeroed_ffn_has_importance_zero(mother: LoadedModel) -> None:
    layer, _, ffn = mother.ffn(1)
    down = ffn_matrices(layer, ffn)[2]
    weight = next(p for p in layer.parameters() if p.shape == down.shape and torch.equal(p.float(), down))
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.zero_()
        scan, _ = scan_parent(mother, tokenized(mother), [], OPTIONS)
        weight.copy_(kept)
    for estimate in scan.layers[1].importance.values():
        assert abs(estimate.value) < 1e-9
    assert any(abs(e.value) > 1e-6 for e in scan.layers[0].importance.values())
    assert scan.layers[1].activation["f"]["all"]["increment_ratio"] == 0.0


def test_a_scan_is_finite_and_repeats_itself(father: LoadedModel) -> None:
    one, _ = scan_parent(father, tokenized(father), [], OPTIONS)
    other, _ = scan_parent(father, tokenized(father), [], OPTIONS)
    assert one.to_json() == other.to_json() and "NaN" not in one.to_json()
    assert set(one.layers[0].language.sensitivity) == {"en", "ko"}
    assert {"importance:prose", "importance:math", "language:ko"} <= set(one.channels)


def test_two_copies_of_one_model_map_to_themselves(father: LoadedModel) -> None:
    texts = tokenized(father)
    left, right, documents = paired_positions(texts, texts, 500, 0)
    assert left == right
    _, activations = scan_parent(father, texts, left, OPTIONS)
    pair = scan_pair(father, father, activations, activations, documents, reference_ratio=1.0)
    np.testing.assert_allclose(np.diag(pair.cka), 1.0, atol=1e-6)
    assert pair.layer_map == tuple(range(len(father.anatomy.layers)))


def test_noise_over_layers_is_called_no_signal() -> None:
    table = np.random.default_rng(0).normal(size=(6, 12))
    weights = np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), size=200)
    p_value = permutation_p(table, lambda t: t.mean(1), name="test")
    verdict = channel(table.mean(1), weights @ table.T / 12, p_value, 12)
    assert not verdict.informative and "no signal" in verdict.note
    clear = table * 0.1
    clear[3] += 5
    p_value = permutation_p(clear, lambda t: t.mean(1), name="test")
    assert channel(clear.mean(1), weights @ clear.T / 12, p_value, 12).informative


def test_too_few_documents_give_no_verdict() -> None:
    verdict = channel(np.array([1.0, 2.0]), np.ones((50, 2)), 0.01, 1)
    assert not verdict.informative and "too few documents" in verdict.note


@pytest.mark.parametrize("mixers", [False, True])
def test_mixers_are_ablated_where_asked_for(father: LoadedModel, mixers: bool) -> None:
    texts = tokenized(father)
    scan, _ = scan_parent(father, texts, [], ScanOptions(resamples=60, seed=0, mixers=mixers))
    default, _ = scan_parent(father, texts, [], ScanOptions(resamples=60, seed=0))
    for layer, plain in zip(scan.layers, default.layers, strict=True):
        assert layer.importance.keys() == plain.importance.keys() and plain.importance
        assert layer.mixer_importance.keys() == (plain.importance.keys() if mixers else set())
        assert not plain.mixer_importance


def test_gate_rms_is_read_from_a_scan_or_refused(father: LoadedModel) -> None:
    scan, _ = scan_parent(father, tokenized(father), [], ScanOptions(resamples=60, seed=0, mixers=False))
    measured = gate_rms(scan)
    assert all(value is not None and value > 0 for value in measured)
    neurons = scan.layers[1].activation["a"]["all"]
    without_ffn = scan.layers[1].model_copy(
        update={"activation": {site: groups for site, groups in scan.layers[1].activation.items() if site != "a"}}
    )
    layers = (scan.layers[0], without_ffn, *scan.layers[2:])
    assert gate_rms(scan.model_copy(update={"layers": layers})) == (measured[0], None, *measured[2:])
    del neurons["gate_rms"]
    with pytest.raises(InputError, match="father lacks gate_rms of layer 1: scan the model again"):
        gate_rms(scan)
