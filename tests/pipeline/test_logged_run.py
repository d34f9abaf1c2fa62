"""``breed --log``: a real run into a real tracker, resumed, and one whose tracker fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from darwin_mri.records import Comparison
from tests.commands import call
from tests.family import small


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_run_is_logged_from_its_first_generation_to_its_scores(
    family: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    search = {"budget": 11, "population": 4, "strategy": "random", "racing": False}
    config = small(family, prior={"preset": "flat"}, scan={"documents": 2}, search=search)
    file, run = tmp_path / "config.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    code, out, err = call(
        capfd, monkeypatch, "breed", "--config", file, "--out", run, "--log", "tensorboard", "--force", "--json"
    )
    assert code == 0 and "log:" not in err and json.loads(out)["scores"]
    logged = scalars(run)
    lines = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    assert [step for step, _ in logged["fitness/best"]] == [0, 1, 2]
    assert logged["fitness/best"][-1][1] == pytest.approx(max(line["fitness"] for line in lines))
    best = max(lines, key=lambda line: line["fitness"])
    assert logged["best/nursery_click"][-1][1] == pytest.approx(best["scores"]["nursery_click"])
    last = [line["fitness"] for line in lines if line["generation"] == 2]
    assert logged["fitness/mean"][-1][1] == pytest.approx(sum(last) / len(last))
    assert logged["spent/items"][-1][1] == sum(line["items"] for line in lines)
    comparison = Comparison.load(run / "comparison.json")
    for score in comparison.scores:
        if score.role == "child" and score.benchmark == "nursery_musr" and score.measured_whole:
            assert logged["held-out/nursery_musr/child"][0][1] == pytest.approx(score.value)
            assert logged["held-out/nursery_musr/child/low"][0][1] == pytest.approx(score.low)
    assert comparison.vigor is not None
    assert logged["vigor/better-parent"][0][1] == pytest.approx(comparison.vigor.better_parent)

    # The search is done again from its ledger; the tracker is told of the generation that it does not know.
    (run / "genome.json").unlink()
    (run / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:7]))
    state = json.loads((run / "state" / "trackers.json").read_text())
    (run / "state" / "trackers.json").write_text(json.dumps(state | {"steps": {"tensorboard": 1}}))
    code, _, err = call(capfd, monkeypatch, "breed", "--resume", run, "--force", "--quiet")
    assert code == 0 and not err
    assert [step for step, _ in scalars(run)["fitness/best"]] == [0, 1, 2, 2]
    code, _, err = call(capfd, monkeypatch, "breed", "--resume", run, "--log", "tensorboard", "--force", "--quiet")
    assert code == 0 and not err


def test_a_failing_tracker_neither_ends_nor_changes_a_run(
    family: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    config = small(family, prior={"preset": "flat"}, scan={"documents": 2}, search={"budget": 5, "population": 2})
    file, run = tmp_path / "config.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    words = ("breed", "--config", file, "--out", run, "--log", "tensorboard", "--force")
    assert call(capfd, monkeypatch, *words)[0] == 0
    before = (run / "child" / "model.safetensors").read_bytes()
    for path in (run / "tensorboard").iterdir():
        path.unlink()
    (run / "tensorboard").rmdir()
    (run / "tensorboard").symlink_to(tmp_path / "nowhere")  # looks free before the run, and cannot be made in it
    code, _, err = call(capfd, monkeypatch, *words, "--overwrite")
    assert code == 0 and err.count("log: tensorboard failed") == 1
    assert (run / "child" / "model.safetensors").read_bytes() == before
