"""A served baseline behind a real server on loopback: answers, waits, refusals, and a server that dies half way."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from darwin_mri import cli
from darwin_mri.benchmarks import ChoiceItem, EndpointEngine, answer_all, get_benchmark, item_hash
from darwin_mri.benchmarks import endpoint as module
from darwin_mri.benchmarks.store import AnswerStore, read_answers
from darwin_mri.config import Generation
from darwin_mri.errors import ConfigError, DarwinError, InputError
from darwin_mri.records import AnswerSet
from darwin_mri.run import Silent
from tests.choices import load_choices

from . import files
from .served import Server, chatting_nursery, letter_writer

PROTOCOL = get_benchmark("gpqa").chat_protocol(Generation(max_new_tokens=4))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("served")
    return {"letter": str(letter_writer(root / "letter")), "nursery": str(chatting_nursery(root / "nursery"))}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("home"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[ChoiceItem, ...]:
    return load_choices("gpqa", files.write_data(tmp_path_factory.mktemp("data")), password=files.PASSWORD)


def test_wrong_urls_are_refused() -> None:
    for url in ("localhost:8000", "ftp://127.0.0.1/v1", "nonsense"):
        with pytest.raises(ConfigError, match="is no URL"):
            EndpointEngine(url, "m")
    with pytest.raises(ConfigError, match="must not carry a password"):
        EndpointEngine("http://me:secret@127.0.0.1:1/v1", "m")
    assert EndpointEngine("http://127.0.0.1:1", "m").url == "http://127.0.0.1:1/v1"
    assert EndpointEngine("http://127.0.0.1:1/v1/chat/completions", "m").url == "http://127.0.0.1:1/v1"


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch, items: tuple[ChoiceItem, ...]) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    with pytest.raises(InputError, match=r"does not answer \(ConnectError\): is the server up\? tried 3 times"):
        EndpointEngine("http://127.0.0.1:9", retries=2)
    engine = EndpointEngine("http://127.0.0.1:9", "m", retries=1)
    with pytest.raises(DarwinError, match=r"does not answer at gpqa item rec\d+ .*connection failed.*tried 2 times"):
        answer_all(engine, items, PROTOCOL)
    with pytest.raises(ConfigError, match="generative protocol"):
        answer_all(engine, items, get_benchmark("gpqa").protocol)


def test_a_served_model_answers_and_a_starting_server_is_waited_for(
    server: Server, models: dict[str, str], items: tuple[ChoiceItem, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 1.0)
    server.start()  # it takes seconds to listen; the first requests are refused and tried again
    engine = EndpointEngine(server.url, models["letter"], retries=90, concurrency=3)
    answers = answer_all(engine, items, PROTOCOL)
    assert [a.key for a in answers] == [item_hash(item) for item in items]
    assert {a.choice for a in answers} == {1} and {a.votes for a in answers} == {(0, 1, 0, 0)}
    assert [a.credit for a in answers] == [float(item.gold == 1) for item in items]
    assert 0 < sum(a.credit for a in answers) < len(items)


def test_majority_of_samples(server: Server, models: dict[str, str], items: tuple[ChoiceItem, ...]) -> None:
    protocol = get_benchmark("gpqa").chat_protocol(Generation(max_new_tokens=4, samples=3, temperature=0.5))
    (answer,) = answer_all(EndpointEngine(server.url, models["letter"]), items[:1], protocol)
    assert answer.votes == (0, 3, 0, 0) and set(answer.metrics) == {"maj@3", "mean@3"}


def test_no_answer_in_time(
    server: Server, models: dict[str, str], items: tuple[ChoiceItem, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    engine = EndpointEngine(server.url, models["letter"], timeout=0.001, retries=2)
    with pytest.raises(DarwinError, match=r"no answer within 0.001 s, tried 3 times; answers so far are kept"):
        answer_all(engine, items[:2], PROTOCOL)


def test_a_server_that_dies_half_way_costs_no_answer(
    server: Server,
    models: dict[str, str],
    items: tuple[ChoiceItem, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.05)
    store = AnswerStore(tmp_path, Silent())
    identity = AnswerSet(
        model="m", digest="d", benchmark="gpqa", protocol="p", protocol_hash=PROTOCOL.hash, engine="endpoint"
    )
    answered = 0

    def counting(steps: int) -> None:
        nonlocal answered
        answered += steps
        if answered == 4:
            server.kill()

    def collect(retries: int) -> list[float]:
        engine = EndpointEngine(server.url, models["letter"], retries=retries, concurrency=1)
        answers = store.collect("served", identity, lambda: engine, items, PROTOCOL, counting)
        return [answer.credit for answer in answers]

    with pytest.raises(DarwinError, match="does not answer at gpqa item .*answers so far are kept"):
        collect(retries=2)
    (journal,) = (tmp_path / "state" / "answers").iterdir()
    kept = read_answers(journal)
    assert 4 <= len(kept) < len(items) and not (tmp_path / "answers").exists()
    with journal.open("a") as stream:
        stream.write('{"key": "cut sho')  # as a killed run leaves it
    answered = 100
    server.start()
    monkeypatch.setattr(module, "LONGEST_PAUSE", 1.0)
    assert collect(retries=90) == [float(item.gold == 1) for item in items]
    assert answered == 100 + len(items)
    assert {k: v for k, v in read_answers(journal).items() if k in kept} == kept
    published = (tmp_path / "answers" / "served" / "gpqa.jsonl").read_text()
    assert len(published.splitlines()) == len(items) and files.SECRET not in published


def test_the_command_measures_a_served_nursery_model(
    server: Server,
    models: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [
        "bench",
        models["letter"],
        "--endpoint",
        server.url,
        "--endpoint-model",
        models["nursery"],
        "--tasks",
        "nursery_gpqa",
        "--limit",
        "8",
        "--max-new-tokens",
        "8",
        "--fast",
        "--retries",
        "8",
        "--concurrency",
        "2",
        "--out",
        str(tmp_path / "out"),
        "--json",
        "--quiet",
    ]
    monkeypatch.setattr(sys, "argv", ["darwin-mri", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    shown = capsys.readouterr()
    assert stopped.value.code == 0, shown.err
    comparison = json.loads(shown.out)
    local, served = (next(s for s in comparison["scores"] if s["model"] == m) for m in ("letter", "nursery"))
    assert served["evidence"] == "measured" and served["n"] == 8 and "chat-letter" in served["protocol"]
    assert local["protocol_hash"] != served["protocol_hash"]
    assert {p["hash"] if "hash" in p else p["name"] for p in comparison["protocols"]} == {
        "cloze-logprob-sum",
        "nursery_gpqa-chat-letter",
    }
    assert comparison["contrasts"] == []
    alerts = " ".join(alert["text"] for alert in comparison["alerts"])
    assert "come from different protocols" in alerts
    for path in (tmp_path / "out").rglob("*.json*"):
        text = path.read_text()
        assert str(tmp_path.parent) not in text and "127.0.0.1" not in text, path


def test_a_refused_item_is_named(server: Server, models: dict[str, str], items: tuple[ChoiceItem, ...]) -> None:
    engine = EndpointEngine(server.url, "no/such/model", retries=0)
    with pytest.raises(DarwinError, match="gpqa item rec000") as caught:
        answer_all(engine, [replace(items[0], key="rec000")], PROTOCOL)
    assert files.SECRET not in str(caught.value)
