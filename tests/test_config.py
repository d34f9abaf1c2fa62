"""What a config derives from what it is given: the space from the method, the benchmarks from the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from darwin_mri.config import ARMS, OPERATORS, Config, SearchConfig, load_config, make_config
from darwin_mri.errors import ConfigError
from darwin_mri.merging import Settings

PAIR = {"father": "a", "mother": "b"}
CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("method", [*OPERATORS, *ARMS])
def test_a_space_that_is_not_given_follows_the_method(method: str) -> None:
    space = "ffn" if method in ARMS else "layers"
    data = {**PAIR, "method": method}
    assert Config.model_validate(data).search.space == space
    assert Config.model_validate({**data, "search": {"budget": 3}}).search.space == space
    assert Config.model_validate({**data, "search": SearchConfig(budget=3)}).search.space == space
    assert load_config(None, data).search.space == space


def test_a_given_space_stays() -> None:
    assert (
        Config.model_validate({**PAIR, "method": "folded", "search": {"space": "darwin14"}}).search.space == "darwin14"
    )
    assert Config.model_validate({**PAIR, "method": "slerp", "search": {"space": "ffn"}}).search.space == "ffn"
    with pytest.raises(ValueError, match="folded changes FFN weights only: set search.space"):
        Config.model_validate({**PAIR, "method": "folded", "search": {"space": "layers"}})


@pytest.mark.parametrize(
    ("text", "method", "space"),
    [
        ("search: {space: layers, budget: 7}", "folded", "ffn"),
        ("method: dare_ties\nsearch: {space: layers, budget: 7}", "folded", "ffn"),
        ("method: folded\nsearch: {space: ffn, budget: 7}", "slerp", "layers"),
        ("method: folded\nsearch: {space: darwin14, budget: 7}", "aligned", "darwin14"),
        ("method: slerp\nsearch: {space: ffn, budget: 7}", "linear", "ffn"),
        ("method: slerp\nsearch: {space: ffn, budget: 7}", None, "ffn"),
    ],
)
def test_a_method_of_another_kind_replaces_the_files_space(
    tmp_path: Path, text: str, method: str | None, space: str
) -> None:
    """Only where the command line changes from an operator to an arm or back does the file's space give way."""
    path = tmp_path / "run.yaml"
    path.write_text(f"father: a\nmother: b\n{text}\n", encoding="utf-8")
    config = load_config(path, {"method": method})
    assert (config.search.space, config.search.budget) == (space, 7)


def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("father: a\nmother: b\nmethod: folded\nsearch: {space: layers}\n", encoding="utf-8")
    for overrides in ({}, {"method": "aligned"}):
        with pytest.raises(ConfigError, match="changes FFN weights only"):
            load_config(path, overrides)


def test_data_alone_means_the_real_benchmarks(tmp_path: Path) -> None:
    assert load_config(None, PAIR).fitness == {"nursery_click": 0.6, "nursery_musr": 0.4}
    config = load_config(None, {**PAIR, "data": "D", "search": {"budget": 3}})
    assert config.fitness == {"click": 0.6, "musr": 0.4} and config.bench.tasks == ("click", "musr")
    path = tmp_path / "own.yaml"
    path.write_text("father: a\nmother: b\nfitness: {gpqa: 1}\nbench: {tasks: [gpqa, click]}\n")
    config = load_config(path, {"data": "D"})
    assert config.fitness == {"gpqa": 1.0} and config.bench.tasks == ("gpqa", "click")


@pytest.mark.parametrize("name", ["density", "density_father"])
def test_one_rule_says_what_a_density_is(name: str) -> None:
    """The same of a config, of single tensors in it, and of a merge."""
    parents: dict[str, Any] = {"father": "a", "mother": "b", "method": "dare_ties"}
    for value in (0, 0.0, 0.5, 1):
        assert getattr(make_config({**parents, name: value}, "x"), name) == value
        assert getattr(replace(Settings(), **{name: value}), name) == value
    for value in (-0.1, 1.5):
        words = f"{name} {value} must be a number between 0 and 1"
        for given in ({name: value}, {"tensors": {"*.mlp.*": {name: value}}}):
            with pytest.raises(ConfigError, match=words):
                make_config({**parents, **given}, "x")
        with pytest.raises(ConfigError, match=words):
            replace(Settings(), **{name: value})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_that_come_along_are_valid(path: Path) -> None:
    config = load_config(path, {})
    assert config.name == path.stem
    assert len(config.ratio_roles) == len(config.parents) - 1


def test_a_further_parent_beside_no_list_of_parents_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("parents: model\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="parents is no list"):
        load_config(path, {"further": ["another"]})


@pytest.mark.parametrize("arm", [{"place": "subject"}, {"layers": "read"}])
def test_an_arm_that_looks_for_subjects_needs_prompts_of_its_own(arm: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    settings = {"father": "a", "mother": "b", "method": "competence", "arm": arm}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"needs arm\.prompts: several wordings"):
        load_config(path, {})
    path.write_text(yaml.safe_dump({**settings, "arm": {**arm, "prompts": "nursery"}}), encoding="utf-8")
    load_config(path, {})
