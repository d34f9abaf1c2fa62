"""Directions of genes: the same whether they are kept or computed again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from darwin_mri.checkpoints import find_model, load
from darwin_mri.merging.merge import Merge
from darwin_mri.mri.blended import Resident
from darwin_mri.problem.directions import FiledDirection, Shelf, filed_directions
from darwin_mri.problem.space import sibling_space
from tests.family import small


def test_directions_are_the_same_on_every_shelf(family: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    father = load(find_model(str(family["father"])), "", device="cpu", dtype="float32")
    sister, base = find_model(str(family["sister"])), find_model(str(family["base"]))
    for method in ("task_arithmetic", "dare_ties", "slerp"):
        ancestor = None if method == "slerp" else base
        space = sibling_space(small(family, method=method), father, (sister,), ancestor)
        roomy, none = (filed_directions(space, father, 0.5, Shelf(father.device, room)) for room in (None, 0))
        names = [(gene, name) for gene, own in roomy.items() for name in own]
        assert len(names) == len(father.tensor_names)
        for gene, name in names:
            kept, computed = roomy[gene][name], none[gene][name]
            assert isinstance(kept, FiledDirection) and isinstance(computed, FiledDirection)
            assert torch.equal(kept.whole(), computed.whole())
            rows = torch.arange(0, len(kept.whole()), 2)
            assert torch.equal(kept.rows(rows), computed.rows(rows))
            assert torch.equal(Resident(kept.whole()).rows(rows), kept.rows(rows))
    computed_once: list[str] = []
    plain = Merge.direction

    def count(self: Merge, name: str, *args: object) -> torch.Tensor:
        computed_once.append(name)
        return plain(self, name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Merge, "direction", count)
    whole = next(iter(next(iter(roomy.values())).values()))
    assert isinstance(whole, FiledDirection)
    whole.whole()
    assert not computed_once  # it is kept
