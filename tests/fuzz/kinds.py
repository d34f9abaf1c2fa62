"""Kinds of hostile input: each changes a copy of the material and names the command that reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from hypothesis import strategies as st

from tests.fuzz import hostile
from tests.fuzz.hostile import Draw
from tests.fuzz.kin import change_kin, child_fault

Change = Callable[[Draw, Path], str]
MODEL_FILES = ["config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"]
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
SMALL_SCAN = ("--documents", "4", "--probes", "probes", "--out", "out", "--device", "cpu", "--quiet")
BENCH = ("--fast", "--out", "out", "--device", "cpu", "--quiet", "--limit", "8")
CHILD = "out/child"
MERGE = ("merge", "--mergekit", "recipe.yaml", "--out", CHILD, "--quiet")
PLAN = ("plan", "--config", "config.yaml")
ON_MODEL = (
    MERGE,
    MERGE,
    PLAN,
    ("bench", "father", "--task", "exam=exam.jsonl", *BENCH),
    ("scan", "father", *SMALL_SCAN),
)
RECORDS = (
    "manifest.json", "inputs.json", "splits.json", "scan/father.json", "scan/mother.json", "scan/pair.json",
    "prior.json", "genome.json", "ledger.jsonl", "child.json", "health.json", "comparison.json",
)  # fmt: skip
ON_RUN = (
    ("report", "run", "--quiet"),
    ("report", "run", "--quiet"),
    ("watch", "run", "--json"),
    ("merge", "--genome", "run/genome.json", "--out", CHILD, "--quiet"),
    ("breed", "--resume", "run", "--quiet"),
)


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        change: draws a change, makes it in a folder with the material, says what it is.
        commands: of which one is drawn; words of the command line.
        share: of all inputs, against other kinds.
        check: called with the folder where the command has ended with exit code 0; what it returns is a fault.
    """

    change: Change
    commands: tuple[tuple[str, ...], ...]
    share: int = 1
    check: Callable[[Path], str] | None = None


def _model(draw: Draw) -> str:
    return draw(st.sampled_from(("father", "mother", "base")))


def _config(draw: Draw, folder: Path) -> str:
    model = _model(draw)
    return f"{model}/{hostile.change_json_file(draw, folder / model / 'config.json')}"


def _index(draw: Draw, folder: Path) -> str:
    model = _model(draw)
    return f"{model}/{hostile.change_json_file(draw, folder / model / 'model.safetensors.index.json')}"


def _tensors(draw: Draw, folder: Path) -> str:
    model = _model(draw)
    return f"{model}/{hostile.change_safetensors(draw, folder / model / draw(st.sampled_from(SHARDS)))}"


def _tokenizer(draw: Draw, folder: Path) -> str:
    model = _model(draw)
    name = draw(st.sampled_from(("tokenizer.json", "tokenizer_config.json", "generation_config.json")))
    return f"{model}/{hostile.change_json_file(draw, folder / model / name)}"


def _template(draw: Draw, folder: Path) -> str:
    text = draw(st.one_of(st.sampled_from(TEMPLATES), st.text(alphabet="{}%ab ('\n", max_size=40)))
    (folder / "father" / "chat_template.jinja").write_text(text, encoding="utf-8", errors="replace")
    return f"father/chat_template.jinja is {text[:60]!r}"


TEMPLATES = (
    "{% for i in range(100000000) %}x{% endfor %}",
    "{{ 'x' * 1000000000 }}",
    "{{ messages.__class__.__mro__ }}",
    "{% for m in messages %}{% endfor %}",
    "{{ raise_exception('no') }}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{{ 1 / 0 }}",
    "{% include '/etc/passwd' %}",
    "{{ messages[0]['content'] | replace('', 'x' * 100000) }}",
)


def _place(draw: Draw, folder: Path) -> str:
    model = _model(draw)
    return f"{model}/{hostile.change_place(draw, folder / model, [*MODEL_FILES, *SHARDS])}"


def _adapter(draw: Draw, folder: Path) -> str:
    if draw(st.booleans()):
        return f"adapter/{hostile.change_safetensors(draw, folder / 'adapter' / 'adapter_model.safetensors')}"
    return f"adapter/{hostile.change_json_file(draw, folder / 'adapter' / 'adapter_config.json')}"


def _gguf(draw: Draw, folder: Path) -> str:
    path = folder / "father.gguf"
    data = path.read_bytes()
    head = 6_000 if draw(st.booleans()) else len(data)  # metadata and tensor infos, or anywhere
    changed, note = hostile.change_bytes(draw, data[:head])
    path.write_bytes(changed + data[head:])
    return f"{path.name}: {note}"


def _yaml(name: str) -> Change:
    def change(draw: Draw, folder: Path) -> str:
        path = folder / name
        data = path.read_bytes()
        if draw(st.integers(0, 2)) == 0:
            data, note = hostile.change_bytes(draw, data)
        else:
            document, note = hostile.change_document(draw, yaml.safe_load(data))
            data = yaml.safe_dump(json.loads(hostile.dump(document)), sort_keys=False).encode()
        path.write_bytes(data)
        return f"{name}: {note}"

    return change


def _rows(name: str) -> Change:
    def change(draw: Draw, folder: Path) -> str:
        if draw(st.integers(0, 5)) == 0:
            return hostile.change_place(draw, (folder / name).parent, [Path(name).name])
        return hostile.change_json_file(draw, folder / name)

    return change


def _bytes(name: str) -> Change:
    def change(draw: Draw, folder: Path) -> str:
        data, note = hostile.change_bytes(draw, (folder / name).read_bytes())
        (folder / name).write_bytes(data)
        return f"{name}: {note}"

    return change


def _record(draw: Draw, folder: Path) -> str:
    name = draw(st.sampled_from(RECORDS))
    if draw(st.integers(0, 7)) == 0:
        return f"run/{hostile.change_place(draw, (folder / 'run' / name).parent, [Path(name).name])}"
    return f"run/{hostile.change_json_file(draw, folder / 'run' / name)}"


def _answer(draw: Draw, folder: Path) -> str:
    """What the server of this worker answers (``server``); the address is filled in where the command is run."""
    sound = {"choices": [{"message": {"content": "B"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 1}}
    body, note = hostile.dump(sound), "sound"
    if draw(st.integers(0, 3)):
        document, note = hostile.change_document(draw, sound)
        body = hostile.dump(document)
    else:
        body, note = hostile.change_bytes(draw, body)
    status = draw(st.sampled_from((200, 200, 200, 200, 204, 301, 400, 401, 404, 429, 500, 503)))
    headers = draw(st.sampled_from(HEADERS))
    (folder / "answer.body").write_bytes(body)
    (folder / "answer.json").write_text(json.dumps({"status": status, "headers": headers}), encoding="utf-8")
    return f"status {status}, {headers}, {note}"


HEADERS: tuple[dict[str, str], ...] = (
    {}, {}, {}, {"Content-Length": "10"}, {"Content-Length": "1000000"}, {"Content-Encoding": "gzip"},
    {"Transfer-Encoding": "chunked"}, {"Location": "http://127.0.0.1:9/elsewhere"}, {"Retry-After": "100000"},
    {"Content-Type": "text/html"}, {"Content-Type": "application/json; charset=utf-16"},
)  # fmt: skip
SERVED = ("bench", "--endpoint", "URL", "--endpoint-model", "m", "--task", "exam=exam.jsonl", "--protocol", "generate")
CHAT = ("bench", "father", "--task", "exam=exam.jsonl", "--protocol", "generate", "--max-new-tokens", "2", *BENCH[1:])
LOAD = ("bench", "father", "--task", "exam=exam.jsonl", *BENCH)


def _child_fault(folder: Path) -> str:
    return child_fault(folder, (folder / "stdout").read_text() + (folder / "stderr").read_text())


KINDS: dict[str, Kind] = {
    "kin": Kind(change_kin, (MERGE[:-1],), 4, _child_fault),
    "config": Kind(_config, ON_MODEL, 3),
    "index": Kind(_index, ON_MODEL, 2),
    "tensors": Kind(_tensors, ON_MODEL, 3),
    "tokenizer": Kind(_tokenizer, ON_MODEL, 3),
    "template": Kind(_template, (CHAT,)),
    "place": Kind(_place, ON_MODEL, 2),
    "adapter": Kind(
        _adapter,
        (
            ("bench", "base+adapter", "--task", "exam=exam.jsonl", *BENCH),
            ("plan", "--father", "father", "--mother", "base+adapter"),
        ),
        2,
    ),
    "gguf": Kind(
        _gguf,
        (
            ("bench", "father.gguf", "--task", "exam=exam.jsonl", *BENCH),
            ("plan", "--father", "father.gguf", "--mother", "mother"),
        ),
        2,
    ),
    "settings": Kind(_yaml("config.yaml"), (PLAN,), 3),
    "recipe": Kind(_yaml("recipe.yaml"), (MERGE,), 3),
    "probes": Kind(_rows("probes/own.jsonl"), (("scan", "father", *SMALL_SCAN),), 2),
    "tasks": Kind(_rows("exam.jsonl"), (LOAD,), 2),
    "table": Kind(_bytes("exam.csv"), (("bench", "father", "--task", "exam=exam.csv", *BENCH),)),
    "text": Kind(_bytes("text.txt"), (("bench", "father", "--task", "text=nll:text.txt", "--long", "beyond", *BENCH),)),
    "record": Kind(_record, ON_RUN, 4),
    "answer": Kind(
        _answer, ((*SERVED, "--timeout", "2", "--retries", "1", "--out", "out", "--quiet", "--limit", "8"),), 2
    ),
}
