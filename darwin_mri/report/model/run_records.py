"""Reading a run folder: every record that is there, and a plain list of what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from darwin_mri.errors import InputError
from darwin_mri.files import read_text
from darwin_mri.records import (
    ChildFiles,
    Comparison,
    Genome,
    Health,
    Inputs,
    LedgerLine,
    Manifest,
    PairScan,
    Prior,
    Record,
    RepairRecord,
    Scan,
)
from darwin_mri.records.roles import FATHER, MOTHER, PARENTS, Parent, pair_file, scan_file
from darwin_mri.report import formats
from darwin_mri.report.model.item_answers import Answers, read_answers
from darwin_mri.translation import say

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class RunRecords:
    """The records of one run; those that are missing are None.

    Attributes:
        name: of the run, as its config or its folder says.
        manifest: command, versions, state.
        inputs: the parents' files and digests.
        scans: role -> MRI of that parent.
        pairs: role of another parent -> the father beside it.
        prior: where the search starts.
        ledger: every evaluation, in order.
        genome: the search's winner.
        comparison: scores and contrasts.
        health: the child's health check.
        child: the child's files.
        repair: how the child was repaired.
        repaired_health: the repaired child's health check.
        repaired: scores and contrasts of the repaired child, which is the ``child`` in them.
        answers: role -> benchmark -> items.
        problems: records that cannot be read, in words.
    """

    name: str
    manifest: Manifest | None = None
    inputs: Inputs | None = None
    scans: Mapping[str, Scan] = field(default_factory=dict)
    pairs: Mapping[str, PairScan] = field(default_factory=dict)
    prior: Prior | None = None
    ledger: tuple[LedgerLine, ...] = ()
    genome: Genome | None = None
    comparison: Comparison | None = None
    health: Health | None = None
    child: ChildFiles | None = None
    repair: RepairRecord | None = None
    repaired_health: Health | None = None
    repaired: Comparison | None = None
    answers: Answers = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def father(self) -> Scan | None:
        """The father's MRI."""
        return self.scans.get(FATHER)

    @property
    def pair(self) -> PairScan | None:
        """Father and mother side by side."""
        return self.pairs.get(MOTHER)

    @property
    def parents(self) -> tuple[Parent, ...]:
        """Roles of the run's parents, as far as any record names them; always father and mother."""
        named = {FATHER, MOTHER, *self.scans, *self.pairs}
        named |= {parent.role for parent in self.inputs.parents} if self.inputs else set()
        named |= set(self.genome.roles) if self.genome else set()
        named |= {gene.parent for gene in self.prior.genes} if self.prior else set()
        named |= {score.role for score in self.comparison.scores} if self.comparison else set()
        return tuple(role for role in PARENTS if role in named)

    @property
    def others(self) -> tuple[Parent, ...]:
        """Roles of the parents beside the father."""
        return self.parents[1:]


def load_run(run: Path) -> RunRecords:
    """Read the records of a run folder.

    Args:
        run: folder as the README lays it out; any of its files may be missing.

    Raises:
        InputError: the folder does not exist.
    """
    if not run.is_dir():
        raise InputError(f"{run} is not a folder: give the folder of a run, for example reports/david")
    problems: list[str] = []

    def read(kind: type[R], name: str) -> R | None:
        path = run / name
        if not path.is_file():
            return None
        try:
            return _shorten(kind.load(path))
        except InputError as error:
            problems.append(str(error).replace(str(path), name))  # reports show no folders
            return None

    manifest = read(Manifest, "manifest.json")
    title = manifest.config.get("name") if manifest else None
    return RunRecords(
        name=title if isinstance(title, str) and title else run.resolve().name,
        manifest=manifest,
        inputs=read(Inputs, "inputs.json"),
        scans={role: scan for role in PARENTS if (scan := read(Scan, scan_file(role)))},
        pairs={role: pair for role in PARENTS[1:] if (pair := read(PairScan, pair_file(role)))},
        prior=read(Prior, "prior.json"),
        ledger=read_ledger(run / "ledger.jsonl", problems),
        genome=read(Genome, "genome.json"),
        comparison=read(Comparison, "comparison.json"),
        health=read(Health, "health.json"),
        child=read(ChildFiles, "child.json"),
        repair=read(RepairRecord, "repair.json"),
        repaired_health=read(Health, "health-repaired.json"),
        repaired=read(Comparison, "comparison-repaired.json"),
        answers=read_answers(run / "answers", problems),
        problems=tuple(map(formats.brief, problems)),
    )


_LONG = re.compile(r'"(?:[^"\\]|\\.){301}')  # a JSON string that formats.brief would cut


def _shorten(record: R) -> R:
    """The record with every name or message a page could not carry cut to a length it can; the file keeps the whole."""
    text = record.model_dump_json(by_alias=True)
    return type(record).model_validate(_brief(json.loads(text))) if _LONG.search(text) else record


def _brief(value: Any) -> Any:
    if isinstance(value, str):
        return formats.brief(value)
    if isinstance(value, list):
        return [_brief(part) for part in value]
    if isinstance(value, dict):
        return {formats.brief(str(key)): _brief(part) for key, part in value.items()}
    return value


def read_ledger(path: Path, problems: list[str]) -> tuple[LedgerLine, ...]:
    """The evaluations, in order; a line cut short by a killed run is counted and left out."""
    if not path.is_file():
        return ()
    lines: list[LedgerLine] = []
    broken = 0
    for line in read_text(path, errors="replace").splitlines():
        if not line.strip():
            continue
        parsed = parse_ledger_line(line)
        if parsed is None:
            broken += 1
        else:
            lines.append(parsed)
    if broken:
        problems.append(
            say(
                "ledger.jsonl: {broken} of {lines} lines cannot be read and are left out",
                broken=broken,
                lines=broken + len(lines),
            )
        )
    return tuple(lines)


def parse_ledger_line(line: str) -> LedgerLine | None:
    """One evaluation; None where it cannot be read."""
    try:
        data = json.loads(line)
        if isinstance(data, dict):
            data.pop("schema", None)
        return LedgerLine.model_validate(_brief(data) if _LONG.search(line) else data)
    except (ValueError, ValidationError):
        return None
