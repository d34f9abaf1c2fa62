"""A fixed minute of hostile inputs, and a small test of everything that they brought to light."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from darwin_mri.checkpoints import find_model
from darwin_mri.checkpoints.loading import load_tokenizer
from darwin_mri.checkpoints.verify import read_header, verify_folder
from darwin_mri.config import load_config
from darwin_mri.errors import CheckpointError, ConfigError, DarwinError, InputError
from darwin_mri.probes import load_probes
from tests.commands import call
from tests.fuzz.kinds import KINDS
from tests.fuzz.material import make_material


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_material(tmp_path_factory.mktemp("fuzz") / "material")


def test_a_minute_of_hostile_inputs_finds_nothing(material: Path) -> None:
    """A busy machine must not fail it: a command may take a minute, not ten seconds."""
    words = ["--minutes", "1", "--seed", "1", "--workers", "1", "--limit", "60", "--out", str(material.parent)]
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", *words], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings" in done.stdout


@pytest.mark.parametrize("words", sorted({words for kind in KINDS.values() for words in kind.commands}), ids=" ".join)
def test_sound_inputs_are_read(
    words: tuple[str, ...],
    material: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a kind of hostile input would be refused for something else, and test nothing."""
    if "URL" in words:
        pytest.skip("needs a server: tests/benchmarks/test_endpoint.py")
    monkeypatch.chdir(shutil.copytree(material, tmp_path / "case"))
    if "generate" in words:
        template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
        Path("father/chat_template.jinja").write_text(template, encoding="utf-8")
    code, _, messages = call(capfd, monkeypatch, *words)
    assert code == 0, messages


@pytest.mark.parametrize("kind", ["circle", "pipe", "name"])
def test_odd_files_in_a_model_folder_are_refused(kind: str, material: Path, tmp_path: Path) -> None:
    """A link to itself was a traceback, a pipe a hang, and a name without an encoding a traceback in the record."""
    folder = shutil.copytree(material / "father", tmp_path / "father")
    config = folder / "tokenizer_config.json"
    if kind == "name":
        Path(os.fsdecode(bytes(config) + b"\xff")).write_bytes(b"x")
    else:
        config.unlink()
        config.symlink_to(config.name) if kind == "circle" else os.mkfifo(config)
    if kind == "circle":  # transformers takes it for a file that is not there
        verify_folder(folder)
        return
    with pytest.raises(CheckpointError, match="neither a file nor a folder" if kind == "pipe" else "not UTF-8"):
        verify_folder(folder)


@pytest.mark.parametrize("change", [{"__metadata__": {"format": ["pt"]}}, {"x": {"dtype": ["F32"]}}])
def test_a_header_whose_fields_are_no_texts_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    """Odd metadata went into a child that safetensors could not open; a list for a dtype was a traceback."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}} | change).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CheckpointError, match="is damaged"):
        read_header(path)


def test_yaml_nested_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text('{"a":' * 3000, encoding="utf-8")
    with pytest.raises(ConfigError, match="too deeply nested"):
        load_config(path, {})


def test_a_device_in_place_of_texts_is_refused(tmp_path: Path) -> None:
    """Reading one never ended, or took all memory."""
    (tmp_path / "own.jsonl").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        load_probes(tmp_path)


def test_a_pair_that_is_no_text_is_refused(tmp_path: Path) -> None:
    probe = {"text": "a", "language": "en", "domain": "prose", "doc": "d", "pair": ["p"]}
    (tmp_path / "own.jsonl").write_text(json.dumps(probe), encoding="utf-8")
    with pytest.raises(DarwinError, match="pair is no text"):
        load_probes(tmp_path)


def test_a_gguf_whose_length_leads_beyond_its_end_is_refused(material: Path, tmp_path: Path) -> None:
    """The gguf package's reader went on for as many turns as a damaged length said."""
    data = (material / "father.gguf").read_bytes()
    at = data.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens") + 8  # after the kinds of array and entry
    path = tmp_path / "father.gguf"
    path.write_bytes(data[:at] + struct.pack("<Q", 2**40) + data[at + 8 :])
    with pytest.raises(CheckpointError, match="leads beyond the end"):
        find_model(str(path))


def test_a_tokenizer_whose_settings_fail_when_it_is_used_is_refused(material: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(material / "father", tmp_path / "father")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": []}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="no tokenizer that loads"):
        load_tokenizer(find_model(str(folder)))


def test_a_model_that_computes_no_numbers_is_refused_by_the_scan(
    material: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base of 0 for its rotations made every loss a NaN, and the scan's record a traceback."""
    monkeypatch.chdir(shutil.copytree(material, tmp_path / "case"))
    path = Path("father/config.json")
    config = json.loads(path.read_text(encoding="utf-8"))
    config["rope_parameters"]["rope_theta"] = False
    path.write_text(json.dumps(config), encoding="utf-8")
    words = ("scan", "father", "--documents", "4", "--probes", "probes", "--out", "out", "--device", "cpu", "--quiet")
    code, _, messages = call(capfd, monkeypatch, *words)
    assert code == 1 and "is not finite: check its weights and config.json" in messages, messages


@pytest.mark.parametrize("value", ["inf", "nan", "3e38"])
def test_a_matrix_that_is_not_finite_is_named_by_the_scan(
    value: str, material: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a row of the embedding that no probe reads it harmed no loss, and made the statistics a traceback."""
    monkeypatch.chdir(shutil.copytree(material, tmp_path / "case"))
    index = json.loads(Path("father/model.safetensors.index.json").read_text(encoding="utf-8"))["weight_map"]
    path = Path("father", index["model.embed_tokens.weight"])
    tensors = load_file(path)
    tensors["model.embed_tokens.weight"][1, 0] = float(value)
    save_file(tensors, path, metadata={"format": "pt"})
    words = ("scan", "father", "--documents", "4", "--probes", "probes", "--out", "out", "--device", "cpu", "--quiet")
    code, _, messages = call(capfd, monkeypatch, *words)
    assert code == 1 and "model.embed_tokens.weight holds values" in messages, messages
