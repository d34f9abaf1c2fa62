"""The published presets of a run's genes, from the scans of its parents."""

from __future__ import annotations

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.mri import GeneTensors, preset_ratios
from darwin_mri.problem.scans import Scans
from darwin_mri.problem.space import MergeSpace

PUBLISHED_PRESETS = ("v5", "v6", "paper")


def published_ratios(preset: str, space: MergeSpace, father: LoadedModel, scans: Scans) -> dict[str, float]:
    """What a published preset says of every gene; several other parents share what each would have alone.

    Args:
        preset: ``v5``, ``v6`` or ``paper``.
        space: of plain ratios.
        father: names the tensors inside its layers.
        scans: of all parents.

    Returns:
        Gene -> ratio; genes that the preset says nothing of are left out.
    """
    return {
        gene: share / len(scans.others)
        for role, (other, pair) in scans.by_parent.items()
        for gene, share in preset_ratios(
            preset, scans.father, other, pair.layer_map, _gene_tensors(space, father, role)
        ).items()
    }


def _gene_tensors(space: MergeSpace, father: LoadedModel, role: str) -> dict[str, GeneTensors]:
    """The tensors of one parent's genes by their names inside the layer, as scans name them."""
    prefix = father.anatomy.prefix
    return {
        gene.name: GeneTensors(gene.layer, tuple(name.removeprefix(f"{prefix}.{gene.layer}.") for name in gene.tensors))
        for gene in space.space.genes
        if gene.parent == role
    }
