"""The command line sets how threads wait before torch is loaded; importing the package changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from darwin_mri import cores
from darwin_mri.cli.threads import WAITING, set_threads

SHOW = """
import os, sys
from darwin_mri.cli import app, main
assert "torch" not in sys.modules
assert {shown}
"""


def _run(code: str, **environment: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in (*WAITING, "OMP_NUM_THREADS")}
    path = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**clean, "PYTHONPATH": path, **environment})


def test_the_command_sets_it_before_torch_and_an_import_does_not() -> None:
    _run(SHOW.format(shown="'OMP_WAIT_POLICY' not in os.environ"))
    ran = "'torch' not in sys.modules and os.environ['OMP_WAIT_POLICY'] == 'passive'"
    code = "import os, sys\nfrom darwin_mri.cli import main\nsys.argv = ['darwin-mri', '--version']\n"
    _run(f"{code}try:\n    main()\nexcept SystemExit:\n    pass\nassert {ran}")


def test_what_the_user_has_set_stays() -> None:
    for name in WAITING:
        environment = {name: "7"}
        set_threads(environment)
        assert environment[name] == "7"
        assert not (set(WAITING) - {name}) & environment.keys()


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_quota_bounds_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], quota: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cores, "GROUPS", tmp_path)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    expected = 8 if quota is None else -int(-quota // 1)
    assert cores.cores() == cores.allowed() == expected
    environment: dict[str, str] = {}
    set_threads(environment)
    assert environment.get("OMP_NUM_THREADS") == (None if quota is None else str(expected))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores.cores() == 1
