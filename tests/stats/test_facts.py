"""Roles, null kinds and kinds of alerts are fields, also of records that were written before these fields."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darwin_mri.records import Alert, Comparison, Contrast, Score
from darwin_mri.records.score import MIXED_PROTOCOLS

RUNS = sorted((Path(__file__).parents[2] / "reports" / "nursery").glob("*/comparison.json"))


def contrast(name: str) -> Contrast:
    numbers = {"difference": 0.0, "low": -0.1, "high": 0.1, "p_value": 1.0, "p_holm": None, "p_mcnemar": 1.0}
    counts = {"n": 10, "wins": 1, "losses": 1, "detectable": 0.1}
    return Contrast.model_validate({"name": name, "benchmark": "click", **numbers, **counts})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("child - father", ("father", None, "")),
        ("child - mother", ("mother", None, "")),
        ("child - base", ("base", None, "")),
        ("child - null:prior-mean", ("null", "prior-mean", "")),
        ("child - big-27B", ("baseline", None, "big-27B")),
        ("child - raw shuffled", ("baseline", None, "raw shuffled")),
    ],
)
def test_a_contrast_of_an_earlier_version_gets_its_fields(name: str, expected: tuple[str, str | None, str]) -> None:
    loaded = contrast(name)
    assert (loaded.other, loaded.null, loaded.model) == expected
    assert Contrast.model_validate_json(loaded.model_dump_json()) == loaded


def test_fields_that_are_given_are_not_read_from_the_name() -> None:
    fields = {**contrast("child - father").model_dump(), "other": "baseline", "model": "father"}
    assert Contrast.model_validate(fields).other == "baseline"


def test_mixed_protocols_of_an_earlier_version_are_recognised() -> None:
    text = "Scores on nursery_click come from different protocols (a; b): do not subtract them."
    alert = Alert(level="warning", text=text)
    assert (alert.kind, alert.benchmark) == (MIXED_PROTOCOLS, "nursery_click")
    assert Alert(level="note", text="Something else about protocols.").kind == ""


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.parent.name)
def test_a_comparison_of_an_earlier_version_loads_with_every_null_and_parent(path: Path, tmp_path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    added = {"scores": ("null",), "contrasts": ("other", "null", "model"), "alerts": ("kind", "benchmark")}
    for part, names in added.items():
        for entry in document[part]:
            for name in names:
                del entry[name]
    earlier = tmp_path / "comparison.json"
    earlier.write_text(json.dumps(document), encoding="utf-8")
    comparison = Comparison.load(earlier)
    complete = Comparison.load(path)
    assert comparison.scores == complete.scores
    facts = [[(c.name, c.benchmark, c.other, c.null) for c in each.contrasts] for each in (comparison, complete)]
    assert facts[0] == facts[1]
    nulls = {score.null for score in comparison.scores if score.family == "null"}
    assert nulls == {contrast.null for contrast in comparison.contrasts if contrast.other == "null"} != set()
    for contrast in comparison.contrasts:
        matches = [s for s in comparison.scores if s.slice == "all" and contrast.against(s)]
        assert len(matches) == 1 and contrast.name == f"child - {matches[0].role}"


def test_an_unknown_role_counts_as_a_baseline() -> None:
    fields = {"slice": "all", "evidence": "measured", "protocol": "", "correct": None, "n": None, "value": 0.5}
    rest = {"low": None, "high": None, "chance": None, "benchmark": "click", "model": "m"}
    families = {
        role: Score.model_validate({**fields, **rest, "role": role}).family for role in ("uncle", "null:", "base")
    }
    assert families == {"uncle": "baseline", "null:": "null", "base": "base"}
