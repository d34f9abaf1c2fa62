"""lm-eval on benchmark items: both kinds of protocol, too little memory, backends by name, nothing left on disk."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.benchmarks import ChoiceItem, HarnessEngine, answer_all, get_benchmark
from darwin_mri.benchmarks.kinds import read_lengths
from darwin_mri.benchmarks.lengths import Reader, fit_items, require_chat
from darwin_mri.benchmarks.protocols import log_likelihood
from darwin_mri.config import Generation
from darwin_mri.errors import ConfigError, DarwinError, InputError
from tests.choices import load_choices
from tests.toys import pico_llama

from . import files
from .served import letter_writer

PROTOCOL = log_likelihood("test", "{context}")


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = letter_writer(tmp_path_factory.mktemp("writer") / "letter", "C")
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[ChoiceItem, ...]:
    return load_choices("gpqa", files.write_data(tmp_path_factory.mktemp("data")), password=files.PASSWORD)


@pytest.mark.parametrize("sampling", [{}, {"samples": 3, "temperature": 0.7, "thinking": True}])
def test_generated_answers(
    writer: tuple[PreTrainedModel, PreTrainedTokenizerBase], items: tuple[ChoiceItem, ...], sampling: dict[str, Any]
) -> None:
    generation = Generation(max_new_tokens=3, **sampling)
    protocol = get_benchmark("gpqa").chat_protocol(generation)
    engine = HarnessEngine.in_memory(*writer)
    answers = answer_all(engine, items, protocol)
    assert Counter(a.choice for a in answers) == {2: len(items)}
    assert {a.votes for a in answers} == {(0, 0, generation.samples, 0)}
    assert [a.credit for a in answers] == [float(item.gold == 2) for item in items]


def test_the_prompt_is_the_chat_templates(
    writer: tuple[PreTrainedModel, PreTrainedTokenizerBase], items: tuple[ChoiceItem, ...]
) -> None:
    model, tokenizer = writer
    protocol = get_benchmark("gpqa").chat_protocol(Generation(max_new_tokens=1))
    engine = HarnessEngine.in_memory(model, tokenizer)
    seen: list[str] = []
    generate = engine.lm.generate_until
    engine.lm.generate_until = lambda requests: seen.extend(r.args[0] for r in requests) or generate(requests)
    answer_all(engine, items[:1], protocol)
    assert len(seen) == 1 and seen[0].startswith(items[0].message) and seen[0].endswith("X is the letter.#")


def test_memory_that_runs_out_halves_the_batch(
    writer: tuple[PreTrainedModel, PreTrainedTokenizerBase], items: tuple[ChoiceItem, ...]
) -> None:
    model, tokenizer = writer
    expected = answer_all(HarnessEngine.in_memory(model, tokenizer), items, PROTOCOL)
    engine, limit, rows = HarnessEngine.in_memory(model, tokenizer), 3, []

    def small_device(module: torch.nn.Module, args: tuple[torch.Tensor], kwargs: Any) -> None:
        rows.append(len(args[0] if args else kwargs["input_ids"]))
        if rows[-1] > limit:
            raise torch.OutOfMemoryError(f"no room for {files.SECRET}")

    hook = model.register_forward_pre_hook(small_device, with_kwargs=True)
    assert [a.choice for a in answer_all(engine, items, PROTOCOL)] == [a.choice for a in expected]
    assert max(rows) > limit >= min(rows) and engine.most_rows <= limit
    limit = 0
    with pytest.raises(DarwinError, match="lm-eval hf runs out of memory on gpqa .*: use a larger device;") as caught:
        answer_all(engine, items, PROTOCOL)
    assert files.SECRET not in str(caught.value)
    hook.remove()


def test_items_longer_than_a_context(tmp_path: Path, items: tuple[ChoiceItem, ...]) -> None:
    folder = pico_llama(tmp_path / "short", max_position_embeddings=400)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reader = Reader.of_folder("short", folder, tokenizer)
    long = tuple(
        replace(item, key=f"long{n}", context=f"{'x ' * 300}{item.context}") for n, item in enumerate(items[:2])
    )
    both = (*items[:3], *long)
    assert fit_items(items, PROTOCOL, [reader], "error") == (items, ())
    with pytest.raises(
        InputError, match=r"gpqa item long0 \(dataset.zip gpqa_diamond.csv row 1\): \d+ tokens, more than the 400"
    ):
        fit_items(both, PROTOCOL, [reader], "error")
    assert fit_items(both, PROTOCOL, [reader], "skip") == (items[:3], long)
    assert fit_items(both, PROTOCOL, [reader], "beyond") == (both, long)
    with pytest.raises(InputError, match="no item is shorter"):
        fit_items(long, PROTOCOL, [reader], "skip")
    with pytest.raises(InputError, match="short has no chat template"):
        require_chat([reader])
    chat = Reader("short", AutoTokenizer.from_pretrained(letter_writer(tmp_path / "letter")), reader.config)
    protocol = get_benchmark("gpqa").chat_protocol(Generation(max_new_tokens=300))  # no room for the answer
    with pytest.raises(InputError, match="positions of short"):
        fit_items(items, protocol, [chat], "error")


def test_siblings_share_lengths_and_another_tokenizer_has_its_own(
    tmp_path: Path, items: tuple[ChoiceItem, ...]
) -> None:
    """The other tokenizer has one token for "th"; its folder keeps its name."""
    folders = [pico_llama(tmp_path / name) for name in ("one", "other")]
    readers = [Reader.of_folder("m", folder, AutoTokenizer.from_pretrained(folder)) for folder in folders]
    assert readers[0].digest == readers[1].digest
    same = [reader.lengths(items, PROTOCOL) for reader in readers]
    path = folders[1] / "tokenizer.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields["model"]["vocab"]["th"] = 1000
    fields["model"]["merges"] = ["t h"]
    path.write_text(json.dumps(fields), encoding="utf-8")
    changed = Reader.of_folder("m", folders[1], AutoTokenizer.from_pretrained(folders[1]))
    assert same[0] == same[1] and changed.digest != readers[1].digest
    for reader, lengths in ((readers[0], same[0]), (changed, changed.lengths(items, PROTOCOL))):
        assert lengths == read_lengths(items, reader.tokenizer)
    assert changed.lengths(items, PROTOCOL) != same[0]


def test_backends_by_name(tmp_path: Path, items: tuple[ChoiceItem, ...]) -> None:
    folder = pico_llama(tmp_path / "pico")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    named = HarnessEngine.named("hf", "dtype=float32,device=cpu,batch_size=2", model=str(folder))
    assert named.name == "lm-eval hf"
    resident = answer_all(HarnessEngine.in_memory(model, tokenizer), items[:3], PROTOCOL)
    for a, b in zip(resident, answer_all(named, items[:3], PROTOCOL), strict=True):
        assert a.log_probabilities == pytest.approx(b.log_probabilities, abs=1e-3)
    long = replace(items[0], context="x" * 600)
    with pytest.raises(InputError, match=r"item rec000 .* tokens, more than the model's 512 positions"):
        answer_all(named, [long], PROTOCOL)
    with pytest.raises(ConfigError, match="no backend 'vlm': it has .*vllm"):
        HarnessEngine.named("vlm", "")
    if find_spec("vllm") is None:
        with pytest.raises(InputError, match="backend vllm cannot be loaded"):
            HarnessEngine.named("vllm", "tensor_parallel_size=2", model=str(folder))
    with pytest.raises(InputError, match=r"backend hf does not start \(\w+\)"):
        HarnessEngine.named("hf", "dtype=float32,device=cpu", model=str(tmp_path / "nothing"))


def test_no_item_is_written_anywhere(tmp_path: Path) -> None:
    """A whole bench in a process of its own, with every cache inside a folder that is then searched."""
    data, model = files.write_data(tmp_path / "data"), pico_llama(tmp_path / "pico", max_position_embeddings=1024)
    places = {name: str(tmp_path / "scratch" / name) for name in ("HF_HOME", "TMPDIR", "XDG_CACHE_HOME", "HOME")}
    for place in places.values():
        Path(place).mkdir(parents=True)
    words = [
        "bench",
        str(model),
        "--tasks",
        "gpqa,click,musr",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "scratch" / "out"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "darwin_mri", *words, "--json"],
        env={**os.environ, **places, "DARWIN_MRI_GPQA_PASSWORD": files.PASSWORD, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert {s["benchmark"] for s in json.loads(done.stdout)["scores"]} >= {"gpqa", "click", "musr"}
    written = [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
    assert any(path.name == "gpqa.jsonl" for path in written)
    for text in (done.stdout, done.stderr):
        assert files.SECRET not in text and files.PASSWORD not in text
    for path in written:
        content = path.read_bytes()
        assert files.SECRET.encode() not in content and files.PASSWORD.encode() not in content, path


def test_warnings_of_a_backend_are_shown_and_its_prints_go_with_the_error(
    writer: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    items: tuple[ChoiceItem, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = HarnessEngine.in_memory(*writer)
    answer, log = engine.lm.loglikelihood, logging.getLogger("lm_eval.models.toy")

    def slow_download(requests: Any) -> Any:
        print("downloading 3 %")
        log.info("a detail")
        log.warning("no reply, trying again\n%s", files.SECRET)
        return answer(requests)

    engine.lm.loglikelihood = slow_download
    answer_all(engine, items[:2], PROTOCOL)
    answer_all(engine, items[2:4], PROTOCOL)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "lm_eval.models.toy: no reply, trying again\n")

    def broken(requests: Any) -> Any:
        print("downloading 4 %")
        raise OSError("connection lost")

    engine.lm.loglikelihood = broken
    with pytest.raises(DarwinError, match=r"lm-eval hf failed on gpqa \(OSError\)") as caught:
        answer_all(engine, items[:2], PROTOCOL)
    assert isinstance(caught.value.__cause__, OSError)
    assert any("downloading 4 %" in note for note in caught.value.__cause__.__notes__)
    assert not any(capsys.readouterr())
