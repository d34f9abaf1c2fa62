"""From a config and its parents to the child's possible tensors: which may change, by which gene, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from darwin_mri.benchmarks import Item
from darwin_mri.breeding import DarwinSpace, SearchSpace, Space, make_space
from darwin_mri.checkpoints import ModelSource
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import Config
from darwin_mri.errors import ConfigError
from darwin_mri.merging import DonorFolder, FolderSource, Merge, Settings, keep_donors, verify_donors
from darwin_mri.merging.arms import Context, Side, build_donors
from darwin_mri.merging.fits import require_siblings
from darwin_mri.merging.settings import Exceptions
from darwin_mri.nursery.prompts import world_prompts
from darwin_mri.nursery.world import WORLD_SEED, World
from darwin_mri.probes import Probe, load_probes, select_probes
from darwin_mri.records import DonorRecord, Prior
from darwin_mri.stages.parents import Loaded, folder_source
from darwin_mri.stages.run import Progress, Run

PUBLISHED = ("darwin14", "darwin-v6")
SPARSE = ("ties", "dare_linear", "dare_ties", "della")  # methods that keep a density of each task vector
DONORS = "state/donors"  # in the run folder; never published, and verified by sha256 against donors.json


@dataclass(frozen=True)
class Breed:
    """What the search varies: a space of genes and the merge that turns a ratio into a tensor.

    ``space`` has plain ratios, which the scan's prior speaks of; ``searched`` is the space the search runs in, the same unless
    the config names a published genome.
    """

    space: Space
    merge: Merge
    father: FolderSource
    searched: SearchSpace | None = None
    gate_rms: tuple[float, ...] = ()  # the mother's measured gate spread, which the arm folded needs
    donors: DonorRecord | None = None  # of a cross-architecture breed

    @property
    def genome(self) -> SearchSpace:
        return self.searched or self.space

    def tensors(self) -> dict[str, tuple[str, ...]]:
        """Gene of the search -> tensors it is the ratio of."""
        return self.genome.owners()

    def exceptions(self, genes: Mapping[str, float]) -> Exceptions | None:
        """What tensors get beside their gene's ratio, by their names on disk; None where the merge's own exceptions say it."""
        values = self.genome.values(genes)
        if not values:
            return None
        return {**{self.merge.on_disk(name): own for name, own in values.items()}, **self.merge.exceptions}

    def searching(self, config: Config, prior: Prior, layers: int) -> Breed:
        """The breed with the space that the config searches in."""
        if config.search.space not in PUBLISHED:
            return self
        sparse = self.merge.method in SPARSE
        return replace(self, searched=DarwinSpace(config.search.space, self.space, prior, layers, sparse))

    def shuffled(self) -> Breed:
        """The null child's version: the mother's contribution with its values shuffled within each tensor."""
        return replace(self, merge=self.merge.shuffled())

    def recorded(self, config: Config, genes: Mapping[str, float]) -> dict[str, Any]:
        """What a genome must say so that ``merge`` writes the same child from it: fields of the record."""
        on_disk = {gene: tuple(self.merge.on_disk(name) for name in names) for gene, names in self.tensors().items()}
        own = {"density": config.density, "density_father": config.density_father, "rescale": config.rescale}
        made = {} if self.donors is None else {layer.file: layer.sha256 for layer in self.donors.layers}
        return {
            "settings": {**own, "upper": config.upper},
            "exceptions": self.exceptions(genes) or config.tensors,
            "tensors": on_disk,
            "gate_rms": self.gate_rms,
            "donors": made,
            "arm": arm_settings(config) if made else {},
        }


def father_tensors(father: Loaded) -> FolderSource:
    return folder_source(father.source, [name for name, _ in father.model.named_parameters()])


def settings(config: Config) -> Settings:
    """The operator's settings of a config."""
    return Settings(density=config.density, density_father=config.density_father, rescale=config.rescale)


def _plain(config: Config) -> str:
    """The space of plain ratios behind the one that is searched."""
    return "layers" if config.search.space in PUBLISHED else config.search.space


def breed_siblings(config: Config, father: Loaded, mother: ModelSource, base: ModelSource | None) -> Breed:
    """Same architecture: every parameter of the father may change; mother (and base) must have it in the same shape.

    Raises:
        InputError: mother or base is no sibling of the father; says in what they differ.
    """
    names = [name for name, _ in father.model.named_parameters()]
    own = survey(father.source.folder)
    for other in (mother, *([base] if base else [])):
        require_siblings(own, survey(other.folder), other.ref)
    source = father_tensors(father)
    given = None
    if base is not None:
        given = source if base.folder == father.source.folder else folder_source(base, names)
    merge = Merge(
        source, folder_source(mother, names), given,
        config.method, settings(config), config.seed, config.tensors,
    )  # fmt: skip
    return Breed(make_space(_plain(config), father.anatomy, names), merge, source)


def breed_cross(
    run: Run, father: Loaded, mother: Loaded, layer_map: Sequence[int], gate_rms: tuple[float, ...],
    search_items: Mapping[str, Sequence[Item]], progress: Progress,
) -> Breed:  # fmt: skip
    """Cross architecture: only FFN matrices change, toward donors built once from the mother and kept with the run.

    The run gets ``donors.json``, and the tensors in ``state/donors``; a resumed run that finds them whole uses them.
    """
    folder, record_path = run.path(DONORS), run.path("donors.json")
    record = DonorRecord.load(record_path) if run.keep and record_path.is_file() else None
    if record is None or record.arm != run.config.method or not verify_donors(folder, record):
        record = make_donors(folder, run.config, father, mother, layer_map, gate_rms, search_items, progress)
        record.save(record_path)
    return cross(run.config, father, folder, record, gate_rms)


def cross(config: Config, father: Loaded, folder: Path, record: DonorRecord, gate_rms: tuple[float, ...]) -> Breed:
    """The breed of donors that lie in a folder."""
    donors, source = DonorFolder(folder), father_tensors(father)
    merge = Merge(source, donors, None, "replace" if donors.replacing else "linear", Settings(), config.seed)
    return Breed(make_space("ffn", father.anatomy, donors.names()), merge, source, gate_rms=gate_rms, donors=record)


def make_donors(
    folder: Path, config: Config, father: Loaded, mother: Loaded, layer_map: Sequence[int], gate_rms: tuple[float, ...],
    search_items: Mapping[str, Sequence[Item]], progress: Progress,
) -> DonorRecord:  # fmt: skip
    """Build the donors of a config's arm into a folder. The same inputs give the same bytes on one machine."""
    sides = [Side(parent.model, parent.tokenizer, parent.anatomy) for parent in (father, mother)]
    context = Context(
        sides[0], sides[1], tuple(layer_map), config.arm, config.seed, arm_texts(config), arm_prompts(config, search_items),
        config.prior.protect, gate_rms,
    )  # fmt: skip
    source = father_tensors(father)
    with progress.stage(f"donors ({config.method})", len(context.pairs())) as advance, torch.inference_mode():

        def counted():
            for donor in build_donors(config.method, context):
                yield donor
                advance(1)

        return keep_donors(folder, counted(), source.dtype, arm=config.method)


def arm_texts(config: Config) -> tuple[Probe, ...]:
    """What both parents read while donors are built."""
    folder = config.arm.texts or config.scan.probes
    probes = load_probes(Path(folder) if folder else None)
    return select_probes(probes, config.scan.languages, config.arm.documents, config.seed)


def arm_prompts(config: Config, search_items: Mapping[str, Sequence[Item]]) -> tuple[Probe, ...]:
    """What the parents complete: a folder's texts, else the questions of the search items, which the search sees anyway."""
    if config.arm.prompts:
        return named_prompts(config.arm.prompts, config.arm.forms, config.seed)
    return tuple(
        Probe(
            item.context, "ko" if any("\uac00" <= c <= "\ud7a3" for c in item.context) else "en", "knowledge", item.key
        )
        for name in sorted(search_items)
        for item in search_items[name]
    )


def named_prompts(where: str, forms: int, seed: int) -> tuple[Probe, ...]:
    """``nursery`` or ``nursery@SEED``: questions about everything in that world, answers left out; else a folder's texts."""
    kind, _, world = where.partition("@")
    if kind != "nursery":
        return load_probes(Path(where))
    if world and not world.isdecimal():
        raise ConfigError(f"prompts: {where} names no world: give its seed, as in nursery@{WORLD_SEED}")
    made = world_prompts(World(int(world or WORLD_SEED)), forms, seed)
    return tuple(Probe(text, language, "knowledge", name, name.rpartition("-")[0]) for text, language, name in made)


def arm_settings(config: Config) -> dict[str, object]:
    """The parts of a config that donors depend on, without folders: kept in the genome, to build them again."""
    parts = config.model_dump(
        mode="json", include={"arm": True, "scan": {"languages", "probes"}, "prior": {"protect"}, "bench": {"tasks", "search_share"},
                              "search": {"items"}, "fitness": True},
    )  # fmt: skip
    for section, key in (("arm", "texts"), ("arm", "prompts"), ("scan", "probes")):
        if parts[section][key]:
            parts[section][key] = Path(parts[section][key]).name
    return parts
