"""What a model hub needs to know about the child: its parents and their licences, languages, held-out scores, genes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from darwin_mri.records.score import COMPOSITE
from darwin_mri.report import formats
from darwin_mri.report.charts import Gene
from darwin_mri.report.model.gene_rows import is_joint, layer_genes, other_parents, upper_ratio
from darwin_mri.report.model.run_records import RunRecords

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
# Folder names that people use, never an owner or a model.
FOLDERS = {"child", "reports", "models", "runs", "checkpoints"}


@dataclass(frozen=True)
class Kin:
    """A parent.

    Attributes:
        role: father, mother, parent3 and so on, or base.
        ref: hub id, folder or bundled model.
        licence: empty where its model card states none.
    """

    role: str
    ref: str
    licence: str = ""

    @property
    def hub_id(self) -> str:
        """Its name on the hub without a revision; empty for folders and bundled models."""
        name = self.ref.partition("@")[0]
        parts = name.split("/")
        return name if _HUB_ID.fullmatch(name) and not FOLDERS & set(parts) and "--" not in name else ""


@dataclass(frozen=True)
class Result:
    """A measured held-out score of the child, as model cards publish it.

    Attributes:
        benchmark: its name.
        value: the score; of accuracy a fraction.
        text: the score with its interval and number of items.
        protocol: how it was taken.
        metric: what the value is, higher is better.
        unit: of the value; empty for a fraction.
    """

    benchmark: str
    value: float
    text: str
    protocol: str
    metric: str = "acc"
    unit: str = ""


@dataclass(frozen=True)
class Metadata:
    """Everything a model card's front matter and hub files are made of.

    Attributes:
        kin: the parents.
        method: how they were merged.
        space: which genes were searched.
        languages: of the probes.
        results: held-out scores.
        genes: by other parent, one gene per father layer.
        joint: whether these are shares of what several other parents are together.
        upper: the largest ratio the search could use.
        created: when the run started.
    """

    kin: tuple[Kin, ...] = ()
    method: str = ""
    space: str = ""
    languages: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()
    genes: tuple[tuple[str, tuple[Gene, ...]], ...] = ()
    joint: bool = False
    upper: float = 1.0
    created: str = ""

    @property
    def licences(self) -> dict[str, str]:
        """Licence by parent, only of those that state one."""
        return {kin.ref: kin.licence for kin in self.kin if kin.licence}

    @property
    def licence(self) -> str:
        """The one licence that every parent states; empty where one is silent or they differ."""
        stated = {kin.licence for kin in self.kin}
        return next(iter(stated)) if len(stated) == 1 else ""


def gather(run: RunRecords) -> Metadata:
    """The metadata of a run; what its records do not say stays empty."""
    genome, prior = run.genome, run.prior
    return Metadata(
        kin=_kin(run),
        method=genome.method if genome else "",
        space=genome.space if genome else "",
        languages=tuple(name for name in run.father.probes.languages if _is_language(name)) if run.father else (),
        results=_results(run),
        genes=tuple((role, tuple(layer_genes(prior, genome, role))) for role in other_parents(prior, genome))
        if genome
        else (),
        joint=is_joint(genome),
        upper=upper_ratio(prior, genome),
        created=run.manifest.created if run.manifest else "",
    )


def _kin(run: RunRecords) -> tuple[Kin, ...]:
    if run.inputs is not None:
        return tuple(Kin(parent.role, parent.ref, parent.license) for parent in run.inputs.parents)
    if run.genome is not None:
        known = {**run.genome.roles, "base": run.genome.base}
        return tuple(Kin(role, ref) for role, ref in known.items() if ref)
    return tuple(Kin(role, scan.model.ref) for role, scan in run.scans.items())


def _is_language(name: str) -> bool:
    """Probe languages include ``code``, which no hub knows as one."""
    return bool(re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]{2,8})?", name))


def _results(run: RunRecords) -> tuple[Result, ...]:
    scores = run.comparison.scores if run.comparison else ()
    return tuple(
        Result(s.benchmark, s.value, formats.score(s), s.protocol, s.metric, s.unit)
        for s in scores
        if s.role == "child" and s.measured_whole and s.split == "held-out" and s.benchmark != COMPOSITE
    )
