"""Letters read from what models write, and the vote over samples."""

from __future__ import annotations

from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_mri.benchmarks import ChoiceItem, get_benchmark
from darwin_mri.benchmarks.generation import Reply, chat_message, read_reply, to_voted_answer
from darwin_mri.config import Generation

ITEM = ChoiceItem(
    key="k",
    context="Which? Answer:",
    choices=("red", "blue", "green", "grey"),
    gold=1,
    cluster="c",
    slice="s",
    benchmark="musr",
    message="Which?\n\nA. red\nB. blue",
)
MAJORITY = get_benchmark("musr").chat_protocol(Generation(samples=4, temperature=0.6))
GREEDY = get_benchmark("click").chat_protocol(Generation())


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: B", "B"),
        ("Some thought.\n\nAnswer: (B)", "B"),
        ("**Answer: B**", "B"),
        ("**Answer:** B", "B"),
        ("The answer is B.", "B"),
        ("the correct answer is **(B)**", "B"),
        (r"Answer: $\boxed{B}$", "B"),
        (r"Answer: \boxed{\text{B}}", "B"),
        ("Answer: A. No, wait.\nAnswer: B", "B"),
        ("정답: B", "B"),
        ("정답은 B입니다.", "B"),
        ("생각해 보면...\n정답： B", "B"),
        ("B", "B"),
        ("(B)", "B"),
        (" B. ", "B"),
        ("<think>The answer is A, or C.</think>\nAnswer: B", "B"),
        ("<think>The answer is A.</think>B", "B"),
        ("thoughts. Answer: A<channel|>Answer: B", "B"),
        ("Answer: E", None),  # four choices only
        ("Answer: B\nAnswer: Z", "B"),
        ("I cannot say which one.", None),
        ("An answer would be hard to give.", None),
        ("Answer: Because of the rain", None),
        ("A man walks in.", None),
        ("", None),
        ("<think>The answer is A</think>", None),
        ("**Answer**: B", "B"),
        ("**정답**: B", "B"),
        ("답: B", "B"),
        ("Answer: option B", "B"),
        (r"Answer: \(B\)", "B"),
        (r"so \boxed{B}.", "B"),
        ("### Answer\nB", "B"),
        ("B. Paris", "B"),
        ('Answer: "B"', "B"),
        ("Answer: B. Because answer A is wrong", "B"),
        ("Answer: B\nThe other answer A is tempting", "B"),
        ("Answer: A or B", None),
        ("<think> Maybe. Answer: B. But", None),  # cut off while thinking
        ("B is tempting. A is not", None),
    ],
)
def test_the_letter_in_a_text(text: str, letter: str | None) -> None:
    assert read_reply(Reply(text, "stop"), 4) == (None if letter is None else ascii_uppercase.index(letter))


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        (Reply("Answer: B", "stop"), "B"),
        (Reply("Answer: B", "eos_token"), "B"),
        (Reply("Answer: B"), "B"),  # an engine that does not tell
        (Reply("Answer: B", "length"), None),  # "Answer: B or ...", "Answer: B? No, ..."
        (Reply("Answer: B\nBecause", "length"), None),
        (Reply("<think>A?</think>\nAnswer: B", "length"), None),
        (Reply("Answer: B", "content_filter"), None),
        (Reply("Answer: B", "tool_calls"), None),
        (Reply("Answer: A</think>Answer: B", "stop", thinks=True), "B"),
        (Reply("Answer: B", "stop", thinks=True), None),  # the prompt opened the thought, nothing closed it
        (Reply("Answer: B\n<think>Or is it A?", "stop"), None),
        (Reply("<think>A?</think>Answer: B<think>Or A?", "stop"), None),
        (Reply("<|channel>thought\nAnswer: A<channel|>Answer: B", "stop"), "B"),
        (Reply("", "stop"), None),
    ],
)
def test_only_what_was_finished_as_an_answer_counts(reply: Reply, letter: str | None) -> None:
    assert read_reply(reply, 4) == (None if letter is None else ascii_uppercase.index(letter))


@given(st.text(max_size=200), st.integers(2, 5))
def test_whatever_a_model_writes_names_a_choice_or_none(text: str, choices: int) -> None:
    choice = read_reply(Reply(text, "stop"), choices)
    assert choice is None or 0 <= choice < choices


@given(st.lists(st.sampled_from(["Answer: A", "Answer: B", "Answer: C", "none"]), min_size=4, max_size=4))
def test_votes(texts: list[str]) -> None:
    answer = to_voted_answer(ITEM, [Reply(text, "stop") for text in texts], MAJORITY)
    counts = [sum(t.endswith(letter) and t != "none" for t in texts) for letter in "ABCD"]
    assert answer.votes == tuple(counts)
    assert answer.metrics["mean@4"] == counts[1] / 4
    best = max(counts)
    winners = [i for i, c in enumerate(counts) if c == best] if best else []
    assert answer.credit == answer.metrics["maj@4"] == (1 / len(winners) if 1 in winners else 0)
    assert answer.choice == (winners[0] if len(winners) == 1 else -1)
    assert answer.log_probabilities == () and answer.choices == 4 and answer.protocol == MAJORITY.hash


def test_one_greedy_answer_has_no_second_metric() -> None:
    right, wrong, none = (to_voted_answer(ITEM, [Reply(t)], GREEDY) for t in ("Answer: B", "Answer: C", "hm"))
    assert [(a.choice, a.credit, a.metrics) for a in (right, wrong, none)] == [(1, 1, {}), (2, 0, {}), (-1, 0, {})]


def test_how_each_sample_ended_is_kept_with_the_answer() -> None:
    replies = [Reply("Answer: B", "stop"), *[Reply("Answer: A. But", "length")] * 2, Reply("Answer: B")]
    answer = to_voted_answer(ITEM, replies, MAJORITY)
    assert answer.votes == (0, 2, 0, 0) and answer.choice == 1
    assert answer.finish_reasons == ("stop", "length", "length", "") and answer.cut_off == 2


def test_messages_carry_the_protocols_instruction() -> None:
    assert chat_message(ITEM, MAJORITY).startswith("Which?\n\nA. red\nB. blue\n\nChoose one of A, B, C, D.")
    korean = chat_message(
        ChoiceItem(key="k", context="물음", choices=("가", "나"), gold=0, cluster="c", slice="s", benchmark="click"),
        GREEDY,
    )
    assert korean.startswith("물음\nA. 가\nB. 나\n\nA, B 중 하나를")
