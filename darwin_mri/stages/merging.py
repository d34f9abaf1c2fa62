"""From a config and its parents to the child's possible tensors: which may change, by which gene, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from darwin_mri.breeding import Space, make_space
from darwin_mri.checkpoints import ModelSource
from darwin_mri.config import Config
from darwin_mri.errors import InputError
from darwin_mri.merging import Donors, FolderSource, Merge, build_donors
from darwin_mri.records import PairScan, Scan
from darwin_mri.stages.parents import Loaded, folder_source


@dataclass(frozen=True)
class Breed:
    """What the search varies: a space of genes and the merge that turns a ratio into a tensor."""

    space: Space
    merge: Merge
    father: FolderSource
    gate_rms: tuple[float, ...] = ()  # what a cross-architecture donor was built with; kept in the genome

    def tensors(self) -> dict[str, tuple[str, ...]]:
        return {gene.name: gene.tensors for gene in self.space.genes}

    def shuffled(self) -> Breed:
        """The null child's version: the mother's contribution with its values shuffled within each tensor."""
        m = self.merge
        merge = Merge(
            m.father,
            m.mother,
            m.base,
            method=m.method,
            density=m.density,
            rescale=m.rescale,
            seed=m.seed,
            shuffle_donor=True,
        )
        return replace(self, merge=merge)


def father_tensors(father: Loaded) -> FolderSource:
    return folder_source(father.source, [name for name, _ in father.model.named_parameters()])


def breed_siblings(config: Config, father: Loaded, mother: ModelSource, base: ModelSource | None) -> Breed:
    """Same architecture: every parameter of the father may change; mother (and base) must have it in the same shape."""
    names = [name for name, _ in father.model.named_parameters()]
    father_source, mother_source = father_tensors(father), folder_source(mother, names)
    base_source = None if base is None else folder_source(base, names)
    _same_shapes(names, father_source, mother_source, mother.ref)
    if base is not None and base_source is not None:
        _same_shapes(names, father_source, base_source, base.ref)
    merge = Merge(
        father_source, mother_source, base_source,
        method=config.method, density=config.density, rescale=config.rescale, seed=config.seed,
    )  # fmt: skip
    return Breed(make_space(config.search.space, father.anatomy, names), merge, father_source)


def _same_shapes(names: list[str], father: FolderSource, other: FolderSource, ref: str) -> None:
    for name in names:
        ours, theirs = father.reader.shape(father.disk_names[name]), other.reader.shape(other.disk_names[name])
        if tuple(ours) != tuple(theirs):
            raise InputError(
                f"{ref} is no sibling of the father: {name} has shape {tuple(theirs)}, the father's {tuple(ours)}; "
                "for another architecture use method raw or folded"
            )


def breed_cross(config: Config, father: Loaded, mother: Loaded, mother_scan: Scan, pair: PairScan) -> Breed:
    """Cross architecture: only FFN matrices change, toward donors built once from the mother along the layer map."""
    gate_rms = tuple(layer.activation.get("a", {}).get("all", {}).get("gate_rms", 1.0) for layer in mother_scan.layers)
    return cross(config, father, mother, pair.layer_map, gate_rms)


def cross(config: Config, father: Loaded, mother: Loaded, layer_map: Sequence[int], gate_rms: Sequence[float]) -> Breed:
    """The same from what a genome record keeps: its layer map and the mother's measured gate spread."""
    donors: Donors = build_donors(
        config.method, father.model, father.anatomy, mother.model, mother.anatomy, layer_map, gate_rms
    )
    source = father_tensors(father)
    merge = Merge(source, donors, None, method="linear", density=1.0, rescale=config.rescale, seed=config.seed)
    return Breed(make_space("ffn", father.anatomy, donors.tensors), merge, source, tuple(gate_rms))
