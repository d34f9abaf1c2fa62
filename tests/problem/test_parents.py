"""Parents are found once, their files surveyed once, and the others leave memory when a search begins."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from darwin_mri.errors import CheckpointError, InputError
from darwin_mri.problem import parents as module
from darwin_mri.problem.parents import Parents
from tests.family import small
from tests.toys import pico


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What was read as probes and loaded, in order; the real functions do the work."""
    log: dict[str, list[Any]] = {"load_probes": [], "load": []}

    def count(name: str) -> None:
        original = getattr(module, name)

        def counted(first: Any, *args: Any, **options: Any) -> Any:
            log[name].append(first)
            return original(first, *args, **options)

        monkeypatch.setattr(module, name, counted)

    for name in log:
        count(name)
    return log


def test_every_file_is_surveyed_read_and_loaded_once(family: dict[str, Path], calls: dict[str, list[Any]]) -> None:
    parents = Parents.find(small(family))
    assert parents.others == ("mother",) and list(parents.named) == ["father", "mother", "base"]
    assert not any(calls.values())  # found, not read
    for _ in range(2):
        parents.load()
        assert [survey.folder for survey in parents.surveys()] == [family["father"], family["sister"]]
        assert all(one is other for one, other in zip(parents.surveys(), parents.surveys(), strict=True))
        assert parents.probes is parents.probes and {p.language for p in parents.probes} == {"ko", "en", "code"}
        assert parents.tokenized("father").probes
        assert parents.father is parents.model("father")
    assert len(calls["load_probes"]) == 1
    assert [source.folder for source in calls["load"]] == [family["father"], family["sister"]]


def test_released_parents_leave_memory_and_the_father_stays(
    family: dict[str, Path], calls: dict[str, list[Any]]
) -> None:
    parents = Parents.find(small(family))
    parents.load()
    father, mother = parents.father, weakref.ref(parents.model("mother").model)
    parents.release_others()
    gc.collect()
    assert mother() is None and parents.father is father
    parents.release_others()  # nothing left to release
    assert parents.model("mother").source.folder == family["sister"]
    assert [source.folder for source in calls["load"]] == [family[name] for name in ("father", "sister", "sister")]


def test_the_father_alone_needs_neither_mother_nor_base(family: dict[str, Path]) -> None:
    parents = Parents.find(small(family, mother="/nowhere", base="/nowhere"), roles=("father",))
    assert parents.others == () and list(parents.named) == ["father"] and len(parents.surveys()) == 1
    with pytest.raises(CheckpointError, match="nowhere"):
        Parents.find(small(family, base="/nowhere"))


def test_a_model_without_ffn_is_refused_by_its_name(family: dict[str, Path], tmp_path: Path) -> None:
    mamba = pico("mamba2", tmp_path / "mamba")
    parents = Parents.find(small(family, father=str(mamba)), roles=("father",))
    with pytest.raises(InputError, match="mamba .*has no plain FFN in any layer"):
        parents.load()
