"""A genome names its parents and keeps no paths: merge is told where each of them is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.commands import call
from tests.toys import pico_gemma4

UP = "model.layers.1.mlp.up_proj.weight"


def test_every_parent_of_a_genome_can_be_given_its_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path / "models" / name for name in ("one", "two", "three", "four")]
    for seed, folder in enumerate(folders):
        pico_gemma4(folder, seed=seed)
    shares = {"mother": 0.25, "parent3": 0.125, "parent4": 0.5}
    genome = {
        "space": "layers",
        "method": "linear",
        "seed": 1,
        "father": "one",
        "mother": "two",
        "parents": ["one", "two", "three", "four"],
        "genes": {f"g.{role}": share for role, share in shares.items()},
        "gene_parents": {f"g.{role}": role for role in shares},
        "ratios": [],
        "tensors": {f"g.{role}": [UP] for role in shares},
    }
    Path("genome.json").write_text(json.dumps(genome), encoding="utf-8")
    words = ["merge", "--genome", "genome.json", "--out", "child", "--offline", "--quiet"]
    named = ["--father", folders[0], "--mother", folders[1]]

    code, _, stderr = call(capfd, monkeypatch, *words, *named, "--parent", folders[2])
    assert code == 2 and "give --parent once for each of 2 further parents, not 1 times" in stderr
    assert len(stderr.strip().splitlines()) == 1 and not Path("child").exists()

    named += ["--parent", folders[2], "--parent", folders[3], "--export-mergekit", "recipe.yaml"]
    code, _, stderr = call(capfd, monkeypatch, *words, *named)
    assert code == 0, stderr
    recipe = yaml.safe_load(Path("recipe.yaml").read_text(encoding="utf-8"))
    assert [Path(own["model"]) for own in recipe["models"]] == folders
    assert [own["parameters"]["weight"][0]["value"] for own in recipe["models"]] == [0.125, *shares.values()]
    one, *others = (load_file(folder / "model.safetensors")[UP].float() for folder in folders)
    wanted = one + sum(share * (other - one) for share, other in zip(shares.values(), others, strict=True))
    torch.testing.assert_close(load_file(Path("child/model.safetensors"))[UP].float(), wanted, rtol=1e-6, atol=1e-7)


def test_models_of_a_recipe_stand_in_the_recipe(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["merge", "--mergekit", tmp_path / "recipe.yaml", "--out", tmp_path / "child", "--parent", "a/b"]
    code, _, stderr = call(capfd, monkeypatch, *words)
    assert code == 2 and "--parent belongs to --genome" in stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("into", ["mother", "adapter"])
def test_a_parent_that_was_written_here_is_never_replaced(
    into: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children and adapters written here are replaced by later ones, but not by a child of their own."""
    names = {name: pico_gemma4(tmp_path / name, seed=seed) for seed, name in enumerate(("father", "other"))}

    def merge(other: str | Path, out: str, *more: str) -> int:
        models = [{"model": str(ref), "parameters": {"weight": 0.5}} for ref in (names["father"], other)]
        (tmp_path / "r.yaml").write_text(yaml.safe_dump({"merge_method": "linear", "models": models}))
        words = ("merge", "--mergekit", tmp_path / "r.yaml", "--out", tmp_path / out, "--offline", "--quiet", *more)
        code, _, stderr = call(capfd, monkeypatch, *words)
        assert len(stderr.splitlines()) == (code != 0) and ("overlaps the folder of a parent" in stderr) == (code != 0)
        return code

    adapter = ("--as-adapter", "2")
    assert merge(names["other"], into, *(adapter if into == "adapter" else ())) == 0
    before = {path: path.read_bytes() for path in (tmp_path / into).iterdir()}
    again = f"{names['father']}+{tmp_path / into}" if into == "adapter" else tmp_path / into
    assert merge(again, into, *(() if into == "adapter" else adapter)) == 1
    assert {path: path.read_bytes() for path in (tmp_path / into).iterdir()} == before


def test_quiet_says_nothing_of_what_is_unpacked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from darwin_mri.checkpoints.unpacking.cache import LOG
    from darwin_mri.cli.console import ConsoleProgress

    for quiet, count in ((True, 0), (False, 1)):
        ConsoleProgress(quiet)
        LOG.warning("unpacking, once: %s", "a model")
        assert len(caplog.records) == count
