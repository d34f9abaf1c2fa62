"""Recipes are read and written, and where definitions agree mergekit 0.1.5 writes the same child to one bf16 rounding.

The oracle runs where DARWIN_MRI_MERGEKIT_PYTHON names an interpreter that has mergekit, which is never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import JOINT, OPERATORS
from darwin_mri.errors import ConfigError
from darwin_mri.merging.mergekit import Values, assign_roles, read_documents, tensor_values
from darwin_mri.pipeline import merge
from darwin_mri.problem.recipes import genome_config, read_genome
from darwin_mri.problem.requests import MergeRequest, export_recipe
from darwin_mri.records import Genome
from tests.merging.oracle import write_children
from tests.toys import pico_gemma4, pico_qwen35

ADDED = ("linear", "task_arithmetic", "dare_linear")
FAMILIES = ("gemma4", "gemma4-wrapped", "qwen35", "qwen35-wrapped")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Father, mother and base of every family, as strings for YAML."""
    root, out = tmp_path_factory.mktemp("recipes"), {}
    for family in FAMILIES:
        make, wrapped = (pico_gemma4 if "gemma" in family else pico_qwen35), "wrapped" in family
        out[family] = {
            role: str(make(root / family / role, seed=seed, wrapped=wrapped, dtype="bfloat16"))
            for seed, role in enumerate(("father", "mother", "base"))
        }
    return out


ELDER = OPERATORS[:7]  # the others are compared with mergekit in test_methods_mergekit and test_recipes
WEIGHED = [method for method in OPERATORS if method not in (*JOINT, "karcher", "regression")]
BESIDE_A_BASE = [method for method in OPERATORS if method not in ("arcee_fusion", "nearswap", "regression")]


def recipe(method: str, at: dict[str, str]) -> dict[str, Any]:
    """A recipe whose definition both share; weights, filters and gradients differ between tensors."""
    slope = [0.2, 0.9]
    common: dict[str, Any] = {"merge_method": method, "dtype": "float32", "out_dtype": "bfloat16"}
    father, mother = {"model": at["father"]}, {"model": at["mother"]}
    if method == "linear":
        weights = [{"filter": "mlp", "value": [0.1, 0.7]}, {"value": 0.4}]
        return common | {
            "models": [father | {"parameters": {"weight": 0.6}}, mother | {"parameters": {"weight": weights}}]
        }
    if method == "slerp":
        return common | {"base_model": at["father"], "models": [father, mother], "parameters": {"t": slope}}
    father_own = {"weight": 1.0, "density": 0.5} if method == "ties" else {"weight": 0.8}
    mother_own = (
        {"weight": 1.0, "density": [{"filter": "attn", "value": 0.25}, {"value": 0.75}]}
        if method == "ties"
        else {"weight": slope}
    )
    return common | {
        "base_model": at["base"],
        "models": [father | {"parameters": father_own}, mother | {"parameters": mother_own}],
        "parameters": {"lambda": 0.9},
    }


def taken_away(method: str, at: dict[str, str]) -> dict[str, Any]:
    """A recipe that takes the mother away; it neither trims nor drops, so that nothing is left to a choice or draw."""
    common: dict[str, Any] = {"merge_method": method, "dtype": "float32", "out_dtype": "bfloat16"}
    if method == "slerp":
        models: list[dict[str, Any]] = [{"model": at["father"]}, {"model": at["mother"]}]
        return common | {"base_model": at["father"], "models": models, "parameters": {"t": [-0.3, 1.2]}}
    mother = [-0.2, -0.9] if method in ADDED else -0.5
    models = [{"model": at[role], "parameters": {"weight": w}} for role, w in (("father", 0.75), ("mother", mother))]
    if method == "linear":
        return common | {"models": models}
    return common | {"base_model": at["base"], "models": models, "parameters": {"lambda": -0.9}}


def save(data: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def values_of(path: Path, names: Iterable[str]) -> dict[str, Values]:
    (document,) = read_documents(path)
    return tensor_values(document, assign_roles(document), tuple(names))


def child_of(path: Path, out: Path, seed: int = 1) -> Path:
    read = read_genome(path, seed, True)
    merge(genome_config(read.genome, "test", **read.refs), read.genome, out)
    return out


@pytest.fixture(scope="module")
def oracle(folders: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mergekit's child of every recipe and family, all in one process of its own."""
    root = tmp_path_factory.mktemp("oracle")
    jobs = [(taken_away(method, folders["qwen35"]), root / f"taken-{method}") for method in ELDER]
    jobs += [
        (recipe(method, folders[family]), root / f"{family}-{method}")
        for family in FAMILIES
        for method in ("linear", "slerp", "task_arithmetic", "ties")
    ]
    write_children(jobs, root, copy_tokenizer=False)
    return root


@pytest.mark.parametrize("method", ["linear", "slerp", "task_arithmetic", "ties"])
@pytest.mark.parametrize("family", FAMILIES)
def test_parity_with_mergekit(
    oracle: Path, folders: dict[str, dict[str, str]], tmp_path: Path, family: str, method: str
) -> None:
    """Equal to one bf16 rounding everywhere.

    For ties apart from elements at the trim's edge (mergekit keeps some of equal magnitudes, we all) and from vectors
    that cancel exactly (mergekit keeps the positive one, we none).
    """
    child = child_of(save(recipe(method, folders[family]), tmp_path / "r.yaml"), tmp_path / "child")
    undefined = partial(_undefined, at=folders[family]) if method == "ties" else None
    _compare(child, oracle / f"{family}-{method}", undefined)


@pytest.mark.parametrize("method", ELDER)
def test_parity_where_a_parent_is_taken_away(
    oracle: Path, folders: dict[str, dict[str, str]], tmp_path: Path, method: str
) -> None:
    """Negative weights and lambda, and a t outside [0, 1]; apart from vectors that cancel."""
    at = folders["qwen35"]

    def cancels(name: str, shape: torch.Size) -> torch.Tensor:
        father, mother, base = (CheckpointReader(Path(at[role])).tensor(name).float() for role in at)
        return (0.75 * (father - base) - 0.5 * (mother - base)).abs() < 1e-6

    child = child_of(save(taken_away(method, at), tmp_path / "r.yaml"), tmp_path / "child")
    _compare(child, oracle / f"taken-{method}", None if method in (*ADDED, "slerp") else cancels)


def _compare(child: Path, other: Path, undefined: Callable[[str, torch.Size], torch.Tensor] | None) -> None:
    with CheckpointReader(child) as reader, CheckpointReader(other) as mergekit:
        compared = 0
        for name in reader.names():
            if name not in mergekit.names():
                assert not reader.tensor(name).is_floating_point() or "layer_scalar" in name, name
                continue
            one, two = reader.tensor(name), mergekit.tensor(name)
            assert one.dtype == two.dtype == torch.bfloat16
            # A step of bf16 at the size of the larger of the two, and of the summands that cancelled.
            step = torch.maximum(one.float().abs(), two.float().abs()) * 2**-7 + 1e-6
            wrong = (one.float() - two.float()).abs() > step
            if undefined is not None:
                wrong &= ~undefined(name, one.shape)
            assert not bool(wrong.any()), f"{name}: {int(wrong.sum())} of {wrong.numel()}"
            compared += 1
        assert compared >= len(survey(child).layout.text_tensors) - 8


def _undefined(name: str, shape: torch.Size, *, at: dict[str, str]) -> torch.Tensor:
    """Elements on which the two definitions of ties differ."""
    with CheckpointReader(Path(at["base"])) as b:
        base = b.tensor(name).float()
    edge = torch.zeros(shape, dtype=torch.bool)
    vectors = []
    for role, density in (("father", 0.5), ("mother", 0.25 if "attn" in name else 0.75)):
        with CheckpointReader(Path(at[role])) as reader:
            vector = reader.tensor(name).float() - base
        kept = max(1, round(density * vector.numel()))
        level = vector.abs().flatten().sort(descending=True).values[[kept - 1, max(kept - 2, 0)]]
        edge |= (vector.abs() == level[0]) | (vector.abs() == level[1])
        vectors.append(vector)
    return edge | (vectors[0] + vectors[1] == 0)


@pytest.mark.parametrize("method", WEIGHED)
def test_a_recipe_that_takes_a_parent_away_is_read_and_written(
    folders: dict[str, dict[str, str]], tmp_path: Path, method: str
) -> None:
    """YAML -> genome -> YAML -> genome with densities from 0 to 1: the same child, byte for byte."""
    data = taken_away(method, folders["gemma4"])
    if method not in ("linear", "slerp", "task_arithmetic"):
        for model in data["models"]:
            model["parameters"]["density"] = [0, 0.25, 1]
    read = read_genome(save(data, tmp_path / "one.yaml"), 3, True)
    assert min([read.genome.genes["all"], *(float(own.get("ratio", 1)) for own in read.genome.exceptions.values())]) < 0
    export_recipe(
        MergeRequest(read.genome, genome_config(read.genome, "test", **read.refs)), tmp_path / "two.yaml", offline=True
    )
    one, two = (child_of(tmp_path / name, tmp_path / name[:3], 3) for name in ("one.yaml", "two.yaml"))
    father = Path(folders["gemma4"]["father"])
    for shard in one.glob("*.safetensors"):
        assert shard.read_bytes() == (two / shard.name).read_bytes() != (father / shard.name).read_bytes()


@pytest.mark.parametrize("method", BESIDE_A_BASE)
def test_a_recipe_read_and_written_gives_the_same_child(
    folders: dict[str, dict[str, str]], tmp_path: Path, method: str
) -> None:
    """YAML -> genome -> YAML -> genome: the same child, byte for byte."""
    at = folders["gemma4-wrapped"]
    base = method if method in ("linear", "slerp", "task_arithmetic", "ties") else "ties"
    data: dict[str, Any] = recipe(base, at) | {"merge_method": method}
    if method == "dare_linear":
        data["models"][0]["parameters"]["density"] = 1.0
    if method in ("dare_linear", "dare_ties", "della"):
        data["parameters"]["rescale"] = method != "dare_ties"
    if method == "della":
        data["models"][0]["parameters"] |= {"epsilon": 0.05}
        data["models"][1]["parameters"] |= {"epsilon": 0.05}
    read = read_genome(save(data, tmp_path / "one.yaml"), 3, True)
    assert not read.notes and read.genome.method == method
    request = MergeRequest(read.genome, genome_config(read.genome, "test", **read.refs))
    export_recipe(request, tmp_path / "two.yaml", offline=True)
    children = [child_of(tmp_path / name, tmp_path / name[:3], 3) for name in ("one.yaml", "two.yaml")]
    for shard in children[0].glob("*.safetensors"):
        assert shard.read_bytes() == (children[1] / shard.name).read_bytes()


def test_a_runs_genome_exports_by_layer(folders: dict[str, dict[str, str]], tmp_path: Path) -> None:
    """Genes by layer become filters on name prefixes, and mean the same ratios on the way back."""
    at = folders["qwen35"]
    names = tuple(survey(Path(at["father"])).layout.text_tensors.values())
    tensors = {f"L{i}.ffn": tuple(n for n in names if f"layers.{i}.mlp." in n) for i in range(4)}
    tensors |= {f"L{i}.mixer": tuple(n for n in names if f"layers.{i}." in n and ".mlp." not in n) for i in range(4)}
    genes = {gene: round(0.1 * k, 1) for k, gene in enumerate(tensors)}
    genome = Genome(
        space="layers",
        method="task_arithmetic",
        seed=1,
        father="father",
        mother="mother",
        base="base",
        genes=genes,
        ratios=(),
        tensors=tensors,
    )
    request = MergeRequest(genome, genome_config(genome, "test", **at))
    notes = export_recipe(request, tmp_path / "out.yaml", offline=True)
    written = yaml.safe_load((tmp_path / "out.yaml").read_text())
    assert not notes and len(written["models"][1]["parameters"]["weight"]) < 20
    values = values_of(tmp_path / "out.yaml", names)
    for gene, members in tensors.items():
        assert all(values[name]["ratio"] == genes[gene] and values[name]["weight_father"] == 1 for name in members)
    assert values["model.embed_tokens.weight"]["ratio"] == 0


def test_a_genome_without_tensors_exports_with_folders_for_the_nursery(tmp_path: Path) -> None:
    """Its tensors are found in the father; mergekit knows no nursery:NAME. The recipe gives the genome's own child."""
    genome = Genome(
        space="layers",
        method="task_arithmetic",
        seed=1,
        father="nursery:gemma4-korean",
        mother="nursery:gemma4-reasoning",
        base="nursery:gemma4-base",
        genes={"L0.ffn": 0.5, "L3.mixer": 0.25, "outside": 0.125},
        ratios=(),
    )
    config = genome_config(genome, "test")
    assert not export_recipe(MergeRequest(genome, config), tmp_path / "out.yaml", offline=True)
    written = yaml.safe_load((tmp_path / "out.yaml").read_text())
    assert all(Path(model["model"]).is_dir() for model in written["models"])
    merge(config, genome, tmp_path / "own")
    child = child_of(tmp_path / "out.yaml", tmp_path / "child")
    assert (child / "model.safetensors").read_bytes() == (tmp_path / "own" / "model.safetensors").read_bytes()


def test_an_export_says_where_mergekits_child_will_differ(folders: dict[str, dict[str, str]], tmp_path: Path) -> None:
    at, name = folders["gemma4"], "model.layers.0.mlp.up_proj.weight"
    parents: dict[str, Any] = {"father": "f", "mother": "m", "base": "b"}
    common = parents | {"space": "layers", "seed": 1, "ratios": (), "genes": {"g": 0.5}, "tensors": {"g": (name,)}}
    for method, words in (("ties", "no small step"), ("dare_ties", "other masks"), ("della", "L1 norm")):
        genome = Genome(method=method, **common)
        request = MergeRequest(genome, genome_config(genome, "test", **at))
        notes = export_recipe(request, tmp_path / "x.yaml", offline=True)
        assert any(words in note for note in notes)
        assert words in (tmp_path / "x.yaml").read_text()
    arm = Genome(method="folded", **{**common, "space": "ffn", "base": None})
    with pytest.raises(ConfigError, match="mergekit has no method folded"):
        export_recipe(MergeRequest(arm, genome_config(arm, "test", **at)), tmp_path / "x.yaml", offline=True)


def test_gradients_and_filters_resolve_as_documented(folders: dict[str, dict[str, str]], tmp_path: Path) -> None:
    at = folders["gemma4"]
    data = recipe("slerp", at)
    data["parameters"]["t"] = [
        {"filter": "self_attn", "value": [0, 0.5, 1]},
        {"filter": "mlp", "value": 0.3},
        {"value": 0.9},
    ]
    father = survey(Path(at["father"]))
    values = values_of(save(data, tmp_path / "r.yaml"), father.layout.text_tensors.values())
    queries = [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in range(4)]
    assert [round(float(values[name]["ratio"]), 4) for name in queries] == [0, 0.3333, 0.6667, 1]
    assert values["model.layers.2.mlp.up_proj.weight"]["ratio"] == 0.3
    assert values["model.embed_tokens.weight"]["ratio"] == 0.9
    slices = {key: value for key, value in data.items() if key != "models"}
    slices["slices"] = [
        {"sources": [{"model": at[role], "layer_range": layers} for role in ("father", "mother")]}
        for layers in ([0, 2], [2, 4])
    ]
    values = values_of(save(slices, tmp_path / "s.yaml"), queries)
    assert [own["ratio"] for own in values.values()] == [0, 1, 0, 1]


def sliced(models: str, first: int, last: int) -> dict[str, Any]:
    """A slice of models with names of one letter."""
    return {"sources": [{"model": model, "layer_range": [first, last]} for model in models]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"merge_method": "no_such_method"}, "no_such_method is not known"),
        ({"models": None, "modules": {"vision_tower": {"models": [{"model": "a"}]}}}, "'vision_tower' alone"),
        ({"models": None, "modules": {n: {"models": [{"model": n}]} for n in "ab"}}, "recipes of their own"),
        ({"tokenizer_source": "base"}, "needs base_model"),
        ({"tokenizer": {"sauce": "union"}}, "tokenizer has source"),
        ({"dtype": "int4", "out_dtype": None}, "dtype int4 is not known"),
        ({"chat_template": "no such"}, "chat_template 'no such' is not known"),
        ({"parameters": {"gama": 1}}, "'gama' is not supported"),
        ({"models": [{"model": f"m{k}", "parameters": {"weight": 1}} for k in range(9)]}, "9 models"),
        ({"models": [{"path": "a"}]}, "must name their model"),
        ({"models": [{"model": {"model": "a", "override_architecture": "b"}}]}, "'override_architecture'"),
        ({"models": None, "slices": [sliced("ab", 4, 1)]}, "has no layers"),
        ({"merge_method": "slerp", "base_model": "a", "models": [{"model": m} for m in "abc"]}, "one other model"),
        ({"merge_method": "ties", "base_model": "a", "models": [{"model": "a"}]}, "no model beside the base"),
        ({"merge_method": "passthrough"}, "takes one model"),
        ({1: "a", "b": "c"}, "not supported"),
    ],
)
def test_a_recipe_with_an_unsupported_option_is_refused(
    folders: dict[str, dict[str, str]], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = save(recipe("linear", folders["gemma4"]) | change, tmp_path / "r.yaml")
    with pytest.raises(ConfigError, match=words):
        read_genome(path, 1, True)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ("abc", "r.yaml: weight 'abc' is no number"),
        ([0.1, "x"], "r.yaml: weight is no number"),
        ([[0.1], [0.2]], "r.yaml: weight is no number"),
        (float("nan"), "r.yaml: weight nan must be a finite number"),
        (float("inf"), "r.yaml: weight inf must be a finite number"),
        (-0.6, "r.yaml: the weights of tensor .* sum to 0"),
    ],
)
def test_a_weight_that_is_no_usable_number_is_refused(
    folders: dict[str, dict[str, str]], tmp_path: Path, weight: Any, words: str
) -> None:
    at = folders["gemma4"]
    models = [
        {"model": at["father"], "parameters": {"weight": 0.6}},
        {"model": at["mother"], "parameters": {"weight": weight}},
    ]
    path = save({"merge_method": "linear", "models": models}, tmp_path / "r.yaml")
    with pytest.raises(ConfigError, match=words):
        read_genome(path, 1, True)


@pytest.mark.parametrize(
    ("method", "own", "shared", "words"),
    [
        ("dare_ties", {"density": 1.5}, {}, "density 1.5 must be a number between 0 and 1"),
        ("ties", {"density": [0, -0.5]}, {}, "density -"),
        ("della", {"epsilon": -0.1}, {}, "epsilon -0.1 must be a finite number of at least 0"),
        ("ties", {}, {"lambda": "big"}, "lambda 'big' is no number"),
        ("task_arithmetic", {}, {"lambda": float("inf")}, "lambda inf must be a finite number"),
        ("ties", {}, {"normalize": "no way"}, "normalize 'no way' must be true or false"),
        ("dare_linear", {}, {"rescale": "l1"}, "rescale 'l1' must be true or false"),
        ("slerp", {}, {"t": float("nan")}, "t nan must be a finite number"),
    ],
)
def test_a_value_is_refused_by_the_recipes_own_name(
    folders: dict[str, dict[str, str]],
    tmp_path: Path,
    method: str,
    own: dict[str, Any],
    shared: dict[str, Any],
    words: str,
) -> None:
    at = folders["gemma4"]
    models = [{"model": at["father"]}, {"model": at["mother"], "parameters": {"weight": 0.5, **own}}]
    data = {"merge_method": method, "base_model": at["father"], "models": models, "parameters": shared}
    with pytest.raises(ConfigError, match=f"^mine.yaml: {words}.*tensor model"):
        read_genome(save(data, tmp_path / "mine.yaml"), 1, True)


def test_weights_of_another_sum_are_refused(folders: dict[str, dict[str, str]], tmp_path: Path) -> None:
    data = recipe("linear", folders["gemma4"])
    for normalize, weight, words in ((False, 0.7, "must sum to 1"), (True, -0.6, "sum to 0")):
        data["models"][1]["parameters"]["weight"] = weight
        data["parameters"] = {"normalize": normalize}
        with pytest.raises(ConfigError, match=words):
            read_genome(save(data, tmp_path / "r.yaml"), 1, True)


def test_stacks_and_a_base_that_is_named_apart_are_refused(folders: dict[str, dict[str, str]], tmp_path: Path) -> None:
    at = folders["gemma4"]
    sources = [
        {"model": at[role], "layer_range": [0, 2], "parameters": {"weight": 0.5}} for role in ("father", "mother")
    ]
    text = {"merge_method": "task_arithmetic", "base_model": at["base"], "slices": [{"sources": sources}]}
    with pytest.raises(ConfigError, match="name base_model among the sources of each"):
        read_genome(save(text, tmp_path / "r.yaml"), 1, True)
