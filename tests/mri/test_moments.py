"""Moments of the inputs of linear maps: exact against a direct computation, in parts, by group, of several families."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.checkpoints.linear_maps import linear_modules
from darwin_mri.errors import InputError
from darwin_mri.merging.moments import Moments
from darwin_mri.mri.moments import MomentOptions, measure_moments, moment_work
from darwin_mri.probes import Probe, TokenizedProbes, final_states, tokenize_probes
from tests.toys import pico, pico_gemma4

TEXTS = (
    Probe("The river runs past the old mill.", "en", "prose", "a"),
    Probe("Two and two are four, and four and four are eight.", "en", "math", "b"),
    Probe("Winter comes early in the hills, and stays.", "en", "prose", "c"),
    Probe("def f(x): return x", "code", "code", "d", topic="python"),
)
OPTIONS = MomentOptions("full", 10**6, 10**9, 64)
FAMILIES = ("llama", "gpt2", "qwen3_moe", "gemma4_text")


def opened(folder: Path) -> LoadedModel:
    return load(find_model(str(folder)), "digest", device="cpu", dtype="float32")


def tokens(parent: LoadedModel, texts: tuple[Probe, ...] = TEXTS) -> TokenizedProbes:
    return tokenize_probes(texts, parent.tokenizer, max_tokens=64, device="cpu", token_budget=128)


@pytest.fixture(scope="module", params=FAMILIES)
def parent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("moments") / request.param
    make = pico_gemma4 if request.param == "gemma4_text" else lambda path: pico(request.param, path)
    return opened(make(folder))


def keep(seen: dict[str, Tensor], name: str, module: object, args: tuple[Tensor, ...]) -> None:
    seen[name] = args[0]


def rows_of(parent: LoadedModel, texts: TokenizedProbes) -> dict[str, dict[str, list[Tensor]]]:
    """By weight, by group: what each map is given at every token of the texts, one text at a time."""
    rows: dict[str, dict[str, list[Tensor]]] = {}
    for i, probe in enumerate(texts.probes):
        group = "/".join(filter(None, (probe.language, probe.domain, probe.topic)))
        alone = tokenize_probes([probe], parent.tokenizer, max_tokens=64, device="cpu").batches[0]
        seen: dict[str, Tensor] = {}
        handles = [
            module.register_forward_pre_hook(partial(keep, seen, name))
            for name, module in linear_modules(parent.model, parent.anatomy).items()
        ]
        with torch.inference_mode():
            final_states(parent.model, alone)
        for handle in handles:
            handle.remove()
        count = len(texts.ids[i])
        for name, x in seen.items():
            if x.numel() == alone.ids.numel() * x.shape[-1]:
                rows.setdefault(name, {}).setdefault(group, []).append(x.reshape(-1, x.shape[-1])[-count:].double())
    return rows


def test_moments_are_those_of_a_direct_computation(parent: LoadedModel, tmp_path: Path) -> None:
    texts = tokens(parent)
    header = measure_moments(parent, texts, tmp_path / "m.safetensors", OPTIONS)
    direct = rows_of(parent, texts)
    file = load_file(tmp_path / "m.safetensors")
    assert {group.name for group in header.groups} == {"en/prose", "en/math", "code/code/python"}
    read = {name for own in header.inputs for name in own.maps}
    shared = len(read) - len(header.inputs)  # queries, keys and values; gate and up. GPT-2 has neither
    assert read == set(direct) and (shared > 0) == (parent.anatomy.family != "gpt2")
    for own in header.inputs:
        for group in header.groups:
            for name in own.maps:  # all maps of one input have its moment
                x = torch.cat(direct[name][group.name])
                assert len(x) == group.tokens
                assert torch.allclose(file[f"{own.name}|{group.name}"].double(), x.T @ x, rtol=1e-5, atol=1e-4)
                magnitude = file[f"{own.name}|{group.name}|magnitude"].double()
                assert torch.allclose(magnitude, x.abs().sum(0), rtol=1e-5, atol=1e-4)


def test_little_memory_gives_the_same_bytes_with_more_passes(parent: LoadedModel, tmp_path: Path) -> None:
    texts, small = tokens(parent), replace(OPTIONS, memory=1)
    measure_moments(parent, texts, tmp_path / "once.safetensors", OPTIONS)
    done: list[int] = []
    measure_moments(parent, texts, tmp_path / "parts.safetensors", small, done.append)
    assert (tmp_path / "once.safetensors").read_bytes() == (tmp_path / "parts.safetensors").read_bytes()
    assert sum(done) == moment_work(parent, texts, small) > len(TEXTS)


def test_moments_of_two_sets_of_texts_are_the_sum(parent: LoadedModel, tmp_path: Path) -> None:
    first, second = TEXTS[:2], TEXTS[2:]
    for name, part in (("first", first), ("second", second), ("both", TEXTS)):
        measure_moments(parent, tokens(parent, part), tmp_path / name, OPTIONS)
    one, other, both = (load_file(tmp_path / name) for name in ("first", "second", "both"))
    for name, value in both.items():
        parts = [part[name] for part in (one, other) if name in part]
        assert torch.allclose(value, torch.stack(parts).sum(0), rtol=1e-5, atol=1e-4)


def test_a_diagonal_is_that_of_the_products(parent: LoadedModel, tmp_path: Path) -> None:
    texts = tokens(parent)
    measure_moments(parent, texts, tmp_path / "full", OPTIONS)
    measure_moments(parent, texts, tmp_path / "squares", replace(OPTIONS, kind="diagonal"))
    measure_moments(parent, texts, tmp_path / "narrow", replace(OPTIONS, widest=32))
    full, squares, narrow = (Moments(tmp_path / name) for name in ("full", "squares", "narrow"))
    for own in full.header.inputs:
        whole = full.second(own)
        for other in (squares, narrow):
            found = other.input_of(own.name)
            assert found is not None and found.full == (other is narrow and own.width <= 32)
            part = other.second(found)
            assert torch.allclose(part if part.dim() == 1 else part.diagonal(), whole.diagonal(), rtol=1e-5)
        prose = full.second(own, ["en/prose"])
        assert prose.shape == whole.shape and not torch.allclose(prose, whole)


def test_a_stream_that_is_not_finite_is_one_line_and_no_file(tmp_path: Path) -> None:
    broken = opened(pico("llama", tmp_path / "model"))
    broken.layers[2].mlp.up_proj.weight.data[:] = float("nan")  # type: ignore[union-attr]
    with pytest.raises(InputError, match="is not finite: check the model's weights"):
        measure_moments(broken, tokens(broken), tmp_path / "out" / "m.safetensors", OPTIONS)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
