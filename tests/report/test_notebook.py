"""Records in a notebook: the report's tables, escaped, in any notebook that asks for _repr_html_."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from darwin_mri.records import Comparison, Manifest, Record
from darwin_mri.report import RunRecords, formats, load_run
from tests.report.sample import write_sample


@pytest.fixture(scope="module")
def loaded(run: Path) -> RunRecords:
    return load_run(run)


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("comparison", "66.8 % [62.3, 71.3]"),
        ("father", "Layers of nursery:gemma4-korean"),
        ("pair", "Layer map"),
        ("prior", "Prior and found ratio"),
        ("genome", "Null children"),
        ("health", "Health check of the child: passed"),
        ("inputs", "licence"),
    ],
)
def test_records_show_their_tables(loaded: RunRecords, name: str, holds: str) -> None:
    record = getattr(loaded, name)
    html = record._repr_html_()
    assert holds in html and "<table>" in html
    assert " id=" not in html and "<script" not in html  # fragments of one page must not meet
    assert html.count("<div") == html.count("</div>")
    assert all(
        rule.strip().startswith(".darwin-mri")
        for rule in re.findall(r"([^{}]+)\{[^}]*\}", html.split("<style>")[1].split("</style>")[0])
    )


def test_the_numbers_are_those_of_the_report(loaded: RunRecords) -> None:
    assert loaded.comparison is not None
    html = loaded.comparison._repr_html_() or ""
    for score in loaded.comparison.scores:
        if score.slice == "all":
            assert formats.score(score) in html


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    run = load_run(write_sample(tmp_path / "run", 2, 2, father="<script>alert(1)</script>", evaluations=10))
    assert run.father is not None
    html = run.father._repr_html_()
    assert html is not None
    assert "<script" not in html and "&lt;script&gt;" in html


def test_a_record_without_tables_keeps_its_plain_text(loaded: RunRecords) -> None:
    assert isinstance(loaded.manifest, Manifest) and loaded.manifest._repr_html_() is None


def test_records_get_their_tables_with_the_report() -> None:
    code = (
        "import sys\nfrom darwin_mri.records import Comparison\n"
        "record = Comparison(scores=(), contrasts=(), vigor=None)\n"
        "assert record._repr_html_() is None and 'darwin_mri.report' not in sys.modules\n"
        "import darwin_mri\nassert darwin_mri.Comparison is Comparison\n"
        "assert '<table>' in record._repr_html_()\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_new_kind_of_record_can_be_shown() -> None:
    class Extra(Record):
        pass

    assert Extra()._repr_html_() is None
    assert Comparison(scores=(), contrasts=(), vigor=None)._repr_html_() is not None
