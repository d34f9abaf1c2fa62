"""From cells to the verdict: seeds pooled by cluster, every contrast of the composite in one Holm family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from darwin_mri.arena.settings import ArenaConfig
from darwin_mri.benchmarks import Item, chance, describe_benchmark
from darwin_mri.records import CHILD, Answer, ArenaCell, ArenaResult, ArenaRow, Comparison, Contrast
from darwin_mri.records.arena import PARENTS_ARM, cell_name
from darwin_mri.records.roles import NULL_PREFIX
from darwin_mri.stats.compare import compare
from darwin_mri.stats.paired import holm

LEVEL = 0.01
COMPOSITE = "composite"


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
    arms = [row for row in rows if row.null == CHILD and config.arms[row.arm].method != "finetune"]
    best = max(arms, key=lambda row: row.search).arm
    names, answers = {}, {}
    for (arm, null), group in groups.items():
        key, role = _role(arm, null, best)
        names[key] = (_ref(config, null) if arm == PARENTS_ARM else cell_name(arm, null), role)
        answers[key] = _pooled(config, group)
    protocol = "cloze-logprob-sum, fast scorer; seeds pooled by cluster"
    comparison = compare(
        answers,
        names,
        protocol,
        {task: chance(tuple(members)) for task, members in items.items()},
        config.weights,
        config.seeds[0],
        benchmarks=tuple(describe_benchmark(task, members) for task, members in items.items()),
    )
    comparison = _one_family(comparison)
    vigor, sentence = _sentence(config, comparison, rows, best)
    held_out = sum(len(members) for members in groups[PARENTS_ARM, "father"][0].answers.values())
    return ArenaResult(
        name=config.name,
        father=_ref(config, "father"),
        mother=_ref(config, "mother"),
        ignorant=_ref(config, "ignorant"),
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
    return ArenaRow(
        arm=group[0].arm,
        null=group[0].null,
        ratios=tuple(cell.ratio for cell in group),
        values=values,
        search=search,
        seconds=round(seconds, 2),
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


def _sentence(config: ArenaConfig, comparison: Comparison, rows: Sequence[ArenaRow], best: str) -> tuple[bool, str]:
    """Whether vigor may be claimed, and why, in one sentence."""
    contrasts = [c for c in comparison.contrasts if c.benchmark == COMPOSITE]
    parents = {c.other: c for c in contrasts if c.against_parent}
    nulls = [c for c in contrasts if c.null is not None]
    means = {(row.arm, row.null): float(np.mean(row.values)) for row in rows}
    child, father, mother = (means[key] for key in ((best, CHILD), (PARENTS_ARM, "father"), (PARENTS_ARM, "mother")))
    figures = f"child {child:.3f}, father {father:.3f}, mother {mother:.3f}"
    closest = min(nulls, key=lambda c: c.difference) if nulls else None
    if closest is not None:
        figures += f", best null {child - closest.difference:.3f} ({closest.null})"
    figures += f" on the composite of held-out items, {len(config.seeds)} seeds"
    unbeaten = [c for c in (parents["father"], *nulls) if not _above(c)]
    if unbeaten:
        return False, f"No vigor: {best} does not beat {_listing(unbeaten)} at p < {LEVEL} ({figures})."
    if not _above(parents["mother"]):
        return False, f"No vigor, but a gain: {best} beats the father and every null, and not the mother ({figures})."
    return True, f"Vigor: {best} beats both parents and every null at p < {LEVEL} after correction ({figures})."


def _above(contrast: Contrast) -> bool:
    return contrast.low > 0 and contrast.p_holm is not None and contrast.p_holm < LEVEL


def _listing(contrasts: Sequence[Contrast]) -> str:
    """The models that the child is compared with, as a person lists them."""
    plain = [f"the {c.other}" if c.null is None else f"the null {c.null}" for c in contrasts]
    return plain[0] if len(plain) == 1 else f"{', '.join(plain[:-1])} and {plain[-1]}"


def _ref(config: ArenaConfig, role: str) -> str:
    """A parent's name without folders."""
    ref = getattr(config, role)
    return ref.rstrip("/").rpartition("/")[2] if ref and ref.startswith(("/", ".")) else ref


def _public(config: ArenaConfig) -> dict[str, object]:
    data = config.model_dump(mode="json")
    for role in ("father", "mother", "ignorant"):
        data[role] = _ref(config, role)
    for key in ("prompts", "data"):
        if data[key]:
            data[key] = data[key].rstrip("/").rpartition("/")[2]
    for entry in data["arms"].values():
        for key in ("texts", "prompts"):
            if entry["arm"][key]:
                entry["arm"][key] = entry["arm"][key].rstrip("/").rpartition("/")[2]
    return data
