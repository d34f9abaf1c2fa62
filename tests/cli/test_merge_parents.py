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
