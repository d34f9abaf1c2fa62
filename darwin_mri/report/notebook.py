"""How records look in a notebook: the report's own tables. Importing this module tells the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from darwin_mri.records import Comparison, Genome, Health, Inputs, PairScan, Prior, Record, Scan
from darwin_mri.records.base import show_in_notebooks
from darwin_mri.report import genomes, languages, layers, origins, scores, similarity
from darwin_mri.report.elements import Figure, Section, Table
from darwin_mri.report.html import render_tables

R = TypeVar("R", bound=Record)


def _tables(section: Section) -> tuple[Table, ...]:
    """Every table of a section, also those of its figures."""
    found: list[Table] = []
    for block in section.blocks:
        if isinstance(block, Table):
            found.append(block)
        elif isinstance(block, Figure):
            found += block.tables
    return tuple(found)


def _show(kind: type[R], tables: Callable[[R], tuple[Table, ...]], heading: Callable[[R], str] = lambda _: "") -> None:
    show_in_notebooks(kind, lambda record: render_tables(tables(record), heading(record)))


_show(
    Comparison,
    lambda record: (scores.score_table(record), scores.contrast_table(record)),
    lambda record: record.vigor.sentence if record.vigor else "",
)
_show(Scan, lambda record: (layers.layer_table(record),))
_show(PairScan, lambda record: _tables(similarity.similarity_section(record)))
_show(Prior, lambda record: _tables(genomes.genome_section(record, None)), languages.frozen_sentence)
_show(Genome, lambda record: _tables(genomes.genome_section(None, record)))
_show(Health, lambda record: (origins.health_table(record),))
_show(Inputs, lambda record: (origins.inputs_table(record),))
