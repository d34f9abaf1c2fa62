"""Where a father could be taught answers: the layers whose states tell questions apart in other wordings."""

from __future__ import annotations

from collections.abc import Mapping

from darwin_mri.records import Estimate, PairScan
from darwin_mri.report import formats
from darwin_mri.report.model.elements import Row, Table, table
from darwin_mri.translation import say


def reading_tables(pairs: Mapping[str, PairScan]) -> tuple[Table, ...]:
    """A line per layer that was read; no table of siblings."""
    return tuple(_table(pair) for pair in pairs.values() if any(pair.reading))


def _table(pair: PairScan) -> Table:
    questions = next(reading.questions for reading in pair.reading if reading is not None)
    rows = [
        Row(
            (
                str(index),
                *(_share(one) for one in (reading.answer["a"], reading.answer["x"])),
                *(_share(one) for one in (reading.subject["a"], reading.subject["x"])),
            )
        )
        for index, reading in enumerate(pair.reading)
        if reading is not None
    ]
    columns = (
        say("layer"),
        say("neurons, at the answer"),
        say("FFN input, at the answer"),
        say("neurons, at the subject"),
        say("FFN input, at the subject"),
    )
    note = say(
        "Share of {count} questions that a linear readout recognises in a wording it was not fitted on; a guess is"
        " right at one. Where it fails, no edit of that layer's FFN can teach the answer.",
        count=questions,
    )
    return table(say("Where {father} could be taught", father=pair.father.ref), columns, rows, note=note)


def _share(estimate: Estimate) -> str:
    return f"{formats.fixed(estimate.value)} [{formats.fixed(estimate.low)}, {formats.fixed(estimate.high)}]"
