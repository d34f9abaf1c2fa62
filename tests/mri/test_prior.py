"""The prior: the descent, trust from noise, and the freezing rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.config import PriorConfig
from darwin_mri.mri import (
    Descent,
    Evidence,
    GeneSlopes,
    PriorOptions,
    descend,
    freeze,
    gene_slopes,
    make_prior,
    text_blocks,
)
from darwin_mri.mri.prior import freeze_stability, gene_trust
from darwin_mri.probes import document_nll
from darwin_mri.records import Prior
from darwin_mri.records.prior import GeneSite
from tests.mri.conftest import tokenized


def bowl(ratios: np.ndarray) -> tuple[float, np.ndarray]:
    """A loss whose genes help only together: at 0 the first one's slope points the wrong way."""
    hessian = np.array([[1.0, -0.9, 0.0], [-0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    away = ratios - np.array([0.5, 1.0, -1.0])
    return float(away @ hessian @ away / 2), hessian @ away


def test_descent_finds_what_slopes_at_zero_cannot() -> None:
    start = np.zeros(3)
    first = bowl(start)
    assert first[1][0] > 0  # the slope says: never this gene
    descent = descend(bowl, start, first, [True] * 3, upper=1.5, steps=20)
    assert descent.ratios == pytest.approx([0.5, 1.0, 0.0], abs=1e-3)
    assert list(descent.losses) == sorted(descent.losses, reverse=True)
    frozen = descend(bowl, np.ones(3), bowl(np.array([1.0, 0.0, 1.0])), [True, False, True], upper=1.5, steps=20)
    assert frozen.ratios[1] == 0.0
    assert descend(bowl, start, first, [True] * 3, upper=1.5, steps=0).ratios.tolist() == [0.0] * 3


def test_trust_is_high_for_clear_genes_and_zero_for_noise() -> None:
    rng = np.random.default_rng(0)
    clear = np.array([-2.0, -1.0, 0.0, 1.0]) + 0.01 * rng.normal(size=(12, 4))
    assert gene_trust(clear, 200, 0).min() > 0.99
    assert gene_trust(rng.normal(size=(12, 4)), 200, 0).mean() < 0.6
    assert gene_trust(clear[:3], 200, 0).tolist() == [0.0] * 4


def slopes(values: list[float], noise: float = 0.0, base: float = 1.0) -> GeneSlopes:
    table = np.array(values) + noise * np.random.default_rng(1).normal(size=(12, len(values)))
    return GeneSlopes(table, table, base, base - 0.1)


def prior_of(fitness: GeneSlopes | None, protected: dict[str, GeneSlopes], config: PriorConfig) -> Prior:
    settings: dict[str, Any] = {"reference": 1.0, "resamples": 300, "seed": 0}
    freezing = freeze(protected, list(GENES.values()), config, **settings)
    descent = None if fitness is None else Descent(np.full(len(GENES), 0.4), (0.9, 0.8))
    options = PriorOptions(upper=1.5, **settings)
    return make_prior(GENES, {"mother": (0, 1)}, config, options, freezing, Evidence(fitness, descent))


RESPONSE = PriorConfig(preset="response")
LAYERS = {"L0.ffn": 0, "L0.mixer": 0, "L1.ffn": 1, "L1.mixer": 1, "outside": None}
GENES = {name: GeneSite(layer) for name, layer in LAYERS.items()}


def test_a_layer_is_frozen_for_the_parent_that_harms_it() -> None:
    genes = {f"L{i}.ffn.{parent}": GeneSite(i, parent) for i in (0, 1) for parent in ("mother", "parent3")}
    harm = slopes([0.001, 0.03, 0.03, 0.03], noise=0.001)
    settings: dict[str, Any] = {"reference": 1.0, "resamples": 300, "seed": 0}
    freezing = freeze({"ko": harm}, list(genes.values()), PriorConfig(), **settings)
    maps = {"mother": (0, 1), "parent3": (0, 1)}
    options = PriorOptions(upper=1.5, **settings)
    prior = make_prior(genes, maps, PriorConfig(preset="flat"), options, freezing, Evidence())
    assert {gene.name for gene in prior.genes if gene.frozen} == {"L0.ffn.parent3", "L1.ffn.mother", "L1.ffn.parent3"}
    assert prior.frozen == (1,)  # layer 0 may still take from the mother
    assert [(layer.parent, layer.index, layer.frozen) for layer in prior.layers] == [
        ("mother", 0, False), ("mother", 1, True), ("parent3", 0, True), ("parent3", 1, True),
    ]  # fmt: skip


def test_a_harmful_layer_is_frozen_and_its_stability_printed() -> None:
    harm = slopes([0.0, 0.001, 0.03, 0.03, 0.5], noise=0.001)
    prior = prior_of(slopes([-0.5, -0.1, -0.3, 0.2, 0.1]), {"ko": harm}, RESPONSE)
    assert prior.frozen == (1,)
    assert [g.frozen for g in prior.genes] == [False, False, True, True, False]
    assert prior.layers[1].frozen and prior.layers[1].frozen_stability == 1.0 and prior.layers[1].mean == 0.0
    assert prior.layers[0].frozen_stability < 0.05 and prior.layers[0].sigma > 0


def test_clear_slopes_are_followed_and_noise_is_not() -> None:
    clear = prior_of(slopes([-0.5, -0.1, -0.3, 0.2, 0.1], noise=1e-4), {}, RESPONSE)
    assert clear.informative and {round(g.mean, 3) for g in clear.genes} == {0.4}
    noise = prior_of(slopes([0.0] * 5, noise=1.0), {}, RESPONSE)
    assert not noise.informative and "no signal" in noise.note
    assert min(g.mean for g in noise.genes) > 0.6  # nearer to 1, the better uniform ratio, than to where noise led


def test_without_evidence_the_prior_is_flat_and_says_so() -> None:
    equal = prior_of(slopes([0.0] * 5), {}, RESPONSE)
    assert not equal.informative and "parents are equal" in equal.note
    unread = prior_of(None, {}, PriorConfig())
    assert not unread.informative and unread.note.startswith("no signal: cross-fitted needs two blocks")
    flat = prior_of(None, {}, PriorConfig(preset="flat"))
    for prior in (equal, flat):
        assert {g.mean for g in prior.genes} == {0.75} and {g.trust for g in prior.genes} == {0.0}


def test_freezing_needs_the_stated_share_of_resamples() -> None:
    harm = np.array([[0.0], [0.04]] * 6)  # half the documents are harmed: mean .02, tolerance at the mean
    share = freeze_stability(harm, 1.0, [GeneSite(0)], 0.02, 2000, 0)[0, "mother"]
    assert 0.3 < share < 0.7


@pytest.mark.parametrize("role", ["father", "mother"])
def test_slopes_agree_with_finite_differences(role: str, request: pytest.FixtureRequest) -> None:
    parent: LoadedModel = request.getfixturevalue(role)
    names = [n for n, p in parent.model.named_parameters() if p.ndim == 2 and ".mlp." in n]
    generator = torch.Generator().manual_seed(0)
    parameters = dict(parent.model.named_parameters())
    directions = {n: {n: 0.03 * torch.randn(parameters[n].shape, generator=generator)} for n in names[:4]}
    batch = tokenized(parent).batches[-1]
    blocks = text_blocks(parent.model, [([batch], 10.0)])
    for ratio in (0.0, 0.5):
        got, losses = gene_slopes(parent.model, directions, ratio, blocks)
        for position, gene in enumerate(directions):
            moved = []
            for step in (-4e-3, 4e-3):
                with torch.no_grad():
                    kept = {name: parameters[name].clone() for name in directions}
                    for name in directions:
                        parameters[name] += (ratio + (step if name == gene else 0.0)) * directions[name][name]
                    moved.append(float(document_nll(parent.model, batch).double().sum()) / 10.0)
                    for name, value in kept.items():
                        parameters[name].copy_(value)
            assert got[0, position] == pytest.approx((moved[1] - moved[0]) / 8e-3, rel=0.05, abs=5e-3)
        assert np.isfinite(losses).all()
