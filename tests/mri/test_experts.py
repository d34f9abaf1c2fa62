"""What the scan says of a mixture of experts, beside the router's own choices and the stream it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.checkpoints.anatomy import decoder_of
from darwin_mri.mri import ScanOptions, scan_parent
from darwin_mri.probes import ablate, increment_modules, observe
from tests import toys
from tests.checkpoints.test_anatomy import MIXTURES
from tests.mri.conftest import probes, tokenized


def mixture(family: str, folder: Path) -> LoadedModel:
    folder = toys.pico(family, folder, **MIXTURES[family][0])
    return load(find_model(str(folder)), "0" * 64, device="cpu", dtype="float32")


def seen(parent: LoadedModel, ids: torch.Tensor) -> dict[tuple[int, str], torch.Tensor]:
    sites: dict[tuple[int, str], torch.Tensor] = {}
    with (
        torch.inference_mode(),
        observe(parent, lambda index, site, value: sites.update({(index, site): value.clone()})),
    ):
        decoder_of(parent.model)(input_ids=ids, use_cache=False)
    return sites


@pytest.mark.parametrize("family", MIXTURES)
def test_routes_are_the_routers_choices_and_increments_what_is_added(family: str, tmp_path: Path) -> None:
    parent, ids = mixture(family, tmp_path / family), torch.arange(3, 19).reshape(2, 8)
    if family == "gemma4_text":  # without the increment that follows the mixture's
        for layer in parent.layers:
            layer.get_parameter("post_per_layer_input_norm.weight").data.zero_()
    logits: dict[int, Any] = {}
    handles = []
    for info, layer in zip(parent.anatomy.layers, parent.layers, strict=True):
        if info.moe is not None:
            router = layer.get_submodule(info.moe.router)
            handles.append(
                router.register_forward_hook(lambda _m, _i, out, index=info.index: logits.update({index: out}))
            )
    sites = seen(parent, ids)
    for handle in handles:
        handle.remove()
    assert logits
    for index, out in logits.items():
        route = sites[index, "route"]
        assert route.shape == (2, 8, 2)
        moe = parent.anatomy.layers[index].moe
        assert moe is not None
        scores = next(value for value in out if value.shape[-1] == moe.count).reshape(2, 8, -1)
        if family != "deepseek_v3":  # which chooses within a group
            assert torch.equal(route.sort().values, scores.topk(2).indices.sort().values)
        stream = sites[index, "h_in"] + sites[index, "m"] + sites[index, "f"]
        scale = getattr(parent.layers[index], "layer_scalar", 1.0)  # of Gemma 4
        torch.testing.assert_close(stream * scale, sites[index, "h_out"])


@pytest.mark.parametrize("family", ["mixtral", "granitemoehybrid", "llama4_text", "gpt_oss"])
def test_an_ablated_mixture_adds_the_mean(family: str, tmp_path: Path) -> None:
    parent, ids = mixture(family, tmp_path / family), torch.arange(3, 19).reshape(2, 8)
    index = next(info.index for info in parent.anatomy.layers if info.moe)
    mean = torch.randn(toys.HIDDEN)
    with ablate(increment_modules(parent.layers[index], parent.anatomy.layers[index]), mean):
        sites = seen(parent, ids)
    added = sites[index, "h_out"] - sites[index, "h_in"] - sites[index, "m"]
    torch.testing.assert_close(
        added, (mean * parent.anatomy.residual_multiplier).expand_as(added), atol=1e-5, rtol=1e-5
    )


def test_the_scan_counts_the_experts_of_each_group(tmp_path: Path) -> None:
    parent = mixture("qwen3_moe", tmp_path / "m")
    texts = tokenized(parent)
    scan, _ = scan_parent(parent, texts, [], ScanOptions(20, 0))
    assert [layer.experts is None for layer in scan.layers] == [True, False] * 2
    counts = {name: np.zeros(4) for name in ("all", "ko", "math")}
    tokens = dict.fromkeys(counts, 0)
    for probe, own in zip(probes(), texts.ids, strict=True):
        route = seen(parent, torch.tensor([[*texts.prefix, *own]]))[1, "route"][0, len(texts.prefix) :]
        for name in counts:
            if name in ("all", probe.language, probe.domain):
                counts[name] += np.bincount(route.flatten().numpy(), minlength=4)
                tokens[name] += len(own)
    load_of = scan.layers[1].experts
    assert load_of is not None and load_of.experts == 4
    whole = counts["all"] / counts["all"].sum()
    for name, group in (("all", "all"), ("ko", "language:ko"), ("math", "domain:math")):
        load = counts[name] / counts[name].sum()
        assert load_of.share[group] == pytest.approx(counts[name] / tokens[name], abs=1e-6)
        assert sum(load_of.share[group]) == pytest.approx(2, abs=1e-5)
        assert load_of.imbalance[group] == pytest.approx(4 * load.max(), abs=1e-6)
        entropy = -sum(p * np.log(p) for p in load if p) / np.log(4)
        assert load_of.entropy[group] == pytest.approx(entropy, abs=1e-6)
        if name != "all":
            assert load_of.difference[group] == pytest.approx(abs(load - whole).sum() / 2, abs=1e-6)
    # A mixture has an increment and an importance, as an FFN has.
    assert all("f" in layer.activation and layer.importance for layer in scan.layers)
    assert scan.layers[1].importance["prose"].value != 0.0
