"""The tensors of a candidate without a model equal, bit for bit, the model that a candidate was written into."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from darwin_mri.checkpoints import CheckpointReader, ModelSource, load, stored_tensors
from darwin_mri.checkpoints.survey import survey
from darwin_mri.merging import Candidate, Merge, Settings
from darwin_mri.merging.child_tensors import child_tensors
from darwin_mri.merging.folder_sources import father_source, sibling_source
from tests.toys import pico


@pytest.mark.parametrize("family", ["qwen2", "gemma4_text", "qwen3_moe"])
@pytest.mark.parametrize("method", ["linear", "ties"])
def test_they_are_what_a_candidate_writes_into_a_model(family: str, method: str, tmp_path: Path) -> None:
    merge, genes = _merge(family, method, tmp_path)
    model = load(ModelSource("father", tmp_path / "father", None), device="cpu", dtype="float32")
    ratios = {"first": 0.4, "second": 0.0, "third": 1.0}
    Candidate(model.model, genes, merge).apply(ratios)
    child = child_tensors(merge, genes, ratios)
    parameters, father = stored_tensors(model.model), merge.father
    built = {name: child.tensor(father.disk_names[name]).float() for name in father.disk_names if name in parameters}
    for assembly in father.assemblies:
        built |= assembly.build([child.tensor(part).float() for part in assembly.parts])
    assert built
    for name, tensor in built.items():
        torch.testing.assert_close(tensor, parameters[name], rtol=0, atol=0, msg=name)


def test_a_gene_of_zero_leaves_the_fathers_tensors(tmp_path: Path) -> None:
    merge, genes = _merge("qwen2", "linear", tmp_path)
    child = child_tensors(merge, genes, {"first": 0.4})
    assert set(child.versions) == {merge.on_disk(name) for name in genes["first"]}
    with CheckpointReader(tmp_path / "father") as reader:
        name = merge.on_disk(genes["second"][0])
        assert torch.equal(child.tensor(name), reader.tensor(name))


def test_versions_tell_which_tensors_of_two_candidates_differ(tmp_path: Path) -> None:
    merge, genes = _merge("qwen2", "linear", tmp_path)
    one, other = (child_tensors(merge, genes, {"first": 0.4, "second": second}) for second in (0.2, 0.3))
    changed = {name for name in one.versions if one.versions[name] != other.versions[name]}
    assert changed == {merge.on_disk(name) for name in genes["second"]}


def _merge(family: str, method: str, root: Path) -> tuple[Merge, dict[str, tuple[str, ...]]]:
    """A merge of two siblings in bf16, and three genes that share all their tensors."""
    folders = [pico(family, root / role, seed=seed, dtype="bfloat16") for seed, role in enumerate(("father", "mother"))]
    known = survey(folders[0])
    father = father_source(known)
    mother = sibling_source(known, ModelSource("mother", folders[1], None), father)
    merge = Merge(father, (mother,), father if method == "ties" else None, method, Settings(density=0.6), 1)
    names = sorted(father.disk_names.keys() - known.layout.tied.keys())
    return merge, {gene: tuple(names[place::3]) for place, gene in enumerate(("first", "second", "third"))}
