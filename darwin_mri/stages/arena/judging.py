"""From cells to the verdict: seeds pooled by cluster, every contrast of the composite in one Holm family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from darwin_mri.benchmarks import Item, chance, describe_benchmark
from darwin_mri.records import CHILD, Answer, ArenaCell, ArenaResult, ArenaRow, Comparison, Contrast
from darwin_mri.stages.arena.settings import ArenaConfig
from darwin_mri.stats.compare import compare
from darwin_mri.stats.paired import holm

LEVEL = 0.01
COMPOSITE = "composite"


def judge(config: ArenaConfig, cells: Sequence[ArenaCell], items: Mapping[str, Sequence[Item]]) -> ArenaResult:
    """The table and the comparison of the best arm, chosen on search items, with parents, nulls and the other arms."""
    groups: dict[tuple[str, str], list[ArenaCell]] = {}
    for cell in cells:
        groups.setdefault((cell.arm, cell.null), []).append(cell)
    rows = [_row(config, group) for group in groups.values()]
    arms = [row for row in rows if row.null == CHILD and config.arms[row.arm].method != "finetune"]
    best = max(arms, key=lambda row: row.search).arm
    names, answers = {}, {}
    for (arm, null), group in groups.items():
        key, role = _role(arm, null, best)
        names[key] = (
            arm if null == CHILD else f"{arm} {null}" if key not in ("father", "mother") else _ref(config, key),
            role,
        )
        answers[key] = _pooled(config, group)
    protocol = "cloze-logprob-sum, fast scorer; seeds pooled by cluster"
    comparison = compare(
        answers, names, protocol, {task: chance(tuple(found)) for task, found in items.items()}, config.weights,
        config.seeds[0], benchmarks=tuple(describe_benchmark(task, found) for task, found in items.items()),
    )  # fmt: skip
    comparison = _one_family(comparison)
    vigor, sentence = _sentence(config, comparison, rows, best)
    held_out = sum(len(found) for found in groups["parents", "father"][0].answers.values())
    return ArenaResult(
        name=config.name, father=_ref(config, "father"), mother=_ref(config, "mother"), ignorant=_ref(config, "ignorant"),
        seeds=config.seeds, items=held_out, best=best, rows=tuple(rows), comparison=comparison, vigor=vigor,
        sentence=sentence, config=_public(config),
    )  # fmt: skip


def _row(config: ArenaConfig, group: Sequence[ArenaCell]) -> ArenaRow:
    values = tuple(
        sum(w * float(np.mean([a.credit for a in cell.answers[task]])) for task, w in config.weights.items())
        for cell in group
    )
    search = float(np.mean([max(cell.search.values()) for cell in group]))
    seconds = float(np.mean([cell.seconds for cell in group]))
    return ArenaRow(
        arm=group[0].arm, null=group[0].null, ratios=tuple(cell.ratio for cell in group), values=values, search=search,
        seconds=round(seconds, 2),
    )  # fmt: skip


def _role(arm: str, null: str, best: str) -> tuple[str, str]:
    """(key, role) in the comparison: the best arm is the child, its nulls are nulls, all else stands beside them."""
    if arm == "parents":
        return null, null
    if arm == best:
        return ("child", "child") if null == CHILD else (f"null:{null}", f"null:{null}")
    return f"{arm} {null}", "baseline"


def _pooled(config: ArenaConfig, group: Sequence[ArenaCell]) -> dict[str, list[Answer]]:
    """All seeds' answers, keys made unique by seed; clusters keep their names, so that a fact seen at two seeds counts as one."""
    return {
        task: [
            answer.model_copy(update={"key": f"{cell.seed}:{answer.key}"}) for cell in group for answer in cell.answers[task]
        ]
        for task in config.tasks
    }  # fmt: skip


def _one_family(comparison: Comparison) -> Comparison:
    """Holm over every contrast of the composite in place of those with the parents alone."""
    places = [i for i, c in enumerate(comparison.contrasts) if c.benchmark == COMPOSITE]
    adjusted = dict(zip(places, holm(comparison.contrasts[i].p_value for i in places), strict=True))
    contrasts = tuple(c.model_copy(update={"p_holm": adjusted.get(i)}) for i, c in enumerate(comparison.contrasts))
    return comparison.model_copy(update={"contrasts": contrasts})


def _sentence(
    config: ArenaConfig, comparison: Comparison, rows: Sequence[ArenaRow], best: str
) -> tuple[bool, str]:  # fmt: skip
    found = {c.name.removeprefix("child - "): c for c in comparison.contrasts if c.benchmark == COMPOSITE}
    nulls = {name: c for name, c in found.items() if name.startswith("null:")}
    means = {(row.arm, row.null): float(np.mean(row.values)) for row in rows}
    child, father, mother = (means[key] for key in ((best, CHILD), ("parents", "father"), ("parents", "mother")))
    figures = f"child {child:.3f}, father {father:.3f}, mother {mother:.3f}"
    closest = min(nulls.values(), key=lambda c: c.difference) if nulls else None
    if closest is not None:
        figures += f", best null {child - closest.difference:.3f} ({closest.name.removeprefix('child - null:')})"
    figures += f" on the composite of held-out items, {len(config.seeds)} seeds"
    failed = [name for name in ("father", *nulls) if not _above(found[name])]
    if failed:
        return False, f"No vigor: {best} does not beat {_listing(failed)} at p < {LEVEL} ({figures})."
    if not _above(found["mother"]):
        return False, f"No vigor, but a gain: {best} beats the father and every null, and not the mother ({figures})."
    return True, f"Vigor: {best} beats both parents and every null at p < {LEVEL} after correction ({figures})."


def _above(contrast: Contrast) -> bool:
    return contrast.low > 0 and contrast.p_holm is not None and contrast.p_holm < LEVEL


def _listing(names: Sequence[str]) -> str:
    plain = [name.replace("null:", "the null ") if name.startswith("null:") else f"the {name}" for name in names]
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
