"""What parents complete while donors are built: questions in the language they are written in."""

from __future__ import annotations

from pathlib import Path

import pytest

from darwin_mri.benchmarks import ChoiceItem, load_benchmark
from darwin_mri.checkpoints import find_model, load
from darwin_mri.config import ArmConfig
from darwin_mri.errors import ConfigError
from darwin_mri.merging.arms import Context
from darwin_mri.merging.arms.synthesis import synthesize_texts
from darwin_mri.problem.donors import arm_prompts, item_prompts, named_prompts
from darwin_mri.problem.parents import Parents
from tests.family import small

QUESTIONS = {
    "ja": "日本の首都はどこですか。",
    "ko": "대한민국의 수도는 어디입니까?",
    "zh": "中国的首都是哪里？",
    "en": "Which city is the capital of France?",
}


def item(language: str) -> ChoiceItem:
    return ChoiceItem(
        key=f"{language}-1",
        context=QUESTIONS[language],
        choices=("a", "b"),
        gold=0,
        cluster=language,
        slice=language,
        benchmark="toy",
    )


@pytest.mark.parametrize("language", QUESTIONS)
def test_an_items_question_is_tagged_with_its_language(language: str) -> None:
    (prompt,) = item_prompts({"toy": [item(language)]})
    assert (prompt.language, prompt.domain, prompt.text) == (language, "knowledge", item(language).context)


def test_prompts_follow_the_benchmarks_names_and_their_items_order() -> None:
    prompts = item_prompts({"b": [item("ko"), item("ja")], "a": [item("en")]})
    assert [prompt.language for prompt in prompts] == ["en", "ko", "ja"]
    assert {prompt.language for prompt in item_prompts({"click": load_benchmark("nursery_click")[:20]})} == {"ko"}


@pytest.mark.parametrize("protect", ["ja", "ko", "knowledge"])
def test_the_father_completes_questions_in_a_protected_language(family: dict[str, Path], protect: str) -> None:
    """Though the mother is to complete everything, the father completes what is protected."""
    father, mother = (
        load(find_model(str(family[role])), "", device="cpu", dtype="float32") for role in ("father", "sister")
    )
    prompts = item_prompts({"toy": [item(language) for language in QUESTIONS]})
    settings = ArmConfig(writer="mother", new_tokens=4)
    context = Context(father, mother, (0, 1, 2, 3), settings, prompts=prompts, protect=(protect,))
    authors = {text.text.language: text.author for text in synthesize_texts(context)}
    assert authors == {language: "father" if protect in (language, "knowledge") else "mother" for language in QUESTIONS}


def test_only_an_arm_whose_parents_write_needs_prompts(family: dict[str, Path]) -> None:
    def prompts(method: str, **arm: object) -> tuple[str, ...]:
        config = small(family, mother=str(family["mother"]), base=None, method=method, arm=arm)
        parents = Parents.find(config)
        return tuple(prompt.doc for prompt in arm_prompts(parents))

    assert prompts("folded") == prompts("competence", writer="nobody") == ()
    parents = Parents.find(small(family))
    questions = [item.key for name in sorted(parents.items.search) for item in parents.items.search[name]]
    assert list(prompts("competence")) == questions
    assert prompts("folded", prompts="nursery") == prompts("competence", prompts="nursery", writer="nobody") != ()


def test_a_world_that_is_no_number_is_refused() -> None:
    assert named_prompts("nursery@7", 1, 1) != named_prompts("nursery", 1, 1)
    with pytest.raises(ConfigError, match="nursery@moon names no world"):
        named_prompts("nursery@moon", 1, 1)
