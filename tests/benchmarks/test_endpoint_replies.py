"""What servers reply that transformers' own does not: refusals among answers, content in parts, a key required."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darwin_mri.benchmarks import ChoiceItem, EndpointEngine, get_benchmark
from darwin_mri.benchmarks import endpoint as module
from darwin_mri.benchmarks.store import AnswerStore
from darwin_mri.config import BenchConfig, Generation, Served
from darwin_mri.errors import DarwinError, InputError
from darwin_mri.problem.model_bench import ModelBench
from darwin_mri.run import Silent
from tests.choices import load_choices

from . import files
from .conftest import ServeJson

PROTOCOL = get_benchmark("click").chat_protocol(Generation(max_new_tokens=4))
Reply = Callable[[str], tuple[int, Any]]  # message -> status, content


@pytest.fixture
def serve(serve_json: ServeJson) -> Callable[[Reply], str]:
    """Start a server on loopback that answers messages by a function; its URL."""

    def start(reply: Reply) -> str:
        def respond(body: dict[str, Any]) -> tuple[int, Any]:
            status, content = reply(body["messages"][0]["content"])
            return status, {"choices": [{"message": {"content": content}}]}

        return serve_json(respond)

    return start


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[ChoiceItem, ...]:
    return load_choices("click", files.write_data(tmp_path_factory.mktemp("data")))


def collect(engine: EndpointEngine, items: tuple[ChoiceItem, ...]) -> tuple[list[int], Exception | None]:
    choices = []
    try:
        for answer in engine.answers(items, PROTOCOL):
            choices.append(answer.choice)
    except DarwinError as error:
        return choices, error
    return choices, None


def test_a_refused_item_costs_no_other_answer(serve: Callable[[Reply], str], items: tuple[ChoiceItem, ...]) -> None:
    def reply(message: str) -> tuple[int, Any]:
        if " 0번" in message:
            return 400, ""
        time.sleep(0.05)  # the others are under way when the refusal comes
        return 200, "Answer: A"

    choices, error = collect(EndpointEngine(serve(reply), "m", concurrency=4), items)
    assert choices == [0] * (len(items) - 1)
    assert isinstance(error, InputError) and "refuses click item" in str(error)


def test_a_server_that_refuses_everything_is_left_alone_soon(
    serve: Callable[[Reply], str], items: tuple[ChoiceItem, ...]
) -> None:
    messages = []

    def reply(message: str) -> tuple[int, Any]:
        messages.append(message)
        return 404, ""

    choices, error = collect(EndpointEngine(serve(reply), "m", concurrency=2), items)
    assert not choices and isinstance(error, InputError) and len(set(messages)) <= 4


def test_a_server_that_wants_a_key(serve: Callable[[Reply], str], items: tuple[ChoiceItem, ...]) -> None:
    _, error = collect(EndpointEngine(serve(lambda _: (401, "")), "m"), items)
    assert f"set {module.KEY_VARIABLE}" in str(error)


def test_content_in_parts(serve: Callable[[Reply], str], items: tuple[ChoiceItem, ...]) -> None:
    parts = [{"type": "text", "text": "Answer:"}, {"type": "text", "text": " C"}]
    choices, error = collect(EndpointEngine(serve(lambda _: (200, parts)), "m"), items)
    assert error is None and choices == [2] * len(items)


def test_two_places_that_serve_one_name_are_two_models(
    serve: Callable[[Reply], str], items: tuple[ChoiceItem, ...], tmp_path: Path
) -> None:
    store, scores = AnswerStore(tmp_path, Silent()), []
    for letter in "AB":
        served = Served(url=serve(lambda _, answer=letter: (200, f"Answer: {answer}")), model="default")
        bench = ModelBench(
            store, {"click": items}, BenchConfig(tasks=("click",), endpoint=served), device="cpu", dtype="auto", own={}
        )
        _, answers = bench.ask_served("served", served)
        scores.append({answer.choice for answer in answers["click"]})
    assert scores == [{0}, {1}]
