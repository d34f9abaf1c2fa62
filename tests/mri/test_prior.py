"""The prior: the secant zero, trust from noise, and the freezing rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from darwin_mri.config import PriorConfig
from darwin_mri.mri import GeneSlopes, gene_slopes, make_prior, text_blocks
from darwin_mri.mri.prior import freeze_stability, gene_trust, secant_zero
from darwin_mri.probes import document_nll
from darwin_mri.stages.parents import Loaded
from tests.mri.conftest import as_parent


def test_the_secant_zero_of_a_parabola_is_its_minimum() -> None:
    # loss (r - .4)^2: slopes -.8 at 0 and 1.2 at 1
    assert secant_zero(np.array([-0.8]), np.array([1.2]), 1.0, 1.5)[0] == pytest.approx(0.4)
    # rising at once; falling ever faster; falling, with a minimum beyond the box
    assert secant_zero(np.array([0.5, -0.1, -1.0]), np.array([0.7, -0.3, -0.9]), 1.0, 1.5).tolist() == [0.0, 1.5, 1.5]


def test_trust_is_high_for_clear_genes_and_zero_for_noise() -> None:
    rng = np.random.default_rng(0)
    clear = np.array([-2.0, -1.0, 0.0, 1.0]) + 0.01 * rng.normal(size=(12, 4))
    assert gene_trust(clear, 200, 0).min() > 0.99
    assert gene_trust(rng.normal(size=(12, 4)), 200, 0).mean() < 0.6
    assert gene_trust(clear[:3], 200, 0).tolist() == [0.0] * 4


def slopes(values: list[float], noise: float = 0.0, base: float = 1.0) -> GeneSlopes:
    table = np.array(values) + noise * np.random.default_rng(1).normal(size=(12, len(values)))
    return GeneSlopes(table, table, base)


GENES: dict[str, int | None] = {"L0.ffn": 0, "L0.mixer": 0, "L1.ffn": 1, "L1.mixer": 1, "outside": None}


def test_a_harmful_layer_is_frozen_and_its_stability_printed() -> None:
    harm = slopes([0.0, 0.001, 0.03, 0.03, 0.5], noise=0.001)
    prior = make_prior(
        GENES, (0, 1), PriorConfig(), upper=1.5, reference=1.0, fitness=slopes([-0.5, -0.1, -0.3, 0.2, 0.1]),
        protected={"ko": harm}, resamples=300, seed=0,
    )  # fmt: skip
    assert prior.frozen == (1,)
    assert [g.frozen for g in prior.genes] == [False, False, True, True, False]
    assert prior.layers[1].frozen and prior.layers[1].frozen_stability == 1.0 and prior.layers[1].mean == 0.0
    assert prior.layers[0].frozen_stability < 0.05 and prior.layers[0].sigma > 0


def test_without_evidence_the_prior_is_flat_and_says_so() -> None:
    noise = slopes([0.0] * 5, noise=1.0)
    prior = make_prior(
        GENES, (0, 1), PriorConfig(), upper=1.5, reference=1.0, fitness=noise, protected={}, resamples=300, seed=0
    )
    assert not prior.informative and "no signal" in prior.note
    flat = make_prior(
        GENES,
        (0, 1),
        PriorConfig(preset="flat"),
        upper=1.5,
        reference=1.0,
        fitness=None,
        protected={},
        resamples=300,
        seed=0,
    )
    assert {g.mean for g in flat.genes} == {0.75} and {g.trust for g in flat.genes} == {0.0}


def test_freezing_needs_the_stated_share_of_resamples() -> None:
    harm = np.array([[0.0], [0.04]] * 6)  # half the documents are harmed: mean .02, tolerance at the mean
    share = freeze_stability(harm, 1.0, [0], 0.02, 2000, 0)[0]
    assert 0.3 < share < 0.7


@pytest.mark.parametrize("who", ["father", "mother"])
def test_slopes_agree_with_finite_differences(who: str, request: pytest.FixtureRequest) -> None:
    loaded: Loaded = request.getfixturevalue(who)
    parent = as_parent(loaded)
    names = [n for n, p in loaded.model.named_parameters() if p.ndim == 2 and ".mlp." in n]
    generator = torch.Generator().manual_seed(0)
    parameters = dict(loaded.model.named_parameters())
    directions = {n: {n: 0.03 * torch.randn(parameters[n].shape, generator=generator)} for n in names[:4]}
    batch = parent.reading.batches[-1]
    blocks = text_blocks(loaded.model, [(batch, 10.0)])
    for ratio in (0.0, 0.5):
        got, losses = gene_slopes(loaded.model, directions, ratio, blocks)
        for position, gene in enumerate(directions):
            moved = []
            for step in (-4e-3, 4e-3):
                with torch.no_grad():
                    kept = {name: parameters[name].clone() for name in directions}
                    for name in directions:
                        parameters[name] += (ratio + (step if name == gene else 0.0)) * directions[name][name]
                    moved.append(float(document_nll(loaded.model, batch).double().sum()) / 10.0)
                    for name, value in kept.items():
                        parameters[name].copy_(value)
            assert got[0, position] == pytest.approx((moved[1] - moved[0]) / 8e-3, rel=0.05, abs=5e-3)
        assert np.isfinite(losses).all()
