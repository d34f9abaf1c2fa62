"""The scorer against lm-eval on items that hypothesis makes up, over pico checkpoints of many families."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.benchmarks import ChoiceItem, FastEngine, HarnessEngine, Scorer, answer_all, item_hash
from darwin_mri.benchmarks.protocols import log_likelihood
from tests.toys import FAMILIES, pico

# attention; learned positions; sliding window; sliding with KV sharing; recurrent hybrid; recurrent; experts
TESTED = ("llama", "gpt2", "gemma3_text", "cohere2", "gemma4_text", "qwen3_5_text", "mamba2", "mixtral")
PROTOCOL = log_likelihood("test", "{context}")
CLOSE = 1e-4  # nats: choices that lead by less may fall either way
LETTERS = "abc ,.?\n가나다라 ABé"
TEXT = st.text(LETTERS, min_size=1, max_size=40).map(str.strip).filter(bool)
CHOICES = st.lists(
    st.one_of(st.sampled_from(["A", "B", "red", "red gold", "red gold 가"]), TEXT), min_size=2, max_size=5
)


@st.composite
def item_lists(draw: st.DrawFn) -> list[ChoiceItem]:
    """Up to eight items of unequal lengths, some with a passage in common."""
    passage = draw(TEXT)
    items = []
    for number in range(draw(st.integers(1, 8))):
        context = f"{passage * draw(st.integers(0, 3))}{draw(TEXT)}"
        choices = tuple(draw(CHOICES))
        gold = draw(st.integers(0, len(choices) - 1))
        items.append(
            ChoiceItem(
                key=str(number),
                context=context,
                choices=choices,
                gold=gold,
                cluster=str(number),
                slice="s",
                benchmark="toy",
                per_character=draw(st.booleans()),
            )
        )
    return list({item_hash(item): item for item in items}.values())


@cache
def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=TESTED)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert request.param in FAMILIES
    return pico(request.param, tmp_path_factory.mktemp("pico") / request.param)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(items=item_lists())
def test_the_same_log_probabilities_and_choices_as_hflm(folder: Path, items: list[ChoiceItem]) -> None:
    model, tokenizer = load(folder)
    fast = answer_all(FastEngine(Scorer(model, tokenizer, token_budget=400)), items, PROTOCOL)
    reference = answer_all(HarnessEngine.in_memory(model, tokenizer), items, PROTOCOL)
    for item, a, b in zip(items, fast, reference, strict=True):
        assert a.log_probabilities == pytest.approx(b.log_probabilities, abs=1e-3)
        sums = np.array(b.log_probabilities)
        per_character = sums / [len(choice) for choice in item.choices]
        for metric, scores in (("acc", sums), ("acc_norm", per_character)):
            if margin(scores) > CLOSE:
                assert a.metrics.get(metric) == b.metrics.get(metric)
        if margin(per_character if item.per_character else sums) > CLOSE:
            assert (a.choice, a.credit) == (b.choice, b.credit)


def margin(scores: np.ndarray) -> float:
    """By how much the best choice leads the second best."""
    second, best = sorted(scores)[-2:]
    return float(best - second)


def test_the_cache_is_used_where_it_can_be(folder: Path) -> None:
    """Equal results prove nothing if the scorer had quietly fallen back to plain forwards."""
    model, tokenizer = load(folder)
    scorer = Scorer(model, tokenizer)
    items = [
        ChoiceItem(
            key=str(n),
            context=f"a long enough passage {n} Answer:",
            choices=("red", "blue gold"),
            gold=0,
            cluster="c",
            slice="s",
            benchmark="toy",
        )
        for n in range(3)
    ]
    prepared = scorer.prepare(items)
    with torch.no_grad():
        scorer.log_probabilities(prepared)
    assert scorer.use_projection, "logits of every position were computed"
    assert scorer.use_cache == (folder.name != "mamba2"), "Mamba 2 alone has a cache that cannot be copied"
