"""The distributions that intervals and tests need, typed: the one place of this package that imports scipy."""
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# scipy has no type stubs.

from __future__ import annotations

from scipy.special import ndtr, ndtri, stdtrit


def normal_probability(value: float) -> float:
    """Phi(value): how likely a standard normal variable is below it."""
    return float(ndtr(value))


def normal_quantile(probability: float) -> float:
    """The value that a standard normal variable is below with this probability."""
    return float(ndtri(probability))


def student_quantile(degrees: float, probability: float) -> float:
    """The value that Student's t with so many degrees of freedom is below with this probability."""
    return float(stdtrit(degrees, probability))


def binomial_p_value(successes: int, trials: int) -> float:
    """Exact two-sided p-value of so many successes where half of the trials are expected to succeed."""
    from scipy.stats import binomtest  # takes most of a second to import

    return float(binomtest(successes, trials).pvalue)
