"""From a wish to a config with reasons: what the parents allow is asked of ``plan``, which reads no weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import yaml

from darwin_mri.checkpoints.find import split_adapters
from darwin_mri.config import Config, make_config
from darwin_mri.errors import InputError
from darwin_mri.records import Plan

BUDGET = 50  # candidates; four times as many were no better on real models (docs/proving.md)
CROSSING = ("competence", "folded")  # arms, the first that is possible (docs/arena.md)


@dataclass(frozen=True)
class Wish:
    """What a user has and wants.

    Attributes:
        parents: models, the first of which gives the child its shape, config and tokenizer.
        tasks: what the child should do well: name -> the config's entry of a task.
        base: common ancestor; None where there is none.
        protect: languages or domains that must not get worse.
        name: of the run.
    """

    parents: tuple[str, ...]
    tasks: Mapping[str, Mapping[str, str]]
    base: str | None = None
    protect: tuple[str, ...] = ()
    name: str = "child"


@dataclass(frozen=True)
class Draft:
    """A config as a file.

    Attributes:
        text: YAML with a reason beside every choice.
        plan: of its run.
    """

    text: str
    plan: Plan


@dataclass(frozen=True)
class _Choice:
    """Fields of the config that belong together, and why they are as they are."""

    fields: dict[str, Any]
    why: str


def draft_config(wish: Wish, plan: Callable[[Config], Plan]) -> Draft:
    """Choose method, tokenizer and search by what the parents allow.

    Args:
        wish: of the user.
        plan: what a run of a config needs, and what stands in its way.

    Returns:
        The config's text and its plan, whose ``problems`` are not empty where the parents cannot be merged.

    Raises:
        CheckpointError: a parent is not found.
        InputError: no way of merging these parents is known.
    """
    given = _given(wish)
    looked = plan(_config([*given, _merging(wish, {})]))
    choice = _merging(wish, {})
    if not looked.siblings:
        union = _merging(wish, {"tokenizer": "union"})
        try:
            other = plan(_config([*given, union]))
        except InputError:
            other = looked
        if other.siblings:
            why = f"{union.why}; their tokens differ, and with union the child knows all of them"
            choice = replace(union, why=why)
        else:
            choice = _crossing(wish, looked)
    choices = [*given, choice, _search(looked.siblings), *_scoring()]
    return Draft(_text(choices), plan(_config(choices)))


def common_base(parents: tuple[str, ...]) -> str | None:
    """The model that all parents are adapters of; None where there is no such model."""
    bases = {split_adapters(ref)[0] if len(split_adapters(ref)) > 1 else "" for ref in parents}
    return bases.pop() if len(bases) == 1 and "" not in bases else None


def _given(wish: Wish) -> list[_Choice]:
    """What the user said."""
    choices = [
        _Choice({"name": wish.name}, "the run's folder is reports/NAME"),
        _Choice({"parents": list(wish.parents)}, "the first gives the child its shapes, config and tokenizer"),
    ]
    tasks = {name: dict(entry) for name, entry in wish.tasks.items()}
    choices.append(_Choice({"tasks": tasks}, "what the child is chosen by; tasks alike weigh alike (docs/tasks.md)"))
    protected = "layers that would cost such text more than 1 % of its NLL per byte stay the first parent's"
    unprotected = "no text is protected; name languages or domains such as ko or code"
    prior = {"prior": {"protect": list(wish.protect)}}
    return [*choices, _Choice(prior, protected if wish.protect else unprotected)]


def _merging(wish: Wish, fields: dict[str, Any]) -> _Choice:
    """Of parents of one architecture."""
    if wish.base:
        why = "parents with a common ancestor: their differences from it are added (docs/methods.md)"
        return _Choice({"base": wish.base, "method": "task_arithmetic", **fields}, why)
    return _Choice({"method": "linear", **fields}, "parents without a known ancestor are averaged; with one, name it")


def _crossing(wish: Wish, looked: Plan) -> _Choice:
    possible = {method.name for method in looked.methods if method.possible}
    arm = next((name for name in CROSSING if name in possible), None)
    if arm is None or len(wish.parents) > 2:
        raise InputError(f"these parents cannot be merged tensor by tensor: {looked.sibling_reason}")
    why = "parents of two architectures: the first one's FFNs learn what the second one knows (docs/arena.md)"
    return _Choice({"method": arm}, why)


def _search(siblings: bool) -> _Choice:
    genes = "a ratio for every layer's mixer and FFN" if siblings else "a ratio for every layer's FFN"
    return _Choice({"search": {"budget": BUDGET}}, f"candidates tried, each with {genes}")


def _scoring() -> list[_Choice]:
    """How parents and child are compared, where the default cannot be had."""
    if find_spec("lm_eval"):
        return []
    why = (
        "scored by the tool's own scorer, as lm-eval is not installed (pip install 'darwin-mri[bench]' for the default)"
    )
    return [_Choice({"bench": {"harness": False}}, why)]


def _config(choices: list[_Choice]) -> Config:
    fields: dict[str, Any] = {}
    for choice in choices:
        fields |= choice.fields
    return make_config(fields, "the drafted config")


def _text(choices: list[_Choice]) -> str:
    parts = ["# All fields: darwin_mri/config.py. What the run needs: darwin-mri plan --config FILE\n"]
    for choice in choices:
        parts.append(f"\n# {choice.why[0].upper()}{choice.why[1:]}.\n")
        parts.append(yaml.safe_dump(choice.fields, allow_unicode=True, sort_keys=False, width=110))
    return "".join(parts)
