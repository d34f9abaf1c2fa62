from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from darwin_mri.benchmarks import (
    ChoiceItem,
    HarnessEngine,
    Scorer,
    answer_all,
    gold_probability,
    prepare,
    to_answers,
)
from darwin_mri.benchmarks.batching import cut_lengths
from darwin_mri.benchmarks.protocols import log_likelihood
from darwin_mri.errors import DarwinError, InputError
from tests.choices import load_choices

from .conftest import make_model, train_tokenizer

PROTOCOL = log_likelihood("test", "{context}")


@torch.no_grad()
def plain(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, item: ChoiceItem, *, trailing_space: bool = False
) -> np.ndarray:
    """Naive reference: one unpadded, uncached forward per choice; with ``trailing_space`` it has the classic bug."""
    context = item.context + (" " if trailing_space else "")
    scores = []
    for choice in item.choices:
        whole = tokenizer.encode(f"{item.context} {choice}")
        start = len(tokenizer.encode(context))
        log_probabilities = model(input_ids=torch.tensor([whole])).logits[0].float().log_softmax(-1)
        scores.append(
            sum(log_probabilities[position - 1, whole[position]].item() for position in range(start, len(whole)))
        )
    return np.array(scores)


def spread(left: list[np.ndarray], right: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(left, right, strict=True))


def test_equals_plain_forwards(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, mixed_items: tuple[ChoiceItem, ...]
) -> None:
    scorer = Scorer(model, tokenizer)
    prepared = scorer.prepare(mixed_items)
    scores = scorer.log_probabilities(prepared)
    assert spread(scores, [plain(model, tokenizer, item) for item in mixed_items]) < 1e-4
    assert scorer.use_cache
    assert scorer.use_projection
    assert {len(ids) for choices in prepared.continuations for ids in choices} > {1, 2}


def test_equals_lm_eval(
    model: PreTrainedModel, bos_tokenizer: PreTrainedTokenizerFast, mixed_items: tuple[ChoiceItem, ...]
) -> None:
    scorer = Scorer(model, bos_tokenizer)
    prepared = scorer.prepare(mixed_items)
    assert all(context[0] == 2 for context in prepared.contexts)
    fast = to_answers(mixed_items, scorer.log_probabilities(prepared))
    reference = answer_all(HarnessEngine.in_memory(model, bos_tokenizer), mixed_items, PROTOCOL)
    for a, b in zip(fast, reference, strict=True):
        assert a.log_probabilities == pytest.approx(b.log_probabilities, abs=1e-3)
        assert a.model_copy(update={"log_probabilities": ()}) == b.model_copy(
            update={"log_probabilities": (), "protocol": ""}
        )


@pytest.mark.parametrize("budget", [1, 60, 700, 100_000])
def test_batches_and_strategies_do_not_matter(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, mixed_items: tuple[ChoiceItem, ...], budget: int
) -> None:
    prepared = prepare(mixed_items, tokenizer)
    expected = Scorer(model, tokenizer).log_probabilities(prepared)
    for use_cache, use_projection in ((True, True), (True, False), (False, True), (False, False)):
        scorer = Scorer(model, tokenizer, token_budget=budget)
        scorer.log_probabilities(prepared, [0])
        scorer.use_cache, scorer.use_projection = use_cache, use_projection
        assert spread(scorer.log_probabilities(prepared), expected) < 1e-4


def test_indices_repeat_and_reorder(tokenizer: PreTrainedTokenizerFast, mixed_items: tuple[ChoiceItem, ...]) -> None:
    scorer = Scorer(make_model("llama"), tokenizer)
    prepared = scorer.prepare(mixed_items)
    every = scorer.log_probabilities(prepared)
    seen: list[tuple[int, int]] = []
    some = scorer.log_probabilities(prepared, [5, 2, 5], progress=lambda done, total: seen.append((done, total)))
    assert spread(some, [every[5], every[2], every[5]]) < 1e-4
    assert seen[-1] == (2, 2)
    assert scorer.log_probabilities(prepared, []) == []


def test_sees_weights_changed_in_place(tokenizer: PreTrainedTokenizerFast, mixed_items: tuple[ChoiceItem, ...]) -> None:
    model, other = make_model("qwen3_5"), make_model("qwen3_5", seed=1)
    scorer = Scorer(model, tokenizer)
    prepared = scorer.prepare(mixed_items)
    before = scorer.log_probabilities(prepared)
    with torch.no_grad():
        for target, source in zip(model.parameters(), other.parameters(), strict=True):
            target.copy_(source)
    after = scorer.log_probabilities(prepared)
    assert spread(before, after) > 0.1
    assert spread(after, Scorer(other, tokenizer).log_probabilities(prepared)) < 1e-5


def test_shared_contexts_and_one_token_contexts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    long = load_choices("nursery_musr")[0]
    letters = replace(long, key="letters", choices=("A", "B", "C"), gold=0)
    prefixes = replace(long, key="prefixes", choices=("red", "red gold", "red gold bells", "red blue"), gold=0)
    items = (long, letters, prefixes, replace(prefixes, key="short", context="."))
    scorer = Scorer(model, tokenizer)
    scores = scorer.log_probabilities(scorer.prepare(items))
    assert spread(scores, [plain(model, tokenizer, item) for item in items]) < 1e-4


def test_questions_on_one_passage_read_it_once(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    items = []
    for story in load_choices("nursery_musr")[:3]:
        passage = story.context.split("\n")[0]
        for thing in ("ball", "ring", "book"):
            context = f"{passage}\nQuestion: Where is the {thing}? Answer:"
            items.append(replace(story, key=f"{story.key}-{thing}", context=context))
    scorer = Scorer(model, tokenizer)
    prepared = scorer.prepare(items)
    passage_end, context_end = cut_lengths(prepared.contexts[:3])
    assert 0 < passage_end < context_end
    scores = scorer.log_probabilities(prepared)
    assert scorer.use_cache
    assert spread(scores, [plain(model, tokenizer, item) for item in items]) < 1e-4


def test_a_trailing_space_in_the_prompt_makes_every_choice_tie(tokenizer: PreTrainedTokenizerFast) -> None:
    """With the space left in the prompt one-token choices have no continuation: every choice ties, the first wins."""
    model = make_model("llama")
    items = []
    for item in (*load_choices("nursery_musr"), *load_choices("nursery_gpqa")):
        if any(len(tokenizer.encode(f" {choice}")) > 1 for choice in item.choices):
            continue
        gold_first = (item.choices[item.gold], *(c for c in item.choices if c != item.choices[item.gold]))
        items.append(replace(item, choices=gold_first, gold=0))
    items = items[::5][:12]
    assert len(items) == 12
    trapped = [plain(model, tokenizer, item, trailing_space=True) for item in items]
    assert all(np.ptp(scores) == 0.0 for scores in trapped)
    assert all(int(scores.argmax()) == item.gold for scores, item in zip(trapped, items, strict=True))  # "100 %"
    assert all(answer.choice == -1 and answer.credit == 0.25 for answer in to_answers(items, trapped))

    scorer = Scorer(model, tokenizer)
    scores = scorer.log_probabilities(scorer.prepare(items))
    assert all(np.ptp(s) > 0.01 for s in scores)
    assert 0.0 < float(gold_probability(items, scores).mean()) < 0.9
    assert sum(answer.credit for answer in to_answers(items, scores)) < len(items)


def test_a_tokenizer_that_merges_across_the_cut() -> None:
    """Without a word split, ": red" may begin with the token ": "; the cut moves left, alike for all choices."""
    merging = train_tokenizer(bos=False, split_words=False)
    item = load_choices("nursery_gpqa")[0]
    context, wholes = merging.encode(item.context), [merging.encode(f"{item.context} {c}") for c in item.choices]
    assert any(whole[: len(context)] != context for whole in wholes)
    prepared = prepare([item], merging)
    assert len(prepared.contexts[0]) < len(context)
    for whole, ids in zip(wholes, prepared.continuations[0], strict=True):
        assert whole == [*prepared.contexts[0], *ids]
        assert ids


def test_a_context_that_disappears_is_refused() -> None:
    merging = train_tokenizer(bos=False, split_words=False)
    item = ChoiceItem(key="gone", context=":", choices=("red", "blue"), gold=0, cluster="c", slice="s", benchmark="toy")
    with pytest.raises(InputError, match="toy item gone"):
        prepare([item], merging)


def test_too_long_for_the_model(tokenizer: PreTrainedTokenizerFast) -> None:
    item = replace(load_choices("nursery_gpqa")[0], context="Question: " + "red " * 260 + "Answer:")
    scorer = Scorer(make_model("llama"), tokenizer)
    with pytest.raises(InputError, match=r"item science-000-w0 has \d+ tokens"):
        scorer.log_probabilities(scorer.prepare([item]))
    with pytest.raises(InputError, match=r"item science-000-w0 has \d+ tokens"):
        answer_all(HarnessEngine.in_memory(scorer.model, tokenizer), [item], PROTOCOL)


def test_rotary_models_read_beyond_their_context_when_asked_to(tokenizer: PreTrainedTokenizerFast) -> None:
    item = replace(load_choices("nursery_gpqa")[0], context="Question: " + "red " * 260 + "Answer:")
    model = make_model("qwen3_5")
    scorer = Scorer(model, tokenizer, beyond_context=True)
    scores = scorer.log_probabilities(scorer.prepare([item]))
    assert spread(scores, [plain(model, tokenizer, item)]) < 1e-4
    reference = answer_all(HarnessEngine.in_memory(model, tokenizer, beyond_context=True), [item], PROTOCOL)
    assert reference[0].log_probabilities == pytest.approx(tuple(scores[0]), abs=1e-3)


def test_out_of_memory_halves_the_batch(
    tokenizer: PreTrainedTokenizerFast, mixed_items: tuple[ChoiceItem, ...]
) -> None:
    model = make_model("llama")
    scorer = Scorer(model, tokenizer)
    prepared = scorer.prepare(mixed_items)
    expected = scorer.log_probabilities(prepared)
    limit = 6

    def small_device(module: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, torch.Tensor]) -> None:
        if kwargs["input_ids"].shape[0] > limit:
            raise torch.OutOfMemoryError("the toy device is full")

    hook = model.get_decoder().register_forward_pre_hook(small_device, with_kwargs=True)
    assert spread(scorer.log_probabilities(prepared), expected) < 1e-4
    reduced = scorer.token_budget
    assert reduced < 8192  # what did not fit once is not tried again
    assert spread(scorer.log_probabilities(prepared), expected) < 1e-4
    assert scorer.token_budget == reduced
    limit = 0
    with pytest.raises(DarwinError, match="does not fit in memory"):
        scorer.log_probabilities(prepared)
    hook.remove()


class Odd(LlamaForCausalLM):
    """Logits that no scale makes of the head's, as a family yet to come may have them."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out: Any = super().forward(*args, **kwargs)
        out.logits = out.logits + torch.linspace(-3, 3, out.logits.shape[-1])
        return out


def test_falls_back_to_full_logits_when_the_head_is_unknown(
    tokenizer: PreTrainedTokenizerFast, mixed_items: tuple[ChoiceItem, ...]
) -> None:
    config: Any = make_model("llama").config
    model = Odd(config).eval()
    scorer = Scorer(model, tokenizer)
    prepared = scorer.prepare(mixed_items[:6])
    scores = scorer.log_probabilities(prepared)
    assert not scorer.use_projection
    assert spread(scores, [plain(model, tokenizer, item) for item in mixed_items[:6]]) < 1e-4


def test_a_broken_candidate_does_not_decide_the_strategy(
    tokenizer: PreTrainedTokenizerFast, mixed_items: tuple[ChoiceItem, ...]
) -> None:
    model = make_model("llama")
    healthy = copy.deepcopy(model.state_dict())
    scorer = Scorer(model, tokenizer)
    prepared = scorer.prepare(mixed_items[:4])
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(DarwinError, match="not finite"):
        to_answers(mixed_items[:4], scorer.log_probabilities(prepared))
    model.load_state_dict(healthy)
    assert (
        spread(scorer.log_probabilities(prepared), [plain(model, tokenizer, item) for item in mixed_items[:4]]) < 1e-4
    )
    assert scorer.use_cache
    assert scorer.use_projection
