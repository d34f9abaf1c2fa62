"""The bench command and the breeding pipeline on CLIcK, MuSR and GPQA files, as a user runs them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from darwin_mri import cli, pipeline
from darwin_mri.benchmarks import FastEngine, describe_benchmark, item_hash
from darwin_mri.config import make_config
from darwin_mri.errors import InputError
from darwin_mri.records import AnswerSet, Comparison, Splits
from tests.choices import load_choices
from tests.toys import pico_gemma4, pico_llama

from . import files
from .served import letter_writer

TASKS = "click,musr,gpqa"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pico_llama(tmp_path_factory.mktemp("models") / "pico", max_position_embeddings=1024)


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Run the command in this process; (exit code, stdout, stderr)."""
    monkeypatch.setenv("DARWIN_MRI_GPQA_PASSWORD", files.PASSWORD)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["darwin-mri", "bench", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        shown = capfd.readouterr()
        assert files.SECRET not in shown.out + shown.err
        return int(stopped.value.code or 0), shown.out, shown.err

    return run


def test_scores_intervals_counts_and_protocols_are_printed(call: Call, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = call(model, "--tasks", TASKS, "--data", data, "--out", out)
    assert code == 0, stderr
    flat = " ".join(stdout.split())
    for say in (
        "n = 12",
        "n = 24",
        "n = 10",
        "12 of 1995",
        "murder_mysteries 8 of 250, object_placements 8 of 256",
        "click-letter-logprob v1; headline acc",
        "musr-text-logprob-per-character v1; headline acc_norm",
        "musr by acc: pico",
        "79.4 %",
        "60.4 %",
        "published",
        "under an unknown protocol",
        "24 of its 756 items",
    ):
        assert say in flat, say
    assert "full" not in flat.lower()
    comparison = Comparison.load(out / "comparison.json")
    measured = [s for s in comparison.scores if s.evidence == "measured"]
    assert all(s.protocol_hash and s.low is not None and s.split == "all" for s in measured)
    assert {p.hash for p in comparison.protocols} == {s.protocol_hash for s in measured if s.benchmark != "composite"}
    assert {s.slice for s in measured if s.benchmark == "click"} == {
        "all",
        "Culture",
        "Culture/Society",
        "Language",
        "Language/Textual",
    }
    musr = load_choices("musr", data)
    lines = (out / "answers" / "0-pico" / "musr.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == [item_hash(item) for item in musr]
    identity = AnswerSet.load(out / "answers" / "0-pico" / "musr.json")
    assert (identity.engine, identity.items, identity.benchmark) == ("lm-eval hf", 24, "musr")
    assert len(identity.digest) == 64 and identity.precision == "cpu float32"


def test_kept_answers_are_not_asked_again(
    call,
    model: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, interrupted = tmp_path / "out", []
    answers = FastEngine.answers

    def failing(self: FastEngine, items, protocol):
        for number, answer in enumerate(answers(self, items, protocol)):
            if protocol.name.startswith("musr") and number == 5 and not interrupted:
                raise KeyboardInterrupt
            yield answer

    monkeypatch.setattr(FastEngine, "answers", failing)
    words = (model, "--tasks", "click,musr", "--data", data, "--out", out, "--fast")
    code, _, stderr = call(*words)
    assert code == 130 and "the same command goes on" in stderr
    assert (out / "answers" / "0-pico" / "click.jsonl").is_file() and not (out / "comparison.json").exists()
    interrupted.append("once")
    code, stdout, stderr = call(*words, "--json")
    assert code == 0 and "pico, click: 12 answers taken over" in stderr and "pico, musr: 5 answers taken over" in stderr
    once = json.loads(stdout)
    code, stdout, stderr = call(*words, "--json", "--quiet")
    assert code == 0 and json.loads(stdout) == once and not stderr
    code, stdout, stderr = call(*words[:-1], "--json")  # another engine: nothing is taken over
    assert code == 0 and "taken over" not in stderr
    other = {s["benchmark"]: s["correct"] for s in json.loads(stdout)["scores"] if s["slice"] == "all"}
    assert other == {s["benchmark"]: s["correct"] for s in once["scores"] if s["slice"] == "all"}


def test_two_models_and_a_sample(call: Call, model: Path, data: Path, tmp_path: Path) -> None:
    other = pico_llama(tmp_path / "other", seed=3, max_position_embeddings=1024)
    code, stdout, stderr = call(
        model,
        other,
        "--tasks",
        "click,gpqa",
        "--data",
        data,
        "--out",
        tmp_path / "out",
        "--fast",
        "--limit",
        "8",
        "--json",
    )
    assert code == 0, stderr
    comparison = json.loads(stdout)
    assert {c["name"] for c in comparison["contrasts"]} == {"child - other"}
    assert {s["n"] for s in comparison["scores"] if s["slice"] == "all" and s["evidence"] == "measured"} == {8, 16}


def test_a_context_too_short_is_an_error_unless_the_user_decides(call: Call, data: Path, tmp_path: Path) -> None:
    lengths = sorted(len(item.context.encode()) + 30 for item in load_choices("musr", data))
    limit = lengths[len(lengths) // 2]
    short = pico_llama(tmp_path / "short", max_position_embeddings=limit)
    words = (short, "--tasks", "musr", "--data", data, "--out", tmp_path / "out", "--fast")
    code, stdout, stderr = call(*words)
    line = stderr.strip().splitlines()
    assert code == 1 and not stdout and len(line) == 1
    assert (
        "musr item" in line[0] and ".jsonl line" in line[0] and f"more than the {limit} positions of short" in line[0]
    )
    assert "of 24 items are too long" in line[0] and "--long skip" in line[0] and not (tmp_path / "out").exists()
    code, stdout, _ = call(*words, "--long", "skip", "--json")
    skipped = json.loads(stdout)
    assert code == 0
    (info,) = skipped["benchmarks"]
    n = next(s["n"] for s in skipped["scores"] if s["slice"] == "all" and s["evidence"] == "measured")
    assert info["left_out"] > 0 and n + info["left_out"] == 24
    assert any("left out for every model" in alert["text"] for alert in skipped["alerts"])
    code, stdout, _ = call(*words, "--long", "beyond", "--json")
    beyond = json.loads(stdout)
    assert code == 0 and beyond["benchmarks"][0]["beyond"] == info["left_out"]


@pytest.mark.parametrize(
    ("words", "code", "say"),
    [
        (("--tasks", "gpqa", "--gpqa-password", "wrong"), 1, "password is wrong"),
        (("--tasks", "clik"), 2, "did you mean 'click'"),
        (("--tasks", "click", "--protocol", "guess"), 2, "bench: protocol"),
        (("--tasks", "click", "--long", "cut"), 2, "bench: long_items"),
        (("--tasks", "click", "--protocol", "generate", "--samples", "4"), 2, "greedy samples"),
        (("--tasks", "click", "--protocol", "generate"), 1, "pico has no chat template"),
        (("--tasks", "click", "--backend", "vlm"), 2, "no backend 'vlm'"),
        pytest.param(
            ("--tasks", "click", "--backend", "vllm"),
            1,
            "cannot be loaded (No module named 'vllm')",
            marks=pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed"),
        ),
        (("--tasks", "click", "--endpoint", "nowhere"), 2, "is no URL"),
        (("--tasks", "click", "--limit", "2"), 2, "bench: items"),
        (("--tasks", "click_upstream", "--protocol", "generate"), 2, "repeats a log-likelihood task"),
    ],
)
def test_wrong_usage(
    call: Call, model: Path, data: Path, tmp_path: Path, words: tuple[str, ...], code: int, say: str
) -> None:
    got, stdout, stderr = call(model, "--data", data, "--out", tmp_path / "out", "--quiet", *words)
    assert got == code and say in stderr and not stdout and len(stderr.strip().splitlines()) == 1, stderr


def test_bench_without_a_model_is_wrong_usage(call: Call) -> None:
    assert call("--tasks", "click")[0] == 2


def test_generated_answers_from_the_command(call: Call, data: Path, tmp_path: Path) -> None:
    writer = letter_writer(tmp_path / "writer", "A")
    sampling = ("--samples", "3", "--temperature", "0.6", "--max-new-tokens", "4")
    words = (writer, "--tasks", "click,gpqa", "--data", data, "--out", tmp_path / "out", "--json")
    code, stdout, stderr = call(*words, "--protocol", "generate", *sampling)
    assert code == 0, stderr
    comparison = json.loads(stdout)
    click = next(s for s in comparison["scores"] if (s["benchmark"], s["slice"]) == ("click", "all"))
    assert click["metric"] == "maj@3" and "maj@3, T = 0.6" in click["protocol"]
    assert click["correct"] == sum(item.gold == 0 for item in load_choices("click", data))
    assert {s["metric"] for s in comparison["secondary"]} == {"mean@3"}


def test_breeding_on_real_formats_stores_its_split(data: Path, tmp_path: Path) -> None:
    family = {n: pico_gemma4(tmp_path / n, seed=i, max_position_embeddings=1024) for i, n in enumerate(("f", "m", "b"))}
    config = make_config(
        {
            "name": "toy",
            "father": str(family["f"]),
            "mother": str(family["m"]),
            "base": str(family["b"]),
            "data": str(data),
            "fitness": {"click": 0.6, "musr": 0.4},
            "device": "cpu",
            "scan": {"languages": ["ko"], "documents": 2, "max_tokens": 16, "bootstrap": 50, "positions": 64},
            "prior": {"items": 8},
            "search": {"budget": 4, "population": 4, "items": 8, "finalists": 1},
            "bench": {"tasks": ["click", "musr"], "harness": False, "search_share": 0.5, "held_out_share": 0.4},
        },
        "test",
    )
    pipeline.breed(config, tmp_path / "run", force=True)
    splits = Splits.load(tmp_path / "run" / "splits.json")
    assert [s.benchmark for s in splits.benchmarks] == ["click", "musr"]
    for part in splits.benchmarks:
        items = {item_hash(item): item for item in load_choices(part.benchmark, data)}
        clusters = [{items[key].cluster for key in keys} for keys in (part.search, part.fresh, part.held_out)]
        assert clusters[0] and clusters[2]
        assert not clusters[0] & clusters[2] and not clusters[1] & clusters[2] and not clusters[0] & clusters[1]
        assert part.clusters == len({item.cluster for item in items.values()}) >= sum(map(len, clusters))
        answered = (tmp_path / "run" / "answers" / "child" / f"{part.benchmark}.jsonl").read_text().splitlines()
        assert sorted(json.loads(line)["key"] for line in answered) == list(part.held_out)
    comparison = Comparison.load(tmp_path / "run" / "comparison.json")
    assert {s.value for s in comparison.scores if s.evidence == "published"} == {0.794, 0.604}
    assert [info.title for info in comparison.benchmarks] == [
        describe_benchmark(name, load_choices(name, data)).title for name in ("click", "musr")
    ]
    assert any("24 of its 756 items" in alert.text for alert in comparison.alerts)
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file() and "child" not in path.parts and "state" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert files.SECRET not in text and str(tmp_path) not in text, path
    # One line less, in a folder of the same name: the config is the run's own, the items are not.
    files.write_jsonl(files.write_data(tmp_path / data.name) / "click" / "click.jsonl", files.click_rows()[:-1])
    moved = config.model_copy(update={"data": str(tmp_path / data.name)})
    with pytest.raises(InputError, match="started on other benchmark items"):
        pipeline.breed(moved, tmp_path / "run", resume=True, force=True)


def test_an_empty_part_of_a_split_names_the_benchmark(data: Path, tmp_path: Path) -> None:
    files.write_jsonl(tmp_path / "data" / "click" / "click.jsonl", files.click_rows()[:1])
    folder = pico_gemma4(tmp_path / "f", max_position_embeddings=1024)
    config = make_config(
        {
            "father": str(folder),
            "mother": str(folder),
            "data": str(tmp_path / "data"),
            "fitness": {"click": 1},
            "bench": {"tasks": ["click"]},
            "method": "linear",
            "device": "cpu",
        },
        "test",
    )
    with pytest.raises(InputError, match="click: splitting 1 clusters .* leaves the (search|held-out) part empty"):
        pipeline.breed(config, tmp_path / "run")


def test_answers_are_asked_again_when_the_configuration_changed(
    call: Call, model: Path, data: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(model, own)
    words = (own, "--tasks", "click", "--data", data, "--out", tmp_path / "out", "--fast")
    assert "taken over" not in call(*words)[2]
    assert "taken over" in call(*words)[2]
    config = json.loads((own / "config.json").read_text(encoding="utf-8"))
    (own / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 10.0}), encoding="utf-8")
    code, _, stderr = call(*words)
    assert code == 0 and "taken over" not in stderr


def test_models_of_one_name_are_numbered_and_compared(call: Call, model: Path, data: Path, tmp_path: Path) -> None:
    twin = pico_llama(tmp_path / "other" / "pico", seed=7, max_position_embeddings=1024)
    code, stdout, stderr = call(
        model, "--baseline", twin, "--tasks", "click", "--data", data, "--out", tmp_path / "out", "--fast", "--json"
    )
    assert code == 0, stderr
    comparison = json.loads(stdout)
    assert {score["model"] for score in comparison["scores"] if score["evidence"] == "measured"} == {"pico", "pico (2)"}
    assert {contrast["name"] for contrast in comparison["contrasts"]} == {"child - pico (2)"}


@pytest.mark.parametrize(
    ("words", "say"),
    [
        (("--samples", "4"), "belong to --protocol generate"),
        (("--endpoint-model", "m"), "belong to --endpoint"),
        (("--fast", "--protocol", "generate"), "takes no --protocol generate"),
        (("--fast", "--backend-args", "a=1"), "no backend"),
        (("--seed", "-1"), "seed -1 is below 0"),
        (("--protocol", "generate", "--temperature", "inf"), "temperature"),
        (("--endpoint", "http://[::1/v1"), "is no URL"),
        (("--endpoint", "http://127.0.0.1:abc/v1", "--endpoint-model", "m"), "is no URL"),
    ],
)
def test_options_that_would_do_nothing_or_harm(
    call: Call, model: Path, data: Path, tmp_path: Path, words: tuple[str, ...], say: str
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = call(model, "--tasks", "click", "--data", data, "--out", out, *words)
    assert code == 2 and say in stderr and not stdout and len(stderr.strip().splitlines()) == 1, stderr


def test_an_out_that_is_a_file(call: Call, model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    code, _, stderr = call(model, "--tasks", "click", "--data", data, "--out", tmp_path / "out")
    assert code == 1 and "not a folder" in stderr and (tmp_path / "out").read_text(encoding="utf-8") == "mine"
