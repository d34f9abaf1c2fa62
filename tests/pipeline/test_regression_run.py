"""Moments and regression from the command line: files, nulls, merge, resume, published moments, bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from darwin_mri import pipeline
from darwin_mri.config import Config
from darwin_mri.errors import InputError
from darwin_mri.merging.moments import Moments, read_header
from darwin_mri.records import Genome, Manifest
from darwin_mri.records.moments import MOMENTS_KEY
from darwin_mri.report import load_run
from tests.commands import call
from tests.family import small
from tests.pipeline.test_breed import digests
from tests.slow import slow_param
from tests.toys import pico_gemma4

Command = Callable[..., tuple[int, str, str]]
NULLS = {"identity-moments", "exchanged-moments", "shuffled-moments"}


def config_of(family: dict[str, Path], **changes: object) -> Config:
    kinds = {"method": "regression", "prior": {"preset": "flat"}, "search": {"budget": 4, "population": 2}}
    return small(family, **{**kinds, **changes})


@pytest.fixture(scope="module")
def bred(family: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("regression") / "run"
    pipeline.breed(config_of(family), out, force=True)
    return out


def test_every_parent_has_its_moments_on_texts_and_on_shuffled_words(bred: Path, family: dict[str, Path]) -> None:
    for role, file in (("father", "moments.safetensors"), ("mother", "moments-mother.safetensors")):
        own, null = read_header(bred / file), read_header(bred / "state" / "moments" / "shuffled" / file)
        assert not own.shuffled and null.shuffled and own.kind == "full" and own.probes != null.probes
        assert own.ref == family["father" if role == "father" else "sister"].name
        assert {group.language for group in own.groups} == {"en", "ko", "code"}
        assert [group.nll > 0 and group.tokens > 0 for group in own.groups] == [True] * len(own.groups)


def test_the_child_differs_from_every_null_and_from_linear(bred: Path, family: dict[str, Path]) -> None:
    genome, run = Genome.load(bred / "genome.json"), load_run(bred)
    assert set(genome.nulls) > NULLS and set(genome.moments) == {"father", "mother"}
    assert run.comparison is not None
    assert {score.null for score in run.comparison.scores if score.null} > NULLS
    answers = {}
    for name in ("child", *(f"null-{null}" for null in NULLS)):
        lines = (bred / "answers" / name / "nursery_click.jsonl").read_text().splitlines()
        answers[name] = [json.loads(line)["log_probabilities"] for line in lines]
    assert len({json.dumps(values) for values in answers.values()}) == 4
    text = (bred / "report.txt").read_text()
    assert all(null in text for null in NULLS)


def merge_words(genome: Path, family: dict[str, Path], out: Path) -> tuple[str | Path, ...]:
    refs = ("--father", family["father"], "--mother", family["sister"], "--base", family["base"])
    return ("merge", "--genome", genome, *refs, "--out", out, "--offline", "--quiet")


def test_merge_gives_the_childs_bytes_from_the_genome_and_the_moments_beside_it(
    bred: Path,
    family: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = merge_words(bred / "genome.json", family, tmp_path / "child")
    code, _, stderr = call(capfd, monkeypatch, *words)
    assert code == 0, stderr
    assert digests(tmp_path / "child") == digests(bred / "child")


def test_merge_without_the_moments_or_with_others_is_refused(
    bred: Path,
    family: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(bred / "genome.json", tmp_path)
    words = merge_words(tmp_path / "genome.json", family, tmp_path / "child")
    code, _, stderr = call(capfd, monkeypatch, *words)
    assert code == 1 and "moments.safetensors does not exist" in stderr
    shutil.copy(bred / "moments-mother.safetensors", tmp_path / "moments-mother.safetensors")
    shutil.copy(bred / "moments-mother.safetensors", tmp_path / "moments.safetensors")
    code, _, stderr = call(capfd, monkeypatch, *words)
    assert code == 1 and "the moments of the father are not those this genome was found with" in stderr
    assert len(stderr.strip().splitlines()) == 1 and not (tmp_path / "child").exists()


def test_a_resumed_run_keeps_what_was_measured_and_ends_the_same(
    bred: Path, family: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(bred, run)
    shutil.rmtree(run / "child")
    (run / "genome.json").unlink()
    (run / "moments-mother.safetensors").unlink()
    kept = (run / "moments.safetensors").stat().st_mtime_ns
    pipeline.breed(config_of(family), run, force=True, resume=True)
    assert (run / "moments.safetensors").stat().st_mtime_ns == kept
    for file in ("moments-mother.safetensors", "genome.json"):
        assert (run / file).read_bytes() == (bred / file).read_bytes()
    assert digests(run / "child") == digests(bred / "child")


@pytest.mark.parametrize("moments", ["diagonal", "merged", slow_param("deltas")])
def test_other_moments_give_other_children(moments: str, bred: Path, family: dict[str, Path], tmp_path: Path) -> None:
    genome = Genome.load(bred / "genome.json")
    config = config_of(family, settings={"moments": moments}, search={"strategy": "prior-mean"})
    pipeline.breed(config, tmp_path / "run", force=True)
    measured = {path.name for path in (tmp_path / "run").glob("moments*.safetensors")}
    assert bool(measured) == (moments != "deltas")
    if measured:
        assert read_header(tmp_path / "run" / "moments.safetensors").kind == "diagonal"
    merged = set((tmp_path / "run" / "state" / "moments").glob("merged/**/*.safetensors"))
    assert len(merged) == (4 if moments == "merged" else 0)
    own = Genome.load(tmp_path / "run" / "genome.json")
    assert (set(own.nulls) > NULLS) == bool(measured)
    alike = genome.model_copy(update={"genes": own.genes})  # the same ratios, with moments of all products
    pipeline.merge(config_of(family), alike, tmp_path / "probes", moments=bred)
    assert digests(tmp_path / "run" / "child") != digests(tmp_path / "probes")


def test_published_moments_stand_for_a_measurement(
    bred: Path,
    family: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = (str(bred / "moments.safetensors"), str(bred / "moments-mother.safetensors"))
    pipeline.breed(config_of(family, scan={"moments_from": files}), tmp_path / "run", force=True)
    assert digests(tmp_path / "run" / "child") == digests(bred / "child")
    assert Manifest.load(tmp_path / "run" / "manifest.json").config["scan"]["moments_from"] == [
        "moments.safetensors",
        "moments-mother.safetensors",
    ]
    with pytest.raises(InputError, match=r"measured of sister, whose weights are not those of father"):
        pipeline.breed(config_of(family, scan={"moments_from": files[::-1]}), tmp_path / "wrong", force=True)
    with pytest.raises(InputError, match="measured on other probe texts"):
        other = config_of(family, scan={"moments_from": files, "documents": 3})
        pipeline.breed(other, tmp_path / "other", force=True)
    with pytest.raises(InputError, match="no such file, and no hub repository"):
        pipeline.breed(config_of(family, scan={"moments_from": ("absent.safetensors",)}), tmp_path / "no", force=True)


def scan_words(model: Path, out: Path, *more: str) -> tuple[str | Path, ...]:
    return ("scan", model, "--out", out, "--documents", "2", "--device", "cpu", "--offline", "--quiet", *more)


def test_scan_writes_moments_and_shows_what_it_would_publish(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pico_gemma4(tmp_path / "model")
    words = scan_words(model, tmp_path / "scan", "--moments", "full", "--push", "someone/moments", "--dry-run")
    code, stdout, stderr = call(capfd, monkeypatch, *words)
    assert code == 0, stderr
    assert "README.md" in stdout and "moments.safetensors" in stdout and "nothing was uploaded" in stdout + stderr
    with safe_open(tmp_path / "scan" / "moments.safetensors", "pt") as file:
        assert json.loads(file.metadata()[MOMENTS_KEY])["ref"] == "model"
    assert Moments(tmp_path / "scan" / "moments.safetensors").header.tokens > 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--push", "someone/moments"), "give one MODEL, and --moments full or diagonal"),
        (("--dry-run",), "--dry-run and --private belong to --push"),
        (("--moments", "full", "--push", "nobody"), "names no owner"),
        (("--moments", "all"), "scan.moments"),
        (("--moments", "full", "--moments-from", "nowhere"), "no such file, and no hub repository"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    more: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = pico_gemma4(tmp_path / "model")
    code, _, stderr = call(capfd, monkeypatch, *scan_words(model, tmp_path / "scan", *more))
    assert code in (1, 2) and message in stderr and len(stderr.strip().splitlines()) == 1


def test_a_file_that_holds_no_moments_is_one_line(family: dict[str, Path], tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"no header")
    for name in ("a", "b"):
        with pytest.raises(InputError, match="is no file of moments"):
            pipeline.breed(
                config_of(family, scan={"moments_from": (str(tmp_path / f"{name}.safetensors"),)}),
                tmp_path / name,
                force=True,
            )


def test_too_few_tokens_for_the_width_are_said_with_the_rank(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = tmp_path / "probes"
    probes.mkdir()
    line = {"text": "The old mill.", "language": "en", "domain": "prose", "doc": "a"}
    (probes / "own.jsonl").write_text(json.dumps(line), encoding="utf-8")
    model = pico_gemma4(tmp_path / "model")
    words: list[str | Path] = [
        word for word in scan_words(model, tmp_path / "scan", "--moments", "full") if word != "--quiet"
    ]
    code, _, stderr = call(capfd, monkeypatch, *words, "--probes", probes)
    assert code == 0, stderr
    header = read_header(tmp_path / "scan" / "moments.safetensors")
    said = " ".join(stderr.split())
    assert f"{header.tokens} tokens for inputs up to 64 wide, so their rank is at most {header.tokens}" in said


def test_relax_holds_the_child_back_and_merge_gives_the_same_bytes(
    family: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"method": "task_arithmetic", "prior": {"preset": "flat"}, "search": {"strategy": "prior-mean"}}
    pipeline.breed(small(family, settings={"relax": 0.0}, **changes), tmp_path / "run", force=True)
    assert read_header(tmp_path / "run" / "moments-base.safetensors").kind == "diagonal"
    pipeline.breed(small(family, **changes), tmp_path / "plain", force=True)
    father = load_file(family["father"] / "model.safetensors")
    held, plain = (load_file(tmp_path / name / "child" / "model.safetensors") for name in ("run", "plain"))
    key = next(name for name in father if name.endswith("layers.1.mlp.up_proj.weight"))
    moved, free = ((part[key].float() - father[key].float()).norm(dim=0) for part in (held, plain))
    assert bool((moved <= free + 1e-2).all()) and float(moved.min()) < 1e-2 < float(free.min())
    code, _, stderr = call(
        capfd, monkeypatch, *merge_words(tmp_path / "run" / "genome.json", family, tmp_path / "again")
    )
    assert code == 0, stderr
    assert digests(tmp_path / "again") == digests(tmp_path / "run" / "child")
