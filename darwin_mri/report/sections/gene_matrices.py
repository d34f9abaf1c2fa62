"""The genes of several parents as matrices of parents by layers: what was found, the prior, and the response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from darwin_mri.records import Genome, PairScan, PriorGene, Response
from darwin_mri.records.roles import PARENTS, role_label
from darwin_mri.report import formats
from darwin_mri.report.model.elements import Figure, Row, Table, table
from darwin_mri.report.model.gene_rows import Cell, Matrix, found_ratio, gene_matrix
from darwin_mri.report.sections.parent_matrix import Heading, Plane, Value, matrix_figure, matrix_table
from darwin_mri.translation import labels, later, say

Kinds = Mapping[str, Sequence[PriorGene]]  # component -> genes
FROZEN = later("frozen")


def found_figure(kinds: Kinds, genome: Genome | None, upper: float) -> Figure | None:
    """The ratio of every gene that the search found, and per layer what all other parents have together.

    Args:
        kinds: component -> genes.
        genome: what the search found.
        upper: the largest ratio it could use.

    Returns:
        the figure; None without a genome.
    """
    if genome is None:
        return None
    matrices = {kind: gene_matrix(genes, genome) for kind, genes in kinds.items()}
    top = max([upper, *(ratio for cells in matrices.values() for ratio in _ratios(cells))])
    planes = [
        Plane(
            say("{kind} genes", kind=kind),
            {role: {i: _found(cell) for i, cell in row.items()} for role, row in cells.items()},
            top,
        )
        for kind, cells in matrices.items()
    ]
    heading = Heading(
        "fig-genome",
        say("Share of each other parent per father layer, as the search found it"),
        say(
            "Other parents as rows, father layers as columns; brighter is a larger share. Hatched cells are frozen:"
            " the father's own.",
        ),
        say("Hatched: frozen, kept as the father's. What the other parents have together is in the table."),
    )
    shown = matrix_table(say("Found ratios"), planes)
    return matrix_figure(heading, planes, formats.fixed, tables=(_with_sum(shown, matrices),))


def _ratios(cells: Matrix) -> list[float]:
    return [cell.found for row in cells.values() for cell in row.values() if cell.found is not None]


def _found(cell: Cell) -> Value:
    if cell.gene.frozen:
        return Value(None, say(FROZEN), frozen=True)
    return Value(cell.found, formats.fixed(cell.found, 3))


def _with_sum(shown: Table, matrices: Mapping[str, Matrix]) -> Table:
    """The table of found ratios with a last column for their sum over the parents."""
    sums: list[str] = []
    for cells in matrices.values():
        for layer in sorted({layer for row in cells.values() for layer in row}):
            found = [row[layer].found for row in cells.values() if layer in row]
            sums.append(formats.ABSENT if None in found else formats.fixed(sum(v for v in found if v is not None), 3))
    rows = tuple(replace(row, cells=(*row.cells, text)) for row, text in zip(shown.rows, sums, strict=True))
    numeric = (*shown.numeric, len(shown.columns))
    return replace(shown, columns=(*shown.columns, say("together")), rows=rows, numeric=numeric)


def prior_figure(kinds: Kinds, genome: Genome | None, upper: float) -> Figure:
    """Where the search started and how far the evidence could be trusted; the table has every number of every gene.

    Args:
        kinds: component -> genes.
        genome: what the search found, for the table.
        upper: the largest ratio the search could use.

    Returns:
        the figure.
    """
    planes = []
    for kind, genes in kinds.items():
        cells = gene_matrix(genes, genome)
        means = {role: {i: _mean(cell) for i, cell in row.items()} for role, row in cells.items()}
        trusts = {
            role: {i: Value(cell.gene.trust, formats.fixed(cell.gene.trust)) for i, cell in row.items()}
            for role, row in cells.items()
        }
        planes += [
            Plane(say("{kind}: prior mean", kind=kind), means, upper),
            Plane(say("{kind}: trust", kind=kind), trusts, 1.0),
        ]
    heading = Heading(
        "fig-prior",
        say("Prior of each other parent's share per father layer, and the trust in its evidence"),
        say(
            "Other parents as rows, father layers as columns; brighter is a larger share, or more trust. Hatched cells"
            " are frozen.",
        ),
        say("Hatched: frozen. Trust: how reliable the evidence for the gene is, 0 to 1."),
    )
    legend = ("0", say("mean {upper}, trust 1", upper=formats.fixed(upper)))
    return matrix_figure(heading, planes, formats.fixed, legend=legend, tables=(_prior_table(kinds, genome),))


def _mean(cell: Cell) -> Value:
    gene = cell.gene
    if gene.frozen:
        return Value(None, say(FROZEN), frozen=True)
    return Value(gene.mean, f"{formats.fixed(gene.mean, 3)} ± {formats.fixed(gene.sigma, 3)}")


def _prior_table(kinds: Kinds, genome: Genome | None) -> Table:
    rows, last = [], ""
    for name, gene in _by_parent(kinds):
        found = found_ratio(gene, genome)
        moved = None if found is None or not gene.sigma or gene.frozen else (found - gene.mean) / gene.sigma
        cells = (
            name,
            str(gene.layer),
            formats.fixed(gene.mean, 3),
            formats.fixed(gene.sigma, 3),
            formats.fixed(gene.trust),
            formats.fixed(found, 3),
            formats.signed(moved, 1),
            say(FROZEN) if gene.frozen else "",
        )
        rows.append(Row(cells, gene.parent, strong=gene.frozen, group=name != last))
        last = name
    columns = labels("parent", "layer", "prior mean", "sigma", "trust", "found", "moved, sigmas", "frozen")
    return table(say("Prior and found ratio of every gene"), columns, rows, text=(0, 7), folded=True)


def response_figure(kinds: Kinds, pairs: Mapping[str, PairScan] | None) -> Figure | None:
    """How the fitness loss responds to each gene alone; None where it was not measured."""
    found = {r.gene: r for pair in (pairs or {}).values() for r in pair.response if r.loss == "fitness"}
    ratios = {formats.fixed(pair.reference_ratio) for pair in (pairs or {}).values()}
    planes = []
    for kind, genes in kinds.items():
        cells = gene_matrix(genes, None)
        values = {
            role: {i: _response(found[cell.gene.name]) for i, cell in row.items() if cell.gene.name in found}
            for role, row in cells.items()
        }
        known = {role: row for role, row in values.items() if row}
        planes += [Plane(say("{kind} genes", kind=kind), known)] if known else []
    if not planes:
        return None
    heading = Heading(
        "fig-response",
        say(
            "Change of the fitness loss when one gene alone is at ratio {ratios}",
            ratios=formats.listing(sorted(ratios)),
        ),
        say(
            "Other parents as rows, father layers as columns. Blue: the loss falls, the blend helps; orange: it rises."
        ),
        say("Blue helps, orange harms. Slopes: of the loss at the father and at that ratio."),
    )
    tables = (_response_table(kinds, found),)
    return matrix_figure(heading, planes, lambda v: formats.signed(v, 3), diverging=True, tables=tables)


def _response(response: Response) -> Value:
    slopes = say(
        "slopes {slope}, {reference}",
        slope=formats.signed(response.slope, 3),
        reference=formats.signed(response.slope_reference, 3),
    )
    return Value(response.harm, _change(response), more=f", {slopes}")


def _change(response: Response) -> str:
    low, high = formats.signed(response.low, 4), formats.signed(response.high, 4)
    return f"{formats.signed(response.harm, 4)} [{low}, {high}]"


def _response_table(kinds: Kinds, found: Mapping[str, Response]) -> Table:
    rows, last = [], ""
    for name, gene in _by_parent(kinds):
        response = found.get(gene.name)
        if response is None:
            continue
        slopes = (formats.signed(response.slope, 4), formats.signed(response.slope_reference, 4))
        cells = (name, str(gene.layer), _change(response), *slopes)
        rows.append(Row(cells, gene.parent, group=name != last))
        last = name
    columns = labels("parent", "layer", "change of the loss", "slope at the father", "slope at the ratio")
    return table(say("Response of the fitness loss to every gene"), columns, rows, folded=True)


def _by_parent(kinds: Kinds) -> list[tuple[str, PriorGene]]:
    """Every gene under its parent, and its component where there are several; in the order of the parents."""
    named = [
        (role_label(gene.parent) if len(kinds) == 1 else f"{role_label(gene.parent)}, {kind}", gene)
        for kind, genes in kinds.items()
        for gene in genes
    ]
    return sorted(named, key=lambda pair: PARENTS.index(pair[1].parent) if pair[1].parent in PARENTS else len(PARENTS))
