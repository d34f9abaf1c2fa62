"""What models read: tokenizers that end every text, templates that drop the question, prompts that open a thought."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from darwin_mri import cli
from darwin_mri.benchmarks import (
    ChoiceItem,
    FastEngine,
    HarnessEngine,
    Scorer,
    accuracy,
    answer_all,
    get_benchmark,
    prepare,
    sample_items,
)
from darwin_mri.benchmarks.chat import render_chat
from darwin_mri.benchmarks.encoding import encode
from darwin_mri.benchmarks.protocols import log_likelihood
from darwin_mri.checkpoints import find_model
from darwin_mri.config import Generation
from darwin_mri.errors import InputError
from tests.choices import as_choices, load_choices
from tests.toys import IDS

from . import files
from .served import TEMPLATE, chatting_nursery, letter_writer

PROTOCOL = log_likelihood("test", "{context}")
BOS, EOS = ("<bos>", 2), ("<eos>", 1)
ENDINGS: dict[str, Any] = {
    "eos": processors.TemplateProcessing("<bos> $A <eos>", "<bos> $A <eos> $B:1", [BOS, EOS]),
    "eos after a pair": processors.TemplateProcessing("<bos> $A <eos>", "<bos> $A <eos> $B:1 <eos>:1", [BOS, EOS]),
    "sep": processors.BertProcessing(EOS, BOS),
    "two tokens": processors.TemplateProcessing("<bos> $A <eos> <eos>", "<bos> $A $B:1", [BOS, EOS]),
    "sep after bytes": processors.RobertaProcessing(EOS, BOS, trim_offsets=True, add_prefix_space=False),
}


def load(name: str) -> tuple[Any, PreTrainedTokenizerFast]:
    folder = find_model(f"nursery:{name}").folder
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def ended(tokenizer: PreTrainedTokenizerFast, processor: Any) -> PreTrainedTokenizerFast:
    """The tokenizer with another post-processor; it must show in what it gives by itself."""
    changed = copy.deepcopy(tokenizer)
    changed.backend_tokenizer.post_processor = processor
    assert changed("a")["input_ids"][-1] == 1
    return changed


@pytest.fixture(scope="module")
def korean() -> tuple[Any, PreTrainedTokenizerFast]:
    return load("gemma4-korean")


@pytest.fixture(scope="module")
def items() -> tuple[ChoiceItem, ...]:
    return tuple(
        item
        for name in ("nursery_click", "nursery_musr")
        for item in as_choices(sample_items(load_choices(name), 8, 3))
    )


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_tokenizer_that_ends_texts_changes_no_score(
    korean: tuple[Any, PreTrainedTokenizerFast], items: tuple[ChoiceItem, ...], kind: str
) -> None:
    model, ordinary = korean
    tokenizer = ended(ordinary, ENDINGS[kind])
    assert prepare(items, tokenizer) == prepare(items, ordinary)
    expected = answer_all(FastEngine(Scorer(model, ordinary)), items, PROTOCOL)
    for engine in (FastEngine(Scorer(model, tokenizer)), HarnessEngine.in_memory(model, tokenizer)):
        answers = answer_all(engine, items, PROTOCOL)
        assert accuracy(answers) == accuracy(expected) > 0.5
        for a, b in zip(answers, expected, strict=True):
            assert a.log_probabilities == pytest.approx(b.log_probabilities, abs=1e-3)


def test_a_tokenizer_that_only_ends_texts_gives_no_first_token(items: tuple[ChoiceItem, ...]) -> None:
    model, ordinary = load("qwen35-mother")
    eos = ordinary.eos_token, ordinary.eos_token_id
    tokenizer = copy.deepcopy(ordinary)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(f"$A {eos[0]}", None, [eos])
    assert tokenizer("a")["input_ids"] == [*ordinary("a")["input_ids"], eos[1]]
    expected = answer_all(FastEngine(Scorer(model, ordinary)), items, PROTOCOL)
    for a, b in zip(answer_all(HarnessEngine.in_memory(model, tokenizer), items, PROTOCOL), expected, strict=True):
        assert a.log_probabilities == pytest.approx(b.log_probabilities, abs=1e-3)


@pytest.mark.parametrize("start", ["", "<bos>"])
def test_a_generated_answer_starts_from_one_bos_and_no_end(
    korean: tuple[Any, PreTrainedTokenizerFast], items: tuple[ChoiceItem, ...], start: str
) -> None:
    """Also where the template writes <bos> itself; prompts of a batch differ in length."""
    model, ordinary = korean
    tokenizer = ended(ordinary, ENDINGS["eos"])
    tokenizer.chat_template = start + TEMPLATE
    protocol = get_benchmark("nursery_click").chat_protocol(Generation(max_new_tokens=2))
    read: list[list[int]] = []

    def record(module: Any, args: Any, kwargs: Any) -> None:
        rows, attention = kwargs["input_ids"], kwargs["attention_mask"]
        if rows.shape[1] > 1:
            read.extend(row[mask.bool()].tolist() for row, mask in zip(rows, attention, strict=True))

    hook = model.register_forward_pre_hook(record, with_kwargs=True)
    answers = answer_all(HarnessEngine.in_memory(model, tokenizer), items, protocol)
    hook.remove()
    assert len(read) == len(items) == len(answers)
    for ids in read:
        assert ids[0] == 2 and not {1, 2} & set(ids[1:])
    prompts = {tuple(encode([f"{item.message or item.context}"], ordinary)[0][:4]) for item in items}
    assert {tuple(ids[:4]) for ids in read} == prompts


QUESTION = "Which?\n\nA. red\nB. blue\n\nEnd with: Answer: X"
PARTS = (
    "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endfor %}"
)


def chat_tokenizer(template: str) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(find_model("nursery:gemma4-korean").folder)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "in_parts"),
    [
        (TEMPLATE, False),
        (PARTS, True),
        ("{% for m in messages %}{{ '' + m['content'][0]['text'] }}{% endfor %}", True),  # an error for plain text
        ("{{ messages[0]['content'] | trim | replace('\n\n', '\n') }}", False),
        ("{{ messages[0]['content'] }} Again: {{ messages[0]['content'] }}", False),
        ("{{ messages[0]['content'] if messages[0]['content'] is string else 'parts' }}", False),
    ],
)
def test_a_prompt_holds_the_question(template: str, in_parts: bool) -> None:
    prompt = render_chat(chat_tokenizer(template), QUESTION, "m", thinking=False)
    assert "".join(QUESTION.split()) in "".join(prompt.text.split()) and prompt.in_parts == in_parts


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("", "renders an empty prompt, and with the text as a list of parts it renders an empty prompt"),
        ("You are helpful.", "leaves the question out of the prompt"),
        ("{{ messages[0]['content'][:9] }}", "leaves the question out of the prompt"),
        ("{{ messages[0]['content'] | upper }}", "leaves the question out of the prompt"),
        ("{{ raise_exception('roles must alternate') }}", r"fails \(roles must alternate\)"),
        ("{{ raise_exception('bad: ' + messages[0]['content']) }}", r"fails \(TemplateError\)"),
        ("{{ messages[0]['content'] + 1 }}", r"fails \(can only concatenate str"),
        ("{% for %}", r"fails \("),
    ],
)
def test_a_template_without_the_question_is_refused(template: str, fault: str) -> None:
    tokenizer = chat_tokenizer(template or "{{ '' }}")
    with pytest.raises(InputError, match=f"^pico: the model's chat template {fault}") as caught:
        render_chat(tokenizer, QUESTION, "pico", thinking=False)
    assert "red" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("end", "opens"),
    [
        ("<think>\n", True),
        ("<think>", True),
        ("<|channel>thought\n", True),
        ("<think>\n\n</think>\n\n", False),
        ("{% if enable_thinking %}<think>{% endif %}", False),
        ("assistant:", False),
    ],
)
def test_whether_a_prompt_opens_a_thought(end: str, opens: bool) -> None:
    tokenizer = chat_tokenizer(f"System: think inside <think>.\n{TEMPLATE}{end}")
    assert render_chat(tokenizer, f"What does <think> mean?\n{QUESTION}", "m", thinking=False).opens_thought == opens
    switched = render_chat(tokenizer, QUESTION, "m", thinking=True).opens_thought
    assert switched == (opens or "enable_thinking" in end)


def bench(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    monkeypatch.setattr(sys, "argv", ["darwin-mri", "bench", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0), capsys.readouterr()


def test_the_command_refuses_a_template_before_it_scores_and_tells_of_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = chatting_nursery(tmp_path / "chatting"), tmp_path / "out"
    words = [str(model), "--protocol", "generate", "--tasks", "nursery_gpqa", "--limit", "8", "--max-new-tokens", "2"]
    words += ["--out", str(out), "--offline", "--quiet"]
    (model / "chat_template.jinja").write_text("{{ messages[0]['role'] }}:")
    code, shown = bench(words, monkeypatch, capsys)
    assert code == 1 and len(shown.err.splitlines()) == 1 and not out.exists()
    assert "chatting: the model's chat template leaves the question out of the prompt" in shown.err
    (model / "chat_template.jinja").write_text(PARTS)
    code, shown = bench(words, monkeypatch, capsys)
    assert code == 0 and "The chat template of chatting leaves plain text out of the prompt" in shown.out
    (path,) = (out / "answers").glob("*/nursery_gpqa.jsonl")
    answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 8 and {reason for a in answers for reason in a["finish_reasons"]} <= {"stop", "length"}


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, PreTrainedTokenizerFast]:
    folder = letter_writer(tmp_path_factory.mktemp("writer") / "letter", "C")
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> tuple[ChoiceItem, ...]:
    return load_choices("gpqa", files.write_data(tmp_path_factory.mktemp("data")), password=files.PASSWORD)[:4]


def written(model: Any, tokenizer: PreTrainedTokenizerFast, items: tuple[ChoiceItem, ...], tokens: int) -> set[Any]:
    """(choice, how it ended) of the answers."""
    protocol = get_benchmark("gpqa").chat_protocol(Generation(max_new_tokens=tokens))
    answers = answer_all(HarnessEngine.in_memory(model, tokenizer), items, protocol)
    return {(answer.choice, answer.finish_reasons) for answer in answers}


def test_local_answers_tell_how_they_ended(
    writer: tuple[Any, PreTrainedTokenizerFast], questions: tuple[ChoiceItem, ...]
) -> None:
    assert written(*writer, questions, 2) == {(2, ("stop",))}  # the letter and the end
    assert written(*writer, questions, 1) == {(-1, ("length",))}  # the letter; what would follow is unknown


def test_a_local_answer_inside_a_thought_that_the_prompt_opened_is_none(
    writer: tuple[Any, PreTrainedTokenizerFast], questions: tuple[ChoiceItem, ...]
) -> None:
    model, tokenizer = writer[0], copy.deepcopy(writer[1])
    tokenizer.chat_template = TEMPLATE.replace("\n#", "<think>\n#")
    assert written(model, tokenizer, questions, 4) == {(-1, ("stop",))}


def test_an_end_of_thinking_that_is_a_special_token_is_seen(
    writer: tuple[Any, PreTrainedTokenizerFast], questions: tuple[ChoiceItem, ...]
) -> None:
    """The model writes </think>, C and the end; decoding drops special tokens."""
    model, tokenizer = copy.deepcopy(writer[0]), copy.deepcopy(writer[1])
    tokenizer.add_special_tokens({"additional_special_tokens": ["</think>"]})
    mark, end, answer = (tokenizer.encode(text)[0] for text in ("#", "</think>", "C"))
    assert end > max(IDS.values())
    with torch.no_grad():
        head = model.lm_head.weight
        head[:, mark], head[:, end] = 0.0, 0.0
        head[end, mark], head[answer, end] = 2.0, 2.0
    tokenizer.chat_template = TEMPLATE.replace("\n#", "<think>\n#")
    assert written(model, tokenizer, questions, 8) == {(2, ("stop",))}
