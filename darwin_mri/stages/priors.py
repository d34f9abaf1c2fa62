"""The prior stage: measure the blend response (channel 6) and turn it, or a published preset, into the search's start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from darwin_mri.benchmarks import sample_items
from darwin_mri.config import Config
from darwin_mri.mri import (
    Block,
    Descent,
    GeneSlopes,
    GeneTensors,
    descend,
    freeze,
    make_prior,
    preset_ratios,
    responses,
    text_blocks,
)
from darwin_mri.probes import Reading, read, select_reading
from darwin_mri.records import PairScan, Prior, Response
from darwin_mri.stages.items import Items, fitness_blocks
from darwin_mri.stages.merging import Breed
from darwin_mri.stages.parents import Loaded, chosen_probes
from darwin_mri.stages.run import Progress, Run
from darwin_mri.stages.saved import Saved
from darwin_mri.stages.scanning import PairScans
from darwin_mri.stages.slopes import Loss, SlopeReader

TEXT_BLOCKS = 12  # blocks of probe documents: the unit of resampling of the freezing rule


def measure_prior(
    run: Run, father: Loaded, breed: Breed, scans: PairScans, items: Items, progress: Progress
) -> tuple[Prior, PairScan]:
    """Channel 6 and the prior. The pair record gains the responses; both are written.

    The fitness response is measured for the ``response`` preset; harm to protected texts for every preset but ``flat``, since
    freezing does not depend on where the other genes start.
    """
    pair = scans.pair
    if run.keep and run.path("prior.json").is_file():
        return Prior.load(run.path("prior.json")), pair
    config = run.config
    preset = config.prior.preset
    losses: dict[str, Loss] = {}
    if preset == "response":
        chosen = {name: sample_items(items.search[name], config.prior.items, config.seed) for name in config.weights}

        def fitness(budget: int) -> list[Block]:
            return fitness_blocks(father.model, father.tokenizer, chosen, config.weights, log=True, token_budget=budget)

        losses["fitness"] = Loss("fitness", fitness)
    if preset != "flat":
        for name in config.prior.protect:
            losses[f"protect:{name}"] = _protected_loss(father, run, name)
    genes = breed.space.layers()
    key = f"{father.digest} {breed.space.name} {config.method} {father.model.dtype} {father.model.device.type}"
    read_slopes = SlopeReader(
        father.model,
        [gene.name for gene in breed.space.genes],
        lambda: gene_directions(breed, config.reference_ratio, father.model.device),
        Saved(run.path("state/response.jsonl"), key, run.keep),
        progress,
    )
    slopes, found = measure_slopes(read_slopes, losses, config, progress)
    settings = {"reference": config.reference_ratio, "resamples": config.scan.bootstrap, "seed": config.seed}
    protected = {name: slopes[f"protect:{name}"] for name in config.prior.protect if f"protect:{name}" in slopes}
    freezing = freeze(protected, list(genes.values()), config.prior, **settings)
    descent = None
    if "fitness" in slopes:
        free = [layer not in freezing.frozen for layer in genes.values()]
        descent = _descend(read_slopes, losses["fitness"], slopes["fitness"], free, config, progress)
    ratios = None
    if preset in ("v5", "v6", "paper"):
        ratios = preset_ratios(preset, scans.father, scans.mother, pair.layer_map, gene_tensors(breed, father))
    prior = make_prior(
        genes,
        pair.layer_map,
        config.prior,
        upper=config.upper,
        freezing=freezing,
        fitness=slopes.get("fitness"),
        descent=descent,
        ratios=ratios,
        **settings,
    )
    pair = pair.model_copy(update={"response": tuple(found)})
    pair.save(run.path("scan/pair.json"))
    prior.save(run.path("prior.json"))
    return prior, pair


def measure_slopes(
    read_slopes: SlopeReader, losses: Mapping[str, Loss], config: Config, progress: Progress
) -> tuple[dict[str, GeneSlopes], list[Response]]:
    """Slopes of every loss along every gene, at 0 and at the reference ratio; losses without a block are left out."""
    losses = {name: loss for name, loss in losses.items() if loss.blocks}
    slopes: dict[str, GeneSlopes] = {}
    found: list[Response] = []
    if not losses:
        return slopes, found
    reference = config.reference_ratio
    with progress.stage("blend response", 2 * sum(len(loss.blocks) for loss in losses.values())) as advance:
        for name, loss in losses.items():
            zero, at_zero = read_slopes(loss, 0.0, advance)
            there, blended = read_slopes(loss, reference, advance)
            slopes[name] = GeneSlopes(zero, there, float(at_zero.mean()), float(blended.mean()))
            found += responses(read_slopes.genes, name, zero, there, reference, config.scan.bootstrap, config.seed)
    return slopes, found


def gene_directions(breed: Breed, reference: float, device: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Gene -> {parameter: how the child's tensor moves with the gene's ratio}, on a device."""
    return {
        gene.name: {name: breed.merge.direction(name, reference).to(device) for name in gene.tensors}
        for gene in breed.space.genes
    }


def _descend(
    read_slopes: SlopeReader,
    loss: Loss,
    slopes: GeneSlopes,
    free: Sequence[bool],
    config: Config,
    progress: Progress,
) -> Descent:
    """From the better uniform ratio, measured already, down the fitness loss."""
    uniform = slopes.uniform(config.reference_ratio)
    first = (slopes.blended, slopes.reference.mean(0)) if uniform else (slopes.base, slopes.zero.mean(0))
    with progress.stage("descent", config.prior.steps * len(loss.blocks)) as advance:

        def loss_and_slopes(ratios: np.ndarray) -> tuple[float, np.ndarray]:
            block_slopes, block_losses = read_slopes(loss, ratios, advance)
            return float(block_losses.mean()), block_slopes.mean(0)

        return descend(
            loss_and_slopes,
            np.full(len(read_slopes.genes), uniform),
            first,
            free,
            upper=config.upper,
            steps=config.prior.steps,
        )


def gene_tensors(breed: Breed, father: Loaded) -> dict[str, GeneTensors]:
    """Each gene's tensors by their names inside the layer, as scans name them."""
    prefix = father.anatomy.prefix
    out = {}
    for gene in breed.space.genes:
        names = tuple(name.removeprefix(f"{prefix}.{gene.layer}.") for name in gene.tensors)
        out[gene.name] = GeneTensors(gene.layer, names)
    return out


def _protected_loss(father: Loaded, run: Run, name: str) -> Loss:
    """NLL per byte of the probe texts of a language or domain, in blocks of documents."""
    config = run.config
    device = str(next(father.model.parameters()).device)
    reading: Reading = read(
        chosen_probes(config.scan, config.seed), father.tokenizer, max_tokens=config.scan.max_tokens, device=device
    )
    rows = [i for i, probe in enumerate(reading.probes) if name in (probe.language, probe.domain)]
    blocks = [rows[start::TEXT_BLOCKS] for start in range(min(TEXT_BLOCKS, len(rows)))]

    def make(budget: int) -> list[Block]:
        parts = [select_reading(reading, block, device=device, token_budget=budget) for block in blocks]
        return text_blocks(father.model, [(part.batches, float(part.bytes_read.sum())) for part in parts])

    return Loss(f"protect:{name}", make)
