"""What a front is measured against: searches without the scan, with as many evaluations and the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from darwin_mri.benchmarks import Item
from darwin_mri.breeding import Ledger
from darwin_mri.config import Config
from darwin_mri.mri import freeze, make_prior
from darwin_mri.mri.prior import Evidence, PriorOptions
from darwin_mri.problem.anchors import SearchItems
from darwin_mri.problem.front import TaskScores, find_front
from darwin_mri.problem.search_runs import SearchRun, search_options
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Prior

TITLES = {"flat": "search from a flat start", "random": "random candidates"}

BaselineScores = dict[str, tuple[TaskScores, ...]]
"""Baseline -> held-out scores of its front's members."""


def search_baselines(
    own: SearchRun, judged: SearchItems, held_out: Mapping[str, Sequence[Item]], layers: int
) -> BaselineScores:
    """Search without the scan: no gene is frozen, and all start at the same value.

    Args:
        own: the run's search; its model and scorer are used.
        judged: what its candidates were scored on.
        held_out: items of the fitness, by task.
        layers: of the father.

    Returns:
        The scores that members of each front reach on held-out items.
    """
    config, space = own.run.config, own.evaluator.space
    prior = flat_prior(config, space)
    space = space.for_search(config, prior, layers)
    scores: BaselineScores = {}
    for name in config.search.baselines:
        folder = own.run.path(f"state/baselines/{name}")
        folder.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(folder / "ledger.jsonl", folder / "blocks.jsonl")
        other = SearchRun(own.run, own.evaluator.searching(space), prior, ledger, own.offline)
        strategy = "random" if name == "random" else config.search.strategy
        options = replace(
            search_options(config), strategy=strategy, budget=len(own.ledger.lines), racing=False, time_limit=inf
        )
        front = find_front(other.spend(judged, options, TITLES[name]).ranking, config)
        scores[name] = tuple(other.score(front, held_out, f"{TITLES[name]}: held-out fitness").values())
    return scores


def flat_prior(config: Config, space: MergeSpace) -> Prior:
    """The prior of the preset ``flat``.

    Args:
        config: of the run.
        space: whose plain ratios are the genes.

    Returns:
        Every gene at the same mean and sigma, none frozen.
    """
    genes = space.space.sites()
    options = PriorOptions(config.upper, config.reference_ratio, config.scan.bootstrap, config.seed)
    section = config.prior.model_copy(update={"preset": "flat", "protect": ()})
    freezing = freeze(
        {}, list(genes.values()), section, reference=options.reference, resamples=options.resamples, seed=options.seed
    )
    return make_prior(genes, {}, section, options, freezing, Evidence(None, None, None))
