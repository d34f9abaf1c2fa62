"""Tasks of lm-eval under the fast scorer: ``simple_evaluate`` is the oracle, for every output type."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from darwin_mri.benchmarks import Item, Prepared, Scorer, chance, get_benchmark, load_benchmark, open_grader
from darwin_mri.benchmarks.backend_output import contain_output
from darwin_mri.benchmarks.decoding import Decoder, Sampling
from darwin_mri.benchmarks.kinds import differentiable, make_rows, read_lengths
from darwin_mri.benchmarks.kinds.lm_eval_tasks import LmEvalGrader, aggregated
from darwin_mri.checkpoints import LoadedModel, ModelSource
from darwin_mri.checkpoints.anatomy import decoder_of, find_anatomy
from darwin_mri.config import LmEvalTask, OwnTask, make_tasks
from darwin_mri.config_tasks import allow_code
from darwin_mri.errors import ConfigError, DarwinError, InputError
from tests.benchmarks.conftest import make_model
from tests.benchmarks.lm_eval_files import CHOICES, TASKS, documents, with_code, write_data, write_task

pytest.importorskip("lm_eval")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Task files over local JSON, one task of each sort, and a group of two."""
    write_data(tmp_path, 8)
    for name, settings in TASKS.items():
        write_task(tmp_path, name, **settings)
    group = {"group": "both", "task": ["choices", {"task": "choices_list", "num_fewshot": 1}]}
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(group), encoding="utf-8")
    return tmp_path


def own(folder: Path, name: str, **options: Any) -> dict[str, OwnTask]:
    return {"mine": LmEvalTask(lm_eval=name, include_path=str(folder), **options)}


def items_of(folder: Path, name: str, **options: Any) -> tuple[Item, ...]:
    return load_benchmark("mine", own=own(folder, name, **options))


@pytest.fixture(params=["tokenizer", "bos_tokenizer"])
def pico(request: pytest.FixtureRequest) -> LoadedModel:
    """A pico Llama whose tokenizer puts no token, or a first token, before a text."""
    return loaded(make_model("llama"), request.getfixturevalue(request.param))


@pytest.fixture
def bos(bos_tokenizer: Any) -> LoadedModel:
    return loaded(make_model("llama"), bos_tokenizer)


def loaded(model: Any, tokenizer: Any) -> LoadedModel:
    return LoadedModel(ModelSource("pico", Path(), None), "", model, tokenizer, find_anatomy(model))


@pytest.fixture(scope="session", autouse=True)
def offline() -> Iterator[None]:
    """No data set of these tests is on the hub."""
    from darwin_mri.benchmarks.kinds.lm_eval_tasks.loading import hub

    with hub(offline=True):
        yield


def oracle(model: LoadedModel, folder: Path, name: str, **options: Any) -> dict[str, Any]:
    with contain_output():
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        hflm: Any = HFLM
        results: Any = simple_evaluate(
            model=hflm(pretrained=model.model, tokenizer=model.tokenizer),
            tasks=[name],
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=0,
            **options,
        )
    return results


@pytest.mark.parametrize("name", [*TASKS, "both"])
def test_metrics_and_log_probabilities_are_those_of_simple_evaluate(bos: LoadedModel, folder: Path, name: str) -> None:
    compare(bos, folder, name)


@pytest.mark.parametrize("name", ["choices_list", "last_word", "long_texts", "written"])
def test_so_they_are_without_a_token_before_a_text(folder: Path, tokenizer: Any, name: str) -> None:
    compare(loaded(make_model("llama"), tokenizer), folder, name)


@pytest.mark.parametrize("name", ["choices", "long_texts", "written"])
@pytest.mark.parametrize("family", ["gemma4", "qwen3_5"])
def test_other_families_agree_as_well(family: str, name: str, folder: Path, bos_tokenizer: Any) -> None:
    compare(loaded(make_model(family), bos_tokenizer), folder, name)


def logarithms(metrics: dict[str, Any]) -> dict[str, float]:
    """Perplexities by their logarithms: a pico model's reach exp(43), of which fp32 knows no six digits."""
    return {key: math.log(value) if "perplexity" in key else value for key, value in metrics.items()}


def compare(pico: LoadedModel, folder: Path, name: str) -> None:
    expected = oracle(pico, folder, name)
    items = items_of(folder, name)
    grader = open_grader(items, Scorer(pico.model, pico.tokenizer))
    assert isinstance(grader, LmEvalGrader)
    results = dict(grader.results(range(len(items))))
    ours = aggregated([(item.subtask, results[number]) for number, item in enumerate(grader.items)])
    for task, metrics in ours.items():
        theirs = {
            key: value
            for key, value in expected["results"][task].items()
            if "," in key and "_stderr" not in key and isinstance(value, float | int)
        }
        assert logarithms(metrics) == pytest.approx(logarithms(theirs), rel=1e-6, abs=1e-6), task
    assert set(ours) <= set(expected["samples"])
    for number, item in enumerate(grader.items):
        sample = next(s for s in expected["samples"][item.subtask.name] if s["doc_id"] == item.number)
        instances = grader.encoded.instances[number]
        assert [list(instance.args) for instance in instances] == [list(args) for args in sample["arguments"]]
        for instance, theirs in zip(instances, sample["resps"], strict=True):
            assert len(instance.resps) == len(theirs)
            for one, other in zip(instance.resps, theirs, strict=True):
                if isinstance(one, tuple):
                    assert one[0] == pytest.approx(other[0], abs=1e-3) and one[1] == other[1]
                else:
                    assert one == (other if isinstance(other, str) else pytest.approx(other, abs=1e-3))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("choices", {}),
        ("choices", {"metric": "acc_norm"}),
        ("choices_list", {"metric": "acc_bytes"}),
        ("inputs", {}),
        ("last_word", {"metric": "perplexity"}),
        ("last_word", {"metric": "acc"}),
        ("texts", {}),
        ("long_texts", {}),
        ("both", {}),
    ],
)
def test_slopes_are_those_of_the_smooth_score(
    pico: LoadedModel, folder: Path, name: str, options: dict[str, Any]
) -> None:
    items = items_of(folder, name, **options)
    assert differentiable(items)
    scorer = Scorer(pico.model, pico.tokenizer)
    grades = dict(open_grader(items, scorer).grades(range(len(items))))
    smooth = [grades[number].smooth for number in range(len(items))]
    if options.get("metric") == "acc":  # of a target, whose probability is taken by its logarithm
        smooth = [math.log(value) for value in smooth]
    loss = make_rows(items, scorer).loss(pico.model, decoder_of(pico.model), log=False)
    assert float(loss.detach()) == pytest.approx(-sum(smooth) / len(smooth), rel=1e-4)
    pico.model.requires_grad_(True)
    make_rows(items, scorer).loss(pico.model, decoder_of(pico.model), log=True).backward()
    assert any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in pico.model.parameters())


def test_credits_are_the_documents_metrics(bos: LoadedModel, folder: Path) -> None:
    scorer = Scorer(bos.model, bos.tokenizer)
    write_task(folder, "unsaid", **{**CHOICES, "metric_list": None})
    for name, options, metric, unit in (
        ("choices", {}, "acc", ""),
        ("choices", {"metric": "acc_norm"}, "acc_norm", ""),
        ("over_all", {}, "acc", ""),
        ("last_word", {}, "perplexity", "nats"),
        ("texts", {"metric": "byte_perplexity"}, "byte_perplexity", "nats/byte"),
        ("written", {}, "exact_match", ""),
        ("filtered", {"metric": "exact_match,votes"}, "exact_match,votes", ""),
        ("unsaid", {}, "acc", ""),
    ):
        items = items_of(folder, name, **options)
        benchmark = get_benchmark("mine", own(folder, name, **options))
        assert benchmark.unit == unit and benchmark.protocol.metric == metric and not benchmark.choices
        sample = next(iter(open_grader(items, scorer).grades([3], "p")))
        results = dict(LmEvalGrader(items, scorer).results([3]))[3]  # type: ignore[arg-type]
        key = next(key for key in results if ",".join(key).startswith(metric))
        value = results[key][0] / results[key][1] if isinstance(results[key], tuple) else results[key]
        assert sample[0] == 3 and sample[1].answer.credit == pytest.approx(float(value), rel=1e-5)
        assert sample[1].answer.key and sample[1].answer.protocol == "p" and "thing" not in sample[1].answer.key


def test_any_documents_can_be_asked_alone(bos: LoadedModel, folder: Path) -> None:
    for name in ("both", "filtered", "long_texts"):
        items = items_of(folder, name)
        grader = open_grader(items, Scorer(bos.model, bos.tokenizer))
        whole = dict(grader.grades(range(len(items))))
        for chosen in ([5], [7, 0, 3]):
            some = dict(grader.grades(chosen))
            assert sorted(some) == sorted(chosen)
            for number, grade in some.items():
                assert grade.answer.credit == pytest.approx(whole[number].answer.credit, abs=1e-4)


def test_items_say_what_splits_and_reports_need(folder: Path, tokenizer: Any) -> None:
    items = items_of(folder, "both", cluster="passage")
    assert [item.slice for item in items] == ["choices"] * 8 + ["choices_list"] * 8
    assert len({item.cluster for item in items}) == 4 and len({item.key for item in items}) == 16
    assert [item.gold for item in items[:4]] == [0, 1, 2, 0] and chance(items) == pytest.approx(1 / 3)
    assert len({item.cluster for item in items_of(folder, "choices")}) == 8
    assert chance(items_of(folder, "texts")) is None and not differentiable(items_of(folder, "written"))
    assert "p1" not in {item.cluster for item in items}, "a record would tell a field of a document"
    lengths = read_lengths(items_of(folder, "written", gen_kwargs={"max_gen_toks": 9}), tokenizer)
    assert [length - 3 for length in lengths] == read_lengths(items_of(folder, "written"), tokenizer)
    assert read_lengths(items_of(folder, "long_texts"), tokenizer) == [1] * 8, "windows fit whatever the model"


def test_the_protocol_changes_with_all_that_changes_prompts_or_scores(folder: Path) -> None:
    def protocol(**options: Any) -> str:
        return get_benchmark("mine", own(folder, "choices", **options)).protocol.hash

    first = protocol()
    assert protocol() == first
    others = [protocol(num_fewshot=1), protocol(metric="acc_norm"), protocol(chat=True)]
    write_task(folder, "choices", **{**CHOICES, "doc_to_text": "{{question}}"})
    others.append(protocol())
    assert len({first, *others}) == 5


def test_a_text_as_long_as_the_context_is_scored(pico: LoadedModel) -> None:
    longest = pico.model.config.max_position_embeddings
    ids = tuple(10 + place % 50 for place in range(longest + 1))  # the last is predicted, and never read
    scorer = Scorer(pico.model, pico.tokenizer)
    assert len(scorer.log_probabilities(Prepared(("text",), (ids[:1],), ((ids[1:],),)))) == 1
    with pytest.raises(InputError, match=f"{longest + 2} tokens, more than the model's {longest} positions"):
        scorer.log_probabilities(Prepared(("text",), (ids,), ((ids[:1],),)))


def test_a_stop_word_that_a_prompt_begins_does_not_end_the_text(pico: LoadedModel) -> None:
    decoder, prompt = Decoder(pico.model, pico.tokenizer), "Which colour has it? It is"
    ids = [pico.tokenizer(prompt)["input_ids"]]
    ((_, (whole,)),) = decoder.stream(ids, [0], Sampling(6))
    stop = prompt[-1] + whole.text[0]
    assert stop not in whole.text and len(whole.text) > 1
    ((_, (reply,)),) = decoder.stream(ids, [0], Sampling(6, stop=(stop,)))
    assert reply.text == whole.text
    ((_, (reply,)),) = decoder.stream(ids, [0], Sampling(6, stop=(whole.text[2:4],)))
    assert reply == (whole.text[:2], "stop", False)


def test_few_shot_and_generation_settings_are_laid_over_the_tasks(bos: LoadedModel, folder: Path) -> None:
    items = items_of(folder, "choices", num_fewshot=3)
    expected = oracle(bos, folder, "choices", num_fewshot=3)["samples"]["choices"]
    grader = LmEvalGrader(items, Scorer(bos.model, bos.tokenizer))  # type: ignore[arg-type]
    assert [list(i.args) for i in grader.encoded.instances[0]] == [list(a) for a in expected[0]["arguments"]]
    assert "example" in grader.encoded.instances[0][0].args[0]
    items = items_of(folder, "written", gen_kwargs={"max_gen_toks": 3, "until": ["a"]})
    expected = oracle(bos, folder, "written", gen_kwargs={"max_gen_toks": 3, "until": ["a"]})["samples"]["written"]
    grader = LmEvalGrader(items, Scorer(bos.model, bos.tokenizer))  # type: ignore[arg-type]
    list(grader.results(range(8)))
    assert [row[0].resps for row in grader.encoded.instances] == [sample["resps"][0] for sample in expected]


def test_sampled_answers_are_several_and_repeat(bos: LoadedModel, folder: Path) -> None:
    sampled = {"do_sample": True, "temperature": 1.5, "top_p": 0.9}
    items = items_of(folder, "filtered", gen_kwargs=sampled)
    texts = []
    for _ in range(2):
        grader = LmEvalGrader(items, Scorer(bos.model, bos.tokenizer))  # type: ignore[arg-type]
        grades = dict(grader.grades(range(len(items))))
        assert all(set(grade.answer.metrics) == {"exact_match,word", "exact_match,votes"} for grade in grades.values())
        texts.append([row[0].resps for row in grader.encoded.instances])
    assert texts[0] == texts[1] and all(len(row) == 3 for row in texts[0]) and any(len(set(r)) > 1 for r in texts[0])


def test_a_chat_template_is_the_models(bos: LoadedModel, folder: Path) -> None:
    chat = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
    )
    model = loaded(bos.model, copy.deepcopy(bos.tokenizer))
    model.tokenizer.chat_template = chat
    for name in ("choices_list", "written"):
        expected = oracle(model, folder, name, apply_chat_template=True)["samples"][name]
        items = items_of(folder, name, chat=True)
        grader = LmEvalGrader(items, Scorer(model.model, model.tokenizer))  # type: ignore[arg-type]
        list(grader.results(range(8)))
        for sample, instances in zip(expected, grader.encoded.instances, strict=True):
            assert [list(instance.args) for instance in instances] == [list(args) for args in sample["arguments"]]
            assert "<bot>" in instances[0].args[0]
        if name == "written":
            assert [row[0].resps for row in grader.encoded.instances] == [sample["resps"][0] for sample in expected]


ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() | length }} {{question}}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"process_docs": "!function code.docs"}, r"!function code.docs"),
        ({"class": "!function code.docs"}, r"!function code.docs|class"),
        ({"unsafe_code": True}, "unsafe_code"),
        ({"dataset_kwargs": {"trust_remote_code": True}}, "trust_remote_code"),
        ({"dataset_path": "pandas"}, "dataset_path: pandas"),
        ({"dataset_path": "script.py"}, "dataset_path: script.py"),
        ({"metric_list": [{"metric": "folder/of_mine"}]}, "metric of_mine of the evaluate library"),
        ({"metric_list": [{"metric": "acc", "hf_evaluate": True}]}, "metric acc of the evaluate library"),
        ({"use_prompt": "promptsource:x"}, "use_prompt"),
    ],
)
def test_a_file_that_asks_for_code_is_named_and_nothing_runs(folder: Path, settings: dict[str, Any], said: str) -> None:
    mark = folder / "mark"
    with_code(folder, "asking", mark, **{**CHOICES, "process_docs": None, **settings})
    including = folder / "hidden.yaml"
    including.write_text("task: hidden\ninclude: asking.yaml\n", encoding="utf-8")
    (folder / "group.yaml").write_text("group: around\ntask: [choices, hidden]\n", encoding="utf-8")
    for name in ("asking", "hidden", "around"):
        with pytest.raises(InputError, match=said) as caught:
            items_of(folder, name)
        message = str(caught.value)
        assert "--allow-task-code" in message and ".yaml asks to run code" in message and "\n" not in message
        assert str(folder) not in message and not mark.exists()


def test_allowed_code_runs(folder: Path, pico: LoadedModel) -> None:
    mark = folder / "mark"
    path = with_code(folder, "asking", mark, **{**CHOICES, "doc_to_text": ESCAPE})
    tasks = allow_code(own(folder, "asking"), True)
    items = load_benchmark("mine", own=tasks)
    assert mark.exists() and len(items) == 8
    grades = dict(open_grader(items, Scorer(pico.model, pico.tokenizer)).grades(range(2)))
    assert set(grades) == {0, 1}
    before = get_benchmark("mine", tasks).protocol.hash
    (folder / "code.py").write_text("def docs(data):\n    return data\n", encoding="utf-8")
    path.touch()
    assert get_benchmark("mine", tasks).protocol.hash != before, "other code may give other scores"


def test_no_file_can_allow_code(folder: Path) -> None:
    for key in ("_code_allowed", "code_allowed", "allow_task_code"):
        with pytest.raises(ConfigError):
            make_tasks({"mine": {"lm_eval": "choices", key: True}}, "config")
    allowed = allow_code(own(folder, "choices"), True)
    assert not any("code" in key for key in allowed["mine"].model_dump()), "a kept config must not carry it on"


@pytest.mark.parametrize("field", ["doc_to_text", "doc_to_target", "doc_to_choice", "description"])
def test_a_template_cannot_reach_python(folder: Path, field: str) -> None:
    write_task(folder, "escaping", **{**CHOICES, field: ESCAPE})
    with pytest.raises(
        InputError, match="escaping.yaml.* a template reaches for Python's own.*--allow-task-code"
    ) as caught:
        items_of(folder, "escaping")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "settings", "words"),
    [
        ("choises", {}, {}, "no task 'choises': did you mean 'choices'"),
        ("bad", {}, {"doc_to_text": "{{nothing}}"}, "a template cannot be filled"),
        ("bad", {}, {"dataset_kwargs": {"data_files": "no.jsonl"}}, "cannot be had .files no.jsonl, FileNotFoundError"),
        (
            "bad",
            {},
            {"dataset_path": "someone/never_there", "dataset_kwargs": None},
            "cannot be had .data set someone/never_there",
        ),
        ("bad", {}, {"test_split": "dev"}, "its data have no 'dev'"),
        ("bad", {}, {"doc_to_image": "question"}, "pictures"),
        ("choices", {"metric": "bleu"}, {}, "no metric 'bleu': choose metric: acc, acc_norm, acc_bytes, exact_match"),
        ("over_all", {"metric": "f1"}, {}, "'f1' of over_all is taken over all documents.*choose metric: acc"),
        ("choices", {"num_fewshot": 6}, {}, "has 5 documents to take examples from"),
        ("bad", {"num_fewshot": 1}, {"num_fewshot": 0}, "without examples only"),
        ("choices", {"cluster": "story"}, {}, "has no field 'story'"),
        ("filtered", {"metric": "exact_match,last"}, {}, "exact_match,word, exact_match,votes"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    folder: Path, name: str, options: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    write_task(folder, "bad", **{**CHOICES, **settings})
    with pytest.raises(DarwinError, match=words) as caught:
        if name == "choises":
            raise nearest(folder, name)
        items_of(folder, name, **options)
    assert "\n" not in str(caught.value) and str(folder) not in str(caught.value)


def test_empty_data_and_broken_files_are_refused_in_one_line(folder: Path, tokenizer: Any) -> None:
    (folder / "docs.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="choices.yaml: it has no documents") as caught:
        items_of(folder, "choices")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="include_path .*nowhere is no folder"):
        items_of(folder / "nowhere", "choices")
    with pytest.raises(InputError, match="generated with num_beams"):
        (folder / "docs.jsonl").write_text(json.dumps(documents(1)[0]), encoding="utf-8")
        read_lengths(items_of(folder, "written", gen_kwargs={"num_beams": 4}), tokenizer)


def test_a_yaml_that_does_not_parse_is_named(folder: Path) -> None:
    (folder / "broken.yaml").write_text("task: broken\n  metric: [", encoding="utf-8")
    assert "broken.yaml line 2 does not parse as YAML" in str(nearest(folder, "broken"))


def nearest(folder: Path, name: str) -> DarwinError:
    """What is said of a task that is not there, without lm-eval's own tasks, whose index takes half a minute."""
    from darwin_mri.benchmarks.kinds.lm_eval_tasks.index import _unknown
    from darwin_mri.benchmarks.kinds.lm_eval_tasks.upstream import task_manager

    return _unknown(name, folder, task_manager(folder, defaults=False).all_tasks, "tasks.mine")
