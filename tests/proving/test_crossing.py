"""The inputs of a crossing of two pretrained models: prompts without answers, and a config that the arena takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darwin_mri.arena import load_arena
from darwin_mri.probes import load_probes
from proving import crossing
from proving.subjects import SUBJECTS


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(crossing, "fetch_base", lambda name: Path("/models") / f"{name}.gguf")
    return crossing.write_inputs(tmp_path, "villages", 4)


def test_no_prompt_holds_its_answer_or_a_tested_wording(config: Path) -> None:
    prompts = {(p.pair, p.doc): p.text for p in load_probes(config.parent / "prompts")}
    facts = {f"{name}-{fact.key}": fact for name in ("villages", "countries") for fact in SUBJECTS[name].facts()}
    assert {pair for pair, _ in prompts} == set(facts)
    tested = {prompt for fact in facts.values() for prompt in fact.prompts}
    for (pair, _), text in prompts.items():
        assert not text.endswith(facts[pair or ""].answer) and text not in tested
        taught = (pair or "").startswith("villages")  # the capital of Singapore is Singapore
        assert not taught or facts[pair or ""].answer.lower() not in text.lower().split()


def test_the_arena_reads_the_config_and_its_questions(config: Path) -> None:
    settings = load_arena(config)
    assert settings.weights == {"villages": 0.5, "countries": 0.5}
    assert list(settings.arms) == crossing.ARMS
    assert [settings.arms[name].method for name in settings.arms][:3] == ["competence", "competence", "retrieval"]
    rows = [json.loads(line) for line in (config.parent / "villages.jsonl").read_text(encoding="utf-8").splitlines()]
    items = SUBJECTS["villages"].items()
    assert len(rows) == len(items) and all(row["choices"][row["answer"]] for row in rows)


def test_the_father_is_the_base_that_the_mother_was_not_trained_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossing, "fetch_base", lambda name: Path("/models") / f"{name}.gguf")
    path = crossing.write_inputs(tmp_path, "minerals-gemma3", 4, adapters=tmp_path)
    settings = load_arena(path)
    assert (settings.father, settings.ignorant) == ("/models/smollm2.gguf", "/models/gemma3.gguf")
    assert settings.mother == f"/models/gemma3.gguf+{tmp_path / 'minerals-gemma3'}"
    assert settings.arms["subject"].arm.layers == "read" and set(settings.weights) == {"minerals", "cities"}
