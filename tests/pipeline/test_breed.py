"""The whole pipeline on pico models: what is written, that it repeats itself, and that it resumes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from darwin_mri import pipeline
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.errors import ConfigError, GateError, InputError
from darwin_mri.merging import health
from darwin_mri.records import ChildFiles, Genome, Prior, Scan, base
from darwin_mri.run import open_run
from darwin_mri.run.cache import CacheKey, MeasurementCache
from tests.family import small
from tests.slow import slow_param
from tests.toys import pico_gemma4

RECORDS = (
    *("inputs.json", "scan/father.json", "scan/mother.json", "scan/pair.json", "prior.json", "genome.json"),
    *("child.json", "health.json", "comparison.json"),
)
PAGES = ("report.html", "report.txt", "card.md", "card.svg")


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.safetensors"))}


def without_times(ledger: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def run(family: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    pipeline.breed(small(family), out, force=True)
    return out


def test_every_record_is_written_without_absolute_paths(run: Path, family: dict[str, Path]) -> None:
    for name in (*RECORDS, *PAGES, "manifest.json", "ledger.jsonl"):
        text = (run / name).read_text(encoding="utf-8")
        assert text and str(family["father"].parent) not in text and str(run.parent) not in text, name
    assert json.loads((run / "manifest.json").read_text())["status"] == "done"
    nulls = {f"null-{name}" for name in ("uniform", "prior-mean", "random", "shuffled-donor")}
    assert {path.parent.name for path in run.glob("answers/*/*.jsonl")} == {"father", "mother", "child", *nulls}


def test_the_same_command_gives_the_same_bytes(run: Path, family: dict[str, Path], tmp_path: Path) -> None:
    pipeline.breed(small(family), tmp_path / "run", force=True)
    for name in RECORDS:
        assert (tmp_path / "run" / name).read_text() == (run / name).read_text(), name
    assert digests(tmp_path / "run" / "child") == digests(run / "child")
    assert without_times(tmp_path / "run" / "ledger.jsonl") == without_times(run / "ledger.jsonl")


def test_the_child_loads_and_its_record_names_what_differs(run: Path, family: dict[str, Path]) -> None:
    child: Any = AutoModelForCausalLM.from_pretrained(run / "child")
    tokens = child.generate(
        torch.tensor([[5, 6, 7]]), attention_mask=torch.ones(1, 3), max_new_tokens=4, do_sample=False, pad_token_id=0
    )
    assert tokens.shape[1] > 3
    files = ChildFiles.load(run / "child.json")
    with CheckpointReader(run / "child") as written, CheckpointReader(family["father"]) as father:
        changed = {n for n in father.names() if not torch.equal(written.tensor(n), father.tensor(n))}
    assert changed == set(files.changed)


@pytest.mark.parametrize("stage", [slow_param("scan/mother.json"), "genome.json", slow_param("comparison.json")])
def test_a_run_interrupted_after_any_stage_ends_the_same(
    run: Path, family: dict[str, Path], tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text = base.write_text

    def write_and_interrupt(path: Path, text: str) -> None:
        write_text(path, text)
        if str(path).endswith(stage):
            raise KeyboardInterrupt

    monkeypatch.setattr(base, "write_text", write_and_interrupt)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        pipeline.breed(small(family), out, force=True)
    assert json.loads((out / "manifest.json").read_text())["status"] == "interrupted"
    monkeypatch.setattr(base, "write_text", write_text)
    pipeline.breed(small(family), out, force=True, resume=True)
    assert (out / "genome.json").read_text() == (run / "genome.json").read_text()
    assert (out / "comparison.json").read_text() == (run / "comparison.json").read_text()
    assert digests(out / "child") == digests(run / "child")


def test_an_interrupted_prior_measures_no_slope_twice(
    run: Path, family: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, keys = MeasurementCache.put, []

    def put_and_interrupt(self: MeasurementCache, where: CacheKey, values: Any) -> None:
        put(self, where, values)
        if self.path.name == "response.jsonl":
            keys.append(where)
            if len(keys) == 20:
                raise KeyboardInterrupt

    monkeypatch.setattr(MeasurementCache, "put", put_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        pipeline.breed(small(family), tmp_path / "run", force=True)
    assert not (tmp_path / "run" / "prior.json").exists()
    pipeline.breed(small(family), tmp_path / "run", force=True, resume=True)
    assert len(keys) > 20 and len(set(keys)) == len(keys)
    for name in ("prior.json", "scan/pair.json", "genome.json"):
        assert (tmp_path / "run" / name).read_text() == (run / name).read_text()


def test_resuming_with_another_config_or_other_parents_is_refused(run: Path, family: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="another config.*seed"):
        pipeline.breed(small(family, seed=5), run, resume=True)
    with pytest.raises(ConfigError, match="mother"):
        pipeline.breed(small(family, mother=str(family["base"])), run, resume=True)


def test_an_existing_run_is_overwritten_only_when_asked(run: Path, family: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already holds a run"):
        pipeline.breed(small(family), run)
    (tmp_path / "notes.txt").write_text("a note")
    with pytest.raises(InputError, match="holds no run"):
        pipeline.breed(small(family), tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "a note"


def test_overwriting_a_finished_run_keeps_only_its_child(run: Path, family: dict[str, Path], tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    shutil.copytree(out / "child", out / "child-repaired")  # of a run whose repair was chosen
    open_run(out, small(family), (), "cpu", overwrite=True)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("child/")} == {
        "manifest.json",
        "state/config.yaml",
        "state/lock",
    }


def test_a_child_keeps_the_tensors_of_genes_that_are_zero(run: Path, family: dict[str, Path], tmp_path: Path) -> None:
    genome = Genome.load(run / "genome.json")
    zero = ("L1.ffn", "L2.mixer")
    genes = {name: 0.0 if name in zero else 0.5 for name in genome.genes}
    files = pipeline.merge(small(family), genome.model_copy(update={"genes": genes}), tmp_path / "child")
    moved = {name for gene, names in genome.tensors.items() if gene not in zero for name in names}
    assert set(files.changed) == moved and all(genome.tensors[gene] for gene in zero)


def test_merge_writes_the_same_child_without_a_search(run: Path, family: dict[str, Path], tmp_path: Path) -> None:
    pipeline.merge(small(family), Genome.load(run / "genome.json"), tmp_path / "child")
    assert digests(tmp_path / "child") == digests(run / "child")


@pytest.mark.parametrize("method", [slow_param("folded"), "transplant"])
def test_a_cross_child_keeps_the_fathers_config_and_mixers(
    family: dict[str, Path], tmp_path: Path, method: str
) -> None:
    config = small(
        family, mother=str(family["mother"]), base=None, method=method, search={"budget": 4}, arm={"documents": 4}
    )
    result = pipeline.breed(config, tmp_path / "run", force=True)
    assert (tmp_path / "run" / "child" / "config.json").read_bytes() == (family["father"] / "config.json").read_bytes()
    assert result.genome.layer_map == tuple(sorted(result.genome.layer_map))
    # The search may end at the father, so the child of a genome that moves every layer is written as well.
    genome = result.genome.model_copy(update={"genes": dict.fromkeys(result.genome.genes, 0.4)})
    kept = pipeline.merge(config, genome, tmp_path / "kept", donors=tmp_path / "run" / "state" / "donors")
    assert kept.changed and all(".mlp." in name for name in kept.changed)
    again = pipeline.merge(config, genome, tmp_path / "again")  # its donors are built again from the parents
    assert again.shards == kept.shards


@pytest.mark.parametrize("method", ["dare_ties", slow_param("slerp")])
def test_other_operators_breed_too(family: dict[str, Path], tmp_path: Path, method: str) -> None:
    config = small(family, method=method, density=0.7, prior={"preset": "flat"}, search={"budget": 3})
    result = pipeline.breed(config, tmp_path / "run", force=True)
    assert result.genome.method == method and Prior.load(tmp_path / "run" / "prior.json").preset == "flat"


def test_a_cross_fitted_prior_says_how_far_unseen_items_agree(family: dict[str, Path], tmp_path: Path) -> None:
    changes: dict[str, Any] = {"preset": "cross-fitted", "steps": 1, "items": 8, "protect": []}
    config = small(family, prior=changes, scan={"documents": 1, "languages": ["en"], "mixers": False})
    _, prior = pipeline.scan(config, tmp_path / "run", pair=True)
    assert prior is not None and prior == Prior.load(tmp_path / "run" / "prior.json")
    assert prior.preset == "cross-fitted" and "is the best uniform child; descents on half" in prior.note
    trusts = {gene.trust for gene in prior.genes}
    assert len(trusts) == 1 and prior.informative == (trusts != {0.0})
    assert prior.informative or len({gene.mean for gene in prior.genes}) == 1


def test_a_wrapped_multimodal_father_keeps_its_tower(family: dict[str, Path], tmp_path: Path) -> None:
    parents = {
        name: pico_gemma4(tmp_path / name, wrapped=True, seed=i, dtype="bfloat16") for i, name in enumerate(("f", "m"))
    }
    config = small(
        family,
        father=str(parents["f"]),
        mother=str(parents["m"]),
        base=None,
        search={"budget": 2},
        prior={"preset": "flat"},
    )
    pipeline.breed(config, tmp_path / "run", force=True)
    loaded: Any = AutoModelForImageTextToText.from_pretrained(tmp_path / "run" / "child", output_loading_info=True)
    info = loaded[1]
    assert not info["missing_keys"] and not info["unexpected_keys"]
    with CheckpointReader(tmp_path / "run" / "child") as written, CheckpointReader(parents["f"]) as father:
        tower = [name for name in father.names() if "vision" in name]
        assert tower and all(torch.equal(written.tensor(name), father.tensor(name)) for name in tower)


def test_a_failed_health_check_is_a_gate(
    run: Path, family: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that goes on before its health check."""
    out = shutil.copytree(run, tmp_path / "run")
    for name in ("health.json", "comparison.json", *PAGES):
        (out / name).unlink()
    monkeypatch.setattr(health, "NLL_RISE", 0.0)  # a limit no child can meet
    with pytest.raises(GateError, match="bits per byte"):
        pipeline.breed(small(family), out, resume=True)
    assert (out / "report.html").is_file()


def test_scan_of_one_model_and_of_a_pair(family: dict[str, Path], tmp_path: Path) -> None:
    scans, prior = pipeline.scan(small(family), tmp_path / "one", pair=False)
    assert not scans.others and prior is None and Scan.load(tmp_path / "one/scan/father.json") == scans.father
    config = small(family, mother=str(family["mother"]), base=None, method="folded")
    scans, prior = pipeline.scan(config, tmp_path / "two", pair=True)
    assert prior is not None
    assert len(prior.layers) == len(scans.pair.layer_map) == len(scans.father.layers)
    assert {r.loss for r in scans.pair.response} == {"fitness", "protect:ko"}


@pytest.mark.parametrize(("space", "method"), [("darwin14", "dare_ties"), ("darwin-v6", "slerp")])
def test_published_spaces_breed_and_merge_again(
    family: dict[str, Path], tmp_path: Path, space: str, method: str
) -> None:
    search = {"space": space, "budget": 8, "population": 4, "anchors": 8, "blocks": 2}
    config = small(family, method=method, density=0.8, search=search)
    out = tmp_path / "run"
    genome = pipeline.breed(config, out, force=True).genome
    assert len(genome.genes) == (14 if space == "darwin14" else 16) and genome.exceptions
    assert genome.account["logged"] > 0 and (out / "anchors.json").is_file()
    pipeline.merge(config, genome, tmp_path / "child")
    assert digests(tmp_path / "child") == digests(out / "child")


def test_ray_and_one_process_breed_the_same_child(run: Path, family: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pipeline.breed(
        small(family, search={"workers": "ray", "actors": 2, "asynchronous": False}), tmp_path / "run", force=True
    )
    assert Genome.load(tmp_path / "run" / "genome.json") == Genome.load(run / "genome.json")
    assert without_times(tmp_path / "run" / "ledger.jsonl") == without_times(run / "ledger.jsonl")
    assert digests(tmp_path / "run" / "child") == digests(run / "child")
