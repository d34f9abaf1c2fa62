"""Where the prior put each gene and what the search found, as a section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darwin_mri.records import Genome, PairScan, Prior, PriorGene
from darwin_mri.records.genome import TOWER
from darwin_mri.records.roles import role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import Gene, Lollipop
from darwin_mri.report.model.elements import Block, Figure, Row, Section, Table, Text, table
from darwin_mri.report.model.gene_rows import (
    found_ratio,
    is_joint,
    layer_genes,
    layer_kinds,
    other_parents,
    upper_ratio,
)
from darwin_mri.report.sections.gene_matrices import found_figure, prior_figure, response_figure
from darwin_mri.translation import labels, later, say, say_count

NULL_KINDS = {
    "father": later("the father alone"),
    "mother": later("the mother alone"),
    "uniform": later("one ratio everywhere, no MRI and no search"),
    "per-parent": later("one ratio for each parent, the mean of the winner's"),
    "prior-mean": later("the prior's mean, no search"),
    "random": later("a random genome of the same norm"),
    "shuffled-donor": later("the found genome, its donor layers shuffled"),
    "identity-moments": later("the found genome without moments: method linear"),
    "exchanged-moments": later("the found genome, each parent's moments those of the next one"),
    "shuffled-moments": later("the found genome, moments of texts with shuffled words"),
}


def genome_section(prior: Prior | None, genome: Genome | None, pairs: Mapping[str, PairScan] | None = None) -> Section:
    """Section 'genome': what prior and search say of every gene, and a table of genes that belong to no layer.

    Args:
        prior: where the search started.
        genome: what it found.
        pairs: the father beside each other parent; of several they add how the fitness responds to every gene.

    Returns:
        the section: one figure per kind of gene, or with several other parents matrices of parents by layers.
    """
    key, title = "genome", say("Prior and found genome")
    if prior is None and genome is None:
        return Section(key, title, missing=say("prior.json and genome.json are missing: run darwin-mri breed."))
    upper = upper_ratio(prior, genome)
    blocks: list[Block] = [Text(_sentence(prior, genome))]
    kinds = layer_kinds(prior)
    several = len(other_parents(prior, genome)) > 1
    of = say("the other parents together") if is_joint(genome) else say("the mother")
    if several and prior is not None and kinds:
        figures = (
            found_figure(kinds, genome, upper),
            prior_figure(kinds, genome, upper),
            response_figure(kinds, pairs),
        )
        blocks += [figure for figure in figures if figure is not None]
    elif several:
        blocks += [_gene_table(genome)] if genome else []
    elif len(kinds) > 1 and prior is not None:
        for number, (kind, genes) in enumerate(kinds.items()):
            blocks.append(_figure(f"fig-genome-{number}", kind, [_of_gene(g, genome) for g in genes], upper, of))
    else:
        blocks.append(_figure("fig-genome-0", "FFN", layer_genes(prior, genome), upper, of))
    rest = _other_genes(prior, genome, several)
    if rest is not None:
        blocks.append(rest)
    if genome is not None and genome.nulls:
        blocks.append(_null_table(genome))
    absent = (
        say("prior.json is missing: where the search started is not known.")
        if prior is None
        else say("genome.json is missing: the search has no winner yet.")
    )
    return Section(key, title, tuple(blocks), missing="" if prior and genome else absent)


def _sentence(prior: Prior | None, genome: Genome | None) -> str:
    parts = []
    if prior is not None:
        state = say("informative") if prior.informative else say("not informative")
        parts.append(
            say(
                "Prior: preset {preset}, {state}; ratios from 0 (all father) to {upper}.",
                preset=prior.preset,
                state=state,
                upper=formats.fixed(prior.upper),
            )
        )
    if genome is not None:
        settings = "".join(
            f", {name} {value if isinstance(value, str) else formats.compact(value)}"
            for name, value in genome.settings.items()
        )
        parts.append(
            say_count(
                "Genome: space {space}, method {method}{settings}, {count} gene, seed {seed}.",
                "Genome: space {space}, method {method}{settings}, {count} genes, seed {seed}.",
                len(genome.genes),
                space=genome.space,
                method=genome.method,
                settings=settings,
                seed=genome.seed,
            )
        )
        if genome.search_score is not None:
            fitness = formats.fixed(genome.search_score, 3)
            parts.append(
                say("The chosen member's fitness on search items {fitness}.", fitness=fitness)
                if genome.front
                else say("Best fitness on search items {fitness}.", fitness=fitness)
            )
        if genome.retest_score is not None:
            parts.append(say("On fresh search items {fitness}.", fitness=formats.fixed(genome.retest_score, 3)))
    return " ".join(parts)


def _of_gene(gene: PriorGene, genome: Genome | None) -> Gene:
    return Gene(str(gene.layer), gene.mean, gene.sigma, found_ratio(gene, genome), gene.trust, gene.frozen)


def _figure(key: str, kind: str, genes: Sequence[Gene], upper: float, of: str) -> Figure:
    chart = Lollipop(
        key,
        say("Share of {parent} per father layer: {kind} genes", parent=of, kind=kind),
        say(
            "One column per father layer. Diamond: the ratio the search found; bar: the prior's mean plus and minus its"
            " sigma; hatched: frozen. The strip below is the trust in the evidence.",
        ),
        tuple(genes),
        upper,
    )
    rows = []
    for g in genes:
        moved = None if g.found is None or g.mean is None or not g.sigma or g.frozen else (g.found - g.mean) / g.sigma
        frozen = say("frozen") if g.frozen else ""
        rows.append(
            Row(
                (
                    g.label,
                    formats.fixed(g.mean, 3),
                    formats.fixed(g.sigma, 3),
                    formats.fixed(g.trust),
                    formats.fixed(g.found, 3),
                    formats.signed(moved, 1),
                    frozen,
                ),
                strong=g.frozen,
            )
        )
    columns = labels("layer", "prior mean", "sigma", "trust", "found", "moved, sigmas", "frozen")
    return Figure(
        chart, (table(say("Prior and found ratio: {kind} genes", kind=kind), columns, rows, text=(6,), folded=True),)
    )


def _gene_table(genome: Genome) -> Table:
    """What the search found, by gene, where no prior says which layers the genes belong to."""
    rows = [
        Row((name, role_label(genome.parent_of(name)), formats.fixed(value, 3))) for name, value in genome.genes.items()
    ]
    return table(say("Found genes"), labels("gene", "parent", "found"), rows, text=(0, 1), folded=True)


def _other_genes(prior: Prior | None, genome: Genome | None, several: bool) -> Table | None:
    by_name = {gene.name: gene for gene in prior.genes} if prior else {}
    names = [name for name, gene in by_name.items() if gene.layer is None]
    if prior is None and genome is not None and not several:
        names += [] if genome.ratios else list(genome.genes)
    towers = [] if genome is None else [name for name in genome.genes if name.partition(".")[0] == TOWER]
    names += [name for name in towers if name not in names]
    if not names:
        return None
    rows = []
    for name in names:
        gene, ratio = by_name.get(name), genome.genes.get(name) if genome else None
        mean, sigma, trust = (gene.mean, gene.sigma, gene.trust) if gene else (None, None, None)
        numbers = (formats.fixed(mean, 3), formats.fixed(sigma, 3), formats.fixed(trust), formats.fixed(ratio, 3))
        parent = (role_label(gene.parent) if gene else "",) if several else ()
        rows.append(Row((name, *parent, *numbers)))
    columns = (
        say("gene"),
        *(labels("parent") if several else ()),
        *labels("prior mean", "sigma", "trust", "found"),
    )
    return table(say("Genes of no single layer"), columns, rows, text=(0, 1) if several else (0,))


def _null_table(genome: Genome) -> Table:
    rows = []
    for name, genes in genome.nulls.items():
        average = sum(genes.values()) / len(genes) if genes else None
        rows.append(
            Row(
                (name, say(NULL_KINDS[name]) if name in NULL_KINDS else "", str(len(genes)), formats.fixed(average, 3)),
                role="null",
            )
        )
    return table(
        say("Null children: what the result is measured against"),
        labels("name", "what it is", "genes", "mean gene"),
        rows,
        text=(0, 1),
    )
