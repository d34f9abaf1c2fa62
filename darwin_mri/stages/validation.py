"""Stage ``validation``: what blending each gene alone really does, and how well each preset predicted it.

A gene's slope and the measured gain share the luck of the items they are read on, so a prediction must come from other
items than the truth it is held to: all search items are dealt out in blocks of whole clusters, the blocks are halved at
random many times, one half predicts and the other is the truth. The truth of one half predicting that of the other is
the ceiling, about as much as a preset can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from darwin_mri import seeds
from darwin_mri.benchmarks import Item, Scorer, differentiable, group_by_cluster, open_grader
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.config import Config
from darwin_mri.errors import InputError
from darwin_mri.merging import Candidate
from darwin_mri.mri.prediction import estimate_gain, fit_preset, frozen_figures, halved_correlation
from darwin_mri.mri.reliability import MIN_DOCUMENTS
from darwin_mri.probes import Probe, document_nll, tokenize_probes
from darwin_mri.problem.fitness import item_scores
from darwin_mri.problem.items import Items
from darwin_mri.problem.parents import Parents, all_probes
from darwin_mri.problem.published import PUBLISHED_PRESETS, published_ratios
from darwin_mri.problem.scans import Scans
from darwin_mri.problem.slopes import fitness_loss, open_slopes
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Prior, Validation
from darwin_mri.run import MeasurementCache, Run, Silent

BLOCKS = 16
Part = Mapping[str, Sequence[Item]]
"""Items by benchmark."""


def validate(run: Run, parents: Parents, space: MergeSpace, scans: Scans, prior: Prior) -> Scans:
    """Measure the truth gene by gene and compare every preset with it.

    Args:
        run: gets the validation in scan/pair.json.
        parents: the father is resident; it has its own weights afterwards.
        space: of plain ratios.
        scans: from which the published presets are derived.
        prior: whose frozen layers are compared with the harmful ones.

    Returns:
        The scans with the validation in the pair's record.

    Raises:
        InputError: a benchmark has too few clusters of search items.
    """
    if run.keep and scans.pair.validation is not None:
        return scans
    truth = _Truth(run, parents, space)
    gains, harm, predictions = truth.measure()
    for preset in PUBLISHED_PRESETS:
        ratios = published_ratios(preset, space, parents.father, scans)
        predictions[preset] = {gene: np.full(len(truth.blocks), ratio) for gene, ratio in ratios.items()}
    config, tolerance = run.config, run.config.prior.tolerance
    harmful = tuple(layer for layer in truth.layers if any(rises[layer] > tolerance for rises in harm.values()))
    fits = [fit_preset(name, predicted, gains, config.seed) for name, predicted in predictions.items()]
    fits = [fit.model_copy(update=frozen_figures(fit, prior, truth.genes, harmful)) for fit in fits]
    record = Validation(
        reference_ratio=config.reference_ratio,
        items=sum(len(part) for block in truth.blocks for part in block.values()),
        gain={gene: estimate_gain(blocks, config.scan.bootstrap, config.seed) for gene, blocks in gains.items()},
        ceiling=halved_correlation(gains, gains, config.seed)[0],
        harm=harm,
        harm_documents=truth.texts_origin,
        harmful=harmful,
        presets=tuple(fits),
    )
    pair = scans.pair.model_copy(update={"validation": record})
    pair.save(run.path("scan/pair.json"))
    return scans.with_pair(pair)


class _Truth:
    """What blending does, measured: one gene at a time for the fitness, one layer at a time for protected texts."""

    def __init__(self, run: Run, parents: Parents, space: MergeSpace) -> None:
        self.run, self.config, self.father, self.space = run, run.config, parents.father, space
        self.blocks = _blocks(parents.items, run.config)
        self.genes = {gene: site.layer for gene, site in space.space.sites().items()}
        self.layers = sorted({layer for layer in self.genes.values() if layer is not None})
        self.texts, self.texts_origin = _harm_texts(parents)
        self.candidate = Candidate(parents.father.model, space.tensors(), space.merge)
        key = f"{parents.father.digest} {run.config.method}"
        self.cache = MeasurementCache(run.path("state/validation.jsonl"), key, run.keep)

    def measure(self) -> tuple[dict[str, np.ndarray], dict[str, dict[int, float]], dict[str, dict[str, np.ndarray]]]:
        """Gain by gene (blocks,), rise of NLL per byte by text and layer, and what the slopes predict by gene."""
        texts, layers = len(self.texts), len(self.layers)
        total = 1 + len(self.genes) + (1 + layers) * texts + len(self.blocks)
        with self.run.progress.stage("validation", total) as advance:
            gains = self._gains(advance)
            harm = {name: self._harm(probes, advance) for name, probes in self.texts.items()}
            self.candidate.restore()
            self.candidate.release()
            return gains, harm, {"response": self._slope_predictions(advance)}

    def _gains(self, advance: Callable[[int], None]) -> dict[str, np.ndarray]:
        fitness = _BlockFitness(Scorer(self.father.model, self.father.tokenizer), self.blocks, self.config)
        base, gains = fitness(), {}
        advance(1)
        for gene in self.genes:
            gain = self.cache.get(("gain", gene))
            if gain is None:
                self.candidate.apply({gene: self.config.reference_ratio})
                gain = fitness() - base
                self.cache.put(("gain", gene), gain)
            gains[gene] = gain
            advance(1)
        return gains

    def _harm(self, probes: Sequence[Probe], advance: Callable[[int], None]) -> dict[int, float]:
        """Layer -> relative rise of NLL per byte with all genes of the layer at the reference ratio."""
        self.candidate.restore()
        before, rises = _nll_per_byte(self.father, probes, self.config), {}
        advance(1)
        for layer in self.layers:
            genes = {gene: self.config.reference_ratio for gene, place in self.genes.items() if place == layer}
            self.candidate.apply(genes)
            rises[layer] = _nll_per_byte(self.father, probes, self.config) / before - 1
            advance(1)
        return rises

    def _slope_predictions(self, advance: Callable[[int], None]) -> dict[str, np.ndarray]:
        """The gain that each gene's slope at the father predicts, block by block."""
        read_slopes = open_slopes(self.run, self.father, self.space, self.cache, Silent())
        predictions = []
        for number, block in enumerate(self.blocks):
            loss = fitness_loss(f"block {number}", self.father, block, self.config.weights, log=False)
            slopes, _ = read_slopes(loss, 0.0)
            predictions.append(-self.config.reference_ratio * slopes.mean(0))
            advance(1)
        return dict(zip(read_slopes.genes, np.array(predictions).T, strict=True))


def _blocks(items: Items, config: Config) -> list[Part]:
    """All search items in parts of whole clusters, each with items of every benchmark."""
    clusters = {name: group_by_cluster(items.pool[name]) for name in config.weights}
    count = min(BLOCKS, *(len(part) for part in clusters.values())) // 2 * 2
    if count < MIN_DOCUMENTS:
        fewest = min(clusters, key=lambda name: len(clusters[name]))
        raise InputError(
            f"--validate needs search items of {MIN_DOCUMENTS} clusters of every benchmark, and {fewest} has"
            f" {len(clusters[fewest])}: raise bench.search_share or give more items"
        )
    for name, part in items.search.items():
        if name in config.weights and not differentiable(part):
            raise InputError(
                f"--validate compares slopes with effects, and {name} has no slopes: leave one of them out"
            )
    blocks: list[dict[str, list[Item]]] = [{name: [] for name in config.weights} for _ in range(count)]
    for name, members in clusters.items():
        order = sorted(members)
        seeds.named(config.seed, "validation", name).shuffle(order)
        for number, cluster in enumerate(order):
            blocks[number % count][name] += members[cluster]
    return list(blocks)


class _BlockFitness:
    """The smooth fitness of the model as it is, block by block, shape (blocks,)."""

    def __init__(self, scorer: Scorer, blocks: Sequence[Part], config: Config) -> None:
        self.weights, self.blocks = config.weights, blocks
        items = {name: [item for block in blocks for item in block[name]] for name in config.weights}
        self.graders = {name: open_grader(part, scorer) for name, part in items.items()}

    def __call__(self) -> np.ndarray:
        total = np.zeros(len(self.blocks))
        for name, grader in self.graders.items():
            ends = np.cumsum([len(block[name]) for block in self.blocks])
            smooth = np.array(item_scores(grader, range(int(ends[-1])), smooth=True))  # (items,)
            total += self.weights[name] * np.array([scores.mean() for scores in np.split(smooth, ends[:-1])])
        return total


def _harm_texts(parents: Parents) -> tuple[dict[str, list[Probe]], str]:
    """Probe texts of each protected language or domain that freezing did not read, where the probe set has more."""
    config, used = parents.config, {(probe.doc, probe.language) for probe in parents.probes}
    texts, origin = {}, "documents not used for freezing"
    for name in config.prior.protect:
        matching = [p for p in all_probes(config.scan) if name in (p.language, p.domain)]
        fresh = [p for p in matching if (p.doc, p.language) not in used]
        if not fresh:
            origin = "the documents used for freezing: the probe set has no others"
        if matching:
            texts[name] = fresh or matching
    return texts, origin


@torch.inference_mode()
def _nll_per_byte(father: LoadedModel, probes: Sequence[Probe], config: Config) -> float:
    tokenized = tokenize_probes(probes, father.tokenizer, max_tokens=config.scan.max_tokens, device=str(father.device))
    total = sum(float(document_nll(father.model, batch).double().sum()) for batch in tokenized.batches)
    return total / float(tokenized.bytes_read.sum())
