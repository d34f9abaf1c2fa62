"""A report says where a father could be taught, and warns where it could be taught nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from darwin_mri.records import Estimate, PairScan, Reading
from darwin_mri.report import build_view, load_run, render_html, render_text
from darwin_mri.translation import speaking
from tests.report.sample import write_sample


def share(value: float) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - 0.05), high=min(1.0, value + 0.05))


def write_with_reading(folder: Path, best: float, subject: float = 0.2) -> Path:
    run = write_sample(folder, 3, 3, evaluations=10)
    pair = PairScan.load(run / "scan" / "pair.json")
    shares = (best / 2, None, best)  # the second layer has no plain FFN
    reading = tuple(
        None
        if value is None
        else Reading(questions=200, answer={s: share(value) for s in "xa"}, subject={s: share(subject) for s in "xa"})
        for value in shares
    )
    pair.model_copy(update={"reading": reading}).save(run / "scan" / "pair.json")
    return run


@pytest.mark.parametrize(("best", "warned"), [(0.62, False), (0.04, True)])
def test_the_table_has_every_layer_that_was_read_and_a_warning_where_none_reads(
    best: float, warned: bool, tmp_path: Path
) -> None:
    view = build_view(load_run(write_with_reading(tmp_path / "run", best)))
    assert any(alert.kind == "cannot-be-taught" for alert in view.alerts) is warned
    page, text = render_html(view), render_text(view)
    for words in (page, text):
        assert "could be taught" in words and f"{best:.2f} [" in words
    assert ("tells the questions apart" in page) is warned
    rows = next(table for table in view.layers if "could be taught" in table.caption).rows
    assert [row.cells[0] for row in rows] == ["0", "2"]


def test_a_father_that_reads_at_the_subject_alone_is_to_be_taught_there(tmp_path: Path) -> None:
    view = build_view(load_run(write_with_reading(tmp_path / "run", 0.2, subject=0.6)))
    (alert,) = (a for a in view.alerts if a.kind in ("cannot-be-taught", "taught-at-another-place"))
    assert alert.kind == "taught-at-another-place" and "arm.place: subject" in alert.text


def test_a_run_of_siblings_has_no_such_table(tmp_path: Path) -> None:
    view = build_view(load_run(write_sample(tmp_path / "run", 3, 3, evaluations=10)))
    assert not any("could be taught" in table.caption for table in view.layers)


def test_it_is_said_in_korean_too(tmp_path: Path) -> None:
    run = load_run(write_with_reading(tmp_path / "run", 0.04))
    with speaking("ko"):
        page = render_html(build_view(run))
    assert "구별하지 못합니다" in page and "could be taught" not in page
