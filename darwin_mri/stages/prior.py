"""Stage ``prior``: the blend response (channel 6), and the start of the search that follows from it or a preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from darwin_mri.config import Config
from darwin_mri.config_methods import FITTED
from darwin_mri.mri import CrossFit, Descent, GeneSlopes, cross_fit, descend, freeze, make_prior, responses
from darwin_mri.mri.prior import Evidence, PriorOptions
from darwin_mri.mri.slopes import Loss, SlopeReader
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.published import PUBLISHED_PRESETS, published_ratios
from darwin_mri.problem.scans import Scans
from darwin_mri.problem.slopes import fitness_loss, open_slopes, protected_loss, response_items
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Prior, Response
from darwin_mri.records.roles import pair_file
from darwin_mri.run import MeasurementCache, Progress, Run


def measure_prior(run: Run, parents: Parents, space: MergeSpace, scans: Scans) -> tuple[Prior, Scans]:
    """Channel 6 and the prior.

    The fitness response is measured for presets ``response`` and ``cross-fitted``; harm to protected texts for every
    preset but ``flat``, since freezing does not depend on where the other genes start.

    Args:
        run: gets prior.json, and the responses in the pairs' records.
        parents: the father is resident.
        space: of plain ratios.
        scans: of the parents.

    Returns:
        The prior, and the scans with the responses in the pairs' records.
    """
    if run.has("prior.json"):
        return Prior.load(run.path("prior.json")), scans
    config, father, genes = run.config, parents.father, space.space.sites()
    key = f"{father.digest} {space.space.name} {config.method} {father.model.dtype} {father.model.device.type}"
    cache = MeasurementCache(run.path("state/response.jsonl"), key, run.keep)
    read_slopes = open_slopes(run, father, space, cache, run.progress)
    losses = _losses(parents, run.progress)
    slopes, measured = _measure_slopes(read_slopes, losses, config, run.progress)
    options = PriorOptions(config.upper, config.reference_ratio, config.scan.bootstrap, config.seed)
    protected = {name: slopes[f"protect:{name}"] for name in config.prior.protect if f"protect:{name}" in slopes}
    freezing = freeze(
        protected,
        list(genes.values()),
        config.prior,
        reference=options.reference,
        resamples=options.resamples,
        seed=options.seed,
    )
    descent, fit, ratios = None, None, None
    if "fitness" in slopes:
        free = [not freezing.holds(site) for site in genes.values()]
        if config.prior.preset == "cross-fitted":
            fit = _cross_fit(read_slopes, losses["fitness"], free, run)
        else:
            descent = _descend(read_slopes, losses["fitness"], slopes["fitness"], free, run)
    if config.prior.preset in PUBLISHED_PRESETS:
        ratios = published_ratios(config.prior.preset, space, father, scans)
    evidence = Evidence(slopes.get("fitness"), descent, fit, ratios)
    moved = {site.parent for site in genes.values()}
    layer_maps = {role: layer_map for role, layer_map in scans.layer_maps.items() if role in moved}
    prior = make_prior(genes, layer_maps, config.prior, options, freezing, evidence)
    for pair in scans.pairs:
        own = tuple(response for response in measured if genes[response.gene].parent == pair.parent)
        pair = pair.model_copy(update={"response": own})
        pair.save(run.path(pair_file(pair.parent)))
        scans = scans.with_pair(pair)
    prior.save(run.path("prior.json"))
    return prior, scans


def _losses(parents: Parents, progress: Progress) -> dict[str, Loss]:
    """What the preset differentiates, by name; losses without a block are left out."""
    config, losses = parents.config, {}
    if config.prior.preset in FITTED:
        items, weights, notes = response_items(config, parents.items)
        for note in notes:
            progress.say(note)
        if items:
            losses["fitness"] = fitness_loss("fitness", parents.father, items, weights, log=True)
    if config.prior.preset != "flat":
        losses |= {f"protect:{name}": protected_loss(parents, name) for name in config.prior.protect}
    return {name: loss for name, loss in losses.items() if loss.blocks}


def _measure_slopes(
    read_slopes: SlopeReader, losses: Mapping[str, Loss], config: Config, progress: Progress
) -> tuple[dict[str, GeneSlopes], list[Response]]:
    """Slopes of every loss along every gene, at 0 and at the reference ratio."""
    slopes: dict[str, GeneSlopes] = {}
    measured: list[Response] = []
    if not losses:
        return slopes, measured
    reference = config.reference_ratio
    with progress.stage("blend response", 2 * sum(len(loss.blocks) for loss in losses.values())) as advance:
        for name, loss in losses.items():
            zero, at_zero = read_slopes(loss, 0.0, advance)  # (blocks, genes), (blocks,)
            blended, at_reference = read_slopes(loss, reference, advance)
            slopes[name] = GeneSlopes(zero, blended, float(at_zero.mean()), float(at_reference.mean()))
            measured += responses(read_slopes.genes, name, zero, blended, reference, config.scan.bootstrap, config.seed)
    return slopes, measured


def _descend(read_slopes: SlopeReader, loss: Loss, slopes: GeneSlopes, free: Sequence[bool], run: Run) -> Descent:
    """From the better uniform ratio, measured already, down the fitness loss."""
    config = run.config
    uniform = slopes.uniform(config.reference_ratio)
    first = (slopes.blended, slopes.reference.mean(0)) if uniform else (slopes.base, slopes.zero.mean(0))
    with run.progress.stage("descent", config.prior.steps * len(loss.blocks)) as advance:

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


def _cross_fit(read_slopes: SlopeReader, loss: Loss, free: Sequence[bool], run: Run) -> CrossFit | None:
    """From the best uniform ratio down the loss of each half of the blocks; None where there is one block alone."""
    config, blocks = run.config, len(loss.blocks)
    if blocks < 2:
        return None
    # three uniform ratios, known or kept; that ratio's descent; a descent of each half, and the other half at its end
    with run.progress.stage("descent", (2 * config.prior.steps + 4) * blocks) as advance:
        return cross_fit(
            lambda ratios, own: read_slopes(loss, ratios, advance, own),
            blocks,
            (0.0, config.reference_ratio),
            free,
            upper=config.upper,
            steps=config.prior.steps,
        )
