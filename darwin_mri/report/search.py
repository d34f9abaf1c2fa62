"""Prior against found genome, the course of the search, and what it is worth on items it never saw, as sections."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from darwin_mri.records import Comparison, Genome, LedgerLine, Manifest, Prior, PriorGene, Score
from darwin_mri.report import words
from darwin_mri.report.charts import Evolution, Forest, ForestPanel, ForestRow, Gene, Generation, Lollipop
from darwin_mri.report.elements import Block, Figure, Row, Section, Table, Text, table

MOST_LAYERS = 1000  # a layer number beyond this is no layer
MOST_GENERATIONS = 200  # rows of the evolution table


def genome_section(prior: Prior | None, genome: Genome | None) -> Section:
    """Section 'genome': one figure per kind of gene, and a table of genes that belong to no layer."""
    key, title = "genome", "Prior and found genome"
    if prior is None and genome is None:
        return Section(key, title, missing="prior.json and genome.json are missing: run darwin-mri breed.")
    upper = prior.upper if prior else max(genome.ratios, default=1.0) if genome else 1.0
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
            f"Prior: preset {prior.preset}, {state}; ratios from 0 (all father) to {words.fixed(prior.upper)}."
        )
    if genome is not None:
        settings = "".join(
            f", {name} {value if isinstance(value, str) else words.compact(value)}"
            for name, value in genome.settings.items()
        )
        parts.append(
            f"Genome: space {genome.space}, method {genome.method}{settings}, {words.plural(len(genome.genes), 'gene')}, seed {genome.seed}."
        )
        if genome.search_score is not None:
            parts.append(f"Best fitness on search items {words.fixed(genome.search_score, 3)}.")
        if genome.retest_score is not None:
            parts.append(f"On fresh search items {words.fixed(genome.retest_score, 3)}.")
    return " ".join(parts)


def _layer_kinds(prior: Prior | None) -> dict[str, list[PriorGene]]:
    """Genes of layers by their name without the layer's number, e.g. ``mixer`` and ``ffn``."""
    kinds: dict[str, list[PriorGene]] = {}
    for gene in prior.genes if prior else ():
        if gene.layer is not None:
            kind = "".join(c for c in gene.name if not c.isdigit()).strip("._-:[] ") or "ratio"
            kinds.setdefault(kind, []).append(gene)
    return kinds


def _of_gene(gene: PriorGene, genome: Genome | None) -> Gene:
    found = None if genome is None else genome.genes.get(gene.name, 0.0 if gene.frozen else None)
    return Gene(str(gene.layer), gene.mean, gene.sigma, found, gene.trust, gene.frozen)


def layer_genes(prior: Prior | None, genome: Genome | None) -> list[Gene]:
    """One gene per father layer: what the prior expected of its ratio and what the search found."""
    ratios = genome.ratios if genome else ()
    facts = {layer.index: layer for layer in prior.layers} if prior else {}
    genes = []
    for index in range(max([len(ratios), *(i + 1 for i in facts if i < MOST_LAYERS)])):
        fact = facts.get(index)
        found = ratios[index] if index < len(ratios) else None
        if fact is None:
            genes.append(Gene(str(index), None, None, found, None))
        else:
            genes.append(Gene(str(index), fact.mean, fact.sigma, found, fact.trust, fact.frozen))
    return genes


def _figure(key: str, kind: str, genes: Sequence[Gene], upper: float) -> Figure:
    chart = Lollipop(
        key,
        f"Share of the mother per father layer: {kind} genes",
        "One column per father layer. Diamond: the ratio the search found; bar: the prior's mean plus and minus its sigma; hatched:"
        " frozen. The strip below is the trust in the evidence.",
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
                    words.fixed(g.mean, 3),
                    words.fixed(g.sigma, 3),
                    words.fixed(g.trust),
                    words.fixed(g.found, 3),
                    words.signed(moved, 1),
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
    if not names:
        return None
    rows = []
    for name in names:
        gene, found = by_name.get(name), genome.genes.get(name) if genome else None
        known = (gene.mean, gene.sigma, gene.trust) if gene else (None, None, None)
        rows.append(
            Row(
                (name, words.fixed(known[0], 3), words.fixed(known[1], 3), words.fixed(known[2]), words.fixed(found, 3))
            )
        )
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
        rows.append(Row((name, meanings.get(name, ""), str(len(genes)), words.fixed(average, 3)), role="null"))
    return table(
        "Null children: what the result is measured against",
        ("name", "what it is", "genes", "mean gene"),
        rows,
        text=(0, 1),
    )


def summarise(ledger: Sequence[LedgerLine]) -> tuple[Generation, ...]:
    """The ledger by generation; raced and failed candidates count in neither best nor median."""
    by_number: dict[int, list[LedgerLine]] = {}
    for line in ledger:
        by_number.setdefault(line.generation, []).append(line)
    result: list[Generation] = []
    best_so_far: float | None = None
    items = 0
    for number in sorted(by_number):
        lines = by_number[number]
        fitness = [line.fitness for line in lines if line.fitness is not None and line.status == "ok"]
        best = max(fitness, default=None)
        if best is not None:
            best_so_far = best if best_so_far is None else max(best, best_so_far)
        sigmas = [line.sigma for line in lines if line.sigma is not None]
        items += sum(line.items for line in lines)
        result.append(
            Generation(
                number,
                best,
                median(fitness) if fitness else None,
                best_so_far,
                sigmas[-1] if sigmas else None,
                evaluations=len(lines),
                failed=sum(line.status == "failed" for line in lines),
                items=items,
                fitness=tuple(fitness),
            )
        )
    return tuple(result)


def evolution_section(ledger: Sequence[LedgerLine]) -> Section:
    """Section 'evolution': fitness, step size and items spent by generation."""
    key, title = "evolution", "Course of the search"
    if not ledger:
        return Section(
            key, title, missing="ledger.jsonl is missing or empty: nothing was searched. Run darwin-mri breed."
        )
    generations = summarise(ledger)
    states = {
        state: sum(line.status == state for line in ledger) for state in dict.fromkeys(line.status for line in ledger)
    }
    text = (
        f"{words.plural(len(ledger), 'evaluation')} in {words.plural(len(generations), 'generation')}:"
        f" {', '.join(f'{count} {state}' for state, count in states.items())};"
        f" {words.times(generations[-1].items)} item evaluations and {words.fixed(sum(line.seconds for line in ledger), 0)} seconds."
        " Fitness is measured on search items only."
    )
    chart = Evolution(
        "fig-evolution",
        "Fitness, step size and items spent by generation",
        "Step line: best fitness so far; diamonds: best of each generation; dots: every candidate; dashed: median; crosses:"
        " failed candidates. Below: the search's sigma, and the items answered so far.",
        generations,
    )
    every = max(1, -(-len(generations) // MOST_GENERATIONS))
    rows = [
        Row(
            (
                str(g.number),
                str(g.evaluations),
                str(g.failed),
                words.fixed(g.best, 4),
                words.fixed(g.median, 4),
                words.fixed(g.best_so_far, 4),
                words.fixed(g.sigma, 3),
                words.times(g.items),
            )
        )
        for i, g in enumerate(generations)
        if i % every == 0 or i == len(generations) - 1
    ]
    columns = ("generation", "evaluations", "failed", "best", "median", "best so far", "sigma", "items so far")
    note = f"Every {every}th generation; ledger.jsonl has them all." if every > 1 else ""
    shown = table("Course of the search by generation", columns, rows, note=note, folded=True)
    return Section(key, title, (Text(text), Figure(chart, (shown,))))


def fresh_section(genome: Genome | None, comparison: Comparison | None, manifest: Manifest | None) -> Section:
    """Section 'fresh': the winner on the items that chose it, beside items the search never saw."""
    key, title = "fresh", "Search against held-out"
    panels: list[ForestPanel] = []
    rows: list[Row] = []
    if genome is not None and genome.search_score is not None:
        given = [("on its own items", genome.search_score)]
        given += [("on fresh items", genome.retest_score)] if genome.retest_score is not None else []
        panels.append(
            ForestPanel(
                "winner's fitness",
                tuple(
                    ForestRow(label, "child", value, None, None, words.fixed(value, 3), hollow=number == 0)
                    for number, (label, value) in enumerate(given)
                ),
            )
        )
        rows += [
            Row(("winner's fitness", label, words.fixed(value, 3)), group=not i)
            for i, (label, value) in enumerate(given)
        ]
    for benchmark, pair in _both_splits(comparison).items():
        labels = [("on search items", pair[0]), ("on held-out items", pair[1])]
        panels.append(
            ForestPanel(
                f"child, {benchmark}",
                tuple(
                    ForestRow(label, "child", s.value, s.low, s.high, words.score(s), hollow=s.split == "search")
                    for label, s in labels
                ),
            )
        )
        rows += [Row((benchmark, label, words.score(s)), group=not i) for i, (label, s) in enumerate(labels)]
    if not panels:
        return Section(
            key, title, missing="The winner's score on its own search items is not recorded: the gap is not known."
        )
    chart = Forest(
        "fig-fresh",
        "The winner on the items that chose it and on items it never met",
        "Hollow: on the items the search used, which flatters the winner; filled: on others.",
        tuple(panels),
        unit="fitness or accuracy",
        scale=1.0,
    )
    shown = table("Search against held-out", ("measure", "where", "value"), rows, text=(0, 1), folded=True)
    return Section(key, title, (Text(_gap_sentence(genome, manifest)), Figure(chart, (shown,))))


def _both_splits(comparison: Comparison | None) -> dict[str, tuple[Score, Score]]:
    """The child's scores on search and held-out items, of benchmarks that were scored on both."""
    scores = comparison.scores if comparison else ()
    child = [s for s in scores if s.role == "child" and s.slice == "all" and s.evidence == "measured"]
    known = {(s.benchmark, s.split): s for s in child}
    names = dict.fromkeys(s.benchmark for s in child)
    return {
        name: (known[name, "search"], known[name, "held-out"])
        for name in names
        if (name, "search") in known and (name, "held-out") in known
    }


def _gap_sentence(genome: Genome | None, manifest: Manifest | None) -> str:
    text = "The best of many tries is partly luck: its fitness on the items that chose it is too high."
    if genome is not None and genome.search_score is not None and genome.retest_score is not None:
        gap = genome.search_score - genome.retest_score
        text += (
            f" On fresh search items it falls by {words.fixed(gap, 3)}."
            if gap > 0
            else " On fresh search items it holds."
        )
    elif genome is not None:
        text += " No fresh search items were left to re-score it on."
    smooth = manifest.config.get("search", {}).get("smooth") if manifest else None
    if smooth:
        text += (
            " Fitness is the probability given to the right choice, so it is not comparable with the accuracies above."
        )
    return text + " The scores above are on held-out items, which the search never saw."
