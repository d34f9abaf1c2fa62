"""From cells to the verdict: seeds pooled by cluster, every contrast of the composite in one Holm family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from darwin_mri.arena.settings import INSTEAD, ArenaConfig
from darwin_mri.benchmarks import Item, chance, describe_benchmark
from darwin_mri.config_tasks import KINDS
from darwin_mri.records import CHILD, Answer, ArenaCell, ArenaResult, ArenaRow, Comparison
from darwin_mri.records.arena import PARENTS_ARM, cell_name
from darwin_mri.records.roles import NULL_PREFIX
from darwin_mri.records.score import COMPOSITE
from darwin_mri.stats.arena_vigor import judge_arena
from darwin_mri.stats.compare import compare
from darwin_mri.stats.paired import holm


def judge(config: ArenaConfig, cells: Sequence[ArenaCell], items: Mapping[str, Sequence[Item]]) -> ArenaResult:
    """The table and the comparison of the best arm, chosen on search items, with parents, nulls and the other arms.

    Args:
        config: the arena's settings.
        cells: every arm, null and parent at every seed.
        items: benchmark -> its items.

    Returns:
        the result, with Holm's correction over every contrast of the composite.
    """
    groups: dict[tuple[str, str], list[ArenaCell]] = {}
    for cell in cells:
        groups.setdefault((cell.arm, cell.null), []).append(cell)
    rows = [_row(config, group) for group in groups.values()]
    arms = [row for row in rows if row.null == CHILD and config.arms[row.arm].method not in INSTEAD]
    best = max(arms, key=lambda row: row.search).arm
    names, answers = {}, {}
    for (arm, null), group in groups.items():
        key, role = _role(arm, null, best)
        names[key] = (_plain_ref(getattr(config, null)) if arm == PARENTS_ARM else cell_name(arm, null), role)
        answers[key] = _pooled(config, group)
    protocol = "cloze-logprob-sum, fast scorer; seeds pooled by cluster"
    comparison = compare(
        answers,
        names,
        protocol,
        {task: chance(tuple(members)) for task, members in items.items()},
        config.weights,
        config.seeds[0],
        benchmarks=tuple(describe_benchmark(task, members, config.own) for task, members in items.items()),
    )
    comparison = _one_family(comparison)
    vigor, sentence = judge_arena(comparison, rows, best, len(config.seeds))
    held_out = sum(len(members) for members in groups[PARENTS_ARM, "father"][0].answers.values())
    return ArenaResult(
        name=config.name,
        father=_plain_ref(config.father),
        mother=_plain_ref(config.mother),
        ignorant=_plain_ref(config.ignorant) if config.ignorant else None,
        seeds=config.seeds,
        items=held_out,
        best=best,
        rows=tuple(rows),
        comparison=comparison,
        vigor=vigor,
        sentence=sentence,
        config=_public(config),
    )


def _row(config: ArenaConfig, group: Sequence[ArenaCell]) -> ArenaRow:
    values = tuple(
        sum(w * float(np.mean([a.credit for a in cell.answers[task]])) for task, w in config.weights.items())
        for cell in group
    )
    search = float(np.mean([max(cell.search.values()) for cell in group]))
    seconds = float(np.mean([cell.seconds for cell in group]))
    languages = [language for language in group[0].rises if all(language in cell.rises for cell in group)]
    rises = {language: round(float(np.mean([cell.rises[language] for cell in group])), 5) for language in languages}
    return ArenaRow(
        arm=group[0].arm,
        null=group[0].null,
        ratios=tuple(cell.ratio for cell in group),
        values=values,
        search=search,
        seconds=round(seconds, 2),
        rises=rises,
    )


def _role(arm: str, null: str, best: str) -> tuple[str, str]:
    """(key, role) in the comparison: the best arm is the child, its nulls are nulls, all else stands beside them."""
    if arm == PARENTS_ARM:
        return null, null
    if arm == best:
        role = "child" if null == CHILD else f"{NULL_PREFIX}{null}"
        return role, role
    return f"{arm} {null}", "baseline"


def _pooled(config: ArenaConfig, group: Sequence[ArenaCell]) -> dict[str, list[Answer]]:
    """All seeds' answers, keys made unique by seed; a fact seen at two seeds stays one cluster."""
    return {
        task: [
            answer.model_copy(update={"key": f"{cell.seed}:{answer.key}"})
            for cell in group
            for answer in cell.answers[task]
        ]
        for task in config.tasks
    }


def _one_family(comparison: Comparison) -> Comparison:
    """Holm over every contrast of the composite in place of those with the parents alone."""
    places = [i for i, c in enumerate(comparison.contrasts) if c.benchmark == COMPOSITE]
    adjusted = dict(zip(places, holm(comparison.contrasts[i].p_value for i in places), strict=True))
    contrasts = tuple(c.model_copy(update={"p_holm": adjusted.get(i)}) for i, c in enumerate(comparison.contrasts))
    return comparison.model_copy(update={"contrasts": contrasts})


def _plain_ref(ref: str) -> str:
    """A parent's name without folders."""
    return "+".join(_last(part) if part.startswith(("/", ".")) else part for part in ref.split("+"))


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _public(config: ArenaConfig) -> dict[str, object]:
    """The settings without folders of the machine."""
    data = config.model_dump(mode="json")
    for role in ("father", "mother", "ignorant"):
        data[role] = data[role] and _plain_ref(data[role])
    for section, keys in (
        (data, ("prompts", "data")),
        *((entry["arm"], ("texts", "prompts")) for entry in data["arms"].values()),
        *((task, (*KINDS, "include_path")) for task in data["own"].values()),
    ):
        section |= {key: _last(section[key]) for key in keys if section.get(key)}
    return data
