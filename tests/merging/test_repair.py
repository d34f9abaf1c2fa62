"""Repair: the closed form is the optimum it is said to be, and a damaged child gets its teacher's outputs back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.errors import InputError
from darwin_mri.merging.arms.moments import Moment, ridge
from darwin_mri.merging.repair import Repair
from darwin_mri.merging.repair_child import RepairFolder
from darwin_mri.merging.repair_maps import OTHERS, OUTSIDE, STACKED, RepairMaps, find_maps
from darwin_mri.probes import Batch, final_states, tokenize_probes
from darwin_mri.records import RepairedMap
from tests.merging.pairs import loaded, texts
from tests.toys import pico

DAMAGE = 0.3  # of a weight's standard deviation
FAMILIES = ("gemma4_text", "llama", "qwen3_5_text", "phi", "qwen3_moe", "mamba2", "gpt_neox", "granite")


@given(
    seed=st.integers(0, 10**6),
    width=st.integers(1, 12),
    height=st.integers(1, 6),
    tokens=st.integers(1, 40),
    strength=st.floats(1e-3, 1e3),
)
@settings(max_examples=60, deadline=None)
def test_the_closed_form_is_the_optimum(seed: int, width: int, height: int, tokens: int, strength: float) -> None:
    """Against a least-squares solver in fp64 on the stacked problem of two teachers and the anchor."""
    draw = torch.Generator().manual_seed(seed)
    merged = torch.randn(height, width, generator=draw, dtype=torch.float64).float()
    xx, xy = (Moment(width, columns, torch.device("cpu")) for columns in (width, height))
    inputs, outputs = [], []
    for _ in range(2):
        x, x_teacher = (torch.randn(tokens, width, generator=draw) for _ in range(2))
        y = x_teacher @ torch.randn(height, width, generator=draw).T
        xx.sum += x.double().T @ x.double()
        xy.sum += x.double().T @ y.double()
        inputs.append(x.double())
        outputs.append(y.double())
    penalty = strength * xx.sum.diagonal().mean()
    rows = torch.cat([*inputs, penalty.sqrt() * torch.eye(width, dtype=torch.float64)])
    right = torch.cat([*outputs, penalty.sqrt() * merged.double().T])
    best = torch.linalg.lstsq(rows, right, driver="gelsd").solution.T
    solved = ridge(xx.sum, xy.sum, strength, prior=merged).double()
    assert torch.linalg.norm(solved - best) <= 1e-6 * (torch.linalg.norm(best) + 1e-3)
    gradient = solved @ (rows.T @ rows) - right.T @ rows
    assert torch.linalg.norm(gradient) <= 1e-6 * torch.linalg.norm(right.T @ rows)


class InMemory:
    """Models that all stay where they are."""

    def __init__(self, **models: LoadedModel) -> None:
        self.models = models

    @contextmanager
    def on_device(self, role: str) -> Iterator[LoadedModel]:
        yield self.models[role]


def batches(model: LoadedModel, count: int, seed: int = 0) -> tuple[Batch, ...]:
    read = texts(count, 40, seed)
    return tokenize_probes(read, model.tokenizer, max_tokens=40, device="cpu", token_budget=1024).batches


def all_maps(model: LoadedModel) -> RepairMaps:
    return find_maps(model, batches(model, 2)[0], set(model.tensor_names))


@torch.no_grad()
def damaged(model: LoadedModel, maps: RepairMaps, seed: int = 3) -> LoadedModel:
    """The model with noise on every map, in place."""
    draw = torch.Generator().manual_seed(seed)
    for layer in maps.layers:
        for name in maps.tensors(layer):
            weight = model.model.get_parameter(name)
            weight += DAMAGE * weight.std() * torch.randn(weight.shape, generator=draw)
    return model


def make(child: LoadedModel, maps: RepairMaps, budget: int = 2**30, **teachers: LoadedModel) -> Repair:
    lessons = {role: batches(model, 60, seed) for seed, (role, model) in enumerate(teachers.items())}
    return Repair(InMemory(child=child, **teachers), lessons, maps, lambda name: torch.float32, budget)


@torch.inference_mode()
def distance(child: LoadedModel, teacher: LoadedModel) -> float:
    """Of the last states on texts that no repair has read, relative to the teacher's."""
    apart, size = 0.0, 0.0
    for batch in batches(teacher, 12, seed=99):
        states = [final_states(model.model, batch)[batch.text].double() for model in (child, teacher)]
        apart += float((states[0] - states[1]).square().sum())
        size += float(states[1].square().sum())
    return (apart / size) ** 0.5


def maps_of(child: LoadedModel, maps: RepairMaps) -> dict[str, Tensor]:
    names = [name for layer in maps.layers for name in maps.tensors(layer)]
    return {name: child.model.get_parameter(name).clone() for name in names}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_damaged_child_gets_its_teachers_outputs_back(family: str, tmp_path: Path) -> None:
    folder = pico(family, tmp_path / "model")
    teacher, child = loaded(folder), loaded(folder)
    maps = all_maps(child)
    damaged(child, maps)
    before = distance(child, teacher)
    figures = make(child, maps, father=teacher).run(1e-6, RepairFolder(tmp_path / "kept"))
    assert before > 0.1 and distance(child, teacher) < before / 10
    assert [one.tensor for one in figures] == [name for layer in maps.layers for name in maps.tensors(layer)]
    assert all(one.explained_after > 0.99 and one.explained_after >= one.explained_before for one in figures)
    assert all(0 < one.change < 2 for one in figures)


def test_a_strong_pull_gives_the_merged_weights_back(tmp_path: Path) -> None:
    folder = pico("llama", tmp_path / "model")
    child, maps = loaded(folder), all_maps(loaded(folder))
    before = maps_of(damaged(child, maps), maps)
    make(child, maps, father=loaded(folder)).run(1e12, RepairFolder(tmp_path / "kept"))
    for name, tensor in maps_of(child, maps).items():
        assert torch.allclose(tensor, before[name], rtol=1e-5, atol=1e-7), name


def test_the_formula_holds_for_two_teachers_with_biases(tmp_path: Path) -> None:
    """The first maps of the first layer, computed again in fp64 from what the hooks of this test see."""
    folders = [pico("phi", tmp_path / name, seed=seed) for seed, name in enumerate(("father", "mother", "child"))]
    father, mother, child = map(loaded, folders)
    maps = all_maps(child)
    name = maps.layers[0][0].tensors[0]
    merged = child.model.get_parameter(name).clone().double()
    bias = child.model.get_parameter(name.replace("weight", "bias")).double()
    repair, strength = make(child, maps, father=father, mother=mother), 0.3
    assert float(bias.abs().max()) > 0

    def seen(model: LoadedModel, batch: Batch) -> tuple[Tensor, Tensor]:
        kept: list[Any] = []
        module = model.model.get_submodule(name.removesuffix(".weight"))
        handle = module.register_forward_hook(lambda _, args, output: kept.append((args[0], output)))
        with torch.inference_mode():
            final_states(model.model, batch)
        handle.remove()
        read = batch.attention.bool()
        return kept[0][0][read].double(), kept[0][1][read].double()

    xx, yx = torch.zeros(32, 32, dtype=torch.float64), torch.zeros(len(merged), 32, dtype=torch.float64)
    for role, model in (("father", father), ("mother", mother)):
        for batch in repair.lessons[role]:
            x, y = seen(child, batch)[0], seen(model, batch)[1] - bias
            xx, yx = xx + x.T @ x, yx + y.T @ x
    pull = strength * xx.diagonal().mean()
    expected = (yx + pull * merged) @ torch.linalg.inv(xx + pull * torch.eye(32, dtype=torch.float64))
    repair.run(strength, RepairFolder(tmp_path / "kept"))
    found = child.model.get_parameter(name).double()
    assert torch.linalg.norm(found - expected) < 1e-5 * torch.linalg.norm(expected)


def test_memory_for_fewer_layers_at_a_time_changes_nothing(tmp_path: Path) -> None:
    folder = pico("gemma4_text", tmp_path / "model")
    results = []
    for number, budget in enumerate((1, 2**30)):
        child, maps = loaded(folder), all_maps(loaded(folder))
        damaged(child, maps)
        make(child, maps, budget, father=loaded(folder)).run(0.1, RepairFolder(tmp_path / str(number)))
        results.append(maps_of(child, maps))
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


class Interrupted(RepairFolder):
    """A folder that is killed at once after its second layer."""

    def save(self, layer: int, tensors: Mapping[str, Tensor], figures: Sequence[RepairedMap]) -> None:
        super().save(layer, tensors, figures)
        if layer == 1:
            raise KeyboardInterrupt


def test_a_repair_that_was_interrupted_ends_in_the_same_bytes(tmp_path: Path) -> None:
    folder = pico("gemma4_text", tmp_path / "model")
    teacher = loaded(folder)

    def repair() -> Repair:
        child = loaded(folder)
        maps = all_maps(child)
        return make(damaged(child, maps), maps, father=teacher)

    whole = repair().run(0.1, RepairFolder(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        repair().run(0.1, Interrupted(tmp_path / "broken"))
    assert len(list((tmp_path / "broken").iterdir())) == 2
    assert repair().run(0.1, RepairFolder(tmp_path / "broken")) == whole
    for path in sorted((tmp_path / "whole").iterdir()):
        kept, own = load_file(path), load_file(tmp_path / "broken" / path.name)
        assert kept.keys() == own.keys() and all(torch.equal(kept[name], own[name]) for name in kept)


def test_a_damaged_file_of_a_layer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "layer-000.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="layer-000.safetensors of state/repair is damaged"):
        RepairFolder(tmp_path).load(0)


@pytest.mark.parametrize(("who", "says"), [("father", "a teacher's output of"), ("child", "the child's input of")])
def test_a_stream_that_is_not_finite_is_one_line(tmp_path: Path, who: str, says: str) -> None:
    folder = pico("llama", tmp_path / "model")
    models = {"father": loaded(folder), "child": loaded(folder)}
    maps = all_maps(models["child"])
    with torch.no_grad():
        models[who].model.get_parameter("model.layers.1.input_layernorm.weight")[0] = float("nan")
    with pytest.raises(InputError, match=says) as caught:
        make(models["child"], maps, father=models["father"]).run(0.1, RepairFolder(tmp_path / "kept"))
    assert "layers.1." in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_left_alone_is_named(tmp_path: Path) -> None:
    maps = all_maps(loaded(pico("qwen3_moe", tmp_path / "moe")))
    assert any("experts" in name for name in maps.left_alone[STACKED])
    assert any("embed_tokens" in name for name in maps.left_alone[OUTSIDE])
    found = {name for layer in maps.layers for name in maps.tensors(layer)}
    assert not found & {name for names in maps.left_alone.values() for name in names}
    gpt2 = all_maps(loaded(pico("gpt2", tmp_path / "gpt2")))
    assert not gpt2.layers and any("c_attn" in name for name in gpt2.left_alone[OTHERS])


def test_maps_that_read_the_same_input_are_one_group(tmp_path: Path) -> None:
    maps = all_maps(loaded(pico("llama", tmp_path / "model")))
    kinds = [[name.split(".")[-2] for name in group.tensors] for group in maps.layers[0]]
    assert kinds == [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]


def test_only_what_a_child_may_change_is_repaired(tmp_path: Path) -> None:
    model = loaded(pico("llama", tmp_path / "model"))
    movable = {name for name in model.tensor_names if ".mlp." in name}
    maps = find_maps(model, batches(model, 2)[0], movable)
    assert {name for layer in maps.layers for name in maps.tensors(layer)} == movable and not maps.left_alone
