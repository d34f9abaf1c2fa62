"""Copies of a nursery model with a known difference, and what ``darwin-mri scan`` measures of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from darwin_mri.nursery import MODELS
from darwin_mri.probes import load_probes
from tests.commands import call

LANGUAGES = ("ko", "en", "ja")
FIELDS = ("text", "language", "domain", "doc", "pair")
HANGUL = range(0xEA, 0xEE)  # first UTF-8 bytes of Hangul syllables (and of few other letters)
DAMAGE = 4.0  # rms of what is added to Hangul tokens, where the residual stream's rms is near 1
GATE = 20.0  # scales the neuron's gate, so that it is closed on other tokens


def scan(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, out: Path, *words: Path | str) -> Any:
    """The document of ``darwin-mri scan --json``, on parallel passages in three languages."""
    probes = out.parent / "probes"
    probes.mkdir()
    texts = [p for p in load_probes() if p.pair and p.language in LANGUAGES]
    lines = [json.dumps({key: getattr(p, key) for key in FIELDS}, ensure_ascii=False) for p in texts]
    (probes / "parallel.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fixed = ("--probes", probes, "--documents", "8", "--out", out, "--offline", "--quiet", "--json")
    code, stdout, stderr = call(capfd, monkeypatch, "scan", *words, *fixed)
    assert code == 0, stderr
    return json.loads(stdout)


@pytest.fixture
def copy() -> tuple[Any, Any]:
    """A nursery model with a head of its own, so that its embeddings can be changed without changing its head."""
    folder = MODELS / "gemma4-base"
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, tie_word_embeddings=False)
    model.lm_head.weight = torch.nn.Parameter(model.get_input_embeddings().weight.detach().clone())
    return model, AutoTokenizer.from_pretrained(folder)


def save(model: Any, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def make_korean_ffn(model: Any, tokenizer: Any, k: int) -> None:
    """Add an offset to the embeddings of Hangul tokens, and make layer ``k``'s FFN one neuron that takes it away again.

    The neuron opens on Hangul alone: its gate and up rows are a linear classifier of the FFN's inputs. What it adds has
    the size of the post-norm's gain, here ``DAMAGE``, and the offset's direction, so layer k matters for Korean and for
    nothing else.

    Args:
        model: changed in place.
        tokenizer: of the model.
        k: index of the layer.
    """
    embeddings, layer = model.get_input_embeddings(), model.model.layers[k]
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    to_byte = {letter: byte for byte, letter in _byte_letters().items()}
    hangul = torch.tensor([any(to_byte.get(letter) in HANGUL for letter in piece) for piece in pieces])
    direction = torch.randn(embeddings.weight.shape[1], generator=torch.Generator().manual_seed(0))
    direction /= direction.square().mean().sqrt()
    embeddings.weight[: len(hangul)][hangul] += DAMAGE * direction / embeddings.weight.shape[1] ** 0.5  # Gemma's scale

    reads: list[torch.Tensor] = []
    handle = layer.mlp.register_forward_pre_hook(lambda _, args: reads.append(args[0].flatten(0, 1)))
    labels = []
    for probe in load_probes()[::4]:
        ids = tokenizer(probe.text, return_tensors="pt", truncation=True, max_length=96)["input_ids"]
        model(input_ids=ids, use_cache=False)
        labels.append(hangul[ids[0]].float() * 2 - 1)
    handle.remove()
    inputs, labels = torch.cat(reads), torch.cat(labels)
    classifier = torch.linalg.lstsq(inputs, labels[:, None]).solution[:, 0]
    assert ((inputs @ classifier).sign() == labels).float().mean() > 0.99

    for matrix in (layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj):
        matrix.weight.zero_()
    layer.mlp.gate_proj.weight[0] = GATE * classifier
    layer.mlp.up_proj.weight[0] = classifier
    layer.mlp.down_proj.weight[:, 0] = -direction
    layer.post_feedforward_layernorm.weight.fill_(DAMAGE)


def _byte_letters() -> dict[int, str]:
    """How a byte-level BPE writes each byte (GPT-2): printable ones as themselves, the others from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


@pytest.mark.parametrize(("k", "ablation"), [(0, "exact"), (3, "exact"), (3, "fast")])
def test_the_layer_that_matters_for_korean_only_is_most_sensitive(
    copy: tuple[Any, Any],
    k: int,
    ablation: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, tokenizer = copy
    make_korean_ffn(model, tokenizer, k)
    folder = save(model, tokenizer, tmp_path / "korean")
    source: tuple[Path | str, ...] = (folder,)
    if ablation == "fast":  # which is exact where so few ablations are asked for that all can be made
        config = tmp_path / "korean.yaml"
        config.write_text(f"{{father: {folder}, mother: {MODELS / 'gemma4-base'}, scan: {{mixers: true}}}}")
        source = ("--config", config)
    document = scan(capfd, monkeypatch, tmp_path / "out", *source, "--ablation", ablation)
    assert document["father"]["ablation"]["mode"] == ablation
    layers = [layer["language"]["sensitivity"] for layer in document["father"]["layers"]]
    korean = [layer["ko"] for layer in layers]
    assert max(range(len(korean)), key=lambda i: korean[i]["value"]) == k
    others = [estimate["high"] for i, estimate in enumerate(korean) if i != k]
    if ablation == "exact":  # with eight passages, a third of them measured, an estimate is less sure
        assert korean[k]["low"] > max(others), (korean[k], others)  # the intervals are apart
    assert all(layers[k]["ko"]["value"] > layers[k][other]["value"] for other in layers[k] if other != "ko")


def test_a_zeroed_ffn_has_importance_zero_and_the_others_have_not(
    copy: tuple[Any, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = copy
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight.zero_()
    document = scan(capfd, monkeypatch, tmp_path / "out", save(model, tokenizer, tmp_path / "zeroed"))
    importance = [[e["value"] for e in layer["importance"].values()] for layer in document["father"]["layers"]]
    assert importance[2] == [0.0] * len(importance[2])
    assert all(any(abs(value) > 1e-5 for value in row) for i, row in enumerate(importance) if i != 2)


def test_two_copies_of_one_model_give_no_signal_between_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "copy"
    shutil.copytree(MODELS / "gemma4-korean", other)
    config = tmp_path / "twins.yaml"  # few items, so that the test is short
    scan_options = "{mixers: false, languages: [ko, en], documents: 8}"
    config.write_text(
        f"{{father: {MODELS / 'gemma4-korean'}, mother: {other}, prior: {{items: 16}}, scan: {scan_options}}}"
    )
    document = scan(capfd, monkeypatch, tmp_path / "out", "--config", config)
    pair, prior = document["pair"], document["prior"]
    assert pair["layer_map"] == list(range(8))
    assert not prior["informative"] and "equal" in prior["note"] and not prior["frozen"]
    assert {gene["trust"] for gene in prior["genes"]} == {0.0} and len({gene["mean"] for gene in prior["genes"]}) == 1
