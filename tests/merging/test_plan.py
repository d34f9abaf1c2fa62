"""The pre-flight: right about what fits and what does not, without torch and without reading a weight."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import ARMS, OPERATORS, Config, load_config, make_config
from darwin_mri.merging import Settings, blend
from darwin_mri.merging.compatibility import all_faults
from darwin_mri.planning import machine, memory
from darwin_mri.planning.plan import plan_run
from darwin_mri.records import PlanNeed
from tests.merging.commands import call
from tests.toys import pico, pico_gemma4, pico_qwen35

SIZES = {
    "father": {"family": "gemma4_text", "layers": 42, "hidden": 2560, "ffn": 10240, "vocabulary": 262144},
    "mother": {"family": "qwen3_5_text", "layers": 32, "hidden": 2560, "ffn": 9216, "vocabulary": 248320},
}


def sparse_model(folder: Path, family: str, layers: int, hidden: int, ffn: int, vocabulary: int) -> Path:
    """A folder as large as a real model whose weights are a hole in the file: whoever reads them reads for minutes."""
    folder.mkdir()
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for i in range(layers):
        place = f"model.layers.{i}."
        shapes |= {f"{place}mlp.gate_proj.weight": (ffn, hidden), f"{place}mlp.up_proj.weight": (ffn, hidden)}
        shapes |= {f"{place}mlp.down_proj.weight": (hidden, ffn), f"{place}self_attn.o_proj.weight": (hidden, 2048)}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + at)
    config = {
        "model_type": family, "hidden_size": hidden, "num_hidden_layers": layers, "intermediate_size": ffn, "vocab_size": vocabulary,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The seed's pair in its real sizes."""
    root = tmp_path_factory.mktemp("large")
    return {role: str(sparse_model(root / role, **size)) for role, size in SIZES.items()}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("toys")
    made = {
        "father": pico_gemma4(root / "father", dtype="bfloat16"), "sister": pico_gemma4(root / "sister", seed=1, dtype="bfloat16"),
        "mother": pico_qwen35(root / "mother", dtype="bfloat16"),
        "narrow": pico_qwen35(root / "narrow", hidden_size=40, num_attention_heads=4, head_dim=8),
        "mixtral": pico("mixtral", root / "mixtral"), "neox": pico("gpt_neox", root / "neox"),
    }  # fmt: skip
    return {name: str(folder) for name, folder in made.items()}


def test_the_seeds_pair_in_its_real_sizes(large: dict[str, str], tmp_path: Path) -> None:
    """Run apart: seconds, no torch, and the numbers of the two models; what is too large for this machine is said."""
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom darwin_mri.config import make_config\n"
        "from darwin_mri.planning.plan import plan_run\n"
        "plan = plan_run(make_config(json.loads(sys.argv[1]), 'test'), Path(sys.argv[2]))\n"
        "print(json.dumps({'torch': 'torch' in sys.modules, 'plan': plan.model_dump(mode='json')}))"
    )
    config = {**large, "method": "folded", "search": {"space": "ffn"}, "device": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config), str(tmp_path)], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    out = json.loads(done.stdout)
    plan = out["plan"]
    assert not out["torch"]
    assert [(p["layers"], p["hidden_size"], p["ffn_size"]) for p in plan["parents"]] == [
        (42, 2560, 10240),
        (32, 2560, 9216),
    ]
    assert plan["parents"][0]["parameters"] == 262144 * 2560 + 42 * (3 * 2560 * 10240 + 2560 * 2048)
    disk = next(need for need in plan["needs"] if need["name"] == "disk")
    assert disk["needed"] > plan["parents"][0]["size"] > 8e9
    assert {m["name"] for m in plan["methods"] if m["possible"]} == set(ARMS)
    assert plan["fits"] == (not plan["problems"])
    assert str(Path(large["father"]).parent) not in done.stdout


@pytest.mark.parametrize(
    ("mother", "impossible", "reason"),
    [
        ("sister", {"ties", "dare_ties", "della"}, "needs a base"),
        ("mother", set(OPERATORS), "model_type qwen3_5_text"),
        ("narrow", {*OPERATORS, "raw", "folded"}, "equal hidden sizes: father 32, mother 40"),
        ("mixtral", {*OPERATORS, *ARMS} - {"competence"}, "no plain FFN"),
        ("neox", {*OPERATORS, *ARMS} - {"competence"}, "no gate"),
    ],
)
def test_every_method_with_its_reason(toys: dict[str, str], mother: str, impossible: set[str], reason: str) -> None:
    faults = all_faults(survey(Path(toys["father"])), survey(Path(toys[mother])), None)
    assert {name for name, fault in faults.items() if fault} == impossible
    assert any(reason in (fault or "") for fault in faults.values())


def test_what_the_plan_allows_can_be_done(toys: dict[str, str]) -> None:
    """The pre-flight reads names and shapes, the arms read models: both must agree on what is possible."""
    from darwin_mri.errors import InputError
    from darwin_mri.merging.arms import build_donors
    from tests.merging.pairs import context, side, texts

    sides = {name: side(Path(toys[name])) for name in ("father", "mother", "narrow", "neox")}
    for father, mother in (("father", "mother"), ("father", "narrow"), ("father", "neox"), ("neox", "mother")):
        faults = all_faults(survey(Path(toys[father])), survey(Path(toys[mother])), None)
        for arm in ARMS:
            try:
                list(build_donors(arm, context(sides[father], sides[mother], texts(4, 40), writer="nobody")))
                assert faults[arm] is None, (father, mother, arm)
            except InputError as error:
                assert faults[arm], (father, mother, arm, error)


@pytest.mark.parametrize("name", ["opus-4b", "david-4b", "genesis-4b"])
def test_the_seeds_configs_are_planned_from_configurations_alone(name: str, tmp_path: Path) -> None:
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


def test_a_folder_with_only_a_configuration_is_planned_like_the_whole(toys: dict[str, str], tmp_path: Path) -> None:
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
    for ours, whole in zip(plans[0].parents, plans[1].parents, strict=True):
        assert ours.note == "from config.json alone" and not whole.note
        assert (ours.parameters, ours.layers, ours.ffn_size, ours.vocabulary) == (
            whole.parameters, whole.layers, whole.ffn_size, whole.vocabulary
        )  # fmt: skip
    assert [need.needed for need in plans[0].needs] == [need.needed for need in plans[1].needs]


def test_on_a_small_device_the_plan_says_what_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(Path("configs/opus-4b.yaml"), {})

    def device(gigabytes: int) -> machine.Device:
        return machine.Device("a device", gigabytes * 10**9, 1e14, "stated")

    for gigabytes, fits, waits in ((140, True, False), (48, True, True), (16, False, True)):
        monkeypatch.setattr(machine, "accelerator", lambda size=gigabytes: device(size))
        needs = {need.name: need for need in plan_run(config, tmp_path, offline=True).needs}
        assert needs["device memory"].fits is fits
        assert ("waits in host memory" in needs["device memory"].note) == waits


def test_on_a_small_host_the_search_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_exit_codes_and_output(
    toys: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "host_memory", lambda: 2**36)
    siblings = [
        "plan",
        "--father",
        toys["father"],
        "--mother",
        toys["sister"],
        "--device",
        "cpu",
        "--out",
        tmp_path / "run",
    ]
    code, stdout, stderr = call(capfd, monkeypatch, *siblings)
    assert code == 0 and not stderr and "This run fits" in stdout and not (tmp_path / "run").exists()
    code, stdout, _ = call(capfd, monkeypatch, *siblings, "--json")
    document = json.loads(stdout)
    assert code == 0 and document["fits"] and document["siblings"] and document["evaluations"] == 64
    code, stdout, _ = call(capfd, monkeypatch, *siblings, "--method", "ties")
    assert code == 3 and "needs a base model" in " ".join(stdout.split())
    code, stdout, _ = call(capfd, monkeypatch, *siblings[:4], toys["mother"], *siblings[5:], "--method", "aligned")
    assert code == 0
    for words, wanted, say in (
        (["plan"], 2, "--config"),
        (["plan", "--father", "nursery:x", "--mother", toys["mother"]], 1, "known:"),
    ):
        code, _, stderr = call(capfd, monkeypatch, *words)
        assert code == wanted and say in stderr and len(stderr.strip().splitlines()) == 1


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
    words = [
        "breed",
        "--father",
        toys["father"],
        "--mother",
        toys["sister"],
        "--device",
        "cpu",
        "--out",
        tmp_path / "run",
    ]
    code, stdout, stderr = call(capfd, monkeypatch, *words)
    assert code == 3 and not stdout and not (tmp_path / "run").exists()
    assert "host memory" in stderr and "bytes are missing" in stderr and len(stderr.strip().splitlines()) == 1


@pytest.fixture
def hub(toys: dict[str, str]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """A server that speaks as much of the hub's protocol as fetching files takes; and what was fetched, with bytes sent."""
    root, sent = Path(toys["father"]).parent, []

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body: bool) -> None:
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[0] == "api":
                folder = root / parts[3]
                if "tree" in parts:
                    files = [
                        {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": path.name}
                        for path in folder.iterdir()
                    ]
                    return self.reply(200, json.dumps(files).encode(), body)
                siblings = [{"rfilename": path.name} for path in folder.iterdir()]
                return self.reply(
                    200, json.dumps({"id": f"o/{parts[3]}", "sha": "a" * 40, "siblings": siblings}).encode(), body
                )
            path = root / parts[1] / parts[4]
            if not path.is_file():
                return self.reply(404, b"", body, {"X-Error-Code": "EntryNotFound"})
            content, status, headers = path.read_bytes(), 200, {"X-Repo-Commit": "a" * 40, "ETag": f'"{path.name}"'}
            if span := self.headers.get("Range"):
                first, last = span.removeprefix("bytes=").split("-")
                whole = len(content)
                content, status = content[int(first) : int(last or whole) + 1], 206
                headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{whole}"
            if body:
                sent.append((path.name, len(content)))
            self.reply(status, content, body, headers)

        def reply(self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Length": str(len(content)),
                "Content-Type": "application/json",
                **(headers or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def do_GET(self) -> None:
            self.answer(True)

        def do_HEAD(self) -> None:
            self.answer(False)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", sent
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_on_the_hub_is_planned_from_its_headers(
    hub: tuple[str, list[tuple[str, int]]], toys: dict[str, str], tmp_path: Path
) -> None:
    """No more of a weight file than the first 100,000 bytes that hold its header is asked for, and the plan is the folder's own."""
    address, sent = hub
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    env |= {
        "HF_ENDPOINT": address,
        "HF_HOME": str(tmp_path / "cache"),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    words = ["plan", "--mother", "o/mother", "--method", "aligned", "--device", "cpu", "--json", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "darwin_mri", *words, "--father", "o/father"], capture_output=True, text=True, timeout=120, env=env
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr  # 3 where a busy machine has no 8 GiB for the arm
    ours, local = (survey(Path(toys[role])) for role in ("father", "mother"))
    for parent, found in zip(json.loads(done.stdout)["parents"], (ours, local), strict=True):
        assert (parent["layers"], parent["parameters"], parent["size"]) == (
            len(found.anatomy.layers),
            found.parameters,
            found.size,
        )
    weights = [count for name, count in sent if name.endswith(".safetensors")]
    assert weights and max(weights) <= 100_001
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("base", ["father", "another"])
@pytest.mark.parametrize("densities", [(0.9, 1.0), (0.9, 0.99), (1.0, 1.0)])
@pytest.mark.parametrize("method", OPERATORS)
def test_the_plan_counts_what_a_search_keeps(
    method: Any, densities: tuple[float, float], base: str, dtype: torch.dtype
) -> None:
    father, mother, other = (torch.randn(64, 64).to(dtype) for _ in range(3))
    given = Settings(density=densities[0], density_father=densities[1])
    made = blend(method, (father, mother), father if base == "father" else other, given, seed=1, name="x")
    config = Config(
        father="father", mother="mother", base=base, method=method, density=densities[0], density_father=densities[1]
    )
    for place in ("cpu", "cuda"):
        kept = made.kept_bytes(torch.device(place)) / father.numel()
        assert kept == pytest.approx(memory.kept_bytes(config, place != "cpu", dtype.itemsize), abs=0.01)
