"""Kinds of tasks beside questions: NLL, agreement and written answers, against transformers computed plainly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from darwin_mri.benchmarks import ChoiceItem, Item, Scorer, load_benchmark, open_grader
from darwin_mri.benchmarks import rows as rows_module
from darwin_mri.benchmarks.decoding import Decoder, Sampling
from darwin_mri.benchmarks.generation import Reply
from darwin_mri.benchmarks.kinds import make_rows
from darwin_mri.benchmarks.kinds.agreement import agreement_items, measure_targets, with_target
from darwin_mri.benchmarks.kinds.open_answers import OpenItem, answer_fault, is_right, match_number, to_number
from darwin_mri.benchmarks.kinds.texts import TextItem
from darwin_mri.benchmarks.own.passages import load_passages, split_passages
from darwin_mri.checkpoints import LoadedModel, ModelSource
from darwin_mri.config import QuestionTask
from darwin_mri.errors import BrokenModel, InputError
from tests.benchmarks.conftest import make_model

TEXTS = (
    "막국수는 하늘벌의 음식입니다. 사람들은 두부전골도 먹는다.",
    "The mineral is blue, and it is soft.",
    "A short one.",
    "The box is in the kitchen because Mina put it there before she left for the market.",
)
GREEDY = Sampling(max_new_tokens=12)


def passages(texts: tuple[str, ...] = TEXTS) -> tuple[TextItem, ...]:
    return tuple(
        TextItem(key=str(number), cluster=str(number), slice="all", benchmark="texts", text=text)
        for number, text in enumerate(texts)
    )


def open_items(prompts: tuple[str, ...], sampling: Sampling, **fields: Any) -> tuple[OpenItem, ...]:
    return tuple(
        OpenItem(
            **{
                "key": str(number),
                "cluster": str(number),
                "slice": "all",
                "benchmark": "open",
                "prompt": prompt,
                "answers": ("x",),
                "match": "contains",
                "sampling": sampling,
                **fields,
            }
        )
        for number, prompt in enumerate(prompts)
    )


def loaded(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    anatomy: Any = None  # the loss needs none
    return LoadedModel(ModelSource("toy", Path("toy"), None), "", model, tokenizer, anatomy)


@torch.no_grad()
def plain_logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[torch.Tensor, Any]:
    """Log-probabilities of every predicted token's distribution, and the tokens, by one plain forward."""
    ids = tokenizer(text)["input_ids"]
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
    return logits[:-1].log_softmax(-1), ids[1:]


@pytest.mark.parametrize("bos", [False, True])
def test_nll_per_byte_is_that_of_one_plain_forward(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, bos_tokenizer: PreTrainedTokenizerFast, bos: bool
) -> None:
    used = bos_tokenizer if bos else tokenizer
    grades = dict(open_grader(passages(), Scorer(model, used)).grades(range(len(TEXTS))))
    for number, text in enumerate(TEXTS):
        log_p, tokens = plain_logits(model, used, text)
        first = 0 if bos else len(str(used.decode([used(text)["input_ids"][0]])).encode())
        expected = float(log_p[range(len(tokens)), tokens].sum()) / (len(text.encode()) - first)
        assert grades[number].answer.credit == pytest.approx(expected, abs=1e-5)
        assert grades[number].smooth == grades[number].answer.credit and grades[number].answer.gold == -1


def test_agreement_is_the_divergence_from_the_partner_and_zero_from_itself(
    model: PreTrainedModel, bos_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, items = make_model("llama", seed=3), agreement_items(passages(), "father")
    lower: dict[int, list[float]] = {}
    for kept in (8, 2000):  # of a vocabulary of 900
        monkeypatch.setattr("darwin_mri.benchmarks.kinds.agreement.KEPT", kept)
        measured = measure_targets(items, Scorer(other, bos_tokenizer))
        ready = [with_target(item, target) for item, (target, _) in zip(items, measured, strict=True)]
        grades = dict(open_grader(ready, Scorer(model, bos_tokenizer)).grades(range(len(items))))
        lower[kept] = [-grades[number].answer.credit for number in range(len(items))]
        own = dict(open_grader(ready, Scorer(other, bos_tokenizer)).grades(range(len(items))))
        assert max(abs(grade.answer.credit) for grade in own.values()) < 1e-5
    for number, text in enumerate(TEXTS):
        log_q, _ = plain_logits(model, bos_tokenizer, text)
        log_p, tokens = plain_logits(other, bos_tokenizer, text)
        exact = float((log_p.exp() * (log_p - log_q)).sum(-1).mean())
        assert lower[2000][number] == pytest.approx(exact, rel=1e-4)
        assert 0 < lower[8][number] <= exact + 1e-6
        nll = -float(log_p[range(len(tokens)), tokens].sum()) / len(text.encode())
        assert measured[number][1] == pytest.approx(nll, abs=1e-5)


def test_agreement_outside_of_a_run_is_refused_in_one_line(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(InputError, match="inside a run"):
        open_grader(agreement_items(passages(), "better"), Scorer(make_model("llama"), tokenizer))


def test_the_differentiable_loss_is_the_negated_score(
    model: PreTrainedModel, bos_tokenizer: PreTrainedTokenizerFast, mixed_items: tuple[ChoiceItem, ...]
) -> None:
    scorer = Scorer(model, bos_tokenizer)
    partner = Scorer(make_model("llama", seed=3), bos_tokenizer)
    alike = agreement_items(passages(), "mother")
    ready = [
        with_target(item, target) for item, (target, _) in zip(alike, measure_targets(alike, partner), strict=True)
    ]
    kinds: dict[str, list[Item]] = {"choices": list(mixed_items[:5]), "texts": list(passages()), "agreement": [*ready]}
    for items in kinds.values():
        rows = make_rows(items, scorer)
        decoder = model.get_decoder()
        value = rows.loss(model, decoder, log=False)
        smooth = [grade.smooth for _, grade in open_grader(items, scorer).grades(range(len(items)))]
        assert float(value.detach()) == pytest.approx(-float(np.mean(smooth)), abs=1e-4)
        (gradient,) = torch.autograd.grad(value, [next(decoder.parameters())])
        assert gradient.abs().sum() > 0


def test_trees_have_the_slopes_of_rows_and_fewer_tokens(
    model: PreTrainedModel,
    bos_tokenizer: PreTrainedTokenizerFast,
    mixed_items: tuple[ChoiceItem, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer, decoder = Scorer(model, bos_tokenizer), model.get_decoder()
    parameters = [p for p in decoder.parameters() if p.dim() == 2]

    def slopes() -> tuple[int, list[torch.Tensor]]:
        rows = make_rows(mixed_items, scorer)
        loss = rows.loss(model, decoder, log=True)
        return rows.tokens, [
            torch.zeros(1) if g is None else g for g in torch.autograd.grad(loss, parameters, allow_unused=True)
        ]

    tokens, ours = slopes()
    monkeypatch.setattr(rows_module, "SAVED", 0.0)  # rows always
    most, plain = slopes()
    if scorer.use_trees:
        assert tokens < 0.7 * most
    else:
        assert tokens == most
    largest = max(float(gradient.abs().max()) for gradient in plain)
    assert all(torch.allclose(a, b, atol=1e-4 * largest) for a, b in zip(ours, plain, strict=True))


def test_a_broken_model_is_said_to_be_broken(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama")
    with torch.no_grad():
        next(model.get_decoder().parameters()).fill_(float("nan"))
    with pytest.raises(BrokenModel):
        list(open_grader(passages(), Scorer(model, tokenizer)).grades([0]))


def test_texts_written_together_are_those_written_alone(
    model: PreTrainedModel, bos_tokenizer: PreTrainedTokenizerFast
) -> None:
    prompts = [bos_tokenizer(text)["input_ids"] for text in TEXTS]
    together = dict(Decoder(model, bos_tokenizer).stream(prompts, range(len(prompts)), GREEDY))
    for number, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        alone = model.generate(  # type: ignore[operator]
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12
        )
        tokens = alone[0, len(prompt) :].tolist()
        ended = 1 in tokens
        assert together[number][0].text == bos_tokenizer.decode(tokens[: tokens.index(1)] if ended else tokens)
        assert together[number][0].finish_reason == ("stop" if ended else "length")


def test_a_stop_text_ends_an_answer_and_samples_repeat(bos_tokenizer: PreTrainedTokenizerFast) -> None:
    decoder = Decoder(make_model("llama"), bos_tokenizer)
    prompts = [bos_tokenizer(text)["input_ids"] for text in TEXTS]
    ((_, (whole,)),) = decoder.stream(prompts, [3], GREEDY)
    stop = whole.text[4:6]
    ((_, (cut,)),) = decoder.stream(prompts, [3], replace(GREEDY, stop=(stop,)))
    assert cut == Reply(whole.text[: whole.text.index(stop)], "stop")
    sampled = Sampling(max_new_tokens=8, temperature=1.0, samples=3)
    first, again = (dict(decoder.stream(prompts, range(4), sampled)) for _ in range(2))
    assert first == again and len({reply.text for reply in first[0]}) > 1


def test_written_answers_earn_the_share_of_samples_that_match(bos_tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama")
    ((_, (reply,)),) = Decoder(model, bos_tokenizer).stream([bos_tokenizer(TEXTS[1])["input_ids"]], [0], GREEDY)
    right, wrong = (
        open_items((TEXTS[1],), GREEDY, answers=(answer,)) for answer in (reply.text.strip()[:5], "no such text")
    )
    for items, credit in ((right, 1.0), (wrong, 0.0)):
        ((_, grade),) = open_grader(items, Scorer(model, bos_tokenizer)).grades([0], "hash")
        assert grade.answer.credit == grade.smooth == credit
        assert grade.answer.protocol == "hash" and grade.answer.finish_reasons == (reply.finish_reason,)


@pytest.mark.parametrize(
    ("match", "answer", "right", "wrong"),
    [
        ("exact", "Seoul", " seoul. ", "Seoul, Korea"),
        ("number", "1,234.5", "It is 7, no: 1234.50", "1234.5 or 8"),
        ("number", "-3", "The sum is \N{MINUS SIGN}3.", "3"),
        ("regex", r"^\d{4}$", "1984", "in 1984"),
        ("contains", "blue stone", "It is a Blue  stone!", "blue or stone"),
        ("letter", "c", "The answer is (C).", "C or D"),
        ("exact", "42", "<think>41?</think> 42", "<think>42"),
    ],
)
def test_matchers(match: str, answer: str, right: str, wrong: str) -> None:
    (item,) = open_items(("?",), GREEDY, answers=("nothing", answer) if match != "letter" else (answer,), match=match)
    assert is_right(item, Reply(right)) and not is_right(item, Reply(wrong)) and not answer_fault(match, answer)


@pytest.mark.parametrize(
    ("match", "answer", "words"),
    [("number", "three", "no number"), ("letter", "AB", "not one letter"), ("regex", "(", "does not compile")],
)
def test_an_answer_that_its_matcher_cannot_use_is_told(match: str, answer: str, words: str) -> None:
    assert words in answer_fault(match, answer)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.sampled_from(["It is {}.", "{}", "1 or 2: {}!"]))
def test_a_number_is_read_back(value: float, form: str) -> None:
    assert to_number(f"{value:,}") == pytest.approx(value) and match_number(form.format(value), str(value))


@given(st.text(max_size=400), st.integers(4, 60))
def test_passages_hold_the_whole_text_within_their_size(text: str, size: int) -> None:
    text = text.encode("utf-8", "ignore").decode()
    parts = list(split_passages(text, size))
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(part.strip() and len(part.encode()) <= size for part in parts)


def test_passages_come_from_texts_tables_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "A first paragraph that is long.\n\nA second paragraph, longer than the first one is. It goes on for long.\n"
    (tmp_path / "a.txt").write_text(long, encoding="utf-8")
    one, two, three = load_passages("t", tmp_path / "a.txt", 60)
    assert one.text == "A first paragraph that is long." and three.text == "It goes on for long."
    assert len({item.cluster for item in (one, two, three)}) == 3
    rows = [{"text": "The first row of a table", "language": "en"}, {"text": long, "cluster": "x"}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert len({item.cluster for item in load_passages("t", tmp_path, 60)}) == 4
    monkeypatch.setattr("darwin_mri.benchmarks.own.passages.MANY_FILES", 2)
    items = load_passages("t", tmp_path, 60)
    assert [item.cluster for item in items] == ["a.txt:", "a.txt:", "a.txt:", "b.jsonl:00001"]  # the rest is repeated
    assert items[3].slice == "en" and items[3].file == "b.jsonl line 1"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.txt", None, "does not exist"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read as UTF-8"),
        ("a.txt", b"  \n", "holds no text"),
        ("a.jsonl", b'{"txt": "a"}', "a.jsonl line 1: field 'text' is missing"),
        ("a.jsonl", b"", "holds no items"),
    ],
)
def test_texts_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        load_passages("t", tmp_path / name, 500)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no .txt"):
        load_passages("t", tmp_path, 500)


def load_rows(path: Path, rows: list[dict[str, Any]], **options: Any) -> tuple[Item, ...]:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return load_benchmark("mine", own={"mine": QuestionTask(jsonl=str(path), **options)})


def test_rows_say_what_kind_of_task_a_table_is(tmp_path: Path) -> None:
    written = load_rows(
        tmp_path / "open.jsonl", [{"prompt": "2 + 2 =", "answer": 4}, {"question": "?", "answers": ["a"]}]
    )
    assert isinstance(written[0], OpenItem) and isinstance(written[1], OpenItem)
    assert (written[0].prompt, written[0].answers) == ("2 + 2 =", ("4",))
    assert written[1].prompt == "Question: ?\nAnswer:" and written[1].sampling.stop == ("\n",)
    texts = load_rows(tmp_path / "texts.jsonl", [{"text": "A text."}])
    assert isinstance(texts[0], TextItem)
    chat = load_rows(tmp_path / "chat.jsonl", [{"question": "Who?", "answer": "me"}], chat=True, match="contains")
    assert isinstance(chat[0], OpenItem) and chat[0].prompt == "Who?" and chat[0].chat and not chat[0].sampling.stop


@pytest.mark.parametrize(
    ("row", "options", "words"),
    [
        ({"prompt": "?", "answer": ""}, {}, "field 'answer' is missing"),
        ({"prompt": "?", "answer": "x", "match": "fuzzy"}, {}, "'fuzzy' is none of exact, number"),
        ({"prompt": "?", "answer": "x"}, {"match": "number"}, "its answer is no number"),
        ({"prompt": "?", "answer": "["}, {"match": "regex"}, "does not compile"),
        ({"answer": "x"}, {}, "neither 'prompt' nor 'question' nor 'context'"),
    ],
)
def test_a_bad_open_row_is_named(tmp_path: Path, row: dict[str, Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_rows(tmp_path / "q.jsonl", [{"prompt": "1", "answer": "1"}, row], **options)
    assert "q.jsonl line 2" in str(caught.value)
