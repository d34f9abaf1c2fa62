"""CKA and the layer map."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_mri.mri.similarity import cka_matrix, monotone_map, proportional_map


def features(seed: int, layers: int = 3, rows: int = 60, width: int = 8) -> list[torch.Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=generator) for _ in range(layers)]


def test_a_model_has_cka_one_with_itself_and_maps_to_itself() -> None:
    layers = features(0)
    cka = cka_matrix(layers, layers)
    np.testing.assert_allclose(np.diag(cka), 1.0, atol=1e-12)
    assert monotone_map(cka) == (0, 1, 2)


def test_debiased_cka_ignores_rotation_and_scale_and_unrelated_features() -> None:
    left, right = features(1), features(2)
    assert np.abs(cka_matrix(left, right)).max() < 0.1
    rotation, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3)))
    turned: list[torch.Tensor | None] = [7 * x @ rotation for x in left if x is not None]
    np.testing.assert_allclose(np.diag(cka_matrix(left, turned)), 1.0, atol=1e-6)


def test_debiased_hsic_agrees_with_its_definition() -> None:
    """Song et al. 2012, eq. 5, written out."""
    (x, *_), (y, *_) = features(4), features(5)
    assert x is not None and y is not None
    n = len(x)

    def hsic(a: torch.Tensor, b: torch.Tensor) -> float:
        k, m = (a.double() @ a.double().T).fill_diagonal_(0), (b.double() @ b.double().T).fill_diagonal_(0)
        one = torch.ones(n, dtype=torch.double)
        first = (
            (k @ m).trace()
            + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ k @ m @ one)
        )
        return float(first / (n * (n - 3)))

    expected = hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5
    np.testing.assert_allclose(cka_matrix([x], [y])[0, 0], expected, atol=1e-9)


def test_a_layer_without_signal_has_no_similarity() -> None:
    constant = torch.ones(60, 8)
    assert cka_matrix([constant, None], features(6)).tolist() == [[0.0] * 3] * 2


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10_000))
def test_the_map_is_the_best_of_all_monotone_maps(rows: int, columns: int, seed: int) -> None:
    score = np.random.default_rng(seed).normal(size=(rows, columns))
    layer_map = monotone_map(score)
    total = sum(score[i, j] for i, j in enumerate(layer_map))
    every = itertools.combinations_with_replacement(range(columns), rows)
    assert all(a <= b for a, b in itertools.pairwise(layer_map))
    assert total >= max(sum(score[i, j] for i, j in enumerate(path)) for path in every) - 1e-9


def test_proportional_map_covers_both_ends() -> None:
    assert proportional_map(42, 32)[0] == 0 and proportional_map(42, 32)[-1] == 31
    assert proportional_map(4, 8) == (1, 3, 5, 7)
