"""The page of one run."""

from __future__ import annotations

from darwin_mri.records.roles import FATHER, PARENTS
from darwin_mri.report.model import run_alerts, verdict
from darwin_mri.report.model.metadata import Metadata, gather
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.report.model.view import View, families
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
    slices,
    tiles,
)
from darwin_mri.report.sections.experts import expert_tables
from darwin_mri.report.sections.front import front_section
from darwin_mri.report.sections.glossary import glossary_section
from darwin_mri.report.sections.reading import reading_tables
from darwin_mri.report.sections.repair import repair_section
from darwin_mri.report.sections.words import word_tables
from darwin_mri.stats.vigor import parent_words
from darwin_mri.translation import say, say_count


def build_view(run: RunRecords) -> View:
    """Put a run into words.

    Args:
        run: the records that are there; each missing one is named where its part would stand.

    Returns:
        the view; the same run gives an equal view.
    """
    metadata = gather(run)
    comparison, genome = run.comparison, run.genome
    units = {info.name: info.unit for info in comparison.benchmarks if info.unit} if comparison else {}
    best = parent_words(len(run.parents)).best
    return View(
        name=run.name,
        subtitle=_subtitle(run, metadata),
        verdict=verdict.judge(run),
        alerts=run_alerts.find_alerts(run),
        tiles=tiles.tiles(comparison),
        sections=(
            *([provenance.parents_section(run)] if len(run.parents) > 2 else []),
            accuracy.scores_section(comparison),
            accuracy.contrasts_section(comparison),
            *([repair_section(run.repair, run.repaired, run.repaired_health)] if run.repair else []),
            heat_maps.scans_section(run.scans, run.pairs, run.parents),
            sensitivity.languages_section(run.scans, run.pairs, run.prior),
            layer_map.similarity_section(run.pairs),
            *([prior_check.validation_section(run.pair)] if run.pair and run.pair.validation else []),
            genes.genome_section(run.prior, genome, run.pairs),
            *([front_section(genome, len(run.ledger), units)] if genome and genome.front else []),
            search_course.evolution_section(run.ledger, genome),
            search_course.fresh_section(genome, comparison, run.manifest),
            slices.slices_section(comparison),
            item_wins.items_section(run.answers, comparison.headline if comparison else (), units),
            provenance.genealogy_section(run),
            provenance.provenance_section(run),
            provenance.limits_section(run),
            glossary_section(len(run.parents)),
        ),
        layers=(
            *(
                layer_tables.layer_table(scan, run.pairs, run.prior)
                if role == FATHER
                else layer_tables.layer_table(scan)
                for role, scan in run.scans.items()
            ),
            *expert_tables(*run.scans.values()),
            *reading_tables(run.pairs),
            *(table for table in word_tables(run.scans.values(), run.pairs) if not table.folded),
        ),
        missing=run_alerts.find_missing(run),
        metadata=metadata,
        tiles_note=tiles.how_to_read(
            comparison, say("Child, held-out items; the difference is against the {best}.", best=best)
        ),
        roles=families(len(run.parents)),
    )


def _subtitle(run: RunRecords, metadata: Metadata) -> str:
    refs = {kin.role: kin.ref for kin in metadata.kin}
    family = " × ".join(refs[role] for role in PARENTS if role in refs)
    genome = run.genome
    method = ""
    if genome is not None:
        method = say_count(
            "{method} over {count} gene ({space})",
            "{method} over {count} genes ({space})",
            len(genome.genes),
            method=genome.method,
            space=genome.space,
        )
    return "  ·  ".join(filter(None, (family, method, metadata.created[:10])))
