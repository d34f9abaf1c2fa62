"""Intervals, paired tests and the comparison; numpy and scipy only, fractions everywhere."""

from __future__ import annotations

from darwin_mri.errors import DarwinError


class StatsError(DarwinError):
    """Answers that cannot be compared: unpaired items, unknown models, impossible weights."""
