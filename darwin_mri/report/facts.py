"""What a model hub wants to know about the child: its parents and their licences, its languages, its held-out scores, its genes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from darwin_mri.report import words
from darwin_mri.report.charts import Gene
from darwin_mri.report.genomes import layer_genes
from darwin_mri.report.run import Run

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
FILES = {"child", "reports", "models", "runs", "checkpoints"}  # folder names that people use, never an owner or a model


@dataclass(frozen=True)
class Kin:
    """A parent. ``licence`` is empty where its model card states none."""

    role: str
    ref: str
    licence: str = ""

    @property
    def hub_id(self) -> str:
        """Its name on the hub without a revision; empty for folders and bundled models."""
        name = self.ref.partition("@")[0]
        parts = name.split("/")
        return name if _HUB_ID.fullmatch(name) and not FILES & set(parts) and "--" not in name else ""


@dataclass(frozen=True)
class Result:
    """A measured held-out score of the child, as model cards publish it. ``value`` is a fraction."""

    benchmark: str
    value: float
    text: str
    protocol: str


@dataclass(frozen=True)
class Facts:
    """Everything a model card's metadata and hub files are made of."""

    kin: tuple[Kin, ...]
    method: str
    space: str
    languages: tuple[str, ...]
    results: tuple[Result, ...]
    genes: tuple[Gene, ...]
    upper: float
    created: str

    @property
    def licences(self) -> dict[str, str]:
        """Licence by parent, only of those that state one."""
        return {kin.ref: kin.licence for kin in self.kin if kin.licence}

    @property
    def licence(self) -> str:
        """The one licence that every parent states; empty where one is silent or they differ."""
        stated = {kin.licence for kin in self.kin}
        return next(iter(stated)) if len(stated) == 1 else ""


def gather(run: Run) -> Facts:
    """The facts of a run; what its records do not say stays empty."""
    genome, prior = run.genome, run.prior
    upper = prior.upper if prior else max(genome.ratios, default=1.0) if genome else 1.0
    return Facts(
        kin=_kin(run),
        method=genome.method if genome else "",
        space=genome.space if genome else "",
        languages=tuple(name for name in run.father.probes.languages if _is_language(name)) if run.father else (),
        results=_results(run),
        genes=tuple(layer_genes(prior, genome)) if genome is not None else (),
        upper=upper,
        created=run.manifest.created if run.manifest else "",
    )


def _kin(run: Run) -> tuple[Kin, ...]:
    if run.inputs is not None:
        return tuple(Kin(parent.role, parent.ref, parent.license) for parent in run.inputs.parents)
    if run.genome is not None:
        known = (("father", run.genome.father), ("mother", run.genome.mother), ("base", run.genome.base))
        return tuple(Kin(role, ref) for role, ref in known if ref)
    scanned = (("father", run.father), ("mother", run.mother))
    return tuple(Kin(role, scan.model.ref) for role, scan in scanned if scan)


def _is_language(name: str) -> bool:
    """Probe languages include ``code``, which no hub knows as one."""
    return bool(re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]{2,8})?", name))


def _results(run: Run) -> tuple[Result, ...]:
    held_out = [
        s
        for s in (run.comparison.scores if run.comparison else ())
        if s.role == "child" and s.slice == "all" and s.evidence == "measured" and s.split == "held-out"
    ]
    return tuple(
        Result(s.benchmark, s.value, words.score(s), s.protocol) for s in held_out if s.benchmark != "composite"
    )
