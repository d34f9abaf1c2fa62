"""The model card: front matter the hub can read, measured held-out scores only, outside text escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from darwin_mri.report import Run, View, build_view, load_run, render_card
from darwin_mri.report.card import escape, fenced
from tests.report.sample import write_sample
from tests.report.sample_scores import make_comparison


def front_matter(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def test_front_matter(view: View) -> None:
    matter = front_matter(render_card(view))
    assert matter["base_model"] == ["nursery:gemma4-korean", "nursery:qwen35-mother"]
    assert matter["base_model_relation"] == "merge"
    assert {"merge", "model-mri", "folded"} <= set(matter["tags"])
    (entry,) = matter["model-index"]
    assert entry["name"] == "genesis-nursery"
    found = {r["dataset"]["name"]: r["metrics"][0]["value"] for r in entry["results"]}
    assert found == {"nursery_click": 0.7417, "nursery_musr": 0.5611, "nursery_gpqa": 0.3646}


@pytest.mark.parametrize(
    "change", [{"evidence": "published"}, {"evidence": "estimated"}, {"split": "search"}, {"split": "unknown"}]
)
def test_only_measured_held_out_scores_enter_the_index(change: dict[str, str]) -> None:
    comparison = make_comparison()
    scores = tuple(s.model_copy(update=change) if s.role == "child" else s for s in comparison.scores)
    card = render_card(build_view(Run("it", comparison=comparison.model_copy(update={"scores": scores}))))
    assert "model-index" not in front_matter(card)


def test_the_card_tells_scores_genome_usage_and_limits(view: View) -> None:
    card = render_card(view)
    for text in (
        "## Scores",
        "## Prior and found genome",
        "## Genealogy",
        "## Limits",
        "vllm serve MODEL",
        "AutoModelForCausalLM",
    ):
        assert text in card
    assert "**74.2 % \\[68.5, 79.5\\] n = 240**" in card
    widths = {line.count(" | ") for line in card.splitlines() if line.startswith("| ") and "composite" in line}
    assert len(widths) == 2  # scores and contrasts


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    hostile = "a|b <script>x</script> `c` [d](javascript:1)\n# e: ---"
    card = render_card(build_view(load_run(write_sample(tmp_path / "run", father=hostile, child=hostile))))
    body = card.split("---\n", 2)[2]
    assert "<script>" not in body and "[d](javascript" not in body and "\n# e" not in body
    assert front_matter(card)["base_model"][0].startswith("a|b <script>")


def test_a_card_without_records_renders() -> None:
    card = render_card(build_view(Run("it")))
    assert "model-index" not in front_matter(card) and "base_model" not in front_matter(card)


def test_escaping() -> None:
    assert escape("1. one") == "1\\. one"
    assert escape("- one") == "\\- one"
    assert escape("nursery_click _x_") == "nursery_click \\_x\\_"
    assert escape("a\nb|c") == "a b\\|c"
    assert fenced("x ``` y").startswith("````\n")
    assert escape("71.3 % (n = 7)") == "71.3 % (n = 7)"
