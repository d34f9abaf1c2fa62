"""Output that cannot be written: one line with the path, the reason and what to do, before any work where it can be."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from darwin_mri.errors import InputError, OutputError
from darwin_mri.files import require_file, require_folder
from darwin_mri.records import Genome, write_text
from tests.commands import call
from tests.toys import pico_llama

PARENTS = ("--father", "no/father", "--mother", "no/mother")  # never looked for: the folder is refused before
COMMANDS = {
    "scan": ("scan", "no/model", "--out"),
    "bench": ("bench", "no/model", "--out"),
    "breed": ("breed", *PARENTS, "--out"),
    "train": ("nursery", "train", "--corpus", "no/corpus", "--out"),
}


@pytest.fixture
def impossible(tmp_path: Path) -> dict[str, Path]:
    """Folders that nobody can make, the super-user included."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    paths = {"under a file": tmp_path / "file" / "run", "a file": tmp_path / "file", "long": tmp_path / ("x" * 300)}
    return {**paths, "link": tmp_path / "link", "no disk": Path("/proc/darwin_mri/run")}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", ["under a file", "a file", "long", "link", "no disk"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(
    impossible: dict[str, Path],
    command: str,
    case: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, stdout, stderr = call(capfd, monkeypatch, *COMMANDS[command], impossible[case])
    assert code == 1 and not stdout and len(stderr.splitlines()) == 1
    assert str(impossible[case]) in stderr and "choose another --out" in stderr


def test_merge_export_arena_and_report_refuse_it_too(
    impossible: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    father, mother = (str(pico_llama(tmp_path / role, seed=seed)) for seed, role in enumerate(("father", "mother")))
    genes = {"all": 0.5}
    genome = Genome(
        space="layers", method="linear", seed=1, father=father, mother=mother, genes=genes, ratios=(),
        tensors={"all": ("model.norm.weight",)},
    )  # fmt: skip
    genome.save(tmp_path / "genome.json")
    (tmp_path / "arena.yaml").write_text("{father: no/father, mother: no/mother, arms: {raw: {method: raw}}}")
    path = impossible["under a file"]
    for words in (
        ("merge", "--genome", tmp_path / "genome.json", "--out", path),
        ("merge", "--genome", tmp_path / "genome.json", "--export-mergekit", path),
        ("arena", "--config", tmp_path / "arena.yaml", "--out", path),
        ("report", tmp_path, tmp_path, "--out", path),
    ):
        code, _, stderr = call(capfd, monkeypatch, *words)
        assert code == 1 and len(stderr.splitlines()) == 1 and "choose another --" in stderr, words


def test_a_plan_says_that_the_run_could_not_be_written(
    impossible: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pico_llama(tmp_path / "model")
    common = ("plan", "--father", model, "--mother", model, "--offline", "--out")
    code, stdout, _ = call(capfd, monkeypatch, *common, impossible["under a file"])
    assert code == 3 and "Not a directory" in " ".join(stdout.split())
    code, _, _ = call(capfd, monkeypatch, *common, tmp_path / "free")
    assert code == 0 and not (tmp_path / "free").exists()


@pytest.mark.parametrize(
    ("name", "folder"), [("scan", False), ("child", False), ("state", False), ("prior.json", True)]
)
def test_what_lies_in_the_way_in_a_run_folder_is_named(
    name: str, folder: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / name).mkdir() if folder else (tmp_path / name).write_text("")
    code, _, stderr = call(capfd, monkeypatch, "scan", "no/model", "--overwrite", "--out", tmp_path)
    assert code == 1 and len(stderr.splitlines()) == 1 and str(tmp_path / name) in stderr and "move it" in stderr


def test_a_disk_that_takes_no_more_is_said_in_one_line(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk: the system refuses in the middle of the work."""
    command = [sys.executable, "-m", "darwin_mri", "scan", pico_llama(tmp_path / "model"), "--documents", "1"]
    done = subprocess.run(
        [*map(str, command), "--offline", "--quiet", "--out", str(tmp_path / "out")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    line = done.stderr.strip()
    assert done.returncode == 1 and line.startswith("darwin-mri: cannot write") and len(line.splitlines()) == 1
    assert str(tmp_path / "out") in line and "File too large: lift the limit" in line


def test_a_folder_that_vanishes_is_said_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputError, match=r"run/scan/father.json: (File exists|Not a directory)"):
        write_text(tmp_path / "run" / "scan" / "father.json", "{}")


def test_the_question_leaves_nothing_behind(tmp_path: Path) -> None:
    require_folder(tmp_path / "a" / "b")
    require_file(tmp_path / "recipe.yaml", "--export-mergekit")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="give --export-mergekit a file"):
        require_file(tmp_path, "--export-mergekit")
