"""Whether the child keeps the limits of its run, judged on held-out items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from darwin_mri.config import LimitConfig
from darwin_mri.records import Alert, Contrast, LimitCheck
from darwin_mri.records.roles import named
from darwin_mri.translation import say
from darwin_mri.units import bare_difference, difference_text


def check_limits(limits: Mapping[str, LimitConfig], contrasts: Sequence[Contrast]) -> tuple[LimitCheck, ...]:
    """Every limit whose task child and reference both answered.

    Args:
        limits: task -> limit.
        contrasts: the child minus each other model.

    Returns:
        The checks, in the order of the limits.
    """
    checks: list[LimitCheck] = []
    for task, limit in limits.items():
        contrast = next((c for c in contrasts if (c.benchmark, c.other) == (task, limit.against)), None)
        if contrast is None:
            continue
        least = -limit.worsen_by
        kept = contrast.difference >= least
        checks.append(
            LimitCheck(
                task=task,
                against=limit.against,
                worsen_by=limit.worsen_by,
                difference=contrast.difference,
                low=contrast.low,
                high=contrast.high,
                kept=kept,
                certain=contrast.low >= least if kept else contrast.high < least,
                unit=contrast.unit,
            )
        )
    return tuple(checks)


def limit_sentence(check: LimitCheck) -> str:
    """A check in words: kept or broken, by how much, and how sure that is."""
    allowed = difference_text(check.worsen_by, check.unit).removeprefix("+")
    low, high = (bare_difference(value, check.unit) for value in (check.low, check.high))
    if check.kept:
        verdict = say("Limit kept") if check.certain else say("Limit kept, but within noise")
    else:
        verdict = say("Limit broken") if check.certain else say("Limit broken, but within noise")
    return say(
        "{verdict}: on {task} the child is at {difference} [{low}, {high}] against {parent}, where it may lose"
        " {allowed}.",
        verdict=verdict,
        task=check.task,
        difference=difference_text(check.difference, check.unit),
        low=low,
        high=high,
        parent=named(check.against),
        allowed=allowed,
    )


def limit_alerts(checks: Sequence[LimitCheck]) -> Iterator[Alert]:
    """An alert for every limit that is broken."""
    for check in checks:
        if not check.kept:
            level = "serious" if check.certain else "warning"
            yield Alert(level=level, text=limit_sentence(check), kind="limit-broken", benchmark=check.task)
