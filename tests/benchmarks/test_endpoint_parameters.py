"""Servers that name, refuse or leave out what others take: parameters, and how an answer ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darwin_mri import cli
from darwin_mri.benchmarks import ChoiceItem, EndpointEngine, get_benchmark
from darwin_mri.config import Generation
from darwin_mri.errors import ConfigError, DarwinError, InputError
from darwin_mri.records import Answer
from tests.choices import load_choices

from . import files
from .conftest import ServeJson

Refuse = Callable[[dict[str, Any]], tuple[int, Any] | None]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[ChoiceItem, ...]:
    return load_choices("click", files.write_data(tmp_path_factory.mktemp("data")))


def reply(content: Any = "Answer: A", **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}, **choice}]}


def refusal(name: str, words: str, code: str | None = "unsupported_parameter") -> tuple[int, Any]:
    """As OpenAI writes it."""
    return 400, {"error": {"message": words, "type": "invalid_request_error", "param": name, "code": code}}


def ask(url: str, items: tuple[ChoiceItem, ...], **generation: Any) -> tuple[list[Answer], DarwinError | None]:
    protocol = get_benchmark("click").chat_protocol(Generation(max_new_tokens=64, **generation))
    answers: list[Answer] = []
    try:
        for answer in EndpointEngine(url, "m", retries=0, concurrency=2).answers(items, protocol):
            answers.append(answer)
    except DarwinError as error:
        assert files.SECRET not in str(error) and "\n" not in str(error)
        return answers, error
    return answers, None


def first_of(*names: str) -> Callable[[dict[str, Any]], str | None]:
    return lambda body: next((name for name in names if name in body), None)


def openai(body: dict[str, Any]) -> tuple[int, Any] | None:
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    return refusal("max_tokens", words) if "max_tokens" in body else None


def plain_words(body: dict[str, Any]) -> tuple[int, Any] | None:
    """No field names the parameter, and all are refused one after the other."""
    name = first_of("chat_template_kwargs", "seed", "max_tokens")(body)
    words = f"Unrecognized request argument supplied: {name}"
    return (400, {"error": {"message": words, "param": None}}) if name else None


def forbidding(body: dict[str, Any]) -> tuple[int, Any] | None:
    """As FastAPI writes it, with the input, which must not be shown."""
    extra = [name for name in ("seed", "chat_template_kwargs") if name in body]
    faults = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": body}
        for name in extra
    ]
    return (422, {"detail": faults}) if extra else None


def in_a_list(body: dict[str, Any]) -> tuple[int, Any] | None:
    """As Google writes it."""
    words = 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
    return (400, [{"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}]) if "seed" in body else None


def text_only(body: dict[str, Any]) -> tuple[int, Any] | None:
    return (400, "unknown field: seed") if "seed" in body else None


@pytest.mark.parametrize(
    ("refuse", "sent"),
    [
        (openai, {"max_completion_tokens", "temperature", "seed", "chat_template_kwargs"}),
        (plain_words, {"max_completion_tokens", "temperature"}),
        (forbidding, {"max_tokens", "temperature"}),
        (in_a_list, {"max_tokens", "temperature", "chat_template_kwargs"}),
        (text_only, {"max_tokens", "temperature", "chat_template_kwargs"}),
    ],
)
def test_a_refused_parameter_is_met_and_remembered(
    serve_json: ServeJson, items: tuple[ChoiceItem, ...], refuse: Refuse, sent: set[str]
) -> None:
    refused, accepted = [], []

    def respond(body: dict[str, Any]) -> tuple[int, Any]:
        answer = refuse(body)
        (accepted if answer is None else refused).append(body)
        return answer or (200, reply(finish_reason="stop"))

    answers, error = ask(serve_json(respond), items)
    assert error is None and [answer.choice for answer in answers] == [0] * len(items)
    for body in accepted:
        assert body.keys() - {"model", "messages"} == sent and body["temperature"] == 0
        assert 64 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert 0 < len(refused) <= 2 * 3  # by each of two threads once for each parameter; then it is known


@pytest.mark.parametrize(
    ("name", "words", "generation"),
    [
        ("temperature", "'temperature' does not support 0 with this model. Only the default (1) is supported.", {}),
        ("temperature", "temperature is not supported with this model", {"temperature": 1.0}),
        ("max_completion_tokens", "Unknown parameter: 'max_completion_tokens'", {}),
        ("chat_template_kwargs", "Unsupported parameter: chat_template_kwargs", {"thinking": True}),
    ],
)
def test_a_parameter_that_decides_what_is_measured_is_not_left_out(
    serve_json: ServeJson, items: tuple[ChoiceItem, ...], name: str, words: str, generation: dict[str, Any]
) -> None:
    def respond(body: dict[str, Any]) -> tuple[int, Any]:
        if name == "max_completion_tokens" and "max_tokens" in body:
            return refusal("max_tokens", "max_tokens is not supported")
        return refusal(name, words) if name in body else (200, reply())

    answers, error = ask(serve_json(respond), items, **generation)
    assert not answers and isinstance(error, ConfigError)
    assert f"{name}: {words}" in str(error) and "too long" not in str(error)


def test_a_value_that_is_refused_is_told_and_the_parameter_kept(
    serve_json: ServeJson, items: tuple[ChoiceItem, ...]
) -> None:
    words, seen = "max_tokens is too large: 64. This model supports at most 16 completion tokens", []

    def respond(body: dict[str, Any]) -> tuple[int, Any]:
        seen.append(body)
        return refusal("max_tokens", words, code="invalid_value")

    answers, error = ask(serve_json(respond), items)
    assert not answers and isinstance(error, InputError) and f"max_tokens: {words}" in str(error)
    assert all("max_tokens" in body for body in seen)


def test_a_reason_that_quotes_the_question_is_not_shown(serve_json: ServeJson, items: tuple[ChoiceItem, ...]) -> None:
    def respond(body: dict[str, Any]) -> tuple[int, Any]:
        return refusal("temperature", f"temperature is not supported: {body['messages'][0]['content']}")

    answers, error = ask(serve_json(respond), items)
    assert not answers and "temperature" in str(error)  # ``ask`` looks for the question's words


@pytest.mark.parametrize(
    ("message", "choice", "thinking", "expected"),
    [
        ({"content": "It looks right, so answer: A. But let me"}, {"finish_reason": "length"}, True, -1),
        ({"content": "Answer: A"}, {"finish_reason": "length"}, False, -1),
        ({"content": "Answer: A"}, {"finish_reason": "content_filter"}, False, -1),
        ({"content": "Answer: B</think>Answer: A"}, {"finish_reason": "stop"}, True, 0),
        ({"content": "Answer: A"}, {"finish_reason": "stop"}, True, 0),
        ({"content": None, "reasoning_content": "Answer: A"}, {"finish_reason": "length"}, True, -1),
        ({"content": "", "reasoning": "Answer: A"}, {"finish_reason": "stop"}, True, -1),
        ({"content": "So answer: A. But"}, {"finish_reason": None}, True, -1),  # nothing tells an end of thinking
        ({"content": "Answer: A"}, {"finish_reason": None}, False, 0),
        ({"content": "Answer: A", "reasoning_content": "Hm."}, {"finish_reason": None}, True, 0),
        ({"content": [{"type": "reasoning", "text": "Answer: B"}, {"type": "text", "text": "?"}]}, {}, False, -1),
    ],
)
def test_an_answer_is_read_from_what_was_finished_as_one(
    serve_json: ServeJson,
    items: tuple[ChoiceItem, ...],
    message: dict[str, Any],
    choice: dict[str, Any],
    thinking: bool,
    expected: int,
) -> None:
    url = serve_json(lambda _: (200, {"choices": [{"message": message, **choice}]}))
    answers, error = ask(url, items[:2], thinking=thinking)
    assert error is None and [answer.choice for answer in answers] == [expected] * 2
    assert {answer.finish_reasons for answer in answers} == {(choice.get("finish_reason") or "",)}


def test_the_command_stores_how_answers_ended_and_counts_those_cut_off(
    serve_json: ServeJson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve_json(lambda _: (200, reply("So answer: A. But let me look again at", finish_reason="length")))
    words = ["bench", "--endpoint", url, "--protocol", "generate", "--thinking", "--tasks", "nursery_gpqa"]
    words += ["--limit", "8", "--out", str(tmp_path), "--offline", "--quiet", "--json"]
    monkeypatch.setattr(sys, "argv", ["darwin-mri", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    alerts = [alert["text"] for alert in json.loads(capsys.readouterr().out)["alerts"]]
    assert any("100.0 % were cut off" in text for text in alerts)
    lines = (tmp_path / "answers" / "served" / "nursery_gpqa.jsonl").read_text(encoding="utf-8").splitlines()
    assert [(row["choice"], row["finish_reasons"]) for row in map(json.loads, lines)] == [(-1, ["length"])] * 8
