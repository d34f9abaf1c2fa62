"""How records look in a notebook: the report's own tables, from the moment this module is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from darwin_mri.records import Comparison, Genome, Health, Inputs, PairScan, Prior, Record, Scan
from darwin_mri.records.base import show_in_notebooks
from darwin_mri.report.model.elements import Figure, Section, Table
from darwin_mri.report.model.findings import frozen_sentence
from darwin_mri.report.renderers.html import render_tables
from darwin_mri.report.sections import accuracy, genes, layer_map, layer_tables, provenance
from darwin_mri.report.sections.experts import expert_tables
from darwin_mri.report.sections.reading import reading_tables
from darwin_mri.report.sections.words import pair_tables, scan_tables

R = TypeVar("R", bound=Record)


def _tables(section: Section) -> tuple[Table, ...]:
    """Every table of a section, also those of its figures."""
    tables: list[Table] = []
    for block in section.blocks:
        if isinstance(block, Table):
            tables.append(block)
        elif isinstance(block, Figure):
            tables += block.tables
    return tuple(tables)


def _show(kind: type[R], tables: Callable[[R], tuple[Table, ...]], heading: Callable[[R], str] = lambda _: "") -> None:
    show_in_notebooks(kind, lambda record: render_tables(tables(record), heading(record)))


_show(
    Comparison,
    lambda record: (
        accuracy.score_table(record),
        accuracy.contrast_table(record),
        *([accuracy.limits_table(record.limits)] if record.limits else []),
    ),
    lambda record: record.vigor.sentence if record.vigor else "",
)
_show(Scan, lambda record: (layer_tables.layer_table(record), *expert_tables(record), *scan_tables(record)))
_show(
    PairScan,
    lambda record: (
        *_tables(layer_map.similarity_section({record.parent: record})),
        *reading_tables({record.parent: record}),
        *pair_tables(record.parent, record),
    ),
)
_show(Prior, lambda record: _tables(genes.genome_section(record, None)), frozen_sentence)
_show(Genome, lambda record: _tables(genes.genome_section(None, record)))
_show(Health, lambda record: (provenance.health_table(record),))
_show(Inputs, lambda record: (provenance.inputs_table(record),))
