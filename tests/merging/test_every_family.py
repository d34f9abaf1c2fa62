"""Every family's child is the merge of the two models as transformers loads them, in tensors and in logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from darwin_mri.checkpoints import LoadedModel, find_model, load, load_model
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import make_config
from darwin_mri.merging import Candidate
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.requests import MergeRequest
from darwin_mri.problem.space import sibling_space
from darwin_mri.records import Genome
from darwin_mri.stages.merge import merge_genome
from tests import toys

RATIO = 0.25
TOKENS = torch.arange(3, 15).reshape(2, 6)
Folders = tuple[Path, Path]


def merged(father: Any, mother: Any) -> dict[str, torch.Tensor]:
    """The father's state with decoder and head moved toward the mother's: what any user could compute in memory."""
    moved: list[tuple[torch.Tensor, torch.Tensor]] = []
    for part in ("get_decoder", "get_output_embeddings"):
        theirs = getattr(mother, part)().state_dict()
        for name, own in getattr(father, part)().state_dict().items():
            other = theirs[name]
            moved.append((own, (own.float() + RATIO * (other.float() - own.float())).to(own.dtype)))
    for own, new in moved:  # afterwards: a tied head is its embedding
        own.copy_(new)
    return father.state_dict()


def assert_same(model: Any, expected: Any) -> None:
    state, wanted = model.state_dict(), expected.state_dict()
    assert not [name for name, tensor in wanted.items() if not torch.equal(state[name], tensor)]
    with torch.inference_mode():
        assert torch.equal(model(input_ids=TOKENS).logits, expected(input_ids=TOKENS).logits)


def follow_the_road(folders: Folders, out: Path) -> None:
    """The child as a search has it in memory and as it is written, each beside the merge of the loaded models."""
    father, mother = (find_model(str(folder)) for folder in folders)
    with torch.no_grad():
        expected = load_model(father, device="cpu")
        merged(expected, load_model(mother, device="cpu"))
    config = make_config({"father": str(father.folder), "mother": str(mother.folder), "method": "linear"}, "test")
    parents = Parents.find(config, device="cpu", offline=True)
    resident: LoadedModel = load(father, device="cpu", dtype="bfloat16")
    own = {name: tensor.clone() for name, tensor in resident.model.state_dict().items()}
    space = sibling_space(config, resident, (mother,), None)
    genes = {gene.name: RATIO for gene in space.space.genes}
    candidate = Candidate(resident.model, space.tensors(), space.merge)
    candidate.apply(genes)
    assert_same(resident.model, expected)
    candidate.restore()
    assert all(torch.equal(tensor, own[name]) for name, tensor in resident.model.state_dict().items())
    genome = Genome(
        space="layers",
        method="linear",
        seed=1,
        father=config.father,
        mother=config.mother,
        base=None,
        genes=genes,
        ratios=(),
        nulls={},
        tensors={gene: tuple(map(space.merge.on_disk, names)) for gene, names in space.tensors().items()},
    )
    merge_genome(MergeRequest(genome, parents.config), parents, out / "child")
    assert_same(load_model(find_model(str(out / "child")), device="cpu"), expected)


def pair(family: str, folder: Path, **changes: Any) -> Folders:
    father, mother = (toys.pico(family, folder / f"{n}", seed=n, dtype="bfloat16", **changes) for n in (1, 2))
    return father, mother


@pytest.mark.parametrize("family", toys.FAMILIES)
def test_a_familys_child_is_the_merge_of_the_loaded_models(family: str, tmp_path: Path) -> None:
    follow_the_road(pair(family, tmp_path), tmp_path / "child")


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox", "qwen3_moe", "falcon"])
def test_the_head_may_be_tied_or_not(family: str, tmp_path: Path) -> None:
    """The other way than the family's default; ``experiments/every_family.py`` does both for all families."""
    tied = bool(survey(toys.pico(family, tmp_path / "default")).layout.tied)
    follow_the_road(pair(family, tmp_path, tie_word_embeddings=not tied), tmp_path / "child")


@pytest.mark.parametrize("pico", [toys.pico_gemma4, toys.pico_qwen35])
@pytest.mark.parametrize("wrapped", [(True, True), (True, False), (False, True)])
def test_wrappers_and_text_models_meet_at_the_text_model(pico: Any, wrapped: tuple[bool, bool], tmp_path: Path) -> None:
    father, mother = (
        pico(tmp_path / f"parent-{seed}", seed=seed, dtype="bfloat16", wrapped=inside)
        for seed, inside in enumerate(wrapped)
    )
    follow_the_road((father, mother), tmp_path)
