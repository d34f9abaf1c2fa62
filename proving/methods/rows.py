"""The rows of the table. A new merge method is one line in ``ROWS``; a new kind of row is a class with ``measure``.

``measure`` leaves its child in the resident father and says how it was chosen; it reads search and fresh items alone.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from darwin_mri.breeding import InProcess, Ledger, Means, SearchOptions, null_genomes, search
from darwin_mri.checkpoints.model import stored_tensors
from darwin_mri.config import OPERATORS
from darwin_mri.problem.fitness import Evaluator
from darwin_mri.problem.search_runs import search_options
from darwin_mri.records import Prior
from darwin_mri.stages.prior import measure_prior
from proving.methods.bench import TASK, Bench
from proving.methods.cells import Cell
from proving.methods.finetune import answered_items, finetune
from proving.methods.fitted import GRADIENT, fit_ratios
from proving.methods.repaired import repaired_weights, write_tensors

Done = Mapping[str, Cell]
"""Row -> its cell at the same seed and number of parents."""
BASELINE = "task arithmetic, tuned"
REPAIR = "repair of task arithmetic, tuned"
PRIOR, FROM_PRIOR = "response prior, no search", "CMA-ES from the response prior"
ONE, PER_PARENT, PER_LAYER = (
    f"{what}, fitted" for what in ("one ratio", "a ratio per parent", "a ratio per layer and parent")
)
RATIOS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25)
FINALISTS = 4


class Row(Protocol):
    """A way to make a child of the father and its siblings."""

    @property
    def name(self) -> str:
        """As the table shows it."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows that must be measured before."""
        ...

    @property
    def known(self) -> bool:
        """Whether darwin_mri has the method."""
        ...

    judged: ClassVar[bool]
    """Whether there is a child, which is asked the held-out items."""

    def measure(self, bench: Bench, done: Done) -> Cell:
        """Make the child in the place of the father.

        Args:
            bench: the parents and the items.
            done: the rows it needs.

        Returns:
            How it was chosen; what it answers is added by the caller.
        """
        ...


@dataclass(frozen=True)
class Plain:
    """A row that needs no other and whose method is there."""

    name: str
    needs: tuple[str, ...] = ()
    judged: ClassVar[bool] = True

    @property
    def known(self) -> bool:
        """As ``Row``."""
        return True


class Father(Plain):
    """The father as it is."""

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        bench.restore()
        return Cell()


@dataclass(frozen=True)
class Tuned(Plain):
    """One ratio for all genes, and settings, chosen on the search and fresh items.

    Attributes:
        method: an operator of ``darwin_mri``.
        ratios: that are tried; shares of 1 / parents where ``shared``.
        settings: that are tried: name -> values, each combination.
        shared: whether the ratios are shares of the whole, which the parents divide among them.
        as_fitted: choose by the fits' own objective: the log-probability of the search items' right answers.
    """

    method: str = "task_arithmetic"
    ratios: tuple[float, ...] = (1.0,)
    settings: Mapping[str, tuple[float | str, ...]] = field(default_factory=dict[str, tuple[float | str, ...]])
    shared: bool = False
    as_fitted: bool = False

    @property
    def known(self) -> bool:
        """As ``Row``."""
        return self.method in OPERATORS

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        began, tried = time.process_time(), {}
        combinations = [
            dict(zip(self.settings, own, strict=True)) for own in itertools.product(*self.settings.values())
        ]
        grid = [(settings, ratio) for settings in combinations for ratio in self.ratios][: bench.sizes.grid]
        for number, (settings, ratio) in enumerate(grid):
            self._apply(bench, settings, ratio)
            tried[number] = bench.log_smooth("search") if self.as_fitted else bench.smooth("search", "fresh")
        best = max(tried, key=tried.__getitem__)
        seconds = time.process_time() - began
        ratio = self._apply(bench, *grid[best])
        chosen = {"method": self.method, "settings": grid[best][0], "ratio": ratio, "tried": list(tried.values())}
        read = bench.parts.search if self.as_fitted else bench.parts.pool
        return Cell(chosen, bench.smooth("search", "fresh"), seconds=seconds, asked=len(grid) * len(read))

    def _apply(self, bench: Bench, settings: Mapping[str, float | str], ratio: float) -> float:
        evaluator = bench.open(self.method, settings)
        ratio = ratio / bench.count if self.shared else ratio
        evaluator.candidate.apply(dict.fromkeys(evaluator.space.tensors(), ratio))
        return ratio


@dataclass(frozen=True)
class Fitted(Plain):
    """Ratios that a descent of the log-probability of right answers leads to, from the baseline's one ratio.

    Attributes:
        by_layer: whether each layer has its own; else one per parent.
    """

    by_layer: bool = True

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        began, evaluator = time.process_time(), bench.open()
        start = done[BASELINE].chosen["ratio"]
        genes, evaluations = fit_ratios(bench, evaluator, start, by_layer=self.by_layer)
        asked = GRADIENT * evaluations * len(bench.parts.search) + done[BASELINE].asked
        seconds = time.process_time() - began + done[BASELINE].seconds
        evaluator.candidate.apply(genes)
        return Cell({"genes": genes}, bench.smooth("search", "fresh"), seconds=seconds, asked=asked)


class FromPrior(Plain):
    """The response prior's ratio of each layer and parent, without a search."""

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        evaluator = bench.open()
        scans, run = bench.scans, bench.open_run("prior", bench.config)
        began = time.process_time()
        prior, _ = measure_prior(run, bench.parents, evaluator.space, scans)
        seconds = time.process_time() - began
        genes = {gene.name: gene.mean for gene in prior.genes}
        evaluator.candidate.apply(genes)
        steps = prior.note.partition("; ")[2].partition(" steps")[0]
        asked = GRADIENT * (2 + (int(steps) if steps.isdigit() else 0)) * len(bench.parts.search)
        chosen = {"genes": genes, "prior": prior.model_dump(mode="json")}
        return Cell(chosen, bench.smooth("search", "fresh"), seconds=seconds, asked=asked)


@dataclass(frozen=True)
class Searched(Plain):
    """A search, from the prior or without it; without it, it may ask as many more items as the prior cost.

    Attributes:
        start: ``response``: CMA-ES from the prior; ``flat``: CMA-ES from the middle of the box; ``random``: candidates
            drawn evenly from the box.
        budget: candidates; that of the bench when None.
    """

    start: str = "response"
    budget: int | None = None

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        spent, own = done[PRIOR], self.start == "response"
        evaluator, budget = bench.open(), self.budget or bench.sizes.budget
        if own:
            prior = Prior.model_validate(spent.chosen["prior"])
        else:
            config = bench.make_config("task_arithmetic", {}, "flat")
            prior, _ = measure_prior(bench.open_run("flat", config), bench.parents, evaluator.space, bench.scans)
            budget += round(spent.asked / len(bench.parts.search))
        strategy = "random" if self.start == "random" else "cma"
        name = f"{self.start}-{budget}"
        winner, ledger = search_winner(bench, evaluator, prior, name, budget, strategy)
        seconds = sum(line.seconds for line in ledger.lines) + own * spent.seconds
        asked = sum(line.items for line in ledger.lines) + FINALISTS * len(bench.parts.fresh) + own * spent.asked
        chosen = {"genes": winner, "candidates": len(ledger.lines), "prior": prior.model_dump(mode="json")}
        return Cell(chosen, bench.smooth("search", "fresh"), seconds=seconds, asked=asked)


def search_winner(
    bench: Bench, evaluator: Evaluator, prior: Prior, name: str, budget: int, strategy: str = "cma"
) -> tuple[dict[str, float], Ledger]:
    """Search from a prior, test the best again on the fresh items, and leave the winner in the father.

    Args:
        bench: the father is resident.
        evaluator: of the space.
        prior: where the search starts.
        name: of the search in the bench's folder, where an interrupted one goes on.
        budget: candidates.
        strategy: of ``SearchOptions``.

    Returns:
        (the winner's genes, the ledger).
    """
    common = search_options(evaluator.config)
    options = SearchOptions(budget, common.population, common.seed, common.racing, strategy)
    blocks = evaluator.config.search.blocks
    ledger = Ledger(bench.folder / f"{name}.jsonl", bench.folder / f"{name}-blocks.jsonl")
    workers = InProcess(evaluator.on({TASK: bench.parts.search}, blocks=blocks))
    start = evaluator.space.genome.start(prior)
    result = search(start, workers, Means(blocks, evaluator.config.weights), ledger, options)
    finalists = result.ranking[:FINALISTS]
    fresh = evaluator.on({TASK: bench.parts.fresh})
    scores = [float(np.mean(fresh(line.genes)[TASK])) for line in finalists]
    winner = dict(finalists[int(np.argmax(scores))].genes)
    evaluator.candidate.apply(winner)
    return winner, ledger


@dataclass(frozen=True)
class Null(Plain):
    """What the winner of the search from the prior would be without what it chose.

    Attributes:
        kind: of ``null_genomes``.
    """

    kind: str = "uniform"

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        evaluator, won = bench.open(), done[FROM_PRIOR].chosen
        space = evaluator.space
        start = space.genome.start(Prior.model_validate(won["prior"]))
        nulls = null_genomes(space.genome, start, won["genes"], bench.siblings.seed)
        genes = nulls[self.kind] if self.kind in nulls else won["genes"]
        if self.kind == "shuffled-donor":
            bench.restore()
            broken = Evaluator(evaluator.config, bench.father, space.for_null(self.kind))
            broken.candidate.apply(genes)
            bench.undo_with(broken.candidate.restore)
        else:
            evaluator.candidate.apply(genes)
        return Cell({"genes": genes}, bench.smooth("search", "fresh"))


class Trained(Plain):
    """AdamW on text, for the seconds of the row it needs, which three learning rates share.

    The text is the search items with their answers beside the prior, and a repair's unlabelled text beside the repair.
    """

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        bench.restore()
        (other,) = self.needs
        texts = answered_items(bench) if other == PRIOR else [probe.text for probe in bench.texts]
        rates = (3e-4, 1e-3, 3e-3)
        seconds = done[other].seconds
        chosen = finetune(bench, texts, rates, seconds / len(rates))
        asked = sum(chosen["steps"]) * chosen["batch"]
        return Cell(chosen, bench.smooth("search", "fresh"), seconds=seconds, asked=asked)


@dataclass(frozen=True)
class Repaired(Plain):
    """The baseline, repaired at the strength that does best on the fresh items, toward each text's best parent.

    Attributes:
        null: one of the repair's nulls, at the strength that was chosen for the repair itself.
    """

    null: str | None = None

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``."""
        began, evaluator = time.process_time(), bench.open()
        ratio = float(done[BASELINE].chosen["ratio"])
        genes = dict.fromkeys(evaluator.space.tensors(), ratio)
        strength = done[REPAIR].chosen["strength"] if self.null else None
        bench.restore()
        chosen, weights = repaired_weights(bench, evaluator.space, genes, strength, self.null)
        father = stored_tensors(bench.father.model)
        own = {name: value.clone() for name, value in father.items()}
        write_tensors(father, weights)
        bench.undo_with(lambda: write_tensors(father, own))
        seconds = time.process_time() - began + done[BASELINE].seconds
        return Cell(chosen, bench.smooth("search", "fresh"), seconds=seconds)


def fingerprint(row: Row) -> str:
    """Of a row's settings and of those of the rows it needs: a cell made with others is measured again."""
    own = [repr(row), *(fingerprint(need) for need in ROWS if need.name in row.needs)]
    return hashlib.sha256("\n".join(own).encode()).hexdigest()[:12]


def _regression(moments: str) -> Tuned:
    """The closed form with these moments, once the package has it."""
    shares = (0.25, 0.5, 0.7, 0.85, 1.0)
    return Tuned(
        f"regression, {moments}", method="regression", ratios=shares, settings={"moments": (moments,)}, shared=True
    )


# A merge method of the package: one ``Tuned`` line. What follows a merge: a class such as ``Repaired``.
ROWS: tuple[Row, ...] = (
    Father("the father alone"),
    Tuned(BASELINE, ratios=RATIOS),
    Tuned(
        "ties, tuned", method="ties", settings={"density": (0.5, 0.8), "divide": ("weights",), "scale": (1.0, 1.5, 2.0)}
    ),
    Tuned(
        "dare_ties, tuned",
        method="dare_ties",
        settings={"density": (0.5, 0.8), "divide": ("weights",), "scale": (0.7, 1.0, 1.5)},
    ),
    *map(_regression, ("identity", "diagonal", "probes", "merged", "deltas")),
    Repaired(REPAIR, (BASELINE,)),
    Repaired("null: repair of the father", (BASELINE, REPAIR), null="repair-father"),
    Repaired("null: repair on shuffled words", (BASELINE, REPAIR), null="repair-shuffled-text"),
    Tuned(ONE, ratios=RATIOS, as_fitted=True),
    Fitted(PER_PARENT, (BASELINE,), by_layer=False),
    Fitted(PER_LAYER, (BASELINE,)),
    FromPrior(PRIOR),
    Searched(FROM_PRIOR, (PRIOR,)),
    Searched("CMA-ES from a flat start", (PRIOR,), start="flat"),
    Null("null: the winner's mean ratio", (FROM_PRIOR,), kind="uniform"),
    Null("null: the winner's mean per parent", (FROM_PRIOR,), kind="per-parent"),
    Null("null: random genes", (FROM_PRIOR,), kind="random"),
    Null("null: shuffled task vectors", (FROM_PRIOR,), kind="shuffled-donor"),
    Trained("AdamW on the search items", (PRIOR,)),
    Trained("AdamW on the unlabelled text", (REPAIR,)),
)
