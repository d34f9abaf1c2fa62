"""The page of one run."""

from __future__ import annotations

from darwin_mri.report import formats
from darwin_mri.report.model import run_alerts, verdict
from darwin_mri.report.model.metadata import Metadata, gather
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.report.model.view import View
from darwin_mri.report.sections import (
    accuracy,
    genes,
    heat_maps,
    item_wins,
    layer_map,
    layer_tables,
    prior_check,
    provenance,
    search_course,
    sensitivity,
)
from darwin_mri.report.sections.experts import expert_tables
from darwin_mri.report.sections.glossary import glossary_section


def build_view(run: RunRecords) -> View:
    """Put a run into words.

    Args:
        run: the records that are there; each missing one is named where its part would stand.

    Returns:
        the view; the same run gives an equal view.
    """
    metadata = gather(run)
    comparison, genome = run.comparison, run.genome
    return View(
        name=run.name,
        subtitle=_subtitle(run, metadata),
        verdict=verdict.judge(run),
        alerts=run_alerts.find_alerts(run),
        tiles=accuracy.tiles(comparison),
        sections=(
            accuracy.scores_section(comparison),
            accuracy.contrasts_section(comparison),
            heat_maps.scans_section(run.father, run.mother, run.pair),
            sensitivity.languages_section(run.father, run.mother, run.pair, run.prior),
            layer_map.similarity_section(run.pair),
            *([prior_check.validation_section(run.pair)] if run.pair and run.pair.validation else []),
            genes.genome_section(run.prior, genome),
            search_course.evolution_section(run.ledger, genome),
            search_course.fresh_section(genome, comparison, run.manifest),
            accuracy.slices_section(comparison),
            item_wins.items_section(run.answers, comparison.headline if comparison else ()),
            provenance.genealogy_section(run),
            provenance.provenance_section(run),
            provenance.limits_section(run),
            glossary_section(),
        ),
        layers=(
            *([layer_tables.layer_table(run.father, run.pair, run.prior)] if run.father else []),
            *([layer_tables.layer_table(run.mother)] if run.mother else []),
            *expert_tables(run.father, run.mother),
        ),
        missing=run_alerts.find_missing(run),
        metadata=metadata,
    )


def _subtitle(run: RunRecords, metadata: Metadata) -> str:
    refs = {kin.role: kin.ref for kin in metadata.kin}
    family = " × ".join(refs[role] for role in ("father", "mother") if role in refs)
    genome = run.genome
    method = f"{genome.method} over {formats.plural(len(genome.genes), 'gene')} ({genome.space})" if genome else ""
    return "  ·  ".join(filter(None, (family, method, metadata.created[:10])))
