"""What a user may write for a model, and how a name of no model is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from darwin_mri.checkpoints import find_model, nursery_names
from darwin_mri.errors import CheckpointError
from tests import toys


def test_folder_is_found_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toys.pico_llama(tmp_path / "pico")
    source = find_model(str(folder))
    assert (source.ref, source.folder, source.revision) == ("pico", folder, None)
    monkeypatch.chdir(folder)
    assert find_model(".").ref == "pico"


def test_nursery_error_lists_names() -> None:
    with pytest.raises(CheckpointError, match="no such model in the nursery") as caught:
        find_model("nursery:nobody")
    assert all(name in str(caught.value) for name in nursery_names())


@pytest.mark.parametrize("name", nursery_names())
def test_nursery_models_are_whole(name: str) -> None:
    assert find_model(f"nursery:{name}").ref == f"nursery:{name}"


@pytest.mark.parametrize("ref", ["./missing", "/missing/model", "a/b/c", "", "nursery:../x"])
def test_what_is_no_model_is_refused(ref: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_model(ref, offline=True)
    assert "\n" not in str(caught.value)


def test_unknown_hub_id_offline() -> None:
    with pytest.raises(
        CheckpointError, match=r"nobody/nothing@main: .* not in the hub's cache on this machine, .* give a folder$"
    ):
        find_model("nobody/nothing@main", offline=True)


def test_empty_folder_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a model folder"):
        find_model(str(tmp_path))
    assert not list(tmp_path.iterdir())
