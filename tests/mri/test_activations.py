"""Streamed statistics agree with plain PyTorch on stored activations, whatever the batching."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from darwin_mri.checkpoints import ModelSource, find_anatomy, find_model, load_model
from darwin_mri.mri.activations import measure_activations
from darwin_mri.mri.statistics import activation_statistics
from darwin_mri.probes import observe, read
from darwin_mri.stages.parents import Loaded, load
from tests import toys
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


@pytest.mark.parametrize("who", ["father", "mother"])
def test_hooks_agree_with_transformers_hidden_states(who: str, request: pytest.FixtureRequest) -> None:
    parent = as_parent(request.getfixturevalue(who))
    seen: dict[tuple[int, str], torch.Tensor] = {}
    ids = parent.reading.batches[0].ids[:1]
    with (
        torch.inference_mode(),
        observe(parent.model, parent.anatomy, lambda i, site, value: seen.__setitem__((i, site), value)),
    ):
        output = parent.model.get_decoder()(input_ids=ids, output_hidden_states=True, use_cache=False)
    for index in range(len(parent.anatomy.layers)):
        torch.testing.assert_close(seen[index, "h_in"], output.hidden_states[index])
        if index:
            torch.testing.assert_close(seen[index - 1, "h_out"], output.hidden_states[index])


# Families whose layer adds exactly mixer and FFN to the stream: sequential, parallel, scaled, post-normed, two mixers at once.
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
    model = load_model(find_model(str(toys.pico(family, tmp_path / family))), device="cpu", dtype="float32")
    anatomy = find_anatomy(model)
    seen: dict[tuple[int, str], torch.Tensor] = {}

    def keep(index: int, site: str, value: torch.Tensor) -> None:
        seen[index, site] = value.clone()

    with torch.inference_mode(), observe(model, anatomy, keep):
        model.get_decoder()(input_ids=torch.arange(12)[None] + 40, use_cache=False)
    for index in range(len(anatomy.layers)):
        h_in, m, f, h_out = (seen[index, site] for site in ("h_in", "m", "f", "h_out"))
        assert m.norm() > 0 and f.norm() > 0
        torch.testing.assert_close(h_in + m + f, h_out, atol=1e-5, rtol=1e-4)


def test_batches_and_padding_side_change_nothing(father: Loaded, mother: Loaded) -> None:
    for loaded in (father, mother):
        summaries, losses = [], []
        for budget, left in ((8, False), (4096, False), (4096, True)):
            reading = read(probes(), loaded.tokenizer, max_tokens=64, device="cpu", token_budget=budget, pad_left=left)
            activations = measure_activations(loaded.model, loaded.anatomy, reading)
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
    loaded = load(ModelSource("father", folder, None), "0" * 64, device="cpu", dtype="bfloat16")
    assert next(loaded.model.parameters()).dtype == torch.bfloat16
    parent = as_parent(loaded)
    got = activation_statistics(measure_activations(parent.model, parent.anatomy, parent.reading), 60, 0).values
    plain = stored(loaded)
    for index, layer in enumerate(got):
        for site in ("h_out", "m", "x", "a", "f"):
            values = plain[index, site].double()
            assert layer[site]["all"]["rms"] == pytest.approx(float((values**2).mean() ** 0.5), rel=1e-2)
            assert layer[site]["all"]["std"] == pytest.approx(float(values.std(unbiased=False)), rel=1e-2)


def test_intervals_hold_the_value_and_narrow_with_documents(father: Loaded) -> None:
    widths = []
    for copies in (1, 4):
        many = tuple(
            replace(p, doc=f"{p.doc}-{n}", pair=p.pair and f"{p.pair}-{n}") for n in range(copies) for p in probes()
        )
        reading = read(many, father.tokenizer, max_tokens=64, device="cpu")
        statistics = activation_statistics(measure_activations(father.model, father.anatomy, reading), 200, 0)
        for layer, around in zip(statistics.values, statistics.intervals, strict=True):
            for site, groups in around.items():
                for group, intervals in groups.items():
                    for name, (low, high) in intervals.items():
                        assert low <= layer[site][group][name] <= high
        low, high = statistics.intervals[0]["f"]["all"]["rms"]
        widths.append(high - low)
        assert set(statistics.channels) == {f"activation:{site}" for site in ("h_out", "m", "x", "a", "f")}
    assert widths[1] < 0.7 * widths[0]


def test_what_is_kept_does_not_grow_with_the_probes(father: Loaded) -> None:
    def kept(copies: int) -> int:
        many = tuple(
            replace(p, doc=f"{p.doc}-{n}", pair=p.pair and f"{p.pair}-{n}") for n in range(copies) for p in probes()
        )
        reading = read(many, father.tokenizer, max_tokens=16, device="cpu")
        activations = measure_activations(father.model, father.anatomy, reading, positions=[(0, 1), (1, 1)])
        tensors = [t for layer in activations.layers for sums in layer.sites.values() for t in vars(sums).values()]
        tensors += [t for layer in activations.layers for t in (layer.pooled, layer.state, layer.firing)]
        return sum(t.numel() for t in tensors if t is not None)

    assert kept(40) == kept(80)
