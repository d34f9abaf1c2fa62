"""The model card: front matter the hub can read, measured held-out scores only, outside text escaped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from darwin_mri.report import RunRecords, View, build_view, formats, load_run, render_card
from darwin_mri.report.renderers.card import code_block, escape, genome_bars
from tests.report.sample import write_sample
from tests.report.sample_scores import make_comparison


def front_matter(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def test_front_matter(view: View) -> None:
    matter = front_matter(render_card(view))
    assert "base_model" not in matter  # bundled parents are on no hub
    assert matter["license"] == "apache-2.0"
    assert matter["language"] == ["ko", "en", "ja", "de"]
    assert {"merge", "model-mri", "folded"} <= set(matter["tags"])
    (entry,) = matter["model-index"]
    assert entry["name"] == "genesis-nursery"
    accuracies = {r["dataset"]["name"]: r["metrics"][0]["value"] for r in entry["results"]}
    assert accuracies == {"nursery_click": 0.7417, "nursery_musr": 0.5611, "nursery_gpqa": 0.3646}


@pytest.mark.parametrize(
    "change", [{"evidence": "published"}, {"evidence": "estimated"}, {"split": "search"}, {"split": "unknown"}]
)
def test_only_measured_held_out_scores_enter_the_index(change: dict[str, str]) -> None:
    comparison = make_comparison()
    scores = tuple(s.model_copy(update=change) if s.role == "child" else s for s in comparison.scores)
    card = render_card(build_view(RunRecords("it", comparison=comparison.model_copy(update={"scores": scores}))))
    assert "model-index" not in front_matter(card)


def test_the_card_holds_scores_genome_usage_and_limits(view: View) -> None:
    card = render_card(view)
    for text in (
        "## Scores",
        "## Prior and found genome",
        "## Genealogy",
        "## Limits",
        "## Licence",
        "## Genome at a glance",
        "vllm serve MODEL",
        "sglang.launch_server --model-path MODEL",
        "docker model run hf.co/MODEL",
        "AutoModelForCausalLM",
        "@misc{genesis-nursery,",
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
    assert "\na|b" not in body and front_matter(card)["model-index"][0]["name"].startswith("a|b <script>")


def test_a_card_without_records_renders() -> None:
    card = render_card(build_view(RunRecords("it")))
    assert "model-index" not in front_matter(card) and "base_model" not in front_matter(card)


def test_escaping() -> None:
    assert escape("1. one") == "1\\. one"
    assert escape("- one") == "\\- one"
    assert escape("nursery_click _x_") == "nursery_click \\_x\\_"
    assert escape("a\nb|c") == "a b\\|c"
    assert code_block("x ``` y").startswith("````\n")
    assert escape("71.3 % (n = 7)") == "71.3 % (n = 7)"


def test_hub_parents_are_base_models_with_licences(run: Path) -> None:
    records = load_run(run)
    assert records.inputs is not None
    father, mother = records.inputs.parents
    parents = (
        father.model_copy(update={"ref": "google/gemma-4-E4B-it@abc", "license": "gemma"}),
        mother.model_copy(update={"ref": "Qwen/Qwen3.5-4B"}),
        mother.model_copy(update={"role": "base", "ref": "models/some-folder", "license": ""}),
    )
    card = render_card(build_view(replace(records, inputs=records.inputs.model_copy(update={"parents": parents}))))
    matter = front_matter(card)
    assert matter["base_model"] == ["google/gemma-4-E4B-it", "Qwen/Qwen3.5-4B"]  # a folder is no base model
    assert matter["base_model_relation"] == "merge"
    assert (matter["license"], matter["license_name"]) == ("other", "gemma-and-apache-2.0")
    assert "models/some-folder: none stated in its model card" in card
    assert "set `license` in the front matter before publishing" in card


def test_the_genome_is_drawn_in_characters(view: View) -> None:
    assert view.metadata is not None
    chart = genome_bars(view.metadata)
    lines = chart.splitlines()
    assert len(lines) == 1 + 8 and lines[4].split() == ["3", "╱" * 26, "frozen"]
    ((_, (gene, *_)),) = view.metadata.genes
    assert gene.found is not None and f"{gene.found:.3f}" in lines[1]
    assert lines[1].count("█") == round(26 * gene.found / 0.5)


def test_the_card_reads_as_markdown(view: View) -> None:
    """Headings, tables and code fences survive the template; nothing from outside is markup."""
    tokens = MarkdownIt("commonmark").enable("table").parse(render_card(view).split("---\n", 2)[2])
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[0] == "genesis-nursery" and {"Scores", "Genealogy", "Usage", "Citation"} <= set(headings)
    fences = [token.info for token in tokens if token.type == "fence"]
    assert {"text", "python", "sh", "bibtex"} <= set(fences)
    assert sum(token.type == "table_open" for token in tokens) >= 5


@given(st.text(max_size=80))
def test_no_name_becomes_markup(name: str) -> None:
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(f"x {escape(name)} y")
    (inline,) = [token for token in tokens if token.type == "inline"]
    assert {child.type for child in inline.children or []} <= {"text", "softbreak", "text_special"}
    assert inline.children is not None
    assert " ".join(formats.clean(name).split()) in " ".join("".join(c.content for c in inline.children).split())
