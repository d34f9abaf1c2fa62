"""Words: the readout beside autograd, a planted topic, and no signal where there is none."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.checkpoints.anatomy import decoder_of
from darwin_mri.mri.activations import Activations, measure_activations
from darwin_mri.mri.readout import PLAUSIBLE, find_readout, readable, token_text
from darwin_mri.mri.words import model_words, sibling_words, unit_means
from darwin_mri.nursery import words
from darwin_mri.probes import Probe, load_probes, observe, select_probes, tokenize_probes
from tests import toys

TOPIC = tuple(words.THINGS["toy"])


def nursery(digest: str) -> LoadedModel:
    return load(find_model("nursery:gemma4-base", offline=True), digest, device="cpu", dtype="float32")


def read(model: LoadedModel, probes: tuple[Probe, ...]) -> Activations:
    return measure_activations(model, tokenize_probes(probes, model.tokenizer, max_tokens=48, device="cpu"))


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return nursery("0")


@pytest.fixture(scope="module")
def tuned() -> LoadedModel:
    """The base after twelve steps on lists of toys."""
    model, rng = nursery("1"), random.Random(1)
    model.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.model.parameters(), lr=1e-3)
    for _ in range(12):
        rows = [model.tokenizer.encode(" " + " ".join(rng.choices(TOPIC, k=12)))[:14] for _ in range(16)]
        ids = torch.tensor([row[: min(map(len, rows))] for row in rows])
        model.model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.model.requires_grad_(False)
    return model


@pytest.fixture(scope="module")
def texts() -> tuple[Probe, ...]:
    return select_probes(load_probes(), ("en",), 8, 1)


@pytest.mark.parametrize("family", ["gemma4_text", "qwen3_5_text", "llama", "gpt2"])
def test_the_readout_is_the_derivative_of_norm_and_head(family: str, tmp_path: Path) -> None:
    parent = load(find_model(str(toys.pico(family, tmp_path / family))), "0", device="cpu", dtype="float32")
    torch.manual_seed(1)
    width = parent.anatomy.hidden_size
    state, direction = torch.randn(width) * 3, torch.randn(width)
    centred = family == "gpt2"
    scale = (state - state.mean()).square().mean().sqrt() if centred else state.square().mean().sqrt()
    found = find_readout(parent, state, float(scale))
    model = parent.model.double()
    norm, head = decoder_of(model).ln_f if centred else decoder_of(model).norm, model.get_output_embeddings()
    step = 0.03 * direction.double()
    with torch.no_grad():
        change = head(norm(state + step)) - head(norm(state - step))
    change = (change / (2 * step.norm() / direction.norm())).float()
    model.float()
    logits = found.logits(direction[None])[0]
    torch.testing.assert_close(logits, change - change.mean(), rtol=2e-3, atol=2e-4)
    ids = torch.tensor([3, 200])
    torch.testing.assert_close(found.of_tokens(direction[None], ids)[0], logits[ids], rtol=1e-3, atol=1e-4)
    states = torch.randn(5, width) * 9
    with torch.no_grad():
        likely = head(norm(states)).softmax(-1).mean(0) >= PLAUSIBLE
    assert torch.equal(found.plausible(states), likely)
    scaled = found.scaled(direction)
    assert float(scaled @ found.metric @ scaled) == pytest.approx(float(logits.var(correction=0)), rel=1e-3)


def test_means_of_documents_are_those_of_their_tokens(base: LoadedModel, texts: tuple[Probe, ...]) -> None:
    activations, seen = read(base, texts), dict[str, torch.Tensor]()
    ids = torch.tensor([activations.tokenized.prefix + activations.tokenized.ids[0]])
    with torch.inference_mode(), observe(base, lambda i, site, v: seen.update({site: v}) if i == 3 else None):
        decoder_of(base.model)(input_ids=ids, use_cache=False)
    skip, unit = len(activations.tokenized.prefix), activations.units.row[0]
    assert activations.units.row.count(unit) == 1
    torch.testing.assert_close(unit_means(activations, "end")[3][unit], seen["h_out"][0, -1], rtol=1e-3, atol=1e-4)
    for site in ("f", "h_out"):
        own = unit_means(activations, site)[3][unit]
        torch.testing.assert_close(own, seen[site][0, skip:].mean(0), rtol=1e-3, atol=1e-4)


def test_a_sibling_tuned_on_one_topic_is_named_by_its_words(
    base: LoadedModel, tuned: LoadedModel, texts: tuple[Probe, ...]
) -> None:
    own, other = read(base, texts).for_pair(), read(tuned, texts).for_pair()
    found, channels = sibling_words(base, own, other, 100, 0)
    assert channels["words:h_out:all"].informative and channels["words:f:all"].informative
    last = found["h_out"][-1]["all"]
    topic = {f"␣{word}" for word in TOPIC}
    assert {word.token for word in last.promoted[:4]} == topic
    assert last.p_value <= 0.05 and last.reliability > 0.9
    for word in (*last.promoted, *last.suppressed):
        assert word.shift.low <= word.shift.value <= word.shift.high
    back, _ = sibling_words(base, other, own, 100, 0)  # what the base writes and the tuned one does not
    assert {word.token for word in back["h_out"][-1]["all"].suppressed[:4]} == topic
    named = [layer for layer in found["f"] if topic <= {word.token for word in layer["all"].promoted}]
    assert len(named) >= len(found["f"]) // 2, "most FFNs write the topic"


def test_identical_parents_have_no_words(base: LoadedModel, texts: tuple[Probe, ...]) -> None:
    activations = read(base, texts).for_pair()
    found, channels = sibling_words(base, activations, activations, 100, 0)
    assert channels and not any(channel.informative for channel in channels.values())
    assert all("no signal" in channel.note or "too few" in channel.note for channel in channels.values())
    assert not any(layer for layers in found.values() for layer in layers)


def test_parents_that_read_other_tokens_have_no_words(base: LoadedModel, texts: tuple[Probe, ...]) -> None:
    assert sibling_words(base, read(base, texts), read(base, texts[1:]), 50, 0) == ({}, {})


def test_groups_dealt_at_random_have_no_words_and_topics_have(base: LoadedModel) -> None:
    prose = [p for p in load_probes() if p.language == "en"][:24]
    lists = [" ".join(random.Random(i).choices(TOPIC, k=10)) for i in range(12)]
    dealt = tuple(replace(p, domain="prose", pair=None, topic="ab"[i % 2]) for i, p in enumerate(prose))
    _, channels = model_words(base, read(base, dealt), 100, 0)
    assert not channels["words:topic:a"].informative
    toys_only = tuple(Probe(text, "en", "prose", f"t{i}", topic="toys") for i, text in enumerate(lists))
    found, channels = model_words(base, read(base, (*dealt, *toys_only)), 100, 0)
    assert channels["words:topic:toys"].informative
    assert "topic:toys" in found[-1] and "words:language:en" not in channels  # there is no other language


def test_tokens_are_readable_and_harmless(base: LoadedModel) -> None:
    assert readable(" a\n\t\x1b[31m") == "␣a\\n\\t\\x1b[31m"
    assert readable("\u202e\u200b\ud800") == "\\u202e\\u200b\\ud800"
    assert readable("") == "∅"
    assert len(readable("x" * 99)) == 24
    tokenizer = base.tokenizer
    shown = [token_text(tokenizer, i) for i in range(len(tokenizer))]
    assert all(text and text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text for text in shown)
    assert token_text(tokenizer, tokenizer.encode(" ball", add_special_tokens=False)[-1]) == "␣ball"
    assert token_text(tokenizer, len(tokenizer) + 3).startswith("<unused")
    part = tokenizer.convert_tokens_to_ids("ì")  # the first byte of most Hangul syllables
    assert token_text(tokenizer, part) == "\\xec"
