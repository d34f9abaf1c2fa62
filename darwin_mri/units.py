"""How a score and a difference of scores are written: fractions in per cent and points, others with their unit."""

from __future__ import annotations

from darwin_mri.translation import say

MINUS = "\N{MINUS SIGN}"
MIXED = "mixed"  # of a weighted sum of scores in different units


def score_text(value: float, unit: str) -> str:
    """A score: ``71.3 %``, or ``−0.7131 nats/byte``.

    Args:
        value: the score.
        unit: its unit; empty for a fraction.

    Returns:
        The text.
    """
    return f"{value * 100:.1f} %" if not unit else with_unit(f"{value:.4f}", unit)


def difference_text(value: float, unit: str) -> str:
    """A difference: ``+1.2 points``, or ``+0.0123 nats/byte``; arguments as ``score_text``."""
    return say("{number} points", number=bare_difference(value, unit)) if not unit else with_unit(f"{value:+.4f}", unit)


def bare_difference(value: float, unit: str) -> str:
    """A difference without its unit: ``+1.2`` (points), or ``+0.0123``; arguments as ``score_text``."""
    return (f"{100 * value:+.1f}" if not unit else f"{value:+.4f}").replace("-", MINUS)


def with_unit(number: str, unit: str) -> str:
    """A printed number with its unit; a sum over several units has none."""
    return number.replace("-", MINUS) + ("" if unit == MIXED else f" {unit}")
