"""What the search varies: genes, the tensors they move, and the merge that turns a ratio into a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from darwin_mri.breeding import DarwinSpace, SearchSpace, Space, make_space
from darwin_mri.checkpoints import LoadedModel, ModelSource
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import Config
from darwin_mri.merging import DonorFolder, FolderSource, Merge, Settings
from darwin_mri.merging.compatibility import tower_tensors
from darwin_mri.merging.folder_sources import father_source, sibling_source
from darwin_mri.merging.moments import ParentMoments
from darwin_mri.merging.settings import Exceptions, make_settings
from darwin_mri.problem.moments import open_magnitudes, open_moments
from darwin_mri.records import DonorRecord, Prior
from darwin_mri.records.genome import TOWER

PUBLISHED = ("darwin14", "darwin-v6")
SPARSE = ("ties", "dare_linear", "dare_ties", "della")  # methods that keep a density of each task vector


@dataclass(frozen=True)
class MergeSpace:
    """Genes, tensors and the merge of one set of parents.

    Attributes:
        space: of plain ratios, which the scan's prior is about.
        merge: turns ratios into tensors.
        searched: the space that the search runs in where the config names a published genome; ``space`` when None.
        gate_rms: per mother layer the measured rms of its gate, which the arm ``folded`` needs.
        donors: the record of the donors, across architectures.
        null_moments: those of texts whose words were shuffled, where the merge takes measured moments.
        tower: tensors beside the text model, by their names on disk, that the child on disk has at ``tower_ratio``;
            the model in memory need not have them.
    """

    space: Space
    merge: Merge
    searched: SearchSpace | None = None
    gate_rms: tuple[float | None, ...] = ()
    donors: DonorRecord | None = None
    null_moments: ParentMoments | None = None
    tower: tuple[str, ...] = ()

    @property
    def genome(self) -> SearchSpace:
        """The space that the search runs in."""
        return self.searched or self.space

    def tensors(self) -> dict[str, tuple[str, ...]]:
        """Gene of the search -> tensors it is the ratio of."""
        return self.genome.owners()

    def written_tensors(self) -> dict[str, tuple[str, ...]]:
        """As ``tensors``, with those that only the child on disk has."""
        return {**self.tensors(), **(dict.fromkeys(tower_genes(self.merge.roles), self.tower) if self.tower else {})}

    def written_genes(self, genes: Mapping[str, float]) -> dict[str, float]:
        """The genes of a child on disk: the tower follows the text, since no text item tells how good it is.

        Its ratio of each other parent is the mean of the ratios of the text's genes of that parent.
        """
        if not self.tower:
            return dict(genes)
        ratios, parents = self.genome.ratios(genes), self.space.gene_parents()
        towers = {
            tower: float(np.mean([ratio for gene, ratio in ratios.items() if parents[gene] == role]))
            for tower, role in tower_genes(self.merge.roles).items()
        }
        return {**genes, **towers}

    def exceptions(self, genes: Mapping[str, float]) -> Exceptions | None:
        """What tensors get beside their gene's ratio, by their names on disk; None where the merge's own apply."""
        values = self.genome.values(genes)
        if not values:
            return None
        return {**{self.merge.on_disk(name): own for name, own in values.items()}, **self.merge.exceptions}

    def for_search(self, config: Config, prior: Prior, layers: int) -> MergeSpace:
        """The same with the space that the config searches in.

        Args:
            config: names the space.
            prior: which a published genome mixes its genes with.
            layers: of the father.

        Returns:
            The merge space whose ``genome`` is searched.
        """
        name = config.search.space
        if name not in PUBLISHED:
            return self
        sparse = self.merge.method in SPARSE
        return replace(self, searched=DarwinSpace(name, self.space, prior, layers, sparse))

    @property
    def null_merges(self) -> dict[str, Merge]:
        """Null -> the merge that its child is made by, with the winner's genes.

        ``shuffled-donor``: the other parents' contributions with their values shuffled within each tensor. With
        measured moments: ``identity-moments`` without them, ``exchanged-moments`` with each parent's those of the next
        one, ``shuffled-moments`` with those of texts whose words were shuffled.
        """
        merges = {"shuffled-donor": self.merge.shuffled()}
        if self.merge.moments is not None:
            merges["identity-moments"] = replace(self.merge, method="linear", settings=Settings(), moments=None)
            merges["exchanged-moments"] = replace(self.merge, moments=self.merge.moments.exchanged())
            if self.null_moments is not None:
                merges["shuffled-moments"] = replace(self.merge, moments=self.null_moments)
        return merges

    def for_null(self, null: str) -> MergeSpace:
        """The same with the merge that a null child is made by; unchanged for nulls that differ in genes alone."""
        return replace(self, merge=self.null_merges.get(null, self.merge))

    def genome_fields(self, config: Config, genes: Mapping[str, float]) -> dict[str, Any]:
        """What a genome's record must hold so that ``merge`` writes the same child from it."""
        on_disk = {
            gene: tuple(self.merge.on_disk(name) for name in names) for gene, names in self.written_tensors().items()
        }
        donors = {} if self.donors is None else {layer.file: layer.sha256 for layer in self.donors.layers}
        return {
            "settings": {**config_settings(config), "upper": config.upper},
            "exceptions": self.exceptions(genes) or config.tensors,
            "tensors": on_disk,
            "gene_parents": dict(self.merge.gene_parents) if len(self.merge.roles) > 1 else {},
            "gate_rms": self.gate_rms,
            "donors": donors,
            "moments": {} if self.merge.moments is None else self.merge.moments.digests(tuple(config.roles)),
            "arm": arm_settings(config) if donors else {},
        }


def config_settings(config: Config) -> dict[str, float | str]:
    """The operator's settings as a config gives them."""
    own = {"density": config.density, "density_father": config.density_father, "rescale": config.rescale}
    return {**own, **config.settings}


def tower_genes(roles: Sequence[str]) -> dict[str, str]:
    """The genes of the towers -> the parent whose share each is."""
    return {TOWER if len(roles) == 1 else f"{TOWER}.{role}": role for role in roles}


def sibling_space(
    config: Config,
    father: LoadedModel,
    others: Sequence[ModelSource],
    base: ModelSource | None,
    folder: Path | None = None,
) -> MergeSpace:
    """The space of parents of one architecture: every parameter of the father may change.

    Args:
        config: method, settings and space.
        father: in memory, for its parameters' names and its layers.
        others: the other parents.
        base: common ancestor, or None.
        folder: of the run, with the moments that the method may take.

    Returns:
        The merge space.

    Raises:
        InputError: another parent or the base is no sibling of the father; says in what they differ.
    """
    known = survey(father.source.folder)
    own = father_source(known)
    names, roles = movable_names(father, own), config.ratio_roles
    tower = ()
    if config.towers == "merge":
        refs = {source.ref: survey(source.folder) for source in (*others, *([base] if base else []))}
        tower = tower_tensors(known, refs)
        own = own.with_names(tower)
    ancestor = None
    if base is not None:
        ancestor = own if base.folder == father.source.folder else sibling_source(known, base, own)
    settings = make_settings(config_settings(config))
    name = "layers" if config.search.space in PUBLISHED else config.search.space or "layers"
    space = make_space(name, father.anatomy, names, roles)
    siblings = tuple(sibling_source(known, source, own) for source in others)
    merge = Merge(
        own,
        siblings,
        ancestor,
        config.method,
        settings,
        config.seed,
        config.tensors,
        space.gene_parents() | (tower_genes(roles) if tower else {}),
        open_moments(config, folder, (own, *siblings)),
        open_magnitudes(config, folder, own, ancestor),
    )
    null_moments = open_moments(config, folder, (own, *siblings), shuffled=True)
    return MergeSpace(space, merge, null_moments=null_moments, tower=tower)


def movable_names(father: LoadedModel, own: FolderSource) -> list[str]:
    """What of the father may change: the floating tensors of its text model, parts of assembled ones among them."""
    parts = [name for assembly in own.assemblies for name in assembly.names]
    names = [name for name in (*father.tensor_names, *parts) if name in own.disk_names]
    return [name for name in names if own.dtype(name).is_floating_point]


def donor_space(
    config: Config, father: LoadedModel, folder: Path, record: DonorRecord, gate_rms: tuple[float | None, ...] = ()
) -> MergeSpace:
    """The space of an arm, whose donors lie in a folder: only FFN matrices change.

    Args:
        config: of the run.
        father: in memory.
        folder: of the donors.
        record: what the folder holds.
        gate_rms: as ``MergeSpace`` keeps it.

    Returns:
        The merge space.
    """
    donors, own = DonorFolder(folder), father_source(survey(father.source.folder))
    merge = Merge(own, (donors,), None, "replace" if donors.replacing else "linear", Settings(), config.seed)
    return MergeSpace(make_space("ffn", father.anatomy, donors.names()), merge, gate_rms=gate_rms, donors=record)


def arm_settings(config: Config) -> dict[str, object]:
    """The parts of a config that donors depend on, without folders: kept in the genome, to build them again."""
    parts = config.model_dump(
        mode="json",
        include={
            "arm": True,
            "scan": {"languages", "probes"},
            "prior": {"protect"},
            "bench": {"tasks", "search_share"},
            "search": {"items"},
            "fitness": True,
        },
    )
    for section, key in (("arm", "texts"), ("arm", "prompts"), ("scan", "probes")):
        if parts[section][key]:
            parts[section][key] = Path(parts[section][key]).name
    return parts
