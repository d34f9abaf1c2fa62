"""A task of the user's own: rows become items, whatever kind of file they come from, and bad rows are named."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from darwin_mri.benchmarks import ChoiceItem, get_benchmark, load_benchmark, with_choices
from darwin_mri.config import QuestionTask, load_config, make_config, make_tasks
from darwin_mri.errors import ConfigError, InputError

ROWS: list[dict[str, Any]] = [
    {"question": "What is red?", "choices": ["a rose", "the sea", "2"], "answer": "a rose", "cluster": "colours"},
    {"question": "How many?", "choices": ["1", "2", "3"], "answer": "2", "id": "n1", "language": "en"},
    {"question": "And then?", "choices": ["left", "right"], "answer": "B", "context": "He went on.", "slice": "way"},
]
PARENTS = {"father": "nursery:gemma4-korean", "mother": "nursery:gemma4-reasoning", "base": "nursery:gemma4-base"}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as JSONL, CSV with a list in a cell, TSV with lettered columns, or Parquet."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        fields = dict.fromkeys(key for row in rows for key in row)  # columns are those of the first row otherwise
        parquet.write_table(pyarrow.Table.from_pylist([{**dict.fromkeys(fields), **row} for row in rows]), path)
    else:
        lettered = path.suffix == ".tsv"
        flat = [
            {
                **{key: value for key, value in row.items() if key != "choices"},
                **(
                    dict(zip("ABC", row["choices"], strict=False))
                    if lettered
                    else {"choices": "|".join(row["choices"])}
                ),
            }
            for row in rows
        ]
        fields = list(dict.fromkeys(key for row in flat for key in row))
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fields, delimiter="\t" if lettered else ",")
            writer.writeheader()
            writer.writerows(flat)
    return path


def items_of(path: Path, **options: Any) -> list[ChoiceItem]:
    return with_choices(load_benchmark("mine", own={"mine": QuestionTask(jsonl=str(path), **options)}))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_kind_of_file_gives_the_same_items(tmp_path: Path, suffix: str) -> None:
    one, two, three = items_of(write(tmp_path / f"q{suffix}", ROWS))
    assert one.context == "Question: What is red?\nAnswer:" and one.choices == ("a rose", "the sea", "2")
    assert [item.gold for item in (one, two, three)] == [0, 1, 1]  # "2" is a choice's text, not the third index
    assert (one.key, one.cluster, one.slice) == ("00001", "colours", "all")
    assert (two.key, two.cluster, two.slice) == ("n1", "n1", "en")
    assert three.context == "He went on.\nQuestion: And then?\nAnswer:" and three.slice == "way"
    assert three.message == "He went on.\nAnd then?\nA. left\nB. right"
    assert all(item.per_character and item.benchmark == "mine" for item in (one, two, three))


def test_letters_are_scored_where_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", [{**ROWS[0], "answer": 2}, {"context": "Colour?", **ROWS[0], "question": ""}])
    one, two = items_of(path, letters=True, prompt="{question}\nThe answer is")
    assert one.context == "What is red?\nA. a rose\nB. the sea\nC. 2\nThe answer is"
    assert two.context == "Colour?\nA. a rose\nB. the sea\nC. 2\nThe answer is"
    assert one.choices == ("A", "B", "C") and (one.gold, two.gold) == (2, 0) and not one.per_character
    own = {"mine": QuestionTask(jsonl=str(path), letters=True)}
    assert get_benchmark("mine", own).protocol.metric == "acc"


def test_a_context_alone_is_read_as_it_is(tmp_path: Path) -> None:
    (item,) = items_of(write(tmp_path / "q.jsonl", [{"context": "2 + 2 =", "choices": [3, 4], "answer": 1}]))
    assert item.context == "2 + 2 =" and item.choices == ("3", "4") and item.gold == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"answer": None}, "field 'answer' is missing"),
        ({"choices": None}, "field 'choices' is missing"),
        ({"question": None}, "neither 'question' nor 'context'"),
        ({"answer": "the sky"}, "the answer is not one of its 3 choices"),
        ({"answer": 3}, "the answer is not one of its 3 choices"),
        ({"answer": True}, "the answer is not one of its 3 choices"),
        ({"answer": float("nan")}, "the answer is not one of its 3 choices"),
        ({"answer": "E"}, "the answer is not one of its 3 choices"),
        ({"choices": ["one"]}, "not a list of 2 to 26 texts"),
        ({"choices": ["one", ""]}, "not a list of 2 to 26 texts"),
        ({"choices": ["one", {"text": "two"}]}, "not a list of 2 to 26 texts"),
        ({"choices": ["one", " one"]}, "two of its choices are equal"),
        ({"choices": "[broken"}, "begins as a JSON list and is none"),
        ({"choices": None, "A": "x", "C": "y"}, "leave no letter out"),
        ({"question": ["a"]}, "field 'question' is not a text"),
        ({"cluster": {"a": 1}}, "field 'cluster' is neither a text nor a number"),
        ({"id": "00001"}, "its id is that of q.jsonl line 1 as well"),
        ({}, "are the same item"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "q.jsonl", [ROWS[0], {**ROWS[0], **row}])
    with pytest.raises(InputError, match=words) as caught:
        items_of(path)
    assert "q.jsonl line 2" in str(caught.value) and "\n" not in str(caught.value) and "rose" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.jsonl", None, "does not exist"),
        ("none.csv", None, "does not exist"),
        ("q.jsonl", b"", "holds no items"),
        ("q.csv", b"question,choices,answer\n", "holds no rows"),
        ("q.csv", b"question,answer\nx,1,2\n", r"q.csv line 2: more values than columns"),
        ("q.csv", b"question\n\xff\xfe\n", "cannot be read as UTF-8 CSV"),
        ("q.csv", b'question\n"open\n', "cannot be read as UTF-8 CSV"),
        ("q.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("q.jsonl", b"{}\n[1]\n", "q.jsonl line 1: it has neither 'choices' nor 'answer' nor 'text'"),
        ("q.jsonl", b"nonsense\n", "q.jsonl line 1: is not JSON"),
        ("q.xlsx", b"x", "is read from .jsonl, .csv, .tsv or .parquet, not from '.xlsx'"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        items_of(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_tasks_are_the_fitness_where_none_is_given() -> None:
    tasks = {"one": {"jsonl": "a.csv"}, "two": {"jsonl": "b.csv"}}
    config = make_config({**PARENTS, "tasks": tasks}, "test")
    assert config.weights == {"one": 0.5, "two": 0.5} and config.bench.tasks == ("one", "two")
    config = make_config({**PARENTS, "tasks": tasks, "fitness": {"one": 1, "nursery_click": 1}}, "test")
    assert config.bench.tasks == ("one", "nursery_click", "two")
    config = make_config({**PARENTS, "tasks": tasks, "data": "folder"}, "test")
    assert set(config.fitness) == {"one", "two"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"tasks": {"mine": {"jsonl": "a.csv"}}, "bench": {"tasks": ["nursery_click", "nursery_musr"]}},
            "list them in",
        ),
        ({"tasks": {"mine": {}}}, "tasks.mine: has no kind: give exactly one of jsonl, lm_eval, nll, agreement"),
        ({"tasks": {"mine": {"jsonl": "a.csv", "leters": True}}}, "did you mean 'letters'"),
        ({"tasks": {"../up": {"jsonl": "a.csv"}}}, r"tasks\.\.\./up"),
        ({"tasks": {"mine": {"jsonl": "a.csv", "prompt": "What?"}}}, "prompt needs {question} exactly once"),
    ],
)
def test_a_bad_entry_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_config({**PARENTS, **changes}, "test")


def test_names_are_known_or_the_nearest_is_offered(tmp_path: Path) -> None:
    own = make_tasks({"questions": {"jsonl": "a.csv"}, "click": {"jsonl": "a.csv"}}, "test")
    with pytest.raises(ConfigError, match="did you mean 'questions'"):
        get_benchmark("qestions", own)
    with pytest.raises(ConfigError, match="'click' is the name of a benchmark"):
        get_benchmark("click", own)
    (tmp_path / "run.yaml").write_text("tasks:\n  mine: {jsonl: a.csv}\n  mine: {jsonl: b.csv}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'mine' is given twice"):
        load_config(tmp_path / "run.yaml", PARENTS)
