"""Streamed statistics agree with plain PyTorch on stored activations, whatever the batching."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from darwin_mri.mri.activations import measure_activations
from darwin_mri.mri.statistics import activation_statistics
from darwin_mri.probes import observe, read
from darwin_mri.stages.parents import Loaded
from tests.mri.conftest import as_parent, probes


def stored(loaded: Loaded) -> dict[tuple[int, str], torch.Tensor]:
    """Every site's activations of all text tokens, one document at a time, without padding."""
    parent = as_parent(loaded)
    out: dict[tuple[int, str], list[torch.Tensor]] = {}
    for row, ids in enumerate(parent.reading.ids):
        full = torch.tensor([[*parent.reading.prefix, *ids]])
        skip = len(parent.reading.prefix)

        def keep(index: int, site: str, value: torch.Tensor, skip: int = skip) -> None:
            out.setdefault((index, site), []).append(value[0, skip:].clone())

        with torch.inference_mode(), observe(parent.model, parent.anatomy, keep):
            parent.model.get_decoder()(input_ids=full, use_cache=False)
        assert row >= 0
    return {key: torch.cat(parts) for key, parts in out.items()}


@pytest.mark.parametrize("who", ["father", "mother"])
def test_statistics_agree_with_plain_torch(who: str, request: pytest.FixtureRequest) -> None:
    loaded: Loaded = request.getfixturevalue(who)
    parent = as_parent(loaded)
    summary = activation_statistics(measure_activations(parent.model, parent.anatomy, parent.reading), 60, 0).values
    plain = stored(loaded)
    for index, layer in enumerate(summary):
        for site in ("h_out", "m", "x", "a", "f"):
            values = plain[index, site].double()
            got = layer[site]["all"]
            mean, std = values.mean(), values.std(unbiased=False)
            assert got["rms"] == pytest.approx(float((values**2).mean() ** 0.5), rel=1e-5)
            assert got["mean"] == pytest.approx(float(mean), abs=1e-6)
            assert got["std"] == pytest.approx(float(std), rel=1e-5)
            assert got["kurtosis"] == pytest.approx(
                float(((values - mean) ** 4).mean() / std**4 - 3), rel=1e-3, abs=1e-3
            )
            assert got["max_abs"] == pytest.approx(float(values.abs().max()), rel=1e-5)
        h_in, h_out, f = (plain[index, site].double() for site in ("h_in", "h_out", "f"))
        ratio = (f.norm(dim=-1) / h_in.norm(dim=-1)).mean()
        influence = 1 - torch.nn.functional.cosine_similarity(h_in, h_out, dim=-1).mean()
        assert layer["f"]["all"]["increment_ratio"] == pytest.approx(float(ratio), rel=1e-5)
        assert layer["h_out"]["all"]["block_influence"] == pytest.approx(float(influence), abs=1e-5)
        covariance = torch.cov(f.T, correction=0)
        expected = float(covariance.trace() ** 2 / (covariance**2).sum())
        assert layer["f"]["all"]["participation_ratio"] == pytest.approx(expected, rel=1e-3)


def test_hooks_agree_with_transformers_hidden_states(mother: Loaded) -> None:
    parent = as_parent(mother)
    seen: dict[int, torch.Tensor] = {}
    ids = parent.reading.batches[0].ids[:1]
    with (
        torch.inference_mode(),
        observe(
            parent.model, parent.anatomy, lambda i, site, value: seen.__setitem__(i, value) if site == "h_in" else None
        ),
    ):
        output = parent.model.get_decoder()(input_ids=ids, output_hidden_states=True, use_cache=False)
    for index, value in seen.items():
        torch.testing.assert_close(value, output.hidden_states[index])


def test_batching_changes_nothing(father: Loaded) -> None:
    summaries, losses = [], []
    for budget in (8, 4096):
        reading = read(probes(), father.tokenizer, max_tokens=64, device="cpu", token_budget=budget)
        activations = measure_activations(father.model, father.anatomy, reading)
        summaries.append(activation_statistics(activations, 60, 0).values)
        losses.append(activations.nll)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for one, other in zip(*summaries, strict=True):
        for site, groups in one.items():
            for group, statistics in groups.items():
                for name, value in statistics.items():
                    assert value == pytest.approx(other[site][group][name], rel=1e-4, abs=1e-5), (site, group, name)
