"""The validation stage: what blending each gene alone really does, and how well each preset had foreseen it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from darwin_mri.benchmarks import Item, Scorer, gold_probability, split_items
from darwin_mri.config import Config
from darwin_mri.merging import Candidate
from darwin_mri.mri import bootstrap_weights, preset_ratios
from darwin_mri.probes import Probe, document_nll, load_probes, read
from darwin_mri.records import Estimate, PresetFit, Prior, Validation
from darwin_mri.stages.items import Items, fitness_blocks
from darwin_mri.stages.merging import Breed
from darwin_mri.stages.parents import Loaded, chosen_probes, probe_folder
from darwin_mri.stages.priors import gene_tensors, measure_slopes
from darwin_mri.stages.run import Progress, Run, Silent
from darwin_mri.stages.scanning import PairScans

BLOCKS = 16  # blocks of truth items: the unit of resampling of rho


def validate(
    run: Run, father: Loaded, breed: Breed, scans: PairScans, prior: Prior, items: Items, progress: Progress
) -> PairScans:
    """Measure the truth gene by gene, compare every preset with it, and write both into the pair's record."""
    config = run.config
    if run.keep and scans.pair.validation is not None:
        return scans
    predict, truth = _halves(items, config)
    candidate = Candidate(father.model, breed.tensors(), breed.merge)
    genes = breed.space.layers()
    layers = sorted({layer for layer in genes.values() if layer is not None})
    reference = config.reference_ratio
    texts, source = _harm_texts(config)
    with progress.stage("validation", 2 + len(genes) + (1 + len(layers)) * len(texts)) as advance:
        scorer = Scorer(father.model, father.tokenizer)
        fitness = _BlockFitness(scorer, truth, config)
        base = fitness()
        advance(1)
        gains = {}
        for gene in genes:
            candidate.apply({gene: reference})
            gains[gene] = fitness() - base
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
        predictions = _predictions(father, breed, scans, predict, config)
        advance(1)
    harmful = tuple(layer for layer in layers if any(h[layer] > config.prior.tolerance for h in harm.values()))
    fits = [_fit(name, said, gains, config) for name, said in predictions.items()]
    fits = [fit.model_copy(update=_frozen(fit, prior, genes, harmful)) for fit in fits]
    record = Validation(
        reference_ratio=reference,
        items=sum(len(part) for part in truth.values()),
        gain={gene: _estimate(blocks, config) for gene, blocks in gains.items()},
        harm=harm,
        harm_documents=source,
        harmful=harmful,
        presets=tuple(fits),
    )
    pair = scans.pair.model_copy(update={"validation": record})
    pair.save(run.path("scan/pair.json"))
    return PairScans(scans.father, scans.mother, pair)


def _halves(items: Items, config: Config) -> tuple[dict[str, list[Item]], dict[str, list[Item]]]:
    """All search items in two halves that share no cluster: the first predicts, the second is the truth."""
    halves = {name: split_items(items.pool[name], config.seed + 1, 0.5) for name in config.weights}
    predict = {name: list(half.search) for name, half in halves.items()}
    return predict, {name: list(half.held_out) for name, half in halves.items()}


class _BlockFitness:
    """The smooth fitness of the model as it is, block by block: every block holds items of every benchmark."""

    def __init__(self, scorer: Scorer, items: dict[str, list[Item]], config: Config) -> None:
        self.scorer, self.items, self.weights = scorer, items, config.weights
        self.prepared = {name: scorer.prepare(part) for name, part in items.items()}

    def __call__(self) -> np.ndarray:
        total = np.zeros(BLOCKS)
        for name, part in self.items.items():
            gold = gold_probability(part, self.scorer.log_probabilities(self.prepared[name]))
            total += self.weights[name] * np.array([gold[block::BLOCKS].mean() for block in range(BLOCKS)])
        return total


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


def _predictions(
    father: Loaded, breed: Breed, scans: PairScans, items: dict[str, list[Item]], config: Config
) -> dict[str, dict[str, float]]:
    """What each preset says of each gene: the fitness gained at the reference ratio by the slope at 0, or the mother's share."""
    losses = {"fitness": fitness_blocks(father.model, father.tokenizer, items, config.weights, log=False)}
    slopes, _ = measure_slopes(
        father, breed, losses, config.reference_ratio, config.scan.bootstrap, config.seed, Silent()
    )
    zero, names = slopes["fitness"].zero.mean(0), [gene.name for gene in breed.space.genes]
    out = {"response": {name: float(-config.reference_ratio * s) for name, s in zip(names, zero, strict=True)}}
    tensors = gene_tensors(breed, father)
    for preset in ("v5", "v6", "paper"):
        out[preset] = preset_ratios(preset, scans.father, scans.mother, scans.pair.layer_map, tensors)
    return out


def _fit(preset: str, said: dict[str, float], gains: dict[str, np.ndarray], config: Config) -> PresetFit:
    """Spearman's rho with its interval by resampling blocks of truth items; None where either side is constant."""
    names = [name for name in gains if name in said]
    prediction = np.array([said[name] for name in names])
    blocks = np.stack([gains[name] for name in names])  # (genes, blocks)
    draws = bootstrap_weights(blocks.shape[1], config.scan.bootstrap, config.seed) / blocks.shape[1]
    if len(names) < 3 or np.ptp(prediction) == 0 or np.ptp(blocks.mean(1)) == 0:
        return PresetFit(preset=preset, spearman=None, prediction=said)
    rho = _rho(prediction, blocks.mean(1))
    low, high = np.percentile([_rho(prediction, blocks @ draw) for draw in draws], [2.5, 97.5])
    return PresetFit(preset=preset, spearman=rho, low=float(low), high=float(high), prediction=said)


def _rho(left: np.ndarray, right: np.ndarray) -> float:
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
