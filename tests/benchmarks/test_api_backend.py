"""lm-eval's ``local-completions``, passed through, against a server that returns prompt log-probabilities as vLLM does.

transformers' own server ignores ``echo`` and ``logprobs``, so this one is a few lines of HTTP around a real model's
forward.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from darwin_mri import cli
from darwin_mri.records import AnswerSet
from tests.toys import pico_llama

from . import files

pytest.importorskip("tenacity", reason="lm-eval's api extra is not installed")


@torch.no_grad()
def completion(model: Any, ids: list[int]) -> dict[str, Any]:
    """The prompt's own log-probabilities and one greedy token, in the form of the completions interface."""
    logits = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    tokens = [*ids, int(logits[-1].argmax())]
    values = [logits[place - 1, token].item() for place, token in enumerate(tokens) if place]
    best = [{"x": value.item()} for value in logits.max(-1).values]
    return {"token_logprobs": [None, *values], "top_logprobs": [None, *best]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico_llama(tmp_path_factory.mktemp("model") / "pico", max_position_embeddings=1024)


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # lm-eval asks whether the server has a tokenizer to offer
            self.send_error(404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert body["echo"] and body["max_tokens"] == 1 and body["model"] == "served-pico"
            choices = [{"index": n, "logprobs": completion(model, ids)} for n, ids in enumerate(body["prompt"])]
            reply = json.dumps({"choices": choices}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/completions"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_with_prompt_log_probabilities(
    folder: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = files.write_data(tmp_path / "data")
    monkeypatch.setenv("DARWIN_MRI_GPQA_PASSWORD", files.PASSWORD)

    def bench(model: str | Path, out: str, *words: str) -> dict[str, Any]:
        line = (
            "bench",
            str(model),
            "--tasks",
            "gpqa,musr",
            "--data",
            str(data),
            "--out",
            str(tmp_path / out),
            "--json",
            "--quiet",
        )
        monkeypatch.setattr(sys, "argv", ["darwin-mri", *line, *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        shown = capsys.readouterr()
        assert stopped.value.code == 0, shown.err
        return json.loads(shown.out)

    arguments = f"base_url={url},tokenizer={folder},max_length=1024,num_concurrent=2"
    served = bench("served-pico", "served", "--backend", "local-completions", "--backend-args", arguments)
    local = bench(folder, "local", "--fast")
    for a, b in zip(served["scores"], local["scores"], strict=True):
        assert (a["benchmark"], a["slice"], a["correct"], a["protocol_hash"]) == (
            b["benchmark"],
            b["slice"],
            b["correct"],
            b["protocol_hash"],
        )
    for task in ("gpqa", "musr"):
        local_answers, served_answers = (
            [
                json.loads(line)
                for line in (tmp_path / out / "answers" / f"0-{name}" / f"{task}.jsonl").read_text().splitlines()
            ]
            for out, name in (("local", "pico"), ("served", "served-pico"))
        )
        for a, b in zip(local_answers, served_answers, strict=True):
            assert a["key"] == b["key"] and a["choice"] == b["choice"]
            assert a["log_probabilities"] == pytest.approx(b["log_probabilities"], abs=1e-3)
    identity = AnswerSet.load(tmp_path / "served" / "answers" / "0-served-pico" / "gpqa.json")
    assert identity.engine.startswith("lm-eval local-completions")
    assert "127.0.0.1" not in identity.engine and str(tmp_path) not in identity.engine
