"""The gates of the health check: does the child still work as a model, whatever its scores say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from darwin_mri.checkpoints.child_reader import ChildReader
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.merging.blocks import of_blocks
from darwin_mri.merging.child import other_files
from darwin_mri.merging.model_figures import ModelFigures, SampledText
from darwin_mri.records import Health, HealthGate
from darwin_mri.records.roles import named

NORM_RANGE = (0.5, 2.0)  # a changed tensor's norm over the father's
NLL_RISE = 1.25  # the child's bits per byte over the worst parent's
# Mean share of repeated 4-grams in greedy text. Calibrated on nursery children (docs/LOG.md): sound ones reach 0.28,
# broken ones start at 0.59; where the father itself loops more than that, its own share counts.
LOOPING = 0.45
REPETITION = 1.5
DRIFT = 1.5  # the child's share of letters in another script over the father's, plus SLACK
SLACK = 0.15


@dataclass(frozen=True)
class Reference:
    """What the child is compared with.

    Attributes:
        father: the father's figures.
        bits: language -> bits per byte of the worst other parent: a child need not be better at a language than that.
        sampled: what the parents wrote themselves.
        expect_change: whether the genome moves any tensor.
    """

    father: ModelFigures
    bits: Mapping[str, float] = field(default_factory=dict)
    sampled: tuple[SampledText, ...] = ()
    expect_change: bool = True


def judge_child(
    folders: tuple[Path, Path], child: ModelFigures, sampled_bits: Sequence[float | None], reference: Reference
) -> Health:
    """Run every gate.

    Args:
        folders: the child's and the father's.
        child: its figures.
        sampled_bits: its bits per byte on each of ``reference.sampled``; None where it can read none of them.
        reference: what it is compared with.

    Returns:
        Every gate with what was measured and its limit.
    """
    gates = _weights(*folders, reference.expect_change)
    gates.append(_files(*folders))
    gates.append(_tied_head(child, reference.father))
    gates += [
        _no_worse(f"bits per byte, {language}", child.bits[language], max(bits, reference.bits.get(language, 0.0)))
        for language, bits in reference.father.bits.items()
    ]
    for text, bits in zip(reference.sampled, sampled_bits, strict=True):
        bits = math.inf if bits is None else bits
        gates.append(_no_worse(f"bits per byte, text {named(text.author)} wrote", bits, text.bits))
    gates += _greedy(child, reference.father)
    return Health(passed=all(gate.passed for gate in gates), gates=tuple(gates))


def _weights(child_folder: Path, father_folder: Path, expect_change: bool) -> list[HealthGate]:
    changed, odd, infinite, shaped = 0, [], [], []
    child, father = CheckpointReader(child_folder), ChildReader(father_folder)
    missing = sorted(set(father.names()) ^ set(child.names()))
    for name in father.names():
        if name in missing:
            continue
        if child.shape(name) != father.shape(name) or child.dtype(name) != father.dtype(name):
            shaped.append(name)
            continue
        finite, same, ratio = _compared(child.tensor(name), father.tensor(name))
        if not finite:
            infinite.append(name)
        elif not same:
            changed += 1
            if not NORM_RANGE[0] <= ratio <= NORM_RANGE[1]:
                odd.append(f"{name} {ratio:.2f}")
    total = len(father.names())
    changes = f"> 0 of {total}" if expect_change else "0, as the genome says"
    in_range = f"0 outside [{NORM_RANGE[0]}, {NORM_RANGE[1]}]"
    return [
        _count("tensor names", missing, "0 differ"),
        _count("shapes and dtypes", shaped, "0 differ"),
        _count("finite weights", infinite, "0 tensors not"),
        HealthGate(name="tensors changed", passed=(changed > 0) == expect_change, value=changed, limit=changes),
        _count("norm ratios", odd, in_range),
    ]


def _count(name: str, faults: Sequence[str], limit: str) -> HealthGate:
    """A gate that no tensor may fail; its note names the first ones that do."""
    return HealthGate(name=name, passed=not faults, value=len(faults), limit=limit, note=_first(faults))


def _compared(child: torch.Tensor, father: torch.Tensor) -> tuple[bool, bool, float]:
    """Whether the child's tensor is finite, whether it equals the father's, and the ratio of their norms.

    By blocks, as a table of a real model is gigabytes.
    """

    def measure(part: torch.Tensor, other: torch.Tensor) -> tuple[bool, float, float]:
        child_norm, father_norm = (float(torch.linalg.vector_norm(own)) for own in (part, other))
        return bool(torch.isfinite(part).all()), child_norm**2, father_norm**2

    finite, child_squares, father_squares = zip(*of_blocks(measure, child, father), strict=True)
    child_square, father_square = sum(child_squares), sum(father_squares)
    return (
        all(finite),
        torch.equal(child, father),
        (child_square / father_square) ** 0.5 if father_square > 0 else 1.0,
    )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3])


def _files(child_folder: Path, father_folder: Path) -> HealthGate:
    """Configuration, tokenizer and templates, which a child takes over byte for byte."""
    shards = CheckpointReader(father_folder).shards()
    differ = []
    for name in other_files(father_folder, shards):
        own = child_folder / name
        if not own.is_file() or own.read_bytes() != (father_folder / name).read_bytes():
            differ.append(name)
    return _count("configuration and tokenizer", differ, "0 files differ")


def _tied_head(child: ModelFigures, father: ModelFigures) -> HealthGate:
    return HealthGate(
        name="tied head",
        passed=child.tied == father.tied,
        value="tied" if child.tied else "untied",
        limit="as the father's",
    )


def _no_worse(name: str, bits: float, worst: float) -> HealthGate:
    return HealthGate(
        name=name,
        passed=bits <= NLL_RISE * worst,
        value=round(bits, 3) if math.isfinite(bits) else "not finite",
        limit=f"<= {NLL_RISE} x the worst parent's {worst:.3f}",
    )


def _greedy(child: ModelFigures, father: ModelFigures) -> list[HealthGate]:
    if child.repetition is None or child.drift is None or father.repetition is None or father.drift is None:
        return []
    loops = max(LOOPING, REPETITION * father.repetition)
    return [
        HealthGate(
            name="repetition in greedy text",
            passed=child.repetition <= loops,
            value=round(child.repetition, 3),
            limit=f"<= {LOOPING}, or {REPETITION} x the father's {father.repetition:.3f}",
        ),
        HealthGate(
            name="language drift in greedy text",
            passed=child.drift <= DRIFT * father.drift + SLACK,
            value=round(child.drift, 3),
            limit=f"<= {DRIFT} x the father's {father.drift:.3f} + {SLACK}",
        ),
    ]
