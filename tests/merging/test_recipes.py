"""mergekit's own examples and further recipe shapes are read, and what can be built from pico models loads and writes.

The oracle, mergekit 0.1.5, runs where DARWIN_MRI_MERGEKIT_PYTHON names an interpreter that has it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError, DarwinError
from darwin_mri.merging.mergekit import build_order, read_documents
from darwin_mri.problem.requests import export_recipe, read_merge
from darwin_mri.stages.recipe import merge_recipe
from tests.merging.oracle import write_children
from tests.merging.recipes import EXAMPLES, SHAPES
from tests.toys import pico, pico_gemma4, pico_qwen35

RECIPES = EXAMPLES | SHAPES
MAKERS = {"llama": lambda path, **options: pico("llama", path, **options), "gemma4": pico_gemma4, "qwen35": pico_qwen35}
STEPS = {torch.bfloat16: 2**-7, torch.float16: 2**-10, torch.float32: 2**-18}
OTHER_FAMILIES = ("linear", "gradient-slerp", "ties", "mega", "dare_ties of five", "a chain of documents")
BACK = (
    "ties", "own weights before the common one", "linear", "dare_ties of five", "della with windows",
    "dare_linear normalized", "a task vector taken away", "five with filters and gradients",
)  # fmt: skip
# mergekit draws other masks, drops rows that no token uses, and merges no model with other layers of its own.
PARITY = (
    "bio-merge", "gradient-slerp", "linear", "orcamini-platy-44layer", "ties", "base listed without parameters",
    "one weight for all", "own weights before the common one", "one model beside its base", "a task vector taken away",
    "linear with a base among the models", "slerp without slices", "slices with parameters",
    "slices with bases among the sources", "slices of unequal sources", "layers left out",
    "five with filters and gradients",
    "layers repeated with scaled outputs", "passthrough of one model", "an adapter merged in",
    "adapters among the parents", "a model as a mapping", "out_dtype", "model_stock", "sce", "karcher", "nuslerp",
    "nearswap", "multislerp", "ramplus_tl",
)  # fmt: skip


def adapter(folder: Path, seed: int, base: Path) -> Path:
    """A LoRA of rank 2 on a model's query and down projections."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    names, tensors = ("q_proj", "down_proj"), {}
    for name, stored in tensors_of(base).items():
        module = name.removesuffix(".weight")
        if module.endswith(names):
            rows, columns = stored.shape
            tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(2, columns, generator=generator)
            tensors[f"base_model.model.{module}.lora_B.weight"] = 0.1 * torch.randn(rows, 2, generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": [*names], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """The letters of the recipes, by family."""
    root = tmp_path_factory.mktemp("models")
    letters = ("BASE", "A", "B", "C", "D", "E")
    at = {
        family: {name: make(root / family / name, seed=seed, dtype="bfloat16") for seed, name in enumerate(letters)}
        for family, make in MAKERS.items()
    }
    at["llama"]["ADAPTER"] = adapter(root / "adapter", 7, at["llama"]["BASE"])
    return at


def filled(text: str, at: dict[str, Path]) -> str:
    return re.sub(r"\b([A-E]|BASE|ADAPTER)\b", lambda match: str(at[match[1]]), text)


def build(text: str, at: dict[str, Path], root: Path, seed: int = 1) -> Path:
    """The child of a recipe; nothing is left beside it."""
    recipe = root / "recipe.yaml"
    recipe.write_text(filled(text, at), encoding="utf-8")
    merge_recipe(recipe, root / "out" / "child", seed=seed, offline=True)
    assert [path.name for path in (root / "out").iterdir()] == ["child"]
    return root / "out" / "child"


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    with CheckpointReader(folder) as reader:
        return {name: reader.tensor(name) for name in reader.names()}


def merged_here(name: str) -> bool:
    return all(data["merge_method"] in (*OPERATORS, "passthrough") for data in yaml.safe_load_all(RECIPES[name]))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_read(tmp_path: Path, name: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPES[name], encoding="utf-8")
    documents = build_order(read_documents(recipe))
    last = list(yaml.safe_load_all(RECIPES[name]))[-1]
    assert documents[-1].method == last["merge_method"] and documents[-1].dtype in (
        last.get("out_dtype"), last.get("dtype"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "family"),
    [
        *((name, "llama") for name in RECIPES if merged_here(name)),
        *((name, family) for name in OTHER_FAMILIES for family in ("gemma4", "qwen35")),
    ],
)
def test_a_child_loads_and_generates(
    models: dict[str, dict[str, Path]], tmp_path: Path, name: str, family: str
) -> None:
    child = build(RECIPES[name], models[family], tmp_path)
    model: Any = AutoModelForCausalLM.from_pretrained(child, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(child)
    inputs = tokenizer("the", return_tensors="pt")
    out = model.generate(input_ids=inputs["input_ids"], max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert out.shape[1] == inputs["input_ids"].shape[1] + 3
    last = list(yaml.safe_load_all(RECIPES[name]))[-1]
    wanted = last.get("out_dtype") or last.get("dtype") or "bfloat16"
    assert model.dtype == getattr(torch, wanted)
    assert {str(value.dtype) for value in tensors_of(child).values()} == {f"torch.{wanted}"}
    if "chat_template" in last:
        asked = last["chat_template"]
        shown = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
        assert shown == ("<|im_start|>user\nhi<|im_end|>\n" if asked == "chatml" else "hi")


@pytest.fixture(scope="module")
def oracle(models: dict[str, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mergekit's children, all in one process; its arithmetic in fp32, as ours is."""
    root = tmp_path_factory.mktemp("oracle")
    jobs = [(in_fp32(filled(RECIPES[name], models["llama"])), root / name) for name in PARITY if merged_here(name)]
    write_children(jobs, root, lora_merge_cache=str(root / "lora"), lora_merge_dtype="float32")
    return root


def in_fp32(text: str) -> dict[str, Any]:
    data = yaml.safe_load(text)
    out = data.get("out_dtype") or data.get("dtype") or "bfloat16"
    return data | {"dtype": "float32", "out_dtype": out}


@pytest.mark.parametrize("name", [name for name in PARITY if merged_here(name)])
def test_parity_with_mergekit(oracle: Path, models: dict[str, dict[str, Path]], tmp_path: Path, name: str) -> None:
    """Equal to one rounding of the output type, and the same configuration and tokenizer."""
    child, other = build(RECIPES[name], models["llama"], tmp_path), oracle / name
    own, theirs = tensors_of(child), tensors_of(other)
    assert own.keys() == theirs.keys()
    for key, one in own.items():
        two = theirs[key]
        assert one.dtype == two.dtype and one.shape == two.shape
        step = torch.maximum(one.float().abs(), two.float().abs()) * STEPS[one.dtype] + 1e-6
        wrong = (one.float() - two.float()).abs() > step
        if name == "sce":  # vectors that cancel elect no sign here, in mergekit the positive one
            base, *parents = (tensors_of(models["llama"][letter])[key].float() for letter in ("BASE", *"ABCD"))
            wrong &= sum(parent - base for parent in parents) != 0
        # Elections: elements at a trim's edge, which mergekit keeps by their place, and vectors that cancel.
        allowed = 0.02 * wrong.numel() + 2 if "ties" in RECIPES[name] else 0
        assert int(wrong.sum()) <= allowed, f"{key}: {int(wrong.sum())} of {wrong.numel()}"
    for file in ("config.json",):
        ours, mergekits = (json.loads((folder / file).read_text(encoding="utf-8")) for folder in (child, other))
        changed = {"transformers_version", "dtype", "torch_dtype", "_name_or_path", "architectures"}
        assert {k: v for k, v in ours.items() if k not in changed and k in mergekits} == {
            k: v for k, v in mergekits.items() if k not in changed and k in ours
        }
    assert (child / "tokenizer.json").read_bytes() == (other / "tokenizer.json").read_bytes()


def test_a_model_named_twice_counts_twice(models: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    once = (
        "models: [{model: A, parameters: {weight: 0.7}}, {model: B, parameters: {weight: 0.3}}]\nmerge_method: linear"
    )
    for name, text in (("twice", SHAPES["a model named twice"]), ("once", once)):
        (tmp_path / name).mkdir()
        build(text, models["llama"], tmp_path / name)
    one, two = (tensors_of(tmp_path / name / "out" / "child") for name in ("twice", "once"))
    for key, value in one.items():
        assert torch.allclose(value.float(), two[key].float(), rtol=2**-7, atol=1e-6), key


def test_the_child_has_the_bases_configuration(models: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    """As in mergekit, which takes configuration and tokenizer from base_model."""
    base = pico("llama", tmp_path / "base", dtype="bfloat16", rms_norm_eps=1e-4)
    (base / "chat_template.jinja").write_text("{{ messages }} of the base", encoding="utf-8")
    child = build(EXAMPLES["bio-merge"], {**models["llama"], "BASE": base}, tmp_path)
    config = json.loads((child / "config.json").read_text(encoding="utf-8"))
    assert config["rms_norm_eps"] == 1e-4 and config["dtype"] == "float16"
    assert (child / "chat_template.jinja").read_text(encoding="utf-8").endswith("of the base")


def test_auto_takes_the_template_that_most_models_have(models: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    made = {name: pico("llama", tmp_path / name, seed=seed) for seed, name in enumerate("ABCD")}
    for name, template in (("A", "{{ first }} of one"), ("B", "{{ second }} of two"), ("C", "{{ second }} of two\n")):
        (made[name] / "chat_template.jinja").write_text(template, encoding="utf-8")
    child = build(SHAPES["one weight for all"] + "\nchat_template: auto", made, tmp_path)
    assert (child / "chat_template.jinja").read_text(encoding="utf-8") == "{{ second }} of two"


@pytest.mark.parametrize("name", BACK)
def test_a_recipe_read_and_written_gives_the_same_child(
    models: dict[str, dict[str, Path]], tmp_path: Path, name: str
) -> None:
    at = models["llama"]
    (tmp_path / "one.yaml").write_text(filled(RECIPES[name], at), encoding="utf-8")
    request = read_merge(None, tmp_path / "one.yaml", {}, seed=3, offline=True)
    export_recipe(request, tmp_path / "two.yaml", offline=True)
    one, two = (tmp_path / f"{name}-child" for name in ("one", "two"))
    for path in ("one", "two"):
        merge_recipe(tmp_path / f"{path}.yaml", tmp_path / f"{path}-child", seed=3, offline=True)
    first, second = tensors_of(one), tensors_of(two)
    for key, value in first.items():  # the export is of the father's dtype
        assert torch.allclose(value.float(), second[key].float(), rtol=2**-7, atol=1e-6), key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nmodels: [{model: y}, {model: A}]\nmerge_method: linear\nparameters: {weight: 1}\n---\n"
         "name: y\nmodels: [{model: x}, {model: A}]\nmerge_method: linear\nparameters: {weight: 1}", "need each other"),
        ("models: [{model: A}]\nmerge_method: linear\n---\nmodels: [{model: B}]\nmerge_method: linear", "no name"),
        ("name: x\nmodels: [{model: A}, {model: B}]\nmerge_method: linear\nparameters: {weight: 1}\n---\n"
         "models: [{model: x}, {model: no/such}]\nmerge_method: linear\nparameters: {weight: 1}", "no such folder"),
        ("slices: [{sources: [{model: A, layer_range: [0, 9]}]}]\nmerge_method: passthrough", "has layers 0 to 3"),
        ("slices: [{sources: [{model: A, layer_range: [0, 2]}, {model: B, layer_range: [0, 3]}]}]\n"
         "merge_method: linear", "equally many layers"),
        ("models: [{model: A, weight: 0.9}, {model: B}]\nmerge_method: linear\nparameters: {weight: 0.5}",
         "'weight' of a model is not supported here"),
        ("slices: [{sources: [{model: A, layer_range: [0.5, 2.9]}]}]\nmerge_method: passthrough", "two whole numbers"),
        ("models: [{model: A}, {model: B}]\nmerge_method: linear\nparameters: {weight: 0.5}\n"
         "tokenizer: {source: union, tokens: {<eos>: {source: A, force: 'false'}}}", "force as true or false"),
    ],
)  # fmt: skip
def test_a_bad_recipe_is_refused_in_one_line_and_leaves_nothing(
    models: dict[str, dict[str, Path]], tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "out").mkdir()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(filled(text, models["llama"]), encoding="utf-8")
    with pytest.raises(DarwinError, match=words) as caught:
        merge_recipe(recipe, tmp_path / "out" / "child", offline=True)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("more", ["merge_method: passthrough", "merge_method: linear\nout_dtype: float32"])
def test_a_father_that_could_not_be_replaced_wholly_is_refused(
    models: dict[str, dict[str, Path]], tmp_path: Path, more: str
) -> None:
    recipe, own = tmp_path / "recipe.yaml", models["llama"]
    named = "[{model: A}]" if "passthrough" in more else "[{model: A}, {model: B}]"
    recipe.write_text(filled(f"models: {named}\nparameters: {{weight: 0.5}}\n{more}", own), encoding="utf-8")
    with pytest.raises(ConfigError, match="replace"):
        merge_recipe(recipe, tmp_path / "child", overrides={"father": str(own["B"])}, offline=True)
    assert not (tmp_path / "child").exists()


def test_a_child_names_the_documents_it_comes_from(models: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    """By their names in the recipe, not by the folders they were kept in."""
    child = build(SHAPES["a chain of documents"], models["llama"], tmp_path)
    note = json.loads((child / "darwin_mri.json").read_text(encoding="utf-8"))
    assert note["genealogy"] == ["first = A x B (linear)", "second = first x C (slerp)", "out = second x first (ties)"]
    assert str(tmp_path) not in (child / "darwin_mri.json").read_text(encoding="utf-8")


def test_several_documents_are_no_single_genome(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(EXAMPLES["mega"], encoding="utf-8")
    with pytest.raises(ConfigError, match="holds 2 documents"):
        read_merge(None, recipe, {}, offline=True)
