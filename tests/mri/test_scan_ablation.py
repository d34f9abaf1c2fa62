"""Ablation by estimate and check agrees with exact ablation, says how sure it is, and costs what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darwin_mri.batch_sizes import PASS_FORWARDS, SCAN_FORWARDS
from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.mri import AblationPlan, ScanOptions, scan_parent
from darwin_mri.mri.ablation import find_components
from darwin_mri.mri.activations import Activations, measure_activations
from darwin_mri.mri.attribution import Component, NoGradientError, first_order
from darwin_mri.mri.scan_ablation import Ablated, ablate_parts
from darwin_mri.mri.scanner import scan_work
from darwin_mri.probes import (
    TokenizedProbes,
    document_nll,
    increment_modules,
    load_probes,
    select_probes,
    tokenize_probes,
)
from darwin_mri.records import AblationInfo, Scan
from darwin_mri.run import MeasurementCache
from speed.ablating import compare, group_weights
from tests.mri.conftest import tokenized

PARTS = ("f", "m")


@pytest.fixture(scope="module")
def parent() -> LoadedModel:
    return load(find_model("nursery:gemma4-base"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def texts(parent: LoadedModel) -> TokenizedProbes:
    probes = select_probes(load_probes(), ("ko", "en"), 8, 1)
    return tokenize_probes(probes, parent.tokenizer, max_tokens=16, device="cpu")


@pytest.fixture(scope="module")
def activations(parent: LoadedModel, texts: TokenizedProbes) -> Activations:
    return measure_activations(parent, texts)


@pytest.fixture(scope="module")
def exact(parent: LoadedModel, texts: TokenizedProbes, activations: Activations) -> dict[str, Ablated]:
    return ablate_parts(AblationPlan(parent, texts, PARTS, "exact"), activations)[0]


@pytest.fixture(scope="module")
def fast(
    parent: LoadedModel, texts: TokenizedProbes, activations: Activations
) -> tuple[dict[str, Ablated], AblationInfo]:
    return ablate_parts(AblationPlan(parent, texts, PARTS, "fast"), activations)


def test_an_estimate_ranks_layers_as_exact_ablation_does(
    texts: TokenizedProbes, exact: dict[str, Ablated], fast: tuple[dict[str, Ablated], object]
) -> None:
    weights, languages = group_weights(texts.probes)
    rho, _, _ = compare(fast[0], exact, weights, languages)
    assert np.mean(rho) > 0.8


def test_the_record_says_what_was_measured(
    exact: dict[str, Ablated], fast: tuple[dict[str, Ablated], AblationInfo], texts: TokenizedProbes
) -> None:
    losses, info = fast
    assert info.mode == "fast" and info.note == "" and 4 < info.forwards <= SCAN_FORWARDS - PASS_FORWARDS
    assert 0 < info.documents < len(texts.probes)
    for part in PARTS:
        same = np.isclose(losses[part].nll, exact[part].nll, rtol=1e-5)
        assert same.all(0).sum() >= info.documents  # what is measured is exact


class Known:
    """A cache in which every loss is known already.

    Args:
        exact: losses of exact ablation, by part.
        documents: those that are measured.
        attribution: by part and layer.
    """

    def __init__(
        self, exact: dict[str, Ablated], documents: np.ndarray, attribution: dict[Component, np.ndarray]
    ) -> None:
        self.exact, self.documents, self.attribution = exact, documents, attribution

    def get(self, where: tuple[Any, ...]) -> np.ndarray:
        kind, part, index = where
        return self.attribution[part, index] if kind == "attribution" else self.exact[part].nll[index, self.documents]

    def put(self, where: tuple[Any, ...], values: np.ndarray) -> None:
        raise AssertionError(f"{where} was measured again")


def test_exact_figures_lie_in_the_intervals_of_estimated_ones(
    parent: LoadedModel, texts: TokenizedProbes, activations: Activations, exact: dict[str, Ablated]
) -> None:
    components, (weights, languages) = find_components(parent, PARTS), group_weights(texts.probes)
    attribution = dict(zip(components, first_order(parent, activations, components), strict=True))
    shares = []
    for seed in range(8):
        plan = AblationPlan(parent, texts, PARTS, "fast", seed)
        losses, _ = ablate_parts(plan, activations, cache=Known(exact, plan.measured, attribution))
        shares.append(compare(losses, exact, weights, languages)[2])
    assert np.mean(shares) > 0.85  # of the estimation error alone, without that of the documents


def test_attribution_is_the_slope_of_partial_ablation(
    parent: LoadedModel, texts: TokenizedProbes, activations: Activations
) -> None:
    component = ("f", 4)
    row = first_order(parent, activations, [component])[0]
    (module,) = increment_modules(parent.layers[4], parent.anatomy.layers[4], "f")
    mean, step = activations.mean(4, "f"), 1e-2
    assert mean is not None
    losses = np.zeros((2, len(texts.probes)))
    for side, sign in enumerate((1, -1)):

        def push(_: torch.nn.Module, args: object, out: torch.Tensor, sign: int = sign) -> torch.Tensor:
            return out + sign * step * (mean - out)

        handle = module.register_forward_hook(push)
        with torch.inference_mode():
            for batch in texts.batches:
                losses[side][batch.documents.numpy()] = document_nll(parent.model, batch).double().numpy()
        handle.remove()
    np.testing.assert_allclose(row, (losses[0] - losses[1]) / (2 * step), rtol=0.05, atol=0.02)


def test_an_interrupted_estimate_goes_on_and_ends_with_the_same_bytes(
    parent: LoadedModel, texts: TokenizedProbes, tmp_path: Path
) -> None:
    options = ScanOptions(resamples=60, seed=3, mixers=True)
    whole, _ = scan_parent(parent, texts, [], options)

    class Interrupted(MeasurementCache):
        def put(self, where: tuple[str | int | float, ...], values: np.ndarray) -> None:
            super().put(where, values)
            if len(self.path.read_text().splitlines()) == 25:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_parent(parent, texts, [], options, cache=Interrupted(tmp_path / "losses.jsonl", "key", True))
    steps: list[int] = []
    plan = AblationPlan(parent, texts, options.parts, options.ablation, options.seed)
    cache = MeasurementCache(tmp_path / "losses.jsonl", "key", True)
    assert len(cache.known) == 24
    resumed, _ = scan_parent(parent, texts, [], options, plan=plan, cache=cache, advance=steps.append)
    assert resumed.to_json() == whole.to_json()
    assert 0 <= scan_work(plan) - sum(steps) <= 1  # the bar counts what is done, and ends full


def test_a_small_model_is_ablated_exactly(father: LoadedModel) -> None:
    fast, exact = (
        scan_parent(father, tokenized(father), [], ScanOptions(resamples=60, seed=0, ablation=mode))[0]
        for mode in ("fast", "exact")
    )
    assert fast.ablation is not None and fast.ablation.mode == "exact" and "fit in as many" in fast.ablation.note
    assert fast.layers == exact.layers


def test_a_model_without_a_backward_pass_is_ablated_exactly(
    parent: LoadedModel, texts: TokenizedProbes, exact: dict[str, Ablated]
) -> None:
    class OneWay(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, value: torch.Tensor) -> torch.Tensor:
            return value.clone()

    handle = parent.layers[3].register_forward_hook(lambda _, args, out: OneWay.apply(out))
    try:
        activations = measure_activations(parent, texts)
        with pytest.raises(NoGradientError):
            first_order(parent, activations, [("f", 0)])
        losses, info = ablate_parts(AblationPlan(parent, texts, PARTS, "fast"), activations)
    finally:
        handle.remove()
    assert info.mode == "exact" and "no backward pass" in info.note
    np.testing.assert_array_equal(losses["f"].nll, exact["f"].nll)


def test_records_without_the_field_still_load(father: LoadedModel) -> None:
    scan, _ = scan_parent(father, tokenized(father), [], ScanOptions(resamples=60, seed=0))
    old = scan.model_copy(update={"ablation": None}).to_json()
    assert Scan.model_validate_json(old.replace('"ablation": null', '"outside": {}')).ablation is None
