"""The validation stage: what blending each gene alone really does, and how well each preset had foreseen it.

A gene's slope and the measured gain share the luck of the items they are read on, so what foretells must come from other items than what
came true: all search items are dealt out in blocks of whole clusters, the blocks are halved at random many times, one half foretells and the
other is the truth. The truth of one half foretelling that of the other is the ceiling, about as much as a preset can reach.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from darwin_mri.benchmarks import Item, Scorer, gold_probability, group_by_cluster
from darwin_mri.config import Config
from darwin_mri.errors import InputError
from darwin_mri.merging import Candidate
from darwin_mri.mri import Block, bootstrap_weights, preset_ratios
from darwin_mri.mri.reliability import MIN_DOCUMENTS
from darwin_mri.probes import Probe, document_nll, load_probes, read
from darwin_mri.records import Estimate, PresetFit, Prior, Validation
from darwin_mri.stages.items import Items, fitness_blocks
from darwin_mri.stages.merging import Breed
from darwin_mri.stages.parents import Loaded, chosen_probes, probe_folder
from darwin_mri.stages.priors import gene_directions, gene_tensors
from darwin_mri.stages.run import Progress, Run, Silent
from darwin_mri.stages.saved import Saved
from darwin_mri.stages.scanning import PairScans
from darwin_mri.stages.slopes import Loss, SlopeReader

BLOCKS = 16
HALVINGS = 500

Part = Mapping[str, Sequence[Item]]  # items by benchmark


def validate(
    run: Run, father: Loaded, breed: Breed, scans: PairScans, prior: Prior, items: Items, progress: Progress
) -> PairScans:
    """Measure the truth gene by gene, compare every preset with it, and write both into the pair's record."""
    config = run.config
    if run.keep and scans.pair.validation is not None:
        return scans
    blocks = _blocks(items, config)
    candidate = Candidate(father.model, breed.tensors(), breed.merge)
    genes = breed.space.layers()
    layers = sorted({layer for layer in genes.values() if layer is not None})
    reference = config.reference_ratio
    texts, source = _harm_texts(config)
    saved = Saved(run.path("state/validation.jsonl"), f"{father.digest} {config.method}", run.keep)
    with progress.stage("validation", 1 + len(genes) + (1 + len(layers)) * len(texts) + len(blocks)) as advance:
        fitness = _BlockFitness(Scorer(father.model, father.tokenizer), blocks, config)
        base = fitness()
        advance(1)
        gains: dict[str, np.ndarray] = {}
        for gene in genes:
            known = saved.get(("gain", gene))
            if known is None:
                candidate.apply({gene: reference})
                known = fitness() - base
                saved.put(("gain", gene), known)
            gains[gene] = known
            advance(1)
        harm: dict[str, dict[int, float]] = {}
        for name, probes in texts.items():
            harm[name] = {}
            candidate.restore()
            before = _nll_per_byte(father, probes, config)
            advance(1)
            for layer in layers:
                candidate.apply({gene: reference for gene, where in genes.items() if where == layer})
                harm[name][layer] = _nll_per_byte(father, probes, config) / before - 1
                advance(1)
        candidate.restore()
        foreseen = {"response": _by_slopes(father, breed, blocks, config, saved, advance)}
    tensors = gene_tensors(breed, father)
    for preset in ("v5", "v6", "paper"):
        ratios = preset_ratios(preset, scans.father, scans.mother, scans.pair.layer_map, tensors)
        foreseen[preset] = {gene: np.full(len(blocks), ratio) for gene, ratio in ratios.items()}
    harmful = tuple(layer for layer in layers if any(h[layer] > config.prior.tolerance for h in harm.values()))
    fits = [_fit(name, said, gains, config.seed) for name, said in foreseen.items()]
    fits = [fit.model_copy(update=_frozen(fit, prior, genes, harmful)) for fit in fits]
    record = Validation(
        reference_ratio=reference,
        items=sum(len(part) for block in blocks for part in block.values()),
        gain={gene: _estimate(found, config) for gene, found in gains.items()},
        ceiling=_halved(gains, gains, config.seed)[0],
        harm=harm,
        harm_documents=source,
        harmful=harmful,
        presets=tuple(fits),
    )
    pair = scans.pair.model_copy(update={"validation": record})
    pair.save(run.path("scan/pair.json"))
    return PairScans(scans.father, scans.mother, pair)


def _blocks(items: Items, config: Config) -> list[Part]:
    """All search items in parts of whole clusters, each with items of every benchmark."""
    clusters = {name: group_by_cluster(items.pool[name]) for name in config.weights}
    count = min(BLOCKS, *(len(mine) for mine in clusters.values())) // 2 * 2
    if count < MIN_DOCUMENTS:
        fewest = min(clusters, key=lambda name: len(clusters[name]))
        raise InputError(
            f"--validate needs search items of {MIN_DOCUMENTS} clusters of every benchmark, and {fewest} has {len(clusters[fewest])}: raise"
            " bench.search_share or give more items"
        )
    blocks: list[dict[str, list[Item]]] = [{name: [] for name in config.weights} for _ in range(count)]
    for name, mine in clusters.items():
        order = sorted(mine)
        random.Random(f"{config.seed}:{name}:validation").shuffle(order)
        for number, cluster in enumerate(order):
            blocks[number % count][name] += mine[cluster]
    return list(blocks)


class _BlockFitness:
    """The smooth fitness of the model as it is, block by block, shape (blocks,)."""

    def __init__(self, scorer: Scorer, blocks: Sequence[Part], config: Config) -> None:
        self.scorer, self.weights, self.blocks = scorer, config.weights, blocks
        self.items = {name: [item for block in blocks for item in block[name]] for name in config.weights}
        self.prepared = {name: scorer.prepare(part) for name, part in self.items.items()}

    def __call__(self) -> np.ndarray:
        total = np.zeros(len(self.blocks))
        for name, part in self.items.items():
            gold = gold_probability(part, self.scorer.log_probabilities(self.prepared[name]))
            ends = np.cumsum([len(block[name]) for block in self.blocks])[:-1]
            total += self.weights[name] * np.array([found.mean() for found in np.split(gold, ends)])
        return total


def _by_slopes(
    father: Loaded, breed: Breed, blocks: Sequence[Part], config: Config, saved: Saved, advance: Callable[[int], None]
) -> dict[str, np.ndarray]:
    """The gain that each gene's slope at the father foretells, block by block."""
    names = [gene.name for gene in breed.space.genes]
    read_slopes = SlopeReader(
        father.model,
        names,
        lambda: gene_directions(breed, config.reference_ratio, father.model.device),
        saved,
        Silent(),
    )
    found = []
    for number, block in enumerate(blocks):

        def make(budget: int, items: Part = block) -> list[Block]:
            return fitness_blocks(father.model, father.tokenizer, items, config.weights, log=False, token_budget=budget)

        slopes, _ = read_slopes(Loss(f"block {number}", make), 0.0)
        found.append(-config.reference_ratio * slopes.mean(0))
        advance(1)
    return dict(zip(read_slopes.genes, np.array(found).T, strict=True))


def _harm_texts(config: Config) -> tuple[dict[str, list[Probe]], str]:
    """Probe texts of each protected language or domain that freezing did not see, where the probe set has more."""
    used = {(probe.doc, probe.language) for probe in chosen_probes(config.scan, config.seed)}
    out, source = {}, "documents not used for freezing"
    for name in config.prior.protect:
        texts = [p for p in load_probes(probe_folder(config.scan)) if name in (p.language, p.domain)]
        fresh = [p for p in texts if (p.doc, p.language) not in used]
        if not fresh:
            source = "the documents used for freezing: the probe set has no others"
        if texts:
            out[name] = fresh or texts
    return out, source


@torch.inference_mode()
def _nll_per_byte(father: Loaded, probes: Sequence[Probe], config: Config) -> float:
    device = str(next(father.model.parameters()).device)
    reading = read(probes, father.tokenizer, max_tokens=config.scan.max_tokens, device=device)
    total = sum(float(document_nll(father.model, batch).double().sum()) for batch in reading.batches)
    return total / float(reading.bytes_read.sum())


def _fit(preset: str, said: Mapping[str, np.ndarray], gains: Mapping[str, np.ndarray], seed: int) -> PresetFit:
    rho, low, high = _halved(said, gains, seed)
    names = [name for name in gains if name in said]
    prediction = {name: float(said[name].mean()) for name in names}
    same = _rho(np.array(list(prediction.values())), np.array([gains[name].mean() for name in names]))
    return PresetFit(preset=preset, spearman=rho, low=low, high=high, same_items=same, prediction=prediction)


def _halved(
    said: Mapping[str, np.ndarray], gains: Mapping[str, np.ndarray], seed: int
) -> tuple[float | None, float | None, float | None]:
    """Mean of Spearman's rho over random halvings of the blocks, and the range of 95 % of them; None where a side is constant."""
    names = [name for name in gains if name in said]
    left, right = (np.array([table[name] for name in names]) for table in (said, gains))  # (genes, blocks)
    dice, found = np.random.default_rng(seed), []
    for _ in range(HALVINGS):
        order = dice.permutation(right.shape[1])
        half, other = np.split(order, 2)
        rho = _rho(left[:, half].mean(1), right[:, other].mean(1))
        if rho is None:
            return None, None, None
        found.append(rho)
    low, high = np.percentile(found, [2.5, 97.5])
    return float(np.mean(found)), float(low), float(high)


def _rho(left: np.ndarray, right: np.ndarray) -> float | None:
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    rho: Any = spearmanr(left, right)
    return float(rho.statistic)


def _frozen(fit: PresetFit, prior: Prior, genes: dict[str, int | None], harmful: tuple[int, ...]) -> dict[str, object]:
    """The layers a preset leaves alone: the prior's frozen ones, or those where a published rule keeps the father's tensors."""
    if fit.preset == "response":
        frozen = prior.frozen
    else:
        layers = sorted({layer for layer in genes.values() if layer is not None})
        frozen = tuple(
            layer
            for layer in layers
            if all(fit.prediction.get(gene, 1.0) == 0.0 for gene, where in genes.items() if where == layer)
        )
    hit = len(set(frozen) & set(harmful))
    return {
        "frozen": frozen,
        "precision": hit / len(frozen) if frozen else None,
        "recall": hit / len(harmful) if harmful else None,
    }


def _estimate(blocks: np.ndarray, config: Config) -> Estimate:
    draws = bootstrap_weights(len(blocks), config.scan.bootstrap, config.seed) @ blocks / len(blocks)
    low, high = np.percentile(draws, [2.5, 97.5])
    value = float(blocks.mean())
    return Estimate(value=value, low=float(min(low, value)), high=float(max(high, value)))
