"""Births as lines of a genealogy, and the generations that a page makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwin_mri.records import ChildFiles, Genome
from darwin_mri.records.genealogy import Birth, read_birth
from darwin_mri.report import load_run
from darwin_mri.report.sections.provenance import births
from tests.report.sample_siblings import write_siblings

NAMES = st.sampled_from(("a", "org/b@c", 'a "quoted" one', "left x right", "y = z", 'x "', "모델")) | st.text(
    min_size=1
)


@given(NAMES, st.lists(NAMES, min_size=2, max_size=8), st.sampled_from(("ties", "dare_linear")))
def test_a_birth_is_read_as_it_was_written(child: str, parents: list[str], method: str) -> None:
    birth = Birth(child, tuple(parents), method)
    assert read_birth(birth.line) == birth


def test_plain_names_are_written_plainly() -> None:
    assert Birth("c", ("a", "b/B-1", "d"), "ties").line == "c = a x b/B-1 x d (ties)"


@pytest.mark.parametrize("line", ["", "gemma4-base", "copy = model (passthrough)", "c = a x b"])
def test_a_line_in_another_form_is_no_birth(line: str) -> None:
    assert read_birth(line) is None


def test_a_child_in_a_folder_of_another_name_is_born_once(tmp_path: Path) -> None:
    run = write_siblings(tmp_path / "run")
    child, genome = ChildFiles.load(run / "child.json"), Genome.load(run / "genome.json")
    own = Birth("folder", tuple(genome.roles.values()), genome.method).line
    child.model_copy(update={"genealogy": (child.genealogy[0], own)}).save(run / "child.json")
    records = load_run(run)
    first, last = births(records)
    assert first == read_birth(child.genealogy[0])
    assert last == Birth(records.name, tuple(genome.roles.values()), genome.method)
