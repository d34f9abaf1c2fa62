"""CLIcK, MuSR and GPQA from files: what is read, and one clear line, without the text, for each fault in them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_mri.benchmarks import (
    PASSWORD_VARIABLE,
    ChoiceItem,
    describe_benchmark,
    get_benchmark,
    item_hash,
    published_scores,
    split_items,
)
from darwin_mri.benchmarks.sources import Source, hub_rows
from darwin_mri.errors import DarwinError, InputError
from tests.choices import load_choices

from . import files

REAL = (
    "click",
    "click_upstream",
    "musr",
    "musr_murder_mysteries",
    "musr_object_placements",
    "musr_team_allocation",
    "gpqa",
    "gpqa_main",
    "gpqa_extended",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_data(tmp_path_factory.mktemp("data"))


def load(data: Path, name: str) -> tuple[ChoiceItem, ...]:
    return load_choices(name, data, password=files.PASSWORD)


@pytest.mark.parametrize("name", REAL)
def test_every_benchmark_has_unique_items_and_splits_by_cluster(data: Path, name: str) -> None:
    items = load(data, name)
    assert len({i.key for i in items}) == len({item_hash(i) for i in items}) == len(items)
    assert {i.benchmark for i in items} == {name}
    assert all(" line " in i.file or " row " in i.file for i in items)
    split = split_items(items, 1, 0.5)
    assert not {i.cluster for i in split.search} & {i.cluster for i in split.held_out}
    assert not describe_benchmark(name, items).complete


def test_click_prints_every_choice_it_scores(data: Path) -> None:
    rows, items = files.click_rows(), load(data, "click")
    for row, item in zip(rows, items, strict=True):
        assert item.choices == tuple("ABCDE"[: len(row["choices"])])
        assert row["choices"][item.gold] == row["answer"]
        for letter, choice in zip(item.choices, row["choices"], strict=True):
            assert f"\n{letter}. {choice}\n" in item.context and f"{letter}. {choice}" in item.message
        assert row["question"] in item.context and row["paragraph"] in item.context
    assert [item.key for item in items][:2] == ["0001-KIIP_society_0", "0002-KIIP_society_0"]
    passage = {item.cluster for item in items[1:4]}
    assert len(passage) == 1 and len({item.cluster for item in items}) == 10
    assert Counter(item.slice for item in items) == {"Culture/Society": 9, "Language/Textual": 3}


def test_click_slices_come_from_the_id_where_fields_are_missing(tmp_path: Path, data: Path) -> None:
    rows = [{k: v for k, v in row.items() if k not in ("category", "subcategory")} for row in files.click_rows()]
    files.write_jsonl(tmp_path / "click" / "click.jsonl", rows)
    assert [i.slice for i in load(tmp_path, "click")] == [i.slice for i in load(data, "click")]


def test_musr_scores_texts_by_character_and_clusters_by_story(data: Path) -> None:
    items = load(data, "musr")
    assert Counter(i.slice for i in items) == dict.fromkeys(
        ("murder_mysteries", "object_placements", "team_allocation"), 8
    )
    for item, row in zip(items, [r for t in Counter(i.slice for i in items) for r in files.musr_rows(t)], strict=True):
        assert item.per_character and str(list(item.choices)) == row["choices"] and item.gold == row["answer_index"]
        assert f"\n\n1 - {item.choices[0]}\n2 - " in item.context
    clusters = {task: Counter(i.cluster for i in items if i.slice == task) for task in Counter(i.slice for i in items)}
    assert set(clusters["murder_mysteries"].values()) == {2}  # the same two suspects
    assert set(clusters["object_placements"].values()) == {4}  # one story
    assert set(clusters["team_allocation"].values()) == {1}
    info = describe_benchmark("musr", items)
    assert "murder_mysteries 8 of 250, object_placements 8 of 256, team_allocation 8 of 250" in info.title
    assert info.title.startswith("MuSR, not the published set")


def test_gpqa_is_shuffled_by_record_and_keeps_its_answers(data: Path) -> None:
    items = load(data, "gpqa")
    rows = {row["Record ID"]: row for row in files.gpqa_rows()}
    for item in items:
        row, right = rows[item.key], f"{item.choices[item.gold]} {rows[item.key]['Correct Answer'].strip()}\n"
        assert right in item.context and row["Question"] in item.context
        assert f"wrong {item.key[-1]}. 1 x" in item.context  # " [title]" and double spaces, as lm-eval cleans them
    assert len({item.gold for item in items}) > 1
    assert items == load(data, "gpqa")
    assert [i.gold for i in load(data, "gpqa_main")] == [i.gold for i in items]  # the order hangs on the record alone
    assert {i.slice for i in items} == {"Physics", "Chemistry"}


def bad_line(rows: list[dict[str, Any]], number: int, **changes: Any) -> list[dict[str, Any]]:
    """The rows with one changed; None removes the field."""
    row = {k: v for k, v in {**rows[number], **changes}.items() if v is not None}
    return [*rows[:number], row, *rows[number + 1 :]]


@pytest.mark.parametrize(
    ("changes", "say"),
    [
        ({"question": None}, r"click.jsonl line 6 \(0006-KIIP_society_2\): field 'question' is missing"),
        ({"id": None}, r"click.jsonl line 6: field 'id' is missing"),
        ({"choices": None}, r"line 6 \(0006-KIIP_society_2\): field 'choices' is missing"),
        ({"choices": ["only"]}, "two or more texts"),
        ({"choices": f"{files.SECRET} a, b"}, "two or more texts"),
        ({"choices": [files.SECRET, 3]}, "two or more texts"),
        ({"choices": list("abcdefg"), "answer": "a"}, "7 choices, more than 5"),
        ({"answer": f"{files.SECRET} nothing of the kind"}, r"line 6 \(.*\): the answer is not one of the choices"),
        ({"answer": 2}, "field 'answer' is not a text"),
        ({"question": "  "}, "field 'question' is not a text, or empty"),
    ],
)
def test_wrong_click_lines(tmp_path: Path, changes: dict[str, Any], say: str) -> None:
    files.write_jsonl(tmp_path / "click" / "click.jsonl", bad_line(files.click_rows(), 5, **changes))
    refused(tmp_path, "click", say)


@pytest.mark.parametrize(
    ("changes", "say"),
    [
        ({"answer_index": 2}, r"team_allocation.jsonl line 3 \(team_allocation-002\): answer_index 2 is not one of"),
        ({"answer_index": "1"}, "field 'answer_index' is not a whole number"),
        ({"answer_index": True}, "field 'answer_index' is not a whole number"),
        ({"answer_choice": "somebody else"}, "answer_choice is not the choice at answer_index"),
        ({"narrative": None}, "field 'narrative' is missing"),
        ({"choices": "__import__('os').abort()"}, "field 'choices' is not a list"),
        ({"choices": "[1, 2]"}, "two or more texts"),
    ],
)
def test_wrong_musr_lines(tmp_path: Path, changes: dict[str, Any], say: str) -> None:
    rows = bad_line(files.musr_rows("team_allocation"), 2, **changes)
    if changes.get("answer_index") == 2:
        rows[2]["choices"] = str([files.SECRET, "other"])
    files.write_jsonl(tmp_path / "musr" / "team_allocation.jsonl", rows)
    refused(tmp_path, "musr_team_allocation", say)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "click" / "click.jsonl"
    refused(tmp_path, "click", "click.jsonl does not exist")
    path.parent.mkdir()
    for content, say in (
        (b"", "holds no items"),
        (b"\n\n", "holds no items"),
        (b'{"id": "' + files.SECRET.encode(), "click.jsonl line 1: is not JSON"),
        (b'["' + files.SECRET.encode() + b'"]\n', "click.jsonl line 1: is not a JSON object"),
        (b'{"id": ' + b"[" * 100_000, "click.jsonl line 1: is not JSON"),
        (b"\xff\xfe", "UTF-8"),
    ):
        path.write_bytes(content)
        refused(tmp_path, "click", say)


def test_any_letter_may_stand_in_a_text(tmp_path: Path) -> None:
    """U+2028 and U+0085 end lines for Python, not for JSON; a byte order mark is no damage."""
    rows = files.click_rows()
    rows[3]["question"] += " \u2028 \u0085 ?"
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "click").mkdir()
    (tmp_path / "click" / "click.jsonl").write_text("\ufeff" + lines, encoding="utf-8")
    assert len(load_choices("click", tmp_path)) == len(rows)
    rows[3]["question"] += " \ud800"  # half a character: JSON can name it, no file can hold it
    (tmp_path / "click" / "click.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    refused(tmp_path, "click", "line 4 .*field 'question' is not a text")


def test_a_repeated_item_is_refused_by_name(tmp_path: Path) -> None:
    rows = files.click_rows()
    files.write_jsonl(tmp_path / "click" / "click.jsonl", [*rows, rows[4]])
    refused(tmp_path, "click", r"click item 0005-KIIP_society_2 .* and click item .* are the same item")


def test_gpqa_archives_that_cannot_be_read(tmp_path: Path, data: Path) -> None:
    path, good = tmp_path / "gpqa" / "dataset.zip", (data / "gpqa" / "dataset.zip").read_bytes()
    refused(tmp_path, "gpqa", "dataset.zip does not exist")
    path.parent.mkdir()
    path.write_bytes(good)
    with pytest.raises(InputError, match="is encrypted: give --gpqa-password"):
        load_choices("gpqa", tmp_path)
    for content, say in (
        (b"not a zip", "is damaged"),
        (good[:-60], "is damaged"),
        (good[:400] + good[900:], "is damaged"),
    ):
        path.write_bytes(content)
        refused(tmp_path, "gpqa", say)
    files.write_encrypted_zip(path, {"dataset/other.csv": b"x"}, files.PASSWORD.encode())
    refused(tmp_path, "gpqa", "no member dataset/gpqa_diamond.csv")
    files.write_gpqa(path, [{k: v for k, v in row.items() if k != "Record ID"} for row in files.gpqa_rows()])
    refused(tmp_path, "gpqa", "column 'Record ID' is missing")
    files.write_gpqa(path, bad_line(files.gpqa_rows(), 3, **{"Incorrect Answer 2": ""}))
    refused(tmp_path, "gpqa", r"gpqa_diamond.csv row 4 \(rec003\): field 'Incorrect Answer 2'")
    files.write_gpqa(path, [*files.gpqa_rows(), files.gpqa_rows()[0]])
    refused(tmp_path, "gpqa", "record rec000 appears twice")
    files.write_gpqa(path, [])
    refused(tmp_path, "gpqa", "column 'Question' is missing|column 'Correct Answer' is missing")


@given(st.text(min_size=1, max_size=12).filter(lambda word: word.encode() != files.PASSWORD.encode()))
def test_a_wrong_password_is_named_as_the_cause(data: Path, word: str) -> None:
    with pytest.raises(InputError, match="password is wrong") as caught:
        load_choices("gpqa", data, password=word)
    assert files.SECRET not in str(caught.value)


def refused(folder: Path, name: str, say: str) -> None:
    with pytest.raises(DarwinError, match=say) as caught:
        load(folder, name)
    assert files.SECRET not in str(caught.value) and "\n" not in str(caught.value)


def test_without_a_folder_an_unreachable_hub_is_an_error_with_advice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--offline was asked for: give --data DIR, a folder with click/click.jsonl"):
        load_choices("click", offline=True)
    with pytest.raises(InputError, match=r"Idavidrein/gpqa is on the hub"):
        load_choices("gpqa", offline=True, password=files.PASSWORD)
    for name in ("click", "musr"):  # this test runs without a hub
        with pytest.raises(InputError, match="cannot be read from the hub"):
            load_choices(name)


def test_a_hub_data_set_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a data set stands in for the hub's: the same library call reads both."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    files.write_jsonl(tmp_path / "CLIcK" / "train.jsonl", files.click_rows())
    rows = list(hub_rows(Source(), "click/click.jsonl", str(tmp_path / "CLIcK"), split="train"))
    assert [row.text("id") for row in rows] == [row["id"] for row in files.click_rows()]
    assert rows[3].texts("choices") == tuple(files.click_rows()[3]["choices"])


def test_published_baselines_have_a_source_and_no_protocol() -> None:
    click, musr = published_scores(["click", "musr", "gpqa"])
    assert (click.value, musr.value) == (0.794, 0.604)
    for score in (click, musr):
        assert score.evidence == "published" and "unknown" in score.protocol and score.source and score.n is None
    assert published_scores(["nursery_click"]) == ()


with_data = pytest.mark.skipif(files.shared_data() is None, reason="the benchmarks' own files are not here")


@with_data
def test_the_real_files_have_the_published_counts() -> None:
    folder = files.shared_data()
    assert folder is not None
    click = load_choices("click", folder)
    assert describe_benchmark("click", click).complete and Counter(len(i.choices) for i in click) == {4: 1739, 5: 256}
    assert len({i.slice for i in click}) == 11
    musr = load_choices("musr", folder)
    counts = Counter(i.slice for i in musr)
    info = describe_benchmark("musr", musr)
    assert counts["murder_mysteries"] == 250
    assert info.complete == (len(musr) == 756) == ("not the published" not in info.title)


@with_data
@pytest.mark.skipif(PASSWORD_VARIABLE not in os.environ, reason=f"{PASSWORD_VARIABLE} is not set")
def test_the_real_gpqa_has_the_published_counts() -> None:
    for name, n in (("gpqa", 198), ("gpqa_main", 448), ("gpqa_extended", 546)):
        items = load_choices(name, files.shared_data(), password=os.environ[PASSWORD_VARIABLE])
        assert len(items) == n and describe_benchmark(name, items).complete
        assert {i.slice for i in items} == {"Biology", "Chemistry", "Physics"}


def test_every_setting_that_decides_a_score_changes_the_protocols_hash() -> None:
    from darwin_mri.config import Generation

    protocols = [get_benchmark(name).protocol for name in ("click", "click_upstream", "musr", "gpqa", "nursery_click")]
    sampling: list[Callable[[], Generation]] = [
        Generation,
        lambda: Generation(thinking=True),
        lambda: Generation(max_new_tokens=99),
        lambda: Generation(samples=8, temperature=0.6),
        lambda: Generation(samples=4, temperature=0.6),
        lambda: Generation(samples=4, temperature=0.7),
    ]
    for name in ("click", "musr", "nursery_click"):
        protocols += [get_benchmark(name).chat_protocol(make()) for make in sampling]
    protocols.append(protocols[0].model_copy(update={"version": 2}))
    assert len({p.hash for p in protocols}) == len(protocols)
    assert all(len(p.hash) == 12 for p in protocols)
    assert get_benchmark("musr").protocol.metric == "acc_norm"
    maj = get_benchmark("click").chat_protocol(Generation(samples=8, temperature=0.6, thinking=True))
    assert maj.label == "click-chat-letter v3, thinking, maj@8, T = 0.6, 2048 tokens"
    assert json.loads(maj.model_dump_json())["generation"]["samples"] == 8
    with pytest.raises(DarwinError, match="repeats a log-likelihood task"):
        get_benchmark("click_upstream").chat_protocol(Generation())
