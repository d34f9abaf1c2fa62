"""The check before a run: right about what fits and what does not, without reading a weight."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch

from darwin_mri.benchmarks import ChoiceItem
from darwin_mri.checkpoints import find_model, load_tokenizer, read_header
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import ARMS, OPERATORS, Config, load_config, make_config
from darwin_mri.errors import InputError
from darwin_mri.merging import Settings, blend
from darwin_mri.merging.arms import build_donors
from darwin_mri.merging.compatibility import all_faults
from darwin_mri.merging.settings import NEEDS_BASE, OF_TWO
from darwin_mri.pipeline import plan
from darwin_mri.planning import count_tokens, machine, memory
from darwin_mri.planning.plan import plan_run
from darwin_mri.records import PlanNeed
from tests.commands import call
from tests.merging.pairs import context, loaded, texts
from tests.planning.hub import serve_hub
from tests.planning.sparse import sparse_model
from tests.slow import slow
from tests.toys import pico, pico_gemma4, pico_qwen35

SIZES = {
    "father": {"family": "gemma4_text", "layers": 42, "hidden": 2560, "ffn": 10240, "vocabulary": 262144},
    "mother": {"family": "qwen3_5_text", "layers": 32, "hidden": 2560, "ffn": 9216, "vocabulary": 248320},
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pair of the Darwin-4B-Genesis card in its real sizes."""
    root = tmp_path_factory.mktemp("large")
    return {role: str(sparse_model(root / role, **size)) for role, size in SIZES.items()}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("toys")
    folders = {
        "father": pico_gemma4(root / "father", dtype="bfloat16"),
        "sister": pico_gemma4(root / "sister", seed=1, dtype="bfloat16"),
        "mother": pico_qwen35(root / "mother", dtype="bfloat16"),
        "narrow": pico_qwen35(root / "narrow", hidden_size=40, num_attention_heads=4, head_dim=8),
        "mixtral": pico("mixtral", root / "mixtral"),
        "neox": pico("gpt_neox", root / "neox"),
    }
    return {name: str(folder) for name, folder in folders.items()}


@slow
def test_a_pair_in_real_sizes_is_planned_without_a_weight(large: dict[str, str], tmp_path: Path) -> None:
    """In a process of its own, within seconds: the numbers are those of the two models."""
    code = (
        "import json, resource, sys\nfrom pathlib import Path\nfrom darwin_mri.config import make_config\n"
        "from darwin_mri.planning.plan import plan_run\n"
        "plan = plan_run(make_config(json.loads(sys.argv[1]), 'test'), Path(sys.argv[2]))\n"
        "most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "print(json.dumps({'most': most, 'plan': plan.model_dump(mode='json')}))"
    )
    config = {**large, "method": "folded", "search": {"space": "ffn"}, "device": "cpu"}
    process = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    document = json.loads(process.stdout)
    plan = document["plan"]
    assert document["most"] < 1.5e9 < plan["parents"][0]["size"] / 4
    assert [(p["layers"], p["hidden_size"], p["ffn_size"]) for p in plan["parents"]] == [
        (42, 2560, 10240),
        (32, 2560, 9216),
    ]
    stored = read_header(Path(large["father"]) / "model.safetensors").values()
    assert plan["parents"][0]["parameters"] == sum(prod(tensor["shape"]) for tensor in stored) > 7e9
    disk = next(need for need in plan["needs"] if need["name"] == "disk")
    assert disk["needed"] > plan["parents"][0]["size"] > 8e9
    assert {m["name"] for m in plan["methods"] if m["possible"]} == set(ARMS)
    assert plan["fits"] == (not plan["problems"])
    assert str(Path(large["father"]).parent) not in process.stdout


@pytest.mark.parametrize(
    ("mother", "impossible", "reason"),
    [
        ("sister", set(NEEDS_BASE), "needs a base"),
        ("mother", set(OPERATORS), "model_type qwen3_5_text"),
        ("narrow", {*OPERATORS, "raw", "folded"}, "equal hidden sizes: father 32, mother 40"),
        ("mixtral", {*OPERATORS, *ARMS} - {"competence"}, "no plain FFN"),
        ("neox", {*OPERATORS, *ARMS} - {"competence"}, "no gate"),
    ],
)
def test_methods_that_a_pair_rules_out_have_a_reason(
    toys: dict[str, str], mother: str, impossible: set[str], reason: str
) -> None:
    faults = all_faults(survey(Path(toys["father"])), [survey(Path(toys[mother]))], None)
    assert {name for name, fault in faults.items() if fault} == impossible
    assert any(reason in (fault or "") for fault in faults.values())


def test_two_other_parents_rule_out_arms_and_one_of_another_family_operators(toys: dict[str, str]) -> None:
    father, sister, mother = (survey(Path(toys[name])) for name in ("father", "sister", "mother"))
    faults = all_faults(father, [sister, mother], None)
    assert all("not with 2" in (faults[arm] or "") for arm in ARMS)
    assert all("model_type qwen3_5_text" in (faults[operator] or "") for operator in OPERATORS)
    siblings = all_faults(father, [sister, sister], None)
    assert {operator for operator in OPERATORS if siblings[operator]} == (NEEDS_BASE | OF_TWO) & {*OPERATORS}


@pytest.mark.parametrize(
    ("count", "method", "nulls"), [(2, "task_arithmetic", 4), (3, "task_arithmetic", 5), (3, "model_stock", 4)]
)
def test_the_plan_counts_the_null_children(
    toys: dict[str, str], count: int, method: str, nulls: int, tmp_path: Path
) -> None:
    parents = [toys["father"], toys["sister"], toys["sister"]][:count]
    config = make_config({"parents": parents, "base": toys["father"], "method": method, "device": "cpu"}, "test")
    bench = next(stage for stage in plan_run(config, tmp_path / "run", rate=1.0).stages if stage.name == "bench")
    assert f"{nulls} null children" in bench.note


def test_seconds_follow_the_length_of_the_items_that_are_at_hand(toys: dict[str, str], tmp_path: Path) -> None:
    spent = {}
    for words in (6, 60):
        file = tmp_path / f"{words}.jsonl"
        item = {"choices": ["red", "green"], "answer": 0}
        file.write_text("".join(json.dumps(item | {"question": f"{i} one" * words}) + "\n" for i in range(60)))
        config = make_config(
            {
                **{role: toys[name] for role, name in (("father", "father"), ("mother", "sister"))},
                "method": "linear",
                "tasks": {"mine": {"jsonl": str(file)}},
                "device": "cpu",
            },
            "test",
        )
        record = plan(config, tmp_path / "run", offline=True, rate=1e9)
        assert not record.problems, record.problems
        spent[words] = {stage.name: stage.seconds for stage in record.stages}
    for stage in ("prior", "search", "bench"):
        assert 2 < spent[60][stage] / spent[6][stage] < 12, stage


def test_tokens_of_items_are_counted_by_the_fathers_tokenizer(toys: dict[str, str]) -> None:
    tokenizer = load_tokenizer(find_model(toys["father"], offline=True))
    fields = {"cluster": "c", "slice": "all", "benchmark": "mine", "gold": 0}
    items = [ChoiceItem(key=str(i), context="what is it?", choices=("a b", "c"), **fields) for i in range(3)]
    length = count_tokens(items, tokenizer)
    assert length is not None and length.choices == 2
    assert length.question == len(tokenizer("what is it?", add_special_tokens=False)["input_ids"])
    assert length.once == pytest.approx(length.question + 2 * length.choice)
    assert count_tokens([], tokenizer) is None


def test_the_plan_counts_a_repair(toys: dict[str, str], tmp_path: Path) -> None:
    config = {"father": toys["father"], "mother": toys["sister"], "base": toys["father"], "device": "cpu"}
    plain, repaired = (
        plan_run(make_config({**config, **changes}, "test"), tmp_path / "run", rate=1.0)
        for changes in ({}, {"repair": {"strengths": [0.1, 1.0], "memory_gb": 2.0}})
    )
    stages = {stage.name: stage for stage in repaired.stages}
    assert set(stages) - {stage.name for stage in plain.stages} == {"repair"}
    assert stages["repair"].note.startswith("2 strengths and 2 nulls") and stages["repair"].seconds > 0
    assert "four models and 6 null children" in stages["bench"].note
    needs = [{need.name: need for need in plan.needs} for plan in (plain, repaired)]
    assert needs[1]["disk"].needed > needs[0]["disk"].needed and "repaired child" in needs[1]["disk"].note
    assert needs[1]["host memory"].needed > 2 * 2**30 and "repair" in needs[1]["host memory"].note


def test_the_plan_and_the_arms_agree_on_what_is_possible(toys: dict[str, str]) -> None:
    """The plan reads names and shapes, the arms read models."""
    models = {name: loaded(Path(toys[name])) for name in ("father", "mother", "narrow", "neox")}
    for father, mother in (("father", "mother"), ("father", "narrow"), ("father", "neox"), ("neox", "mother")):
        faults = all_faults(survey(Path(toys[father])), [survey(Path(toys[mother]))], None)
        for arm in ARMS:
            try:
                list(build_donors(arm, context(models[father], models[mother], texts(4, 40), writer="nobody")))
                assert faults[arm] is None, (father, mother, arm)
            except InputError as error:
                assert faults[arm], (father, mother, arm, error)


@pytest.mark.parametrize("name", ["opus-4b", "david-4b", "genesis-4b"])
def test_full_size_configs_are_planned_from_recorded_shapes(name: str, tmp_path: Path) -> None:
    """No hub, no weights: sizes from the recorded shapes, device memory by stage, hours at the rate that is given."""
    config = load_config(Path("configs") / f"{name}.yaml", {})
    plan = plan_run(config, tmp_path, offline=True, rate=100e12)
    father = plan.parents[0]
    assert (father.layers, father.hidden_size, father.ffn_size) == (42, 2560, 10240)
    # 7.463e9 of the text model, as counted on the published configuration, and the tower.
    assert 7.46e9 < father.parameters < 7.7e9 and father.dtype == "BF16" and "recorded" in father.note
    needs = {need.name: need for need in plan.needs}
    assert 15e9 < needs["disk"].needed < 24e9 and needs["device memory"].needed > father.size
    assert all(word in needs["device memory"].note for word in ("scan", "search"))
    assert plan.speed == "100 TFLOP/s in a forward pass, as given"
    twice = plan_run(config, tmp_path, offline=True, rate=200e12)
    assert twice.seconds == pytest.approx(plan.seconds / 2, rel=0.01)
    if name == "genesis-4b":
        assert plan.parents[1].layers == 32 and {m.name for m in plan.methods if m.possible} == set(ARMS)
        assert needs["device memory"].needed < 80e9
        small = plan_run(config, tmp_path, offline=True, rate=100e12, memory=22 * 2**30)  # the mother waits
        assert next(need for need in small.needs if need.name == "device memory").fits


def test_prompts_of_a_folder_are_counted_with_what_is_written(tmp_path: Path) -> None:
    stages = []
    for number in (20, 60):
        folder = tmp_path / f"prompts-{number}"
        folder.mkdir()
        rows = [
            {"text": f"Question {n} is about", "language": "en", "domain": "knowledge", "doc": str(n)}
            for n in range(number)
        ]
        (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        asked: dict[str, Any] = {
            "father": "nursery:gemma4-korean",
            "mother": "nursery:qwen35-mother",
            "method": "competence",
        }
        asked |= {"fitness": {"nursery_click": 1}, "bench": {"tasks": ["nursery_click"]}}
        arm = {"prompts": str(folder), "documents": 2, "layers": [6, 7], "place": "subject"}
        config = make_config({**asked, "arm": arm, "search": {"space": "ffn"}, "device": "cpu"}, "test")
        stages.append(
            next(stage for stage in plan(config, tmp_path / "run", rate=1e9).stages if stage.name == "donors")
        )
    assert stages[1].seconds > stages[0].seconds and all(stage.note.startswith("2 refits over") for stage in stages)
    assert not any("apart" in stage.note for stage in stages)


def test_a_folder_without_weights_is_planned_like_the_whole_model(toys: dict[str, str], tmp_path: Path) -> None:
    bare = {}
    for role in ("father", "mother"):
        folder = tmp_path / role
        folder.mkdir()
        for name in ("config.json", "tokenizer.json"):
            (folder / name).write_bytes((Path(toys[role]) / name).read_bytes())
        bare[role] = str(folder)
    plans = [
        plan_run(
            make_config({**refs, "method": "aligned", "search": {"space": "ffn"}, "device": "cpu"}, "test"), tmp_path
        )
        for refs in (bare, {role: toys[role] for role in bare})
    ]
    figures = [[(p.parameters, p.layers, p.ffn_size, p.vocabulary) for p in plan.parents] for plan in plans]
    assert figures[0] == figures[1]
    assert {p.note for p in plans[0].parents} == {"from config.json alone"}
    assert not any(p.note for p in plans[1].parents)
    assert [need.needed for need in plans[0].needs] == [need.needed for need in plans[1].needs]


def test_on_a_small_device_a_model_waits_in_host_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(Path("configs/opus-4b.yaml"), {})

    def device(gigabytes: int) -> machine.Device:
        return machine.Device("a device", gigabytes * 10**9, 1e14, "stated")

    for gigabytes, fits, waits in ((140, True, False), (48, True, True), (16, False, True)):
        monkeypatch.setattr(machine, "accelerator", lambda size=gigabytes: device(size))
        needs = {need.name: need for need in plan_run(config, tmp_path, offline=True).needs}
        assert needs["device memory"].fits is fits
        assert ("waits in host memory" in needs["device memory"].note) == waits


@slow
def test_on_a_small_host_values_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(Path("configs/opus-4b.yaml"), {"device": "cpu"})

    def need(memory: int | None) -> PlanNeed:
        monkeypatch.setattr(machine, "host_memory", lambda: memory)
        return next(need for need in plan_run(config, tmp_path, offline=True).needs if need.name == "host memory")

    roomy = need(None)
    short = need(roomy.needed - 1)
    assert (
        short.fits
        and short.needed < roomy.needed
        and "computed again" in short.note
        and "computed again" not in roomy.note
    )
    assert need(short.needed - 1).fits is False


def test_the_command_plan_prints_tables_or_json_and_exits_rightly(
    toys: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "host_memory", lambda: 2**36)
    out = tmp_path / "run"
    siblings = ["plan", "--father", toys["father"], "--mother", toys["sister"], "--device", "cpu", "--out", out]
    code, stdout, stderr = call(capfd, monkeypatch, *siblings)
    assert code == 0 and not stderr and "This run fits" in stdout and not out.exists()
    code, stdout, _ = call(capfd, monkeypatch, *siblings, "--json")
    document = json.loads(stdout)
    assert code == 0 and document["fits"] and document["siblings"] and document["evaluations"] == 64
    code, stdout, _ = call(capfd, monkeypatch, *siblings, "--method", "ties")
    assert code == 3 and "needs a base model" in " ".join(stdout.split())
    code, stdout, _ = call(capfd, monkeypatch, *siblings[:4], toys["mother"], *siblings[5:], "--method", "aligned")
    assert code == 0
    for words, expected, message in (
        (["plan"], 2, "--config"),
        (["plan", "--father", "nursery:x", "--mother", toys["mother"]], 1, "known:"),
    ):
        code, _, stderr = call(capfd, monkeypatch, *words)
        assert code == expected and message in stderr and len(stderr.strip().splitlines()) == 1


def test_a_method_on_the_command_line_brings_its_own_space(
    toys: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's space is for its operator; the arm on the command line changes FFNs only."""
    monkeypatch.setattr(machine, "host_memory", lambda: 2**36)
    path = tmp_path / "run.yaml"
    path.write_text(
        f"father: {toys['father']}\nmother: {toys['mother']}\nsearch: {{space: layers}}\n", encoding="utf-8"
    )
    words = ["plan", "--config", path, "--device", "cpu", "--out", tmp_path / "run"]
    code, stdout, _ = call(capfd, monkeypatch, *words)
    assert code == 3 and "model_type qwen3_5_text" in " ".join(stdout.split())
    code, stdout, stderr = call(capfd, monkeypatch, *words, "--method", "folded")
    assert code == 0 and not stderr and "This run fits" in stdout


def test_too_little_room_is_a_problem_with_advice(
    toys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config({"father": toys["father"], "mother": toys["sister"], "device": "cpu"}, "test")
    monkeypatch.setattr(machine, "host_memory", lambda: 1000)
    monkeypatch.setattr(machine, "free_disk", lambda folder: 1000)
    plan = plan_run(config, tmp_path)
    assert not plan.fits and len(plan.problems) == 2
    assert all("bytes are missing" in problem for problem in plan.problems)
    monkeypatch.setattr(machine, "host_memory", lambda: None)
    assert next(need for need in plan_run(config, tmp_path).needs if need.name == "host memory").fits is None


def test_breed_does_not_begin_what_the_machine_cannot_hold(
    toys: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "host_memory", lambda: 1000)
    out = tmp_path / "run"
    words = ["breed", "--father", toys["father"], "--mother", toys["sister"], "--device", "cpu", "--out", out]
    code, stdout, stderr = call(capfd, monkeypatch, *words)
    assert code == 3 and not stdout and not out.exists()
    assert "host memory" in stderr and "bytes are missing" in stderr and len(stderr.strip().splitlines()) == 1


@pytest.fixture
def hub(toys: dict[str, str]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """(address, what is fetched from it) of a hub that holds the toys."""
    with serve_hub(Path(toys["father"]).parent) as served:
        yield served


def test_a_model_on_the_hub_is_planned_from_its_headers(
    hub: tuple[str, list[tuple[str, int]]], toys: dict[str, str], tmp_path: Path
) -> None:
    """Of a weight file only the first 100,000 bytes are fetched, which hold its header; the plan stays the same."""
    address, fetched = hub
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    env |= {
        "HF_ENDPOINT": address,
        "HF_HOME": str(tmp_path / "cache"),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    words = ["plan", "--mother", "o/mother", "--method", "aligned", "--device", "cpu", "--json", "--out", str(tmp_path)]
    process = subprocess.run(
        [sys.executable, "-m", "darwin_mri", *words, "--father", "o/father"],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
    )
    document = json.loads(process.stdout)
    assert process.returncode == (0 if document["fits"] else 3), process.stderr  # a busy machine may have no room
    planned = [(p["layers"], p["parameters"], p["size"]) for p in document["parents"]]
    surveys = [survey(Path(toys[role])) for role in ("father", "mother")]
    assert planned == [(len(s.anatomy.layers), s.parameters, s.size) for s in surveys]
    weights = [count for name, count in fetched if name.endswith(".safetensors")]
    assert weights and max(weights) <= 100_001
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("base", ["father", "another"])
@pytest.mark.parametrize("densities", [(0.9, 1.0), (0.9, 0.99), (1.0, 1.0)])
@pytest.mark.parametrize("method", OPERATORS)
def test_the_plan_counts_what_a_search_keeps(
    method: Any, densities: tuple[float, float], base: str, dtype: torch.dtype
) -> None:
    father, mother, other = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    settings = Settings(density=densities[0], density_father=densities[1])
    blended = blend(method, (father, mother), father if base == "father" else other, settings, seed=1, name="x")
    own: dict[str, float | str] = {"moments": "identity"} if method == "regression" else {}
    config = Config(
        father="father",
        mother="mother",
        base=base,
        method=method,
        density=densities[0],
        density_father=densities[1],
        settings=own,
    )
    for place in ("cpu", "cuda"):
        kept = blended.kept_bytes(torch.device(place)) / father.numel()
        assert kept == pytest.approx(memory.kept_bytes(config, place != "cpu", dtype.itemsize), abs=0.01)


def test_a_device_that_is_not_here_can_be_planned_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "accelerator", lambda: None)
    monkeypatch.setattr(machine, "host_memory", lambda: 24 * 2**30)
    for name in ("genesis", "opus", "david"):
        config = load_config(Path(f"configs/{name}-4b.yaml"), {})
        for gigabytes, fits in ((24, True), (16, False)):
            plan = plan_run(config, tmp_path, offline=True, memory=gigabytes * 2**30)
            device = next(need for need in plan.needs if need.name == "device memory")
            assert device.fits is fits and device.available == gigabytes * 2**30
            assert device.needed < 22 * 2**30
        assert not any("no NVIDIA device" in problem for problem in plan.problems)
