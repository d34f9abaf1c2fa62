"""Streamed statistics agree with plain PyTorch on stored activations, whatever the batching."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from darwin_mri.checkpoints import LoadedModel, ModelSource, find_model, load
from darwin_mri.mri.activations import measure_activations
from darwin_mri.mri.statistics import activation_statistics
from darwin_mri.probes import Probe, capture, observe, tokenize_probes
from tests import toys
from tests.mri.conftest import probes, tokenized

SUMMARISED = ("h_out", "m", "x", "a", "f")


def whole_activations(parent: LoadedModel) -> dict[tuple[int, str], torch.Tensor]:
    """Every site's activations of all text tokens, (tokens, width), one text at a time, without padding."""
    texts = tokenized(parent)
    start = len(texts.prefix)
    parts: dict[tuple[int, str], list[torch.Tensor]] = {}

    def keep(index: int, site: str, value: torch.Tensor) -> None:
        parts.setdefault((index, site), []).append(value[0, start:].clone())

    for ids in texts.ids:
        with torch.inference_mode(), observe(parent, keep):
            parent.model.get_decoder()(input_ids=torch.tensor([[*texts.prefix, *ids]]), use_cache=False)
    return {key: torch.cat(values) for key, values in parts.items()}


def copies_of_probes(copies: int) -> tuple[Probe, ...]:
    """The probes several times, each copy with documents and passages of its own."""
    return tuple(
        replace(p, doc=f"{p.doc}-{n}", pair=p.pair and f"{p.pair}-{n}") for n in range(copies) for p in probes()
    )


@pytest.mark.parametrize("role", ["father", "mother"])
def test_statistics_agree_with_plain_torch(role: str, request: pytest.FixtureRequest) -> None:
    parent: LoadedModel = request.getfixturevalue(role)
    summary = activation_statistics(measure_activations(parent, tokenized(parent)), 60, 0).values
    plain = whole_activations(parent)
    for index, layer in enumerate(summary):
        for site in SUMMARISED:
            values = plain[index, site].double()
            streamed = layer[site]["all"]
            mean, std = values.mean(), values.std(unbiased=False)
            kurtosis = float(((values - mean) ** 4).mean() / std**4 - 3)
            assert streamed["rms"] == pytest.approx(float((values**2).mean() ** 0.5), rel=1e-5)
            assert streamed["mean"] == pytest.approx(float(mean), abs=1e-6)
            assert streamed["std"] == pytest.approx(float(std), rel=1e-5)
            assert streamed["kurtosis"] == pytest.approx(kurtosis, rel=1e-3, abs=1e-3)
            assert streamed["max_abs"] == pytest.approx(float(values.abs().max()), rel=1e-5)
        h_in, h_out, f = (plain[index, site].double() for site in ("h_in", "h_out", "f"))
        ratio = (f.norm(dim=-1) / h_in.norm(dim=-1)).mean()
        influence = 1 - torch.nn.functional.cosine_similarity(h_in, h_out, dim=-1).mean()
        assert layer["f"]["all"]["increment_ratio"] == pytest.approx(float(ratio), rel=1e-5)
        assert layer["h_out"]["all"]["block_influence"] == pytest.approx(float(influence), abs=1e-5)
        covariance = torch.cov(f.T, correction=0)
        expected = float(covariance.trace() ** 2 / (covariance**2).sum())
        assert layer["f"]["all"]["participation_ratio"] == pytest.approx(expected, rel=1e-3)
        gate = plain[index, "gate"].double()
        assert layer["a"]["all"]["gate_rms"] == pytest.approx(float((gate**2).mean() ** 0.5), rel=1e-5)
        assert layer["a"]["all"]["firing"] == pytest.approx(float((gate > 0).double().mean()), rel=1e-5)


@pytest.mark.parametrize("role", ["father", "mother"])
def test_hooks_agree_with_transformers_hidden_states(role: str, request: pytest.FixtureRequest) -> None:
    parent: LoadedModel = request.getfixturevalue(role)
    seen: dict[tuple[int, str], torch.Tensor] = {}
    ids = tokenized(parent).batches[0].ids[:1]
    with (
        torch.inference_mode(),
        observe(parent, lambda i, site, value: seen.__setitem__((i, site), value)),
    ):
        output = parent.model.get_decoder()(input_ids=ids, output_hidden_states=True, use_cache=False)
    for index in range(len(parent.anatomy.layers)):
        torch.testing.assert_close(seen[index, "h_in"], output.hidden_states[index])
        if index:
            torch.testing.assert_close(seen[index - 1, "h_out"], output.hidden_states[index])


def hooks(parent: LoadedModel) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in parent.model.modules())


@pytest.mark.parametrize("role", ["father", "mother"])
def test_captured_sites_are_the_observed_ones(role: str, request: pytest.FixtureRequest) -> None:
    parent: LoadedModel = request.getfixturevalue(role)
    sites = ("h_in", "m", "x", "gate", "a", "f", "h_out")
    seen: dict[tuple[int, str], torch.Tensor] = {}
    ids, before = tokenized(parent).batches[0].ids[:1], hooks(parent)
    with (
        torch.inference_mode(),
        capture(parent, {2: sites}) as kept,
        observe(parent, lambda i, site, value: seen.__setitem__((i, site), value)),
    ):
        parent.model.get_decoder()(input_ids=ids, use_cache=False)
    assert set(kept) == {(2, site) for site in sites}
    assert all(torch.equal(kept[key], seen[key]) for key in kept)
    assert hooks(parent) == before


# Families whose layer adds exactly mixer and FFN to the stream: sequential, parallel, scaled, post-normed, two mixers.
ADDITIVE = (
    "llama",
    "qwen3_5_text",
    "granite",
    "cohere2",
    "phi",
    "olmo2",
    "gemma2",
    "glm4",
    "gpt2",
    "falcon",
    "falcon_h1",
    "lfm2",
)


@pytest.mark.parametrize("family", ADDITIVE)
def test_increments_are_what_the_layer_adds(family: str, tmp_path: Path) -> None:
    parent = load(find_model(str(toys.pico(family, tmp_path / family))), device="cpu", dtype="float32")
    seen: dict[tuple[int, str], torch.Tensor] = {}

    def keep(index: int, site: str, value: torch.Tensor) -> None:
        seen[index, site] = value.clone()

    with torch.inference_mode(), observe(parent, keep):
        parent.model.get_decoder()(input_ids=torch.arange(12)[None] + 40, use_cache=False)
    for index in range(len(parent.layers)):
        h_in, m, f, h_out = (seen[index, site] for site in ("h_in", "m", "f", "h_out"))
        assert m.norm() > 0 and f.norm() > 0
        torch.testing.assert_close(h_in + m + f, h_out, atol=1e-5, rtol=1e-4)


def test_batches_and_padding_side_change_nothing(father: LoadedModel, mother: LoadedModel) -> None:
    for parent in (father, mother):
        summaries, losses = [], []
        for budget, left in ((8, False), (4096, False), (4096, True)):
            texts = tokenize_probes(
                probes(), parent.tokenizer, max_tokens=64, device="cpu", token_budget=budget, pad_left=left
            )
            activations = measure_activations(parent, texts)
            summaries.append(activation_statistics(activations, 60, 0).values)
            losses.append(activations.nll)
        for other in (1, 2):
            np.testing.assert_allclose(losses[0], losses[other], rtol=1e-5)
            for one, same in zip(summaries[0], summaries[other], strict=True):
                for site, groups in one.items():
                    for group, statistics in groups.items():
                        for name, value in statistics.items():
                            expected = pytest.approx(same[site][group][name], rel=1e-5, abs=1e-5)
                            assert value == expected, (site, group, name)


def test_bfloat16_agrees_within_its_rounding(tmp_path: Path) -> None:
    """Sums are wider than the model: against the same bfloat16 activations, stored and added up in float64."""
    folder = toys.pico_gemma4(tmp_path / "father", dtype="bfloat16")
    parent = load(ModelSource("father", folder, None), device="cpu", dtype="bfloat16")
    assert next(parent.model.parameters()).dtype == torch.bfloat16
    summary = activation_statistics(measure_activations(parent, tokenized(parent)), 60, 0).values
    plain = whole_activations(parent)
    for index, layer in enumerate(summary):
        for site in SUMMARISED:
            values = plain[index, site].double()
            assert layer[site]["all"]["rms"] == pytest.approx(float((values**2).mean() ** 0.5), rel=1e-2)
            assert layer[site]["all"]["std"] == pytest.approx(float(values.std(unbiased=False)), rel=1e-2)


def test_intervals_hold_the_value_and_narrow_with_documents(father: LoadedModel) -> None:
    widths = []
    for copies in (1, 4):
        texts = tokenize_probes(copies_of_probes(copies), father.tokenizer, max_tokens=64, device="cpu")
        statistics = activation_statistics(measure_activations(father, texts), 200, 0)
        for layer, intervals in zip(statistics.values, statistics.intervals, strict=True):
            for site, groups in intervals.items():
                for group, bounds in groups.items():
                    for name, (low, high) in bounds.items():
                        assert low <= layer[site][group][name] <= high
        low, high = statistics.intervals[0]["f"]["all"]["rms"]
        widths.append(high - low)
        assert set(statistics.channels) == {f"activation:{site}" for site in SUMMARISED}
    assert widths[1] < 0.7 * widths[0]


def test_what_is_kept_does_not_grow_with_the_probes(father: LoadedModel) -> None:
    def kept_values(copies: int) -> int:
        texts = tokenize_probes(copies_of_probes(copies), father.tokenizer, max_tokens=16, device="cpu")
        activations = measure_activations(father, texts, positions=[(0, 1), (1, 1)])
        tensors = [t for layer in activations.layers for sums in layer.sites.values() for t in vars(sums).values()]
        tensors += [t for layer in activations.layers for t in (layer.pooled, layer.firing)]
        return sum(t.numel() for t in tensors if t is not None)

    assert kept_values(40) == kept_values(80)


def test_values_at_positions_are_those_of_the_tokens(father: LoadedModel) -> None:
    positions = [(3, 2), (0, 1), (7, 4), (11, 0)]
    texts = tokenized(father)
    activations = measure_activations(father, texts, positions=positions, neuron_positions=2)
    plain = whole_activations(father)
    starts = np.cumsum([0, *(len(ids) for ids in texts.ids)])
    rows = [starts[probe] + token for probe, token in positions]
    for index in range(len(father.layers)):
        increments, neurons = activations.sampled[index], activations.neurons[index]
        assert increments is not None and neurons is not None
        torch.testing.assert_close(increments, plain[index, "f"][rows], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(neurons, plain[index, "a"][rows[:2]], atol=1e-5, rtol=1e-4)
