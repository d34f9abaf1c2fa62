"""Where the prior put each gene and what the search found, as a section."""

from __future__ import annotations

from collections.abc import Sequence

from darwin_mri.records import Genome, Prior, PriorGene
from darwin_mri.records.genome import TOWER
from darwin_mri.report import formats
from darwin_mri.report.charts import Gene, Lollipop
from darwin_mri.report.model.elements import Block, Figure, Row, Section, Table, Text, table
from darwin_mri.report.model.gene_rows import layer_genes, upper_ratio


def genome_section(prior: Prior | None, genome: Genome | None) -> Section:
    """Section 'genome': one figure per kind of gene, and a table of genes that belong to no layer."""
    key, title = "genome", "Prior and found genome"
    if prior is None and genome is None:
        return Section(key, title, missing="prior.json and genome.json are missing: run darwin-mri breed.")
    upper = upper_ratio(prior, genome)
    blocks: list[Block] = [Text(_sentence(prior, genome))]
    kinds = _layer_kinds(prior)
    if len(kinds) > 1 and prior is not None:
        for number, (kind, genes) in enumerate(kinds.items()):
            blocks.append(_figure(f"fig-genome-{number}", kind, [_of_gene(g, genome) for g in genes], upper))
    else:
        blocks.append(_figure("fig-genome-0", "FFN", layer_genes(prior, genome), upper))
    rest = _other_genes(prior, genome)
    if rest is not None:
        blocks.append(rest)
    if genome is not None and genome.nulls:
        blocks.append(_null_table(genome))
    absent = (
        "prior.json is missing: where the search started is not known."
        if prior is None
        else "genome.json is missing: the search has no winner yet."
    )
    return Section(key, title, tuple(blocks), missing="" if prior and genome else absent)


def _sentence(prior: Prior | None, genome: Genome | None) -> str:
    parts = []
    if prior is not None:
        state = "informative" if prior.informative else "not informative"
        parts.append(
            f"Prior: preset {prior.preset}, {state}; ratios from 0 (all father) to {formats.fixed(prior.upper)}."
        )
    if genome is not None:
        settings = "".join(
            f", {name} {value if isinstance(value, str) else formats.compact(value)}"
            for name, value in genome.settings.items()
        )
        parts.append(
            f"Genome: space {genome.space}, method {genome.method}{settings},"
            f" {formats.plural(len(genome.genes), 'gene')}, seed {genome.seed}."
        )
        if genome.search_score is not None:
            parts.append(f"Best fitness on search items {formats.fixed(genome.search_score, 3)}.")
        if genome.retest_score is not None:
            parts.append(f"On fresh search items {formats.fixed(genome.retest_score, 3)}.")
    return " ".join(parts)


def _layer_kinds(prior: Prior | None) -> dict[str, list[PriorGene]]:
    """Genes of layers by what they move, e.g. ``mixer`` and ``ffn``; older records say so in names alone."""
    kinds: dict[str, list[PriorGene]] = {}
    for gene in prior.genes if prior else ():
        if gene.layer is not None:
            kind = gene.component or "".join(c for c in gene.name if not c.isdigit()).strip("._-:[] ") or "ratio"
            kinds.setdefault(kind, []).append(gene)
    return kinds


def _of_gene(gene: PriorGene, genome: Genome | None) -> Gene:
    ratio = None if genome is None else genome.genes.get(gene.name, 0.0 if gene.frozen else None)
    return Gene(str(gene.layer), gene.mean, gene.sigma, ratio, gene.trust, gene.frozen)


def _figure(key: str, kind: str, genes: Sequence[Gene], upper: float) -> Figure:
    chart = Lollipop(
        key,
        f"Share of the mother per father layer: {kind} genes",
        "One column per father layer. Diamond: the ratio the search found; bar: the prior's mean plus and minus its"
        " sigma; hatched: frozen. The strip below is the trust in the evidence.",
        tuple(genes),
        upper,
    )
    rows = []
    for g in genes:
        moved = None if g.found is None or g.mean is None or not g.sigma or g.frozen else (g.found - g.mean) / g.sigma
        frozen = "frozen" if g.frozen else ""
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
    columns = ("layer", "prior mean", "sigma", "trust", "found", "moved, sigmas", "frozen")
    return Figure(chart, (table(f"Prior and found ratio: {kind} genes", columns, rows, text=(6,), folded=True),))


def _other_genes(prior: Prior | None, genome: Genome | None) -> Table | None:
    by_name = {gene.name: gene for gene in prior.genes} if prior else {}
    names = [name for name, gene in by_name.items() if gene.layer is None]
    if prior is None and genome is not None:
        names += [] if genome.ratios else list(genome.genes)
    names += [TOWER] if genome is not None and TOWER in genome.genes and TOWER not in names else []
    if not names:
        return None
    rows = []
    for name in names:
        gene, ratio = by_name.get(name), genome.genes.get(name) if genome else None
        mean, sigma, trust = (gene.mean, gene.sigma, gene.trust) if gene else (None, None, None)
        numbers = (formats.fixed(mean, 3), formats.fixed(sigma, 3), formats.fixed(trust), formats.fixed(ratio, 3))
        rows.append(Row((name, *numbers)))
    return table("Genes of no single layer", ("gene", "prior mean", "sigma", "trust", "found"), rows)


def _null_table(genome: Genome) -> Table:
    meanings = {
        "father": "the father alone",
        "mother": "the mother alone",
        "uniform": "one ratio everywhere, no MRI and no search",
        "prior-mean": "the prior's mean, no search",
        "random": "a random genome of the same norm",
        "shuffled-donor": "the found genome, its donor layers shuffled",
    }
    rows = []
    for name, genes in genome.nulls.items():
        average = sum(genes.values()) / len(genes) if genes else None
        rows.append(Row((name, meanings.get(name, ""), str(len(genes)), formats.fixed(average, 3)), role="null"))
    return table(
        "Null children: what the result is measured against",
        ("name", "what it is", "genes", "mean gene"),
        rows,
        text=(0, 1),
    )
