"""The rows of the study: children for H1 and H2, and what H3 to H5 compare. Names are those of docs/proving.md."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from darwin_mri.batch_sizes import RESPONSE_BLOCKS
from darwin_mri.problem.fitness import Evaluator
from darwin_mri.records import Prior
from darwin_mri.stages.prior import measure_prior
from proving.methods.bench import TASK, Bench
from proving.methods.cells import Cell
from proving.methods.finetune import BATCH, answered_items, finetune
from proving.methods.fitted import GRADIENT
from proving.methods.rows import BASELINE, PRIOR, RATIOS, Done, Father, FromPrior, Plain, Row, Searched, Tuned
from proving.study.channels import Channels
from proving.study.plan import Plan
from proving.study.protection import Frozen
from proving.study.worth import Worth

DEPTH, SHUFFLED = "null: the prior by depth alone", "null: the prior shuffled over genes"
RANDOM_STEP, ADAMW = "null: the prior on random directions of equal norm", "null: AdamW on the search items"
CHANNELS, WORTH = "channels of the scan", "worth of every gene"
CROSSED = "cross-fitted prior, no search"
CROSSED_DEPTH, CROSSED_SHUFFLED = (f"null: the cross-fitted prior {what}" for what in ("by depth", "shuffled"))
CROSSED_NULLS = (CROSSED_DEPTH, CROSSED_SHUFFLED)
NULLS = (DEPTH, SHUFFLED, RANDOM_STEP, ADAMW)
RATES = (1e-5, 5e-5, 2e-4)  # of AdamW on all weights of a pretrained model
STARTS = {"response": "CMA-ES from the prior", "flat": "CMA-ES from a flat start", "random": "random search"}
TOLERANCES = (0.01, 0.002)


def search_name(start: str, budget: int) -> str:
    """Name of the row of a search."""
    return f"{STARTS[start]}, {budget} candidates"


def frozen_name(tolerance: float) -> str:
    """Name of the row of a search that protects a text."""
    return f"frozen at a tolerance of {tolerance:g}"


class DepthAlone(Plain):
    """The prior's genes replaced by a straight line over depth, one for each component and the same for all parents."""

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        evaluator = bench.open()
        prior = Prior.model_validate(done[self.needs[0]].chosen["prior"])
        genes = {gene.name: gene.mean for gene in prior.genes}
        for component in {gene.component for gene in prior.genes}:
            own = [gene for gene in prior.genes if gene.component == component]
            layered = [gene for gene in own if gene.layer is not None]
            if len({gene.layer for gene in layered}) > 1:
                slope, offset = np.polyfit([gene.layer or 0 for gene in layered], [gene.mean for gene in layered], 1)
                genes |= {gene.name: float(offset + slope * (gene.layer or 0)) for gene in layered}
            else:
                genes |= dict.fromkeys((gene.name for gene in own), float(np.mean([gene.mean for gene in own])))
        return _apply(bench, evaluator, {name: float(np.clip(ratio, 0, prior.upper)) for name, ratio in genes.items()})


class ShuffledPrior(Plain):
    """The prior's ratios dealt out to other genes."""

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        genes = done[self.needs[0]].chosen["genes"]
        rng = np.random.default_rng([bench.siblings.seed, bench.count])
        return _apply(
            bench, bench.open(), dict(zip(genes, rng.permutation(list(genes.values())).tolist(), strict=True))
        )


class RandomDirections(Plain):
    """The prior's genes on task vectors whose values are shuffled within each tensor."""

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        evaluator, genes = bench.open(), done[PRIOR].chosen["genes"]
        bench.restore()
        broken = Evaluator(evaluator.config, bench.father, evaluator.space.for_null("shuffled-donor"))
        broken.candidate.apply(genes)
        bench.undo_with(broken.candidate.restore)
        return Cell({"genes": genes}, bench.smooth("search", "fresh"))


class FineTuned(Plain):
    """AdamW on the search items with their answers, for as many item gradients as the prior took, over three rates."""

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        bench.restore()
        asked = done[PRIOR].asked
        steps = max(1, round(asked / (GRADIENT * BATCH * len(RATES))))
        chosen = finetune(bench, answered_items(bench), RATES, steps=steps)
        return Cell(chosen, bench.smooth("search", "fresh"), asked=asked)


@dataclass(frozen=True)
class Specialist(Plain):
    """One specialist as it is: what its own items could reach."""

    number: int = 0

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        evaluator = bench.open()
        genes = {gene.name: float(gene.parent == bench.roles[self.number]) for gene in evaluator.space.space.genes}
        return _apply(bench, evaluator, genes)


class CrossFitted(Plain):
    """The cross-fitted prior, which reads the search and fresh items, as the grid of ratios does."""

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        evaluator, parents, scans = bench.open(), bench.parents, bench.scans
        bench.restore()
        config = bench.make_config("task_arithmetic", {}, "cross-fitted")
        run, kept = bench.open_run("cross-fitted", config), (parents.config, parents.items)
        began = time.process_time()
        parents.config, parents.items = config, replace(parents.items, search={TASK: bench.parts.pool})
        try:
            prior, _ = measure_prior(run, parents, evaluator.space, scans)
        finally:
            parents.config, parents.items = kept
        seconds = time.process_time() - began
        gradients = len(run.path("state/response.jsonl").read_text(encoding="utf-8").splitlines()) / RESPONSE_BLOCKS
        chosen = {"genes": {gene.name: gene.mean for gene in prior.genes}, "prior": prior.model_dump(mode="json")}
        evaluator.candidate.apply(chosen["genes"])
        asked = round(GRADIENT * gradients * len(bench.parts.pool))
        return Cell(chosen, bench.smooth("search", "fresh"), seconds=seconds, asked=asked)


def rows_for(plan: Plan, unit: tuple[int, int]) -> Iterator[Row]:
    """Every row of a seed and number of specialists, each after those it needs."""
    seed, count = unit
    yield Father("the base alone")
    if seed in plan.later:
        yield Tuned(BASELINE, ratios=RATIOS)
        yield FromPrior(PRIOR)
        yield CrossFitted(CROSSED)
        yield DepthAlone(CROSSED_DEPTH, (CROSSED,))
        yield ShuffledPrior(CROSSED_SHUFFLED, (CROSSED,))
        return
    for number in range(count):
        yield Specialist(f"specialist {number + 1} alone", number=number)
    yield Tuned(BASELINE, ratios=RATIOS)
    yield FromPrior(PRIOR)
    yield DepthAlone(DEPTH, (PRIOR,))
    yield ShuffledPrior(SHUFFLED, (PRIOR,))
    yield RandomDirections(RANDOM_STEP, (PRIOR,))
    yield FineTuned(ADAMW, (PRIOR,))
    for budget in plan.budgets:
        for start in STARTS:
            yield Searched(search_name(start, budget), (PRIOR,), start=start, budget=budget)
    if count == 2:
        first = search_name("response", plan.budgets[0])
        for tolerance in TOLERANCES:
            yield Frozen(frozen_name(tolerance), (PRIOR, first), tolerance, plan.budgets[0])
        yield Channels(CHANNELS, (), plan.documents)
        yield Worth(WORTH, (BASELINE,))


def fingerprint(row: Row, rows: dict[str, Row]) -> str:
    """Of a row and of those it needs: a cell made with other settings is measured again."""
    own = [repr(row), *(fingerprint(rows[need], rows) for need in row.needs)]
    return hashlib.sha256("\n".join(own).encode()).hexdigest()[:12]


def _apply(bench: Bench, evaluator: Evaluator, genes: dict[str, float]) -> Cell:
    """The child of these genes, left in the father."""
    evaluator.candidate.apply(genes)
    return Cell({"genes": genes}, bench.smooth("search", "fresh"))
