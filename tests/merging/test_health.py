"""Each gate fails on a child with its fault and passes on a sound one; the command names it and exits with 3."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from darwin_mri.checkpoints import find_model, load_model, load_tokenizer
from darwin_mri.config import Config, ScanConfig
from darwin_mri.errors import InputError
from darwin_mri.merging.model_figures import bits_per_byte
from darwin_mri.merging.sampling import repetition, script_drift
from darwin_mri.probes import load_probes
from darwin_mri.problem.health import examine_child
from darwin_mri.problem.parents import Parents
from darwin_mri.records import Health
from tests.commands import call
from tests.toys import pico_gemma4, pico_of_few_tokens

FEW = ScanConfig(languages=("ko", "en"), documents=4)
UP = "model.layers.1.mlp.up_proj.weight"
NEED_FINITE = ("bits per byte, ko", "bits per byte, en", "repetition in greedy text")  # gates that no NaN passes


def changed(folder: Path, out: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    shutil.copytree(folder, out)
    tensors = load_file(out / "model.safetensors")
    change(tensors)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


def gates(child: Path, father: Path, mother: str | None = None, *, expect_change: bool = True) -> dict[str, bool]:
    health = check(child, father, mother, expect_change=expect_change)
    assert health.passed == all(gate.passed for gate in health.gates)
    return {gate.name: gate.passed for gate in health.gates}


def check(child: Path, father: Path, mother: str | None = None, *, expect_change: bool = True) -> Health:
    config = Config(father=str(father), mother=mother or str(father), scan=FEW, dtype="float32")
    parents = Parents.find(config, roles=None if mother else ("father",), device="cpu")
    return examine_child(child, parents, expect_change=expect_change)


@pytest.fixture(scope="module")
def father(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico_gemma4(tmp_path_factory.mktemp("health") / "father", dtype="bfloat16")


def test_a_sound_child_passes_and_an_unchanged_one_does_not(father: Path, tmp_path: Path) -> None:
    child = changed(father, tmp_path / "child", lambda t: t[UP].mul_(1.02))
    assert all(gates(child, father).values())
    same = changed(father, tmp_path / "same", lambda t: None)
    assert not gates(same, father)["tensors changed"] and all(gates(same, father, expect_change=False).values())


def _head(tensors: dict[str, torch.Tensor]) -> None:
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * 0.5


@pytest.mark.parametrize(
    ("failing", "change"),
    [
        ({"norm ratios"}, lambda t: t[UP].mul_(3)),
        ({"tensor names", "tensors changed", "tied head"}, _head),
        ({"finite weights", "tensors changed", *NEED_FINITE}, lambda t: t[UP].view(-1)[:1].fill_(float("inf"))),
        ({"shapes and dtypes", "tensors changed"}, lambda t: t.update({UP: t[UP].half()})),
    ],
)
def test_wrong_weights_fail_their_gates_and_no_others(
    father: Path, tmp_path: Path, failing: set[str], change: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    passed = gates(changed(father, tmp_path / "child", change), father)
    assert {name for name, passes in passed.items() if not passes} == failing


def test_configuration_and_tokenizer_must_be_the_fathers(father: Path, tmp_path: Path) -> None:
    child = changed(father, tmp_path / "child", lambda t: t[UP].mul_(1.02))
    (child / "tokenizer_config.json").write_text("{}")
    (child / "generation_config.json").unlink()
    gate = next(gate for gate in check(child, father).gates if gate.name == "configuration and tokenizer")
    assert not gate.passed and gate.value == 2 and "tokenizer_config.json" in gate.note


def test_a_child_far_along_a_task_vector_fails_the_text_gates(tmp_path: Path) -> None:
    """8 times the mother's task vector fails on both parents' text and loops; a small step passes every gate."""
    father, mother = find_model("nursery:gemma4-korean").folder, "nursery:gemma4-reasoning"
    weights = {
        name: load_file(find_model(f"nursery:gemma4-{name}").folder / "model.safetensors")
        for name in ("reasoning", "base")
    }

    def move(ratio: float) -> Callable[[dict[str, torch.Tensor]], None]:
        def change(tensors: dict[str, torch.Tensor]) -> None:
            for name, value in tensors.items():
                if name in weights["reasoning"] and value.is_floating_point():
                    task = weights["reasoning"][name].float() - weights["base"][name].float()
                    tensors[name] = (value.float() + ratio * task).to(value.dtype)

        return change

    near = gates(changed(father, tmp_path / "near", move(0.2)), father)
    assert all(near.values()), near
    far = gates(changed(father, tmp_path / "far", move(8.0)), father, mother)
    lost = (
        "bits per byte, ko",
        "bits per byte, en",
        "bits per byte, text the father wrote",
        "bits per byte, text the mother wrote",
    )
    assert not any(far[name] for name in lost) and not far["repetition in greedy text"]


def test_the_command_check_names_the_failed_gate(
    father: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = changed(father, tmp_path / "child", lambda t: t[UP].mul_(3))
    words = ["check", child, "--father", father, "--device", "cpu"]
    code, stdout, _ = call(capfd, monkeypatch, *words)
    assert code == 3 and "FAILED" in stdout and "norm ratios" in stdout
    code, stdout, _ = call(capfd, monkeypatch, *words, "--force", "--json")
    document = json.loads(stdout)
    assert code == 0 and not document["passed"]
    assert [gate["name"] for gate in document["gates"] if not gate["passed"]] == ["norm ratios"]
    code, _, stderr = call(capfd, monkeypatch, "check", tmp_path / "nothing", "--father", father)
    assert code == 1 and len(stderr.strip().splitlines()) == 1


@given(text=st.text(min_size=4, max_size=20), times=st.integers(5, 9))
def test_repetition_rises_with_a_texts_loops(text: str, times: int) -> None:
    assert repetition(text * times) >= 1 - (len(text) + 3) / (len(text) * times - 3) - 1e-9
    assert repetition("abcdefghijklmnop") == 0.0 and repetition("ab") == 0.0


@pytest.mark.parametrize(
    ("prompt", "text", "drift"),
    [
        ("한국의 수도는", "서울이다", 0.0),
        ("한국의 수도는", "Seoul", 1.0),
        ("The capital is", "서울 Seoul", 2 / 7),
        ("東京は日本の", "しゅとです", 0.0),
        ("Столица", "Paris", 1.0),
        ("한국의 GDP는 크다 그리고 해마다 자란다", "GDP", 1.0),
        ("123", "abc", 0.0),
        ("The café's", "thé", 0.0),
    ],
)
def test_script_drift_is_the_share_of_letters_in_other_scripts(prompt: str, text: str, drift: float) -> None:
    assert script_drift(prompt, text) == pytest.approx(drift)


def test_a_tokenizer_of_another_model_is_one_clear_line(tmp_path: Path) -> None:
    small = pico_of_few_tokens(tmp_path / "small")
    with pytest.raises(InputError, match=r"the tokenizer gives token \d+ where the model has 100 embeddings"):
        bits_per_byte(
            load_model(find_model(str(small)), device="cpu"), load_tokenizer(find_model(str(small))), load_probes()[:2]
        )
