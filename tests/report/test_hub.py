"""What would be published, and that nothing is without a request; no network is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from darwin_mri.errors import DarwinError, GateError, InputError
from darwin_mri.records import Health
from darwin_mri.report import build_view, load_run, render_html, write_report
from darwin_mri.report.hub import HUB_TASKS, eval_files, plan, push
from tests.report.sample import write_sample


@pytest.fixture
def child_run(tmp_path: Path) -> Path:
    run = write_sample(tmp_path / "genesis", 2, 2, evaluations=10)
    (run / "child").mkdir()
    for name, text in (
        ("config.json", "{}"),
        ("README.md", "the father's card"),
        ("model.safetensors", "weights"),
        (".cache", "x"),
    ):
        (run / "child" / name).write_text(text, encoding="utf-8")
    (run / "state").mkdir()
    (run / "state" / "config.yaml").write_text("father: /home/someone/model", encoding="utf-8")
    return run


def test_plan_holds_child_card_report_and_records_and_nothing_private(child_run: Path) -> None:
    view = write_report(child_run)
    uploads = {upload.path: upload for upload in plan(child_run, view, "someone/genesis", render_html(view))}
    assert {
        "README.md",
        "card.svg",
        "report.html",
        "config.json",
        "model.safetensors",
        "darwin_mri/genome.json",
        "darwin_mri/scan/pair.json",
    } <= set(uploads)
    assert not [path for path in uploads if "state" in path or "answers" in path or path.startswith(".cache")]
    card = uploads["README.md"].text
    assert "vllm serve someone/genesis" in card and "the father's card" not in card
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert uploads["model.safetensors"].size == len("weights")


def test_evaluation_files_are_for_benchmarks_the_hub_knows(child_run: Path) -> None:
    view = build_view(load_run(child_run))
    assert view.metadata is not None
    assert eval_files(view.metadata) == {}  # the nursery's benchmarks are on no hub
    known = replace(
        view.metadata,
        results=tuple(replace(r, benchmark=r.benchmark.removeprefix("nursery_")) for r in view.metadata.results),
    )
    files = eval_files(known, "https://huggingface.co/someone/genesis/blob/main/report.html")
    assert set(files) == {".eval_results/click.yaml", ".eval_results/musr.yaml", ".eval_results/gpqa.yaml"}
    (entry,) = yaml.safe_load(files[".eval_results/gpqa.yaml"])
    assert entry["dataset"] == {"id": HUB_TASKS["gpqa"][0], "task_id": HUB_TASKS["gpqa"][1]}
    assert entry["value"] == 0.3646 and entry["date"] == "2026-11-20T09:30:00Z"
    assert "n = 96" in entry["notes"] and "[26.9, 46.1]" in entry["notes"] and "held-out part" in entry["notes"]
    assert entry["source"]["url"].endswith("report.html")


def test_a_child_that_failed_its_health_check_is_not_published(child_run: Path) -> None:
    view = write_report(child_run)
    Health.load(child_run / "health.json").model_copy(update={"passed": False}).save(child_run / "health.json")
    with pytest.raises(GateError, match="fails its health check"):
        plan(child_run, view, "someone/genesis", "")
    assert plan(child_run, view, "someone/genesis", "", force=True)
    (child_run / "health.json").unlink()
    with pytest.raises(GateError, match="never checked"):
        plan(child_run, view, "someone/genesis", "")


@pytest.mark.parametrize("repo", ["genesis", "a/b/c", "someone/..", "so me/x", ""])
def test_only_hub_ids_are_published_to(child_run: Path, repo: str) -> None:
    with pytest.raises(InputError, match="OWNER/NAME"):
        plan(child_run, build_view(load_run(child_run)), repo, "")


def test_a_run_without_a_child_cannot_be_published(run: Path) -> None:
    with pytest.raises(InputError, match="no child to publish"):
        plan(run, build_view(load_run(run)), "someone/genesis", "")


def test_without_network_nothing_happens_and_one_line_says_so(child_run: Path) -> None:
    """The tests run with the hub offline: an upload must fail as a DarwinError, not as a traceback."""
    view = write_report(child_run)
    uploads = plan(child_run, view, "someone/genesis", "")
    with pytest.raises(DarwinError, match="did not happen"):
        push(uploads, "someone/genesis", private=True, message="test")


def darwin_mri(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "darwin_mri", *arguments], capture_output=True, text=True, timeout=120)


def test_dry_run_from_the_command_line(child_run: Path) -> None:
    done = darwin_mri("report", str(child_run), "--push", "someone/genesis", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "dry run, nothing was uploaded" in done.stderr and "README.md" in done.stdout
    listed = json.loads(darwin_mri("report", str(child_run), "--push", "someone/genesis", "--dry-run", "--json").stdout)
    assert listed["dry_run"] and {"path", "size"} == set(listed["files"][0])


def test_the_command_line_compares_several_runs(child_run: Path, tmp_path: Path) -> None:
    other = write_sample(tmp_path / "other", 2, 2, evaluations=10)
    done = darwin_mri("report", str(child_run), str(other), "--json", "--out", str(tmp_path / "page.html"))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["html"] == "page.html" and len(document["answers"]) == 2
    assert (tmp_path / "page.html").is_file()
    assert darwin_mri("report", str(child_run), str(other), "--push", "a/b").returncode != 0


def test_the_command_loads_neither_torch_nor_models(child_run: Path) -> None:
    code = (
        "import sys; sys.argv = ['darwin-mri', 'report', sys.argv[1], '--json', '--quiet']\n"
        "from darwin_mri.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "print(sorted({'torch', 'transformers', 'lm_eval', 'scipy', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(child_run)], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stderr
