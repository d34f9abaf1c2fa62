"""A search with several objectives: the front in the record, its members on disk, the report."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from darwin_mri import pipeline
from darwin_mri.config import make_config
from darwin_mri.errors import ConfigError
from darwin_mri.problem.front import hypervolume
from darwin_mri.records import Genome
from darwin_mri.report import build_view, load_run
from darwin_mri.report.model.elements import Figure
from darwin_mri.stats.domination import non_dominated
from tests.commands import call, spawn
from tests.reliability.runs import contents, differences
from tests.slow import slow

TASKS = ("nursery_click", "nursery_musr")
TINY: dict[str, Any] = {
    "name": "pareto",
    "father": "nursery:gemma4-korean",
    "mother": "nursery:gemma4-reasoning",
    "base": "nursery:gemma4-base",
    "fitness": {"nursery_click": 0.6, "nursery_musr": 0.4},
    "device": "cpu",
    "scan": {"languages": ["ko"], "documents": 4, "max_tokens": 16, "bootstrap": 50, "positions": 64, "mixers": False},
    "prior": {"preset": "flat", "protect": []},
    "search": {"strategy": "nsga2", "space": "ffn", "budget": 11, "population": 4, "items": 8, "front": 5},
    "bench": {"tasks": list(TASKS), "items": 8, "harness": False},
}


@pytest.fixture(scope="module")
def bred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder."""
    pytest.importorskip("pymoo")
    folder = tmp_path_factory.mktemp("front")
    pipeline.breed(make_config(TINY, "test"), folder / "run", force=True, offline=True)
    return folder / "run"


def shards(child: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in child.glob("*.safetensors")}


def test_the_record_holds_a_front_that_is_one(bred: Path) -> None:
    genome = Genome.load(bred / "genome.json")
    assert genome.objectives == TASKS and 1 <= len(genome.front) <= 5
    lines = [json.loads(line) for line in (bred / "ledger.jsonl").read_text().splitlines()]
    points = np.array([[line["scores"][name] for name in TASKS] for line in lines])
    assert len(lines) == 11 and all(non_dominated(points)[member.evaluation] for member in genome.front)
    assert [member.number for member in genome.front] == list(range(1, len(genome.front) + 1))
    for member in genome.front:
        assert member.genes == lines[member.evaluation]["genes"]
        assert member.search == lines[member.evaluation]["scores"]
        assert set(member.fresh) == set(member.held_out) == set(TASKS)
    chosen = next(member for member in genome.front if member.number == genome.member)
    assert (chosen.genes, chosen.ratios) == (genome.genes, genome.ratios) and "knee" in genome.preferred
    expected = sum(weight * chosen.held_out[name] for name, weight in TINY["fitness"].items())
    assert genome.held_out_score == pytest.approx(expected)
    kinds = {(reference.role, reference.null) for reference in genome.references}
    assert {("father", None), ("mother", None), ("null", "uniform"), ("null", "prior-mean")} <= kinds


def test_searches_without_the_scan_are_beside_it_with_as_many_candidates(bred: Path) -> None:
    genome = Genome.load(bred / "genome.json")
    assert [other.search for other in genome.baselines] == ["flat", "random"]
    for other in genome.baselines:
        folder = bred / "state" / "baselines" / other.search
        lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
        assert other.candidates == len(lines) == 11 and 1 <= len(other.held_out) <= 5
        if other.search == "flat":  # the run's own start is flat too, and nothing is frozen: the same search
            assert other.hypervolume == genome.hypervolume
            assert list(other.held_out) == [member.held_out for member in genome.front]
        else:
            own = (bred / "ledger.jsonl").read_text().splitlines()
            genes = [json.loads(line)["genes"] for line in own]
            assert [line["genes"] for line in lines] != genes
    kin = [reference.held_out for reference in genome.references if reference.null is None]
    assert genome.hypervolume == hypervolume([member.held_out for member in genome.front], kin)


def test_the_hypervolume_is_a_share_of_the_parents_box() -> None:
    pytest.importorskip("pymoo")
    parents = [{"a": 0.2, "b": -3.0}, {"a": 0.6, "b": -5.0}]
    assert hypervolume([{"a": 0.6, "b": -3.0}], parents) == pytest.approx(1.0)
    assert hypervolume([{"a": 0.4, "b": -3.0}, {"a": 0.6, "b": -4.0}], parents) == pytest.approx(0.75)
    assert hypervolume([{"a": 0.1, "b": -2.0}], parents) == 0.0
    assert hypervolume([{"a": 0.6, "b": -3.0}], parents[:1]) is None  # one parent spans no box
    three = [{"a": 0.0, "b": 0.0, "c": 0.0}, {"a": 1.0, "b": 1.0, "c": 2.0}]
    assert hypervolume([{"a": 1.0, "b": 0.5, "c": 1.0}], three) == pytest.approx(0.25)


def test_held_out_scores_are_those_of_the_child_on_disk(bred: Path) -> None:
    """The bench reads the child from its folder; no nursery benchmark compares by length, so softmax is the score."""
    genome = Genome.load(bred / "genome.json")
    chosen = next(member for member in genome.front if member.number == genome.member)
    father = next(reference for reference in genome.references if reference.role == "father")
    for role, expected in (("child", chosen.held_out), ("father", father.held_out)):
        for task in TASKS:
            values = []
            for line in (bred / "answers" / role / f"{task}.jsonl").read_text().splitlines():
                answer = json.loads(line)
                odds = np.exp(np.array(answer["log_probabilities"]) - max(answer["log_probabilities"]))
                values.append(odds[answer["gold"]] / odds.sum())
            assert np.mean(values) == pytest.approx(expected[task], abs=1e-3), (role, task)


def test_merge_writes_the_chosen_member_and_any_other(
    bred: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    genome = Genome.load(bred / "genome.json")
    words = ("merge", "--genome", bred / "genome.json", "--offline", "--quiet")
    assert call(capfd, monkeypatch, *words, "--member", str(genome.member), "--out", tmp_path / "same")[0] == 0
    assert shards(tmp_path / "same") == shards(bred / "child")
    other = next(member for member in genome.front if member.number != genome.member)
    assert call(capfd, monkeypatch, *words, "--member", str(other.number), "--out", tmp_path / "other")[0] == 0
    assert shards(tmp_path / "other") != shards(bred / "child")
    note = json.loads((tmp_path / "other" / "darwin_mri.json").read_text())["genome"]
    assert note["genes"] == other.genes and note["member"] == other.number and "front" not in note


@pytest.mark.parametrize("number", ["0", "99"])
def test_a_member_that_is_not_there_is_told_with_the_range(
    bred: Path, tmp_path: Path, number: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("merge", "--genome", bred / "genome.json", "--member", number, "--out", tmp_path / "child", "--offline")
    code, _, stderr = call(capfd, monkeypatch, *words)
    members = len(Genome.load(bred / "genome.json").front)
    assert code == 1 and f"no member {number}: choose one from 1 to {members}" in stderr
    assert len(stderr.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_genome_without_a_front_is_told_so(
    bred: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    genome = Genome.load(bred / "genome.json").model_copy(update={"front": (), "member": None})
    genome.save(tmp_path / "genome.json")
    words = ("merge", "--genome", tmp_path / "genome.json", "--member", "1", "--out", tmp_path / "child", "--offline")
    code, _, stderr = call(capfd, monkeypatch, *words)
    assert code == 1 and "the genome has no front" in stderr and not (tmp_path / "child").exists()


def test_the_report_draws_the_front_and_the_terminal_has_its_table(bred: Path) -> None:
    genome = Genome.load(bred / "genome.json")
    section = build_view(load_run(bred)).section("front")
    figure = next(block for block in section.blocks if isinstance(block, Figure))
    rows = {row.cells[0]: row for row in figure.tables[0].rows}
    assert set(rows) >= {f"member {member.number}" for member in genome.front} | {"father", "mother", "null: uniform"}
    assert [name for name, row in rows.items() if row.strong] == [f"member {genome.member}"]
    for member in genome.front:
        values = [getattr(member, part)[name] for name in TASKS for part in ("search", "fresh", "held_out")]
        assert rows[f"member {member.number}"].cells == (
            f"member {member.number}",
            str(member.evaluation),
            *(f"{value:.3f}" for value in values),
        )
    page, text = (bred / "report.html").read_text(), (bred / "report.txt").read_text()
    assert 'id="fig-front-t"' in page and 'id="fig-front-n-t"' in page
    assert "Front of several objectives" in text and f"member {genome.member}" in text


@slow
def test_a_run_that_lost_its_last_lines_ends_the_same(bred: Path, tmp_path: Path) -> None:
    """As a kill leaves it: no genome, and the search cut off in the midst of a block."""
    run = tmp_path / "run"
    shutil.copytree(bred, run)
    (run / "genome.json").unlink()
    shutil.rmtree(run / "child")
    for name, kept in (("ledger.jsonl", 5), ("state/blocks.jsonl", 24)):
        lines = (run / name).read_text().splitlines(keepends=True)
        assert len(lines) > kept
        (run / name).write_text("".join(lines[:kept]) + lines[kept][:30])
    done = spawn("breed", "--resume", run, "--force", "--offline")
    assert done.returncode == 0, done.stderr.decode()
    assert not differences(run, contents(bred))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fitness": {"nursery_click": 1.0}}, "needs two tasks or more in fitness"),
        ({"search": {"prefer": {"click": 1.0}}}, "search.prefer names click, which is not in fitness"),
        ({"search": {"prefer": {"nursery_click": 0.0}}}, "one of them above 0"),
        ({"search": {"prefer": {"nursery_click": -1.0}}}, "weights of at least 0"),
        ({"search": {"strategy": "cma", "prefer": {"nursery_click": 1.0}}}, "search.prefer is for search.strategy"),
        ({"search": {"front": 1}}, "search.front"),
        ({"search": {"prefer": "best"}}, "search.prefer"),
    ],
)
def test_a_config_that_cannot_be_searched_so_is_refused(change: dict[str, Any], message: str) -> None:
    data = {**TINY, **change}
    if "search" in change:
        data["search"] = {**TINY["search"], **change["search"]}
    with pytest.raises(ConfigError, match=message):
        make_config(data, "test")


@pytest.mark.parametrize("library", ["pymoo", "deap"])
@pytest.mark.parametrize("command", ["plan", "breed"])
def test_without_the_libraries_it_says_how_to_install_them(
    tmp_path: Path,
    library: str,
    command: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    out = ["--out", tmp_path / "run"] if command == "breed" else []
    code, stdout, stderr = call(capfd, monkeypatch, command, "--config", tmp_path / "config.yaml", *out, "--offline")
    told = "search.strategy nsga2 needs pymoo and DEAP: pip install 'darwin-mri[pareto]'"
    assert told in " ".join((stdout + stderr).split()) and code != 0
    assert not (tmp_path / "run").exists()
