"""What the blend response differentiates: the fitness of search items and the loss of protected texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from darwin_mri.batch_sizes import KEPT_SHARE, TEXT_BLOCKS
from darwin_mri.benchmarks import Item, differentiable, fitness_blocks, sample_items
from darwin_mri.checkpoints import LoadedModel, free_memory
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import Config
from darwin_mri.mri import Block, text_blocks
from darwin_mri.mri.slopes import Loss, SlopeReader
from darwin_mri.planning.memory import prior_bytes
from darwin_mri.probes import select_tokenized, tokenize_probes
from darwin_mri.problem.directions import Shelf, filed_directions
from darwin_mri.problem.items import Items
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.space import MergeSpace
from darwin_mri.run import MeasurementCache, Progress, Run


def open_slopes(
    run: Run, father: LoadedModel, space: MergeSpace, cache: MeasurementCache, progress: Progress
) -> SlopeReader:
    """A reader of slopes along the genes of a space.

    Where the directions, the weights that stand in for the father's and all activations have room beside the father,
    they are in memory. Elsewhere one layer's are at a time, and directions wait in host memory or are computed again.

    Args:
        run: whose reference ratio the directions are taken at.
        father: resident.
        space: of plain ratios.
        cache: slopes measured before.
        progress: where a smaller batch is reported.

    Returns:
        The reader.
    """
    config = run.config
    shelf, layers, keep = Shelf(father.device, None), None, False
    own, each, free = survey(father.source.folder), father.model.dtype.itemsize, free_memory(father.device)
    needed = prior_bytes(config, own, each)
    if needed > free:
        # A host that computes has no plan to keep to: the child stays where there is twice the room for it.
        least = prior_bytes(config, own, each, short=True) + own.parameters * each
        keep = father.device.type == "cpu" and 2 * least < free
        shelf, layers = Shelf(torch.device("cpu"), int(KEPT_SHARE * free_memory("cpu"))), father.layers
        progress.say(f"blend response: {needed / 2**30:.1f} GiB are not free: it goes layer by layer")
    genes = [gene.name for gene in space.space.genes]
    return SlopeReader(
        father.model,
        genes,
        lambda: filed_directions(space, father, config.reference_ratio, shelf),
        cache,
        progress,
        layers,
        keep=keep,
    )


def response_items(
    config: Config, items: Items
) -> tuple[dict[str, tuple[Item, ...]], dict[str, float], tuple[str, ...]]:
    """The items whose scores the fitness response differentiates.

    A task without slopes (written answers) is left out, unless another task stands in for it.

    Args:
        config: of the run.
        items: of the run.

    Returns:
        (items by task, the weight of each, sentences on tasks that were replaced or left out).
    """
    chosen: dict[str, tuple[Item, ...]] = {}
    weights: dict[str, float] = {}
    notes: list[str] = []
    for name, weight in config.weights.items():
        source = name if differentiable(items.search[name]) else config.stand_ins.get(name)
        if source is None:
            notes.append(f"{name} has no slopes, and the blend response leaves it out: a stand_in task would help")
            continue
        pool = items.search.get(source) or items.stand_ins[source]
        if not differentiable(pool):
            notes.append(f"{source} stands in for {name} and has no slopes either: the blend response leaves both out")
            continue
        if source != name:
            notes.append(f"{source} stands in for {name} in the blend response")
        chosen[source] = sample_items(pool, config.prior.items, config.seed)
        weights[source] = weights.get(source, 0.0) + weight
    return chosen, weights, tuple(notes)


def fitness_loss(
    name: str, father: LoadedModel, items: Mapping[str, Sequence[Item]], weights: Mapping[str, float], *, log: bool
) -> Loss:
    """The negated fitness of items.

    Args:
        name: of the loss in the cache.
        father: resident.
        items: by benchmark.
        weights: of the benchmarks.
        log: log-probability of the right choice, in place of its probability.

    Returns:
        The loss, in blocks.
    """
    return Loss(name, lambda budget: fitness_blocks(father, items, weights, log=log, token_budget=budget))


def protected_loss(parents: Parents, name: str) -> Loss:
    """NLL per byte of the probe texts of a language or domain, in blocks of documents."""
    father, config = parents.father, parents.config
    device = str(father.device)
    tokenized = tokenize_probes(parents.probes, father.tokenizer, max_tokens=config.scan.max_tokens, device=device)
    rows = [i for i, probe in enumerate(tokenized.probes) if name in (probe.language, probe.domain)]
    blocks = [rows[start::TEXT_BLOCKS] for start in range(min(TEXT_BLOCKS, len(rows)))]

    def make(budget: int) -> list[Block]:
        parts = [select_tokenized(tokenized, block, device=device, token_budget=budget) for block in blocks]
        return text_blocks(father.model, [(part.batches, float(part.bytes_read.sum())) for part in parts])

    return Loss(f"protect:{name}", make)
