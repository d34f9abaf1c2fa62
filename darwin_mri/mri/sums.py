"""What one pass over the probes adds up: sums per layer and site, in a table with one row per resampling unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from darwin_mri.probes import Probe

COVARIANCE_SITES = ("h_out", "f")  # sites whose second moment, and whose sums of each unit, are kept
# Columns of the tables: tokens, then sums over tokens of per-token sums of powers, then of per-token ratios.
COLUMNS = ("tokens", "sum", "square", "cube", "fourth", "ratio", "cosine", "firing")
POWERS = ("sum", "square", "cube", "fourth")
KINDS = ("language", "domain", "topic")  # of groups, as a unit's key has them
BUCKETS = 64  # documents are resampled in at most this many buckets
PASSAGES = 64  # parallel passages whose pooled states are kept, for the representational language channel


@dataclass(frozen=True)
class Units:
    """Resampling units: documents in buckets, apart by language and domain.

    A document in several languages falls into one bucket, so that resampling buckets keeps parallel passages together.

    Attributes:
        keys: (language, domain, topic, bucket) of each row of a table.
        row: the row of each probe.
    """

    keys: tuple[tuple[str, str, str, int], ...]
    row: tuple[int, ...]

    def select(self, group: str) -> np.ndarray:
        """Rows of a group, (units,) boolean: ``all``, ``language:xx``, ``domain:xx`` or ``topic:xx``."""
        kind, _, name = group.partition(":")
        return np.array([kind == "all" or key[KINDS.index(kind)] == name for key in self.keys])

    @property
    def buckets(self) -> np.ndarray:
        """(units,) the bucket of each row."""
        return np.array([key[-1] for key in self.keys])

    def groups(self) -> list[str]:
        """Names of ``all``, every language and every domain, in the form that ``select`` takes."""
        return ["all", *self._names("language"), *self._names("domain")]

    def topics(self) -> list[str]:
        """Names of the groups that the probes give a topic."""
        return self._names("topic")

    def _names(self, kind: str) -> list[str]:
        return [f"{kind}:{name}" for name in sorted({key[KINDS.index(kind)] for key in self.keys}) if name]


def resampling_units(probes: Sequence[Probe]) -> Units:
    """One bucket per document while there are at most ``BUCKETS``; beyond that documents share them in turn."""
    bucket = {doc: number % BUCKETS for number, doc in enumerate(dict.fromkeys(probe.doc for probe in probes))}
    keys = [(probe.language, probe.domain, probe.topic, bucket[probe.doc]) for probe in probes]
    rows = {key: row for row, key in enumerate(sorted(set(keys)))}
    return Units(tuple(rows), tuple(rows[key] for key in keys))


def complete_passages(probes: Sequence[Probe]) -> dict[tuple[str, str], int]:
    """(pair, language) -> row, for the passages that every language has, ``PASSAGES`` of them at most."""
    languages = sorted({p.language for p in probes if p.pair})
    present = {(p.pair, p.language) for p in probes if p.pair}
    names = sorted({p.pair for p in probes if p.pair})
    names = [name for name in names if all((name, k) in present for k in languages)][:PASSAGES]
    return {(name, k): row for row, (name, k) in enumerate((n, k) for n in names for k in languages)}


@dataclass
class SiteSums:
    """Sums of one site of one layer.

    Attributes:
        table: (units, COLUMNS) float64.
        largest: (units,) largest magnitude.
        total: (width,) sum over tokens.
        square: (width,) sum of squares over tokens.
        peak: (width,) largest magnitude of each dimension.
        moment: (width, width) sum of x x^T over tokens, at ``COVARIANCE_SITES`` only.
        by_unit: (units, width) sum over the tokens of each unit, at ``COVARIANCE_SITES`` only.
    """

    table: torch.Tensor
    largest: torch.Tensor
    total: torch.Tensor
    square: torch.Tensor
    peak: torch.Tensor
    moment: torch.Tensor | None
    by_unit: torch.Tensor | None

    @classmethod
    def zeros(cls, site: str, width: int, units: int, device: str) -> SiteSums:
        """Sums before the first batch.

        Args:
            site: the site's name, which decides whether a second moment is kept.
            width: of the site.
            units: number of resampling units.
            device: where the sums are kept.

        Returns:
            All sums 0.
        """
        return cls(
            table=torch.zeros(units, len(COLUMNS), device=device, dtype=torch.float64),
            largest=torch.zeros(units, device=device),
            total=torch.zeros(width, device=device),
            square=torch.zeros(width, device=device),
            peak=torch.zeros(width, device=device),
            moment=torch.zeros(width, width, device=device) if site in COVARIANCE_SITES else None,
            by_unit=torch.zeros(units, width, device=device) if site in COVARIANCE_SITES else None,
        )

    def lean(self) -> SiteSums:
        """Without the second moment, in host memory."""
        return SiteSums(**{k: v.cpu() for k, v in vars(self).items() if k != "moment" and v is not None}, moment=None)


@dataclass
class LayerSums:
    """Sums of one layer; None where the layer has no such site.

    Attributes:
        sites: site -> its sums.
        pooled: (kept passages + 1, hidden) sum of h_out over tokens; the last row takes all other texts.
        firing: (languages x domains, neurons) count of tokens with a positive gate.
        ends: (units, hidden) sum of h_out over the last token of each text.
        gate_square: scalar, sum over tokens of the mean square of the gate's pre-activation.
        routed: (languages x domains, experts) count of tokens that each expert was chosen for.
    """

    sites: dict[str, SiteSums] = field(default_factory=dict)
    pooled: torch.Tensor | None = None
    ends: torch.Tensor | None = None
    firing: torch.Tensor | None = None
    gate_square: torch.Tensor | None = None
    routed: torch.Tensor | None = None

    def lean(self) -> LayerSums:
        """What is kept by unit alone, in host memory."""
        sites = {name: sums for name, sums in self.sites.items() if sums.by_unit is not None}
        ends = None if self.ends is None else self.ends.cpu()
        return LayerSums({name: sums.lean() for name, sums in sites.items()}, ends=ends)
