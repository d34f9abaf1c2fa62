"""Probe sets: the built-in one is whole, and a broken one names its file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darwin_mri.errors import InputError
from darwin_mri.probes import load_probes, select_probes, shared_positions

GOOD = {"text": "안녕하세요 여러분", "language": "ko", "domain": "prose", "doc": "d1"}


def test_built_in_probes_are_parallel_in_seven_languages() -> None:
    probes = load_probes()
    by_language = {}
    for probe in probes:
        if probe.pair:
            by_language.setdefault(probe.language, set()).add(probe.pair)
    assert sorted(by_language) == ["de", "en", "es", "fr", "ja", "ko", "zh"]
    assert len({frozenset(pairs) for pairs in by_language.values()}) == 1


def test_selection_takes_the_same_passages_in_every_language() -> None:
    chosen = select_probes(load_probes(), ("ko", "en"), 5, seed=3)
    pairs = {k: [p.pair for p in chosen if p.language == k and p.pair] for k in ("ko", "en")}
    assert sorted(pairs["ko"]) == sorted(pairs["en"]) and len(pairs["ko"]) == 5
    assert {p.language for p in chosen if p.domain == "prose"} == {"ko", "en"}


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("{not json", "line 2"),
        (json.dumps({**GOOD, "language": "Korean"}), "language 'Korean'"),
        (json.dumps({**GOOD, "language": "xx"}), "language 'xx'"),
        (json.dumps({**GOOD, "language": "KO"}), "did you mean 'ko'"),
        (json.dumps({**GOOD, "domain": "poetry"}), "domain 'poetry'"),
        (json.dumps({**GOOD, "text": " "}), "text is empty"),
        (json.dumps({"text": "x"}), "language"),
        ("[1, 2]", "line 2"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, word: str) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps(GOOD) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_probes(tmp_path)
    assert "own.jsonl line 2" in str(caught.value) and word in str(caught.value)


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no .jsonl"):
        load_probes(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "good.jsonl").write_text(json.dumps(GOOD) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="empty.jsonl is empty"):
        load_probes(tmp_path)


def test_positions_pair_where_both_tokens_end() -> None:
    assert shared_positions([1, 3, 3, 5], [3, 4, 5]) == [(2, 0), (3, 2)]
