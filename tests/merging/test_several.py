"""What every operator promises for two to five parents, as functions of ratios and in a candidate in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darwin_mri.checkpoints import CheckpointReader, LoadedModel
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import JOINT, OPERATORS, SHARING
from darwin_mri.merging import Candidate, FolderSource, Merge, Settings
from darwin_mri.merging.folder_sources import father_source
from darwin_mri.merging.methods import METHODS
from darwin_mri.merging.operators import blend
from darwin_mri.merging.settings import OF_TWO
from darwin_mri.roles import BASE, PARENTS
from tests.merging.folders import save_folder, tensors
from tests.merging.pairs import loaded
from tests.merging.test_candidate import genes_of
from tests.merging.test_methods import LIVELY, family
from tests.toys import pico_gemma4

OF_SEVERAL = tuple(method for method in OPERATORS if method not in OF_TWO)
DRAWING = (
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
)  # each parent's mask is that of its place
BIT_FOR_BIT = tuple(method for method in OPERATORS if method not in METHODS or METHODS[method].sparse)
ELECTING = ("ties", "dare_ties", "della", "breadcrumbs_ties")  # two vectors elect by arithmetic of their own
ROUNDING: dict[str, Any] = {"rtol": 2.0**-20, "atol": 2.0**-20}  # fp32, of values near 1
counts, seeds = st.integers(2, 5), st.integers(0, 1000)
ratios_of_one = st.sampled_from((0.0625, 0.25, 0.5, 0.875))
few = settings(max_examples=12)  # of every method


def made(method: str, *, whole: bool = False) -> Settings:
    """Settings under which something is dropped; with ``whole`` no task vector loses an element."""
    lively = {} if whole else LIVELY.get(method, {})
    own: dict[str, float | str] = {
        key: float(value) for key, value in lively.items() if key not in ("density", "gamma")
    }
    density, gamma = (1.0, 0.0) if whole else (0.6, 0.1)
    if method == "regression":
        own["moments"] = "deltas"
    return Settings(density=density, gamma=gamma, epsilon=0.0 if whole else 0.1, values=tuple(own.items()))


def child(
    method: str, parents: Sequence[Tensor], base: Tensor | None, ratios: Sequence[float], own: Settings
) -> Tensor:
    """The child in fp32; one ratio for all parents where the method has one result."""
    given_ratios = tuple(ratios)[:1] if method in JOINT else tuple(ratios)
    return blend(method, parents, base, own, seed=3, name="a").child(given_ratios)


@pytest.mark.parametrize("method", OF_SEVERAL)
@few
@given(seed=seeds, ratio=ratios_of_one, order=st.permutations(range(4)))
def test_the_order_of_other_parents_changes_nothing(method: str, seed: int, ratio: float, order: list[int]) -> None:
    (father, *others), base = family(5, seed)
    own = made(method, whole=method in DRAWING)
    first = child(method, (father, *others), base, [ratio / 4] * 4, own)
    moved = child(method, (father, *(others[k] for k in order)), base, [ratio / 4] * 4, own)
    torch.testing.assert_close(moved, first, **ROUNDING)
    torch.testing.assert_close(moved.bfloat16(), first.bfloat16(), rtol=2**-7, atol=0)
    assert not torch.equal(first, father)


@pytest.mark.parametrize("method", [method for method in OF_SEVERAL if method not in JOINT])
@few
@given(seed=seeds, count=st.integers(3, 5), data=st.data())
def test_a_parent_of_ratio_zero_changes_nothing(method: str, seed: int, count: int, data: st.DataObject) -> None:
    (father, *others), base = family(count, seed)
    ratios = data.draw(st.lists(ratios_of_one, min_size=count - 1, max_size=count - 1))
    # The masks of later parents are those of their place, so there the last one is left out.
    place = count - 2 if method in DRAWING else data.draw(st.integers(0, count - 2))
    ratios[place] = 0.0
    rest = [k for k in range(count - 1) if k != place]
    own = made(method)
    with_it = child(method, (father, *others), base, ratios, own)
    without = child(method, (father, *(others[k] for k in rest)), base, [ratios[k] for k in rest], own)
    if method in BIT_FOR_BIT and (count > 3 or method not in ELECTING):
        assert torch.equal(with_it, without)
    torch.testing.assert_close(with_it, without, **ROUNDING)
    assert not torch.equal(without, father)


@pytest.mark.parametrize("method", OPERATORS)
@few
@given(seed=seeds, count=counts, ratio=ratios_of_one)
def test_copies_of_the_father_give_the_father(method: str, seed: int, count: int, ratio: float) -> None:
    (father,), base = family(1, seed)
    count = 2 if method in OF_TWO else count
    copies, ratios = [father.clone() for _ in range(count)], [ratio / (count - 1)] * (count - 1)
    origins = [father.clone(), *([base] if method in SHARING else [])]  # task vectors from a base would add up
    for origin in origins:
        same = child(method, copies, origin, ratios, made(method, whole=True))
        torch.testing.assert_close(same, father, **ROUNDING)
        if method in BIT_FOR_BIT:
            assert torch.equal(same, father)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FolderSource]:
    """Role -> the folder of one of five siblings or of their base."""
    root, base = tmp_path_factory.mktemp("folders"), tensors(0)
    content = {BASE: base, **{role: tensors(1 + k, near=base) for k, role in enumerate(PARENTS[:5])}}
    return {
        role: FolderSource(CheckpointReader(save_folder(root / role, own)), {name: name for name in own})
        for role, own in content.items()
    }


@pytest.mark.parametrize("count", range(2, 6))
@pytest.mark.parametrize("method", OPERATORS)
def test_ratio_zero_of_all_is_the_father_to_the_bit(readers: dict[str, FolderSource], method: str, count: int) -> None:
    if method in OF_TWO and count > 2:
        pytest.skip(f"{method} is of two parents")
    others = tuple(readers[role] for role in PARENTS[1:count])
    merge = Merge(readers["father"], others, readers[BASE], method, made(method), 3)
    moved = 0
    for name in readers["father"].disk_names:
        father = readers["father"].tensor(name)
        assert torch.equal(merge.tensor(name, (0.0,) * len(merge.roles)).view(torch.int16), father.view(torch.int16))
        moved += not torch.equal(merge.tensor(name, (0.25,) * len(merge.roles)), father)
    assert moved >= 3  # of five; the settings drop or select some elements of the small ones


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("family")
    return {
        role: pico_gemma4(root / role, seed=seed, dtype="bfloat16")
        for seed, role in enumerate(("father", "mother", "parent3", "base"))
    }


@pytest.fixture(scope="module")
def father(folders: dict[str, Path]) -> LoadedModel:
    """The father in memory; every test leaves it as it was."""
    return loaded(folders["father"])


@pytest.mark.parametrize("method", OF_SEVERAL)
def test_a_candidate_of_three_parents_has_the_tensors_of_the_child_on_disk(
    folders: dict[str, Path], father: LoadedModel, method: str
) -> None:
    """Whatever was applied before, and whether blends are kept or made anew."""
    sources = {role: father_source(survey(folder)) for role, folder in folders.items()}
    others, parts = (sources["mother"], sources["parent3"]), genes_of(father)
    roles = ("mother",) if method in JOINT else ("mother", "parent3")
    gene_parents = {f"{gene}.{role}": role for gene in parts for role in roles}
    genes = {gene: names for part, names in parts.items() for gene, names in ((f"{part}.{r}", names) for r in roles)}
    merge = Merge(sources["father"], others, sources["base"], method, made(method), 1, gene_parents=gene_parents)
    values = {gene: 0.1 * (k % 5) for k, gene in enumerate(genes)}
    for keep in (None, 0):
        candidate = Candidate(father.model, genes, merge, keep_bytes=keep)
        before = {name: value.clone() for name, value in candidate.parameters.items()}
        candidate.apply(dict.fromkeys(genes, 0.45))  # an earlier candidate must leave no trace
        candidate.apply(values)
        for part, names in parts.items():
            ratios = tuple(values[f"{part}.{role}"] for role in roles)
            for name in names:
                assert torch.equal(candidate.parameters[name], merge.tensor(name, ratios).float()), (keep, name)
        assert any(not torch.equal(candidate.parameters[name], own) for name, own in before.items())
        candidate.restore()
        assert all(torch.equal(candidate.parameters[name], own) for name, own in before.items())
