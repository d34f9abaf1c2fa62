"""Scores and contrasts of the sample run: made-up numbers in the shape of a nursery run."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from darwin_mri.records import Alert, Answer, Comparison, Contrast, Score, Vigor, write_text
from darwin_mri.records.roles import PARENTS, Other, null_of_role

FATHER, MOTHER, CHILD = "nursery:gemma4-korean", "nursery:qwen35-mother", "genesis-nursery"
NULLS = ("uniform", "prior-mean", "random", "shuffled-donor")
BENCHMARKS = {"nursery_click": (240, 0.25), "nursery_musr": (180, 0.34), "nursery_gpqa": (96, 0.25)}
SLICES = {"nursery_click": ("문화", "역사"), "nursery_musr": ("murder", "objects"), "nursery_gpqa": ("color", "use")}


def _score(model: str, role: str, benchmark: str, value: float, n: int, chance: float, part: str = "all") -> Score:
    half = 1.96 * math.sqrt(value * (1 - value) / n)
    correct = round(value * n)
    return Score(
        model=model,
        role=role,
        benchmark=benchmark,
        slice=part,
        evidence="measured",
        protocol="cloze-logprob-sum v1",
        correct=float(correct),
        n=n,
        clusters=n // 2,
        value=correct / n,
        low=max(0.0, value - half),
        high=min(1.0, value + half),
        chance=chance,
    )


def make_comparison(father: str = FATHER, child: str = CHILD, further: Mapping[str, str] | None = None) -> Comparison:
    """Father strong on click, mother on musr; the child a little above both, four nulls below, a published 27B row.

    ``further``: role -> name of parents after the mother, each a little weaker than the one before.
    """
    further = further or {}
    means = {
        "father": (0.71, 0.47, 0.36),
        "mother": (0.44, 0.58, 0.38),
        **{role: (0.62 - 0.03 * i, 0.52 - 0.01 * i, 0.37 + 0.01 * i) for i, role in enumerate(further)},
        "child": (0.74, 0.56, 0.365),
        "null:uniform": (0.69, 0.50, 0.35),
        "null:prior-mean": (0.72, 0.52, 0.36),
        "null:random": (0.66, 0.47, 0.33),
        "null:shuffled-donor": (0.64, 0.45, 0.34),
    }
    if further:
        means["null:per-parent"] = (0.70, 0.51, 0.36)
    models = {"father": father, "mother": MOTHER, **further, "child": child}
    weights = {"nursery_click": 0.6, "nursery_musr": 0.4}
    scores, contrasts = [], []
    for role, values in means.items():
        model = models.get(role, child)
        for (benchmark, (n, chance)), value in zip(BENCHMARKS.items(), values, strict=True):
            scores.append(_score(model, role, benchmark, value, n, chance))
            if role in models:
                parts = ("문화", "역사") if benchmark == "nursery_click" else ("murder", "objects")
                scores += [
                    _score(model, role, benchmark, value + shift, n // 2, chance, part)
                    for part, shift in zip(parts, (0.04, -0.04), strict=True)
                ]
        composite = sum(w * v for w, v in zip(weights.values(), values, strict=False))
        scores.append(
            _score(model, role, "composite", composite, 420, 0.286).model_copy(
                update={"correct": None, "value": composite}
            )
        )
    for other, values in means.items():
        for benchmark, index in {"nursery_click": 0, "nursery_musr": 1, "nursery_gpqa": 2, "composite": None}.items():
            n = 420 if index is None else BENCHMARKS[benchmark][0]
            child_value, other_value = (
                sum(w * v for w, v in zip(weights.values(), row, strict=False))
                if index is None
                else round(row[index] * n) / n
                for row in (means["child"], values)
            )
            if other == "child":
                continue
            difference, half = child_value - other_value, 1.96 * math.sqrt(0.2 / n)
            p_value = min(1.0, math.exp(-3.0 * (difference / half) ** 2))
            headline = other in PARENTS and benchmark != "nursery_gpqa"
            contrasts.append(
                Contrast(
                    name=f"child - {other}",
                    benchmark=benchmark,
                    difference=difference,
                    low=difference - half,
                    high=difference + half,
                    p_value=p_value,
                    p_holm=min(1.0, 2 * p_value) if headline else None,
                    p_mcnemar=p_value,
                    n=n,
                    wins=int(n * 0.12),
                    losses=int(n * 0.1),
                    detectable=half * 1.43,
                    other=cast("Other", other) if other in PARENTS else "null",
                    null=null_of_role(other),
                )
            )
    published = Score(
        model="K-AI 27B",
        role="baseline",
        benchmark="nursery_click",
        slice="all",
        evidence="published",
        protocol="unknown",
        correct=None,
        n=None,
        value=0.794,
        low=None,
        high=None,
        chance=0.25,
        source="board",
        split="unknown",
    )
    vigor = Vigor(
        mid_parent=0.1095,
        better_parent=0.054,
        better_parent_low=0.0112,
        better_parent_high=0.0968,
        p_value=0.012,
        claimed=True,
        sentence=f"Hybrid vigor: the child beats {'all' if further else 'both'} parents (child 66.8 %, father 61.4 %,"
        " mother 49.6 % on the composite).",
    )
    alerts = (
        Alert(
            level="warning",
            text="nursery_gpqa has only 96 items: a difference from the father under 12.8 points could not have been"
            " seen.",
        ),
    )
    return Comparison(
        scores=(*scores, published),
        contrasts=tuple(contrasts),
        vigor=vigor,
        alerts=alerts,
        composite=weights,
        headline=("nursery_click", "nursery_musr", "nursery_gpqa", "composite"),
    )


def write_answers(folder: Path, further: Sequence[str] = ()) -> None:
    """Answers of the parents and the child to the same 60 items of each benchmark, in two slices, without any text."""
    rng = random.Random(11)
    shares = {"father": (0.7, 0.45, 0.36), "mother": (0.44, 0.58, 0.4), "child": (0.74, 0.56, 0.36)}
    shares |= {role: (0.6 - 0.02 * i, 0.5, 0.38) for i, role in enumerate(further)}
    for number, (benchmark, slices) in enumerate(SLICES.items()):
        for role, share in shares.items():
            lines = [
                Answer(
                    key=f"{number:02d}{i:014x}",
                    cluster=f"c{i // 2}",
                    slice=slices[i % 2],
                    gold=0,
                    choice=0,
                    credit=float(rng.random() < share[number]),
                    log_probabilities=(-1.0, -2.0, -3.0),
                )
                for i in range(60)
            ]
            write_text(folder / role / f"{benchmark}.jsonl", "".join(line.model_dump_json() + "\n" for line in lines))
