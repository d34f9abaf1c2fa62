"""Killed at any step, or out of disk: nothing looks like a finished child, and the next run clears what was left."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from darwin_mri.checkpoints.atomic_folder import NOTE
from darwin_mri.errors import DarwinError
from darwin_mri.merging import write_child
from tests.merging.folders import save_folder, tensors

CHANGED = ("layers.0.up", "layers.1.up")
# Forks once per step (a tensor written, a file flushed, a rename) and dies there by SIGKILL, until a run gets through.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from darwin_mri.merging.child import write_child
from tests.merging.folders import tensors

root, report, step = Path(sys.argv[1]), [], 0
mother = tensors(1)

def die_at(limit):
    steps = 0
    def count():
        nonlocal steps
        steps += 1
        if steps == limit:
            os.kill(os.getpid(), signal.SIGKILL)
    fsync, rename = os.fsync, Path.rename
    os.fsync = lambda handle: (count(), fsync(handle))[1]
    Path.rename = lambda self, target: (count(), rename(self, target), count())[1]
    changed = ["layers.0.up", "layers.1.up"]
    count_tensor = lambda _: count()
    write_child(
        root / "father", root / "child", changed, mother.__getitem__, note={"k": limit}, on_tensor=count_tensor
    )

while True:
    step += 1
    pid = os.fork()
    if pid == 0:
        die_at(step)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    left = {p.name: sorted(str(q.relative_to(p)) for q in p.rglob("*")) for p in root.iterdir() if p.name != "father"}
    report.append({"killed": killed, "left": left})
    if not killed:
        break
print(json.dumps(report))
"""


def whole(child: Path) -> bool:
    """Whether every shard has the sha256 that the note, written last, gives."""
    note = json.loads((child / NOTE).read_text())
    return all(hashlib.sha256((child / s).read_bytes()).hexdigest() == digest for s, digest in note["shards"].items())


def run_killed(root: Path) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_killed_at_any_step_leaves_no_unfinished_child(tmp_path: Path) -> None:
    save_folder(tmp_path / "father", tensors(0), 2)
    report = run_killed(tmp_path)
    assert len(report) > 10 and not report[-1]["killed"]
    for step in report:
        for name, files in step["left"].items():
            if name == "child":  # there only once its last rename is done, and then whole
                assert NOTE in files and "config.json" in files
            else:
                assert name.startswith(".child.")
                # Until everything else is on disk there is no configuration: no loader takes it for a model.
                assert "config.json" not in files or all(f"model-0000{i}-of-00002.safetensors" in files for i in (1, 2))
    assert whole(tmp_path / "child") and sorted(p.name for p in tmp_path.iterdir()) == ["child", "father"]


def test_killed_while_replacing_leaves_the_earlier_or_the_new_child(tmp_path: Path) -> None:
    """A kill between two renames is mended by the next run."""
    father = save_folder(tmp_path / "father", tensors(0), 2)
    write_child(father, tmp_path / "child", CHANGED, tensors(2).__getitem__, note={})
    for step in run_killed(tmp_path)[:-1]:
        kept = step["left"].get("child") or next(files for name, files in step["left"].items() if ".earlier-" in name)
        assert NOTE in kept and "config.json" in kept
    assert whole(tmp_path / "child") and sorted(p.name for p in tmp_path.iterdir()) == ["child", "father"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted on this system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, check=True)


def test_a_disk_too_small_from_the_start_is_refused(tmp_path: Path, small_disk: Path) -> None:
    content = {**tensors(0), "filler": tensors(0)["layers.0.up"].repeat(600, 1)}
    father = save_folder(tmp_path / "father", content)
    needed = sum(path.stat().st_size for path in father.iterdir())
    with pytest.raises(DarwinError, match=rf"[\d,]+ of {needed:,} bytes are missing"):
        write_child(father, small_disk / "child", CHANGED, tensors(1).__getitem__, note={})
    assert not list(small_disk.iterdir())


def test_a_disk_that_fills_up_on_the_way_is_reported(tmp_path: Path, small_disk: Path) -> None:
    father = save_folder(tmp_path / "father", {**tensors(0), "filler": tensors(0)["layers.0.up"].repeat(200, 1)})

    def compute(name: str):
        (small_disk / "another").write_bytes(b"x" * 50_000)  # another program's file
        return tensors(1)[name]

    with pytest.raises(
        DarwinError, match=r"filled up: about [\d,]+ of [\d,]+ bytes are missing; free them and run again"
    ):
        write_child(father, small_disk / "child", CHANGED, compute, note={})
    assert [path.name for path in small_disk.iterdir()] == ["another"]


def test_a_limit_on_file_sizes_is_reported_and_leaves_no_folder(tmp_path: Path) -> None:
    father, mother = save_folder(tmp_path / "father", tensors(0)), tensors(1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(DarwinError, match=r"takes no file as large as the child's: .*ulimit"):
            write_child(father, tmp_path / "new" / "folders" / "child", list(CHANGED), mother.__getitem__, note={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["father"]
