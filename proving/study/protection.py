"""H4: whether frozen layers keep a protected text at an equal score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from darwin_mri.probes import Probe, load_probes, select_probes, tokenize_probes
from darwin_mri.probes import document_nll as read_documents
from darwin_mri.problem.fitness import Evaluator
from darwin_mri.stages.prior import measure_prior
from proving.methods.bench import Bench
from proving.methods.cells import Cell
from proving.methods.rows import Done, Plain, search_winner

PROTECTED = "en"
FOR_FREEZING = 6  # documents of each domain; the others are what the rise is reported on
HALVINGS = 8  # of the scale that makes both scores equal
TOKENS = 128


@dataclass(frozen=True)
class Frozen(Plain):
    """A search as the one without frozen layers, from a prior that protects English text.

    Both children are compared at an equal score on the search and fresh items: the better one's genes are scaled down
    to the other's score.

    Attributes:
        tolerance: relative rise of NLL per byte that a layer may cost.
        budget: candidates of the search.
    """

    tolerance: float = 0.01
    budget: int = 50

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``; the frozen child is left."""
        evaluator = bench.open()
        bench.restore()
        config = bench.make_config(
            "task_arithmetic",
            {},
            prior={"protect": (PROTECTED,), "tolerance": self.tolerance},
            scan={"documents": FOR_FREEZING},
        )
        bench.parents.probes = select_probes(load_probes(), (PROTECTED,), FOR_FREEZING, bench.siblings.seed)
        parents, parents_config = bench.parents, bench.parents.config
        parents.config = config
        try:
            prior, _ = measure_prior(bench.open_run("frozen", config), parents, evaluator.space, bench.scans)
        finally:
            parents.config = parents_config
        frozen = [gene.name for gene in prior.genes if gene.frozen]
        if not frozen:
            bench.restore()
            return Cell({"frozen": []})
        name = f"frozen-{self.tolerance:g}-{self.budget}"
        winner, _ = search_winner(bench, evaluator, prior, name, self.budget)
        free = done[self.needs[1]].chosen["genes"]
        children = _at_equal_score(bench, evaluator, {"frozen": winner, "free": free})
        texts = _held_out_texts(bench.siblings.seed)
        chosen = {
            "frozen": frozen,
            "genes": winner,
            "children": {
                name: {"genes": genes, "pool": pool, "nll": _nll(bench, evaluator, genes, texts)}
                for name, (genes, pool) in children.items()
            },
            "nll_base": _nll(bench, evaluator, dict.fromkeys(winner, 0.0), texts),
        }
        evaluator.candidate.apply(winner)
        return Cell(chosen, bench.smooth("search", "fresh"))


def _at_equal_score(
    bench: Bench, evaluator: Evaluator, children: Mapping[str, dict[str, float]]
) -> dict[str, tuple[dict[str, float], float]]:
    """Child -> its genes and its score on search and fresh items, the better child's genes scaled down to the other's.

    Args:
        bench: the father is resident.
        evaluator: of the space.
        children: two, by name.

    Returns:
        Both, at scores as equal as eight halvings make them.
    """

    def score(genes: Mapping[str, float]) -> float:
        evaluator.candidate.apply(dict(genes))
        return bench.smooth("search", "fresh")

    scores = {name: score(genes) for name, genes in children.items()}
    worse, better = sorted(scores, key=scores.__getitem__)
    low, high, goal = 0.0, 1.0, scores[worse]
    for _ in range(HALVINGS):
        scale = (low + high) / 2
        reached = score({name: scale * ratio for name, ratio in children[better].items()})
        low, high = (scale, high) if reached < goal else (low, scale)
    scaled = {name: high * ratio for name, ratio in children[better].items()}
    return {worse: (children[worse], goal), better: (scaled, score(scaled))}


def _held_out_texts(seed: int) -> tuple[Probe, ...]:
    """English probes that the freezing rule did not read."""
    every = [probe for probe in load_probes() if probe.language == PROTECTED]
    read = {probe.text for probe in select_probes(load_probes(), (PROTECTED,), FOR_FREEZING, seed)}
    return tuple(probe for probe in every if probe.text not in read)


def _nll(bench: Bench, evaluator: Evaluator, genes: dict[str, float], texts: tuple[Probe, ...]) -> list[list[float]]:
    """NLL in nats and bytes of every document, as (documents, 2)."""
    evaluator.candidate.apply(genes)
    tokenized = tokenize_probes(texts, bench.father.tokenizer, max_tokens=TOKENS, device="cpu")
    sums = np.zeros(len(tokenized.probes))
    for batch in tokenized.batches:
        sums[batch.documents.numpy()] = read_documents(bench.father.model, batch).double().numpy()
    return np.stack([sums, tokenized.bytes_read.double().numpy()], 1).tolist()
