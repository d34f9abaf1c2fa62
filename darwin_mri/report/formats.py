"""How numbers and outside text are printed: the one place where fractions become per cent and names become safe."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence

from darwin_mri.records import Contrast, Estimate, Score
from darwin_mri.report.record_words import evidence_label
from darwin_mri.translation import say
from darwin_mri.units import MIXED, with_unit

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EN DASH}"  # what was not measured prints as a dash, never as a number

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control and bidirectional characters could redraw a line
_HARMLESS = {"\n", "\t", "\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}"}
_SCRIPTS = re.compile(r"(?P<ko>[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3])|[\u3041-\u30ff]")
_FOLDERS = re.compile(r"""(?<![^\s=,;"'(\[])(?:[A-Za-z]:[\\/]|/|~/)(?:[^\s:=,;"'\\/]+[\\/])+""")


def clean(text: str) -> str:
    """Text from outside, safe to show.

    Characters that print as nothing or move the cursor become U+FFFD; absolute paths keep their last part only, since
    reports are shown to people who need no folder names.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(
            "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _UNSEEN and c not in _HARMLESS else c
            for c in text
        )
    return _FOLDERS.sub("\N{HORIZONTAL ELLIPSIS}/", text) if "/" in text or "\\" in text else text


def brief(text: str, limit: int = 300) -> str:
    """A name or message from outside cut to a length that a page can carry; two that were cut alike stay different."""
    if len(text) <= limit:
        return text
    mark = f"{zlib.crc32(text.encode(errors='replace')):08x}"
    return f"{text[:limit]}\N{HORIZONTAL ELLIPSIS} (cut: {len(text)} characters, {mark})"


def language(text: str) -> str:
    """The language whose script a text shows: ``ko``, ``ja``, or nothing where the script does not tell."""
    match = _SCRIPTS.search(text)
    return "" if match is None else "ko" if match.group("ko") else "ja"


def fixed(value: float | None, digits: int = 2) -> str:
    """A plain number with a true minus sign, or a dash where there is none."""
    if value is None:
        return ABSENT
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text.replace("-", MINUS)


def signed(value: float | None, digits: int = 2) -> str:
    """A number that always shows its sign, except for what rounds to zero."""
    text = fixed(value, digits)
    return text if value is None or value < 0 or not text.strip("0.") else "+" + text


def compact(value: float | None) -> str:
    """A number in about four characters, for statistics whose sizes differ by orders of magnitude."""
    if value is None:
        return ABSENT
    size = abs(value)
    if size >= 10_000:
        mantissa, exponent = f"{value:.0e}".replace("-", MINUS).split("e+")
        return f"{mantissa}e{int(exponent)}"
    return fixed(value, 0 if size >= 100 else 1 if size >= 10 else 2)


def percent(value: float | None) -> str:
    """A fraction as per cent with one decimal: 0.7131 -> ``71.3 %``."""
    return ABSENT if value is None else f"{fixed(100 * value, 1)} %"


def points(value: float | None) -> str:
    """A difference of fractions in percentage points with its sign: -0.02 -> ``−2.0 pp``."""
    return ABSENT if value is None else say("{number} pp", number=signed(100 * value, 1))


def points_interval(low: float | None, high: float | None) -> str:
    """``[−0.4, +6.6]``, or nothing where no interval is known."""
    return gain_interval(low, high, "")


def score_value(value: float | None, unit: str) -> str:
    """A score: ``71.3 %`` of a fraction, else with its unit, ``−0.1571 nats/byte``."""
    return percent(value) if value is None or not unit else with_unit(fixed(value, 4), unit)


def bare_value(value: float, unit: str) -> str:
    """A score without its unit, which stands beside it: ``71.3 %``, or ``−0.1571``."""
    return score_value(value, MIXED if unit else unit)


def gain_value(value: float | None, unit: str) -> str:
    """A difference of scores with its sign: ``+3.1 pp`` of fractions, else ``+0.0123 nats/byte``."""
    return points(value) if value is None or not unit else with_unit(signed(value, 4), unit)


def gain_interval(low: float | None, high: float | None, unit: str) -> str:
    """The interval of a difference: ``[−0.4, +6.6]``, in the unit of ``gain_value``.

    Args:
        low: its lower end.
        high: its upper end.
        unit: of the scores; empty for fractions.

    Returns:
        The text; nothing where no interval is known.
    """
    return "" if low is None or high is None else f"[{bare_gain(low, unit)}, {bare_gain(high, unit)}]"


def bare_gain(value: float, unit: str) -> str:
    """A difference of scores without its unit, which stands beside it: ``+3.1`` (pp), or ``+0.0123``."""
    return signed(value, 4) if unit else signed(100 * value, 1)


def least_gain(value: float, unit: str) -> str:
    """The size of a difference: ``3.1 pp``, or ``0.0123 nats/byte``."""
    return gain_value(value, unit).removeprefix("+")


def score_interval(value: Score, *, bare: bool = False) -> str:
    """A score's value with its interval: ``71.3 % [66.6, 73.1]``, or ``−0.1571 nats/byte [−0.1612, −0.1530]``.

    ``bare``: without the unit, where it stands beside.
    """
    shown = score_value(value.value, MIXED if bare and value.unit else value.unit)
    if value.low is None or value.high is None:
        return shown
    ends = (fixed(end, 4) if value.unit else fixed(100 * end, 1) for end in (value.low, value.high))
    return f"{shown} [{', '.join(ends)}]"


def score_details(value: Score) -> str:
    """What stands behind a score's value: ``n = 756``; other evidence says so: ``n = 756  published``."""
    items = "" if value.n is None else f"n = {value.n}"
    return "  ".join(filter(None, (items, "" if value.evidence == "measured" else evidence_label(value.evidence))))


def score(value: Score, *, bare: bool = False) -> str:
    """A score as every renderer prints it: ``71.3 % [66.6, 73.1]  n = 756``; ``bare`` as in ``score_interval``."""
    return "  ".join(filter(None, (score_interval(value, bare=bare), score_details(value))))


def difference(contrast: Contrast, *, bare: bool = False) -> str:
    """A contrast as every renderer prints it: ``+3.1 pp [−0.4, +6.6]``; ``bare`` as in ``score_interval``."""
    unit = MIXED if bare and contrast.unit else contrast.unit
    return f"{gain_value(contrast.difference, unit)} {gain_interval(contrast.low, contrast.high, unit)}"


def least_visible(contrast: Contrast) -> str:
    """The smallest difference that could have been seen: ``12.8 pp``, or ``0.1317 nats/byte``."""
    return least_gain(contrast.detectable, contrast.unit)


def rise(estimate: Estimate | None) -> str:
    """A relative rise in per cent with its interval: ``+1.2 [+0.8, +1.6]``."""
    return ABSENT if estimate is None else f"{rise_number(estimate)} {points_interval(estimate.low, estimate.high)}"


def rise_number(estimate: Estimate | None) -> str:
    """A relative rise in per cent without its unit, which the caption names: ``+1.2``."""
    return ABSENT if estimate is None else signed(100 * estimate.value, 1)


def signed_percent(value: float) -> str:
    """A relative rise with sign and unit: ``+1.2 %``."""
    return f"{signed(100 * value, 1)} %"


def count(value: float | None) -> str:
    """A count in groups of three digits: ``12 600``, with thin spaces that do not break."""
    return ABSENT if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def probability(value: float | None) -> str:
    """A p-value with three decimals, or ``< 0.001``."""
    if value is None:
        return ABSENT
    return "< 0.001" if value < 0.0005 else f"{value:.3f}"


def size(count: float) -> str:
    """Bytes in the unit a person would use."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def listing(parts: Sequence[str], most: int = 0) -> str:
    """Parts as a person lists them: ``a``, ``a and b``, ``a, b and c``; of more than ``most``: ``a, b and 5 more``."""
    if most and len(parts) > most:
        parts = [*parts[: most - 1], say("{count} more", count=len(parts) - most + 1)]
    if len(parts) < 2:
        return "".join(parts)
    return say("{all_but_last} and {last}", all_but_last=", ".join(parts[:-1]), last=parts[-1])


def ranges(numbers: list[int]) -> str:
    """Sorted whole numbers with runs joined: ``0, 3–5``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}{ABSENT}{run[-1]}" for run in runs)
