"""A measured value with its interval."""

from __future__ import annotations

from darwin_mri.records.base import Part


class Estimate(Part):
    """A value with its 95 % bootstrap interval over probe documents.

    Attributes:
        value: the estimate.
        low: lower bound.
        high: upper bound.
    """

    value: float
    low: float
    high: float
