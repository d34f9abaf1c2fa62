"""One seed and one number of parents: the items in three parts, the father in memory, and merges applied to it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from darwin_mri import seeds
from darwin_mri.benchmarks import ChoiceItem, Grader, Item, Scorer, open_grader, sample_items, split_items
from darwin_mri.checkpoints import LoadedModel, load
from darwin_mri.config import Config
from darwin_mri.mri.moments import measure_moments
from darwin_mri.probes import Probe, document_nll, load_probes, select_probes, tokenize_probes
from darwin_mri.problem.fitness import Evaluator
from darwin_mri.problem.items import Items
from darwin_mri.problem.merged_moments import measure_merged
from darwin_mri.problem.moments import MERGED_KIND, kind_of, moment_options, takes_moments
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.scans import Scans
from darwin_mri.problem.space import sibling_space
from darwin_mri.records import Splits
from darwin_mri.records.roles import moments_file
from darwin_mri.run import Run, open_run
from darwin_mri.stages.scan import scan_parents
from proving.methods.family import SEARCH_SHARE, Siblings
from proving.methods.siblings import base_documents

TASK = "facts"  # all shares are one task, in which each has as many items


@dataclass(frozen=True)
class Sizes:
    """How much is asked.

    Attributes:
        search: items of each share that a search sees.
        fresh: items of each share that finalists are tested on again; grids are tuned on both.
        held_out: items of all shares that are reported, as far as there are so many.
        budget: candidates of a search.
        population: of a generation.
        steps: of the descents.
        truth: held-out items on which genes are moved one by one; 0 leaves that out.
        grid: how many settings of each grid are tried; all when None.
    """

    search: int = 12
    fresh: int = 8
    held_out: int = 336
    budget: int = 30
    population: int = 10
    steps: int = 4
    truth: int = 96
    grid: int | None = None


@dataclass(frozen=True)
class Parts:
    """Items of all shares in a drawn order; the parts share no fact.

    Attributes:
        search: that a search sees.
        fresh: that finalists are tested on again.
        held_out: that are reported.
    """

    search: tuple[ChoiceItem, ...]
    fresh: tuple[ChoiceItem, ...]
    held_out: tuple[ChoiceItem, ...]

    @property
    def pool(self) -> tuple[ChoiceItem, ...]:
        """All that a choice may be made by."""
        return self.search + self.fresh


def split_shares(siblings: Siblings, parents: int, sizes: Sizes) -> Parts:
    """The items of the first ``parents`` specialists' shares, split by fact."""
    parts: tuple[list[ChoiceItem], ...] = ([], [], [])
    for number in range(parents):
        split = split_items(siblings.items(number), siblings.seed, SEARCH_SHARE)
        first, rest = _apart(split.search, sizes, siblings.seed)
        drawn = (
            sample_items(first, sizes.search, siblings.seed),
            sample_items(rest, sizes.fresh, siblings.seed),
            sample_items(split.held_out, -(-sizes.held_out // parents), siblings.seed),
        )
        for part, own in zip(parts, drawn, strict=True):
            part += own  # type: ignore[arg-type]
    for name, part in zip(("search", "fresh", "held out"), parts, strict=True):
        seeds.named(siblings.seed, "order", name).shuffle(part)  # type: ignore[arg-type]
    return Parts(*map(tuple, parts))


def _apart(items: Sequence[Item], sizes: Sizes, seed: int) -> tuple[list[Item], list[Item]]:
    """Items for the search and fresh ones, which share no cluster.

    The search gets as many clusters as it has items, or its share of them where too few would be left.
    """
    every = sample_items(items, len({item.cluster for item in items}), seed)  # one of each cluster
    taken = sizes.search
    if len(every) - taken < sizes.fresh / 2:
        taken = round(len(every) * sizes.search / (sizes.search + sizes.fresh))
    own = {item.cluster for item in every[:taken]}
    return [item for item in items if item.cluster in own], [item for item in items if item.cluster not in own]


class Bench:
    """The father, its siblings, and the items.

    Args:
        siblings: trained.
        parents: how many of them stand beside the father.
        sizes: how much is asked.
        folder: for the runs of searches and priors.
    """

    def __init__(self, siblings: Siblings, parents: int, sizes: Sizes, folder: Path) -> None:
        self.siblings, self.count, self.sizes, self.folder = siblings, parents, sizes, folder
        self.parts = split_shares(siblings, parents, sizes)
        self.config = self.make_config("task_arithmetic", {})
        self.parents = Parents.find(self.config, device="cpu", offline=True)
        part = {name: {TASK: own} for name, own in vars(self.parts).items()}
        splits = Splits(seed=siblings.seed, search_share=SEARCH_SHARE, held_out_share=None, benchmarks=())
        self.parents.items = Items({TASK: self.parts.pool}, **part, stand_ins={}, benchmarks=(), splits=splits)
        self.scorer = Scorer(self.father.model, self.father.tokenizer)
        self.graders = {name: open_grader(part, self.scorer) for name, part in vars(self.parts).items()}
        self.smooth("fresh")  # chooses how to score; names of several tokens share little that a cache could hold
        self.scorer.use_cache = False
        self._opened: tuple[tuple[str, str], Evaluator] | None = None
        self._undo: Callable[[], None] | None = None
        self._measured: Run | None = None  # with the moments
        self._merged = False

    def make_config(self, method: str, settings: Mapping[str, Any], preset: str = "response", **more: Any) -> Config:
        """The config of a merge of these parents, in which every search item is read.

        Args:
            method: of the merge.
            settings: of the method.
            preset: of the prior.
            more: fields of the sections ``scan``, ``prior`` and ``search``; as it is, no layer is frozen.

        Returns:
            The config.
        """
        sections: dict[str, Any] = {
            "scan": {"documents": 1, "languages": ("en",), "mixers": False, "bootstrap": 50},
            "prior": {"preset": preset, "protect": (), "items": 10_000, "steps": self.sizes.steps},
            "search": {"budget": self.sizes.budget, "population": self.sizes.population},
        }
        sections = {name: {**own, **more.get(name, {})} for name, own in sections.items()}
        models = [str(self.siblings.model(number)) for number in range(self.count)]
        own = {name: settings[name] for name in ("density", "rescale") if name in settings}
        return Config(
            parents=(self.siblings.base, *models),
            father=self.siblings.base,
            mother=models[0],
            base=self.siblings.base,
            method=method,  # type: ignore[arg-type]
            **own,
            settings={name: value for name, value in settings.items() if name not in own},
            fitness={TASK: 1.0},
            bench={"tasks": (TASK,)},  # type: ignore[arg-type]
            **sections,
            seed=self.siblings.seed,
            device="cpu",
        )

    @property
    def roles(self) -> tuple[str, ...]:
        """Role of each specialist, whose genes are named by it."""
        return self.config.ratio_roles

    @property
    def father(self) -> LoadedModel:
        """Resident; its weights are those of the merge that was applied last."""
        return self.parents.father

    def open(self, method: str = "task_arithmetic", settings: Mapping[str, Any] | None = None) -> Evaluator:
        """What applies and scores the merges of a method."""
        key = method, repr(sorted((settings or {}).items()))
        if self._opened is None or self._opened[0] != key or self._undo:
            self.restore()
        if self._opened is None or self._opened[0] != key:
            config = self.make_config(method, settings or {})
            folder = self.moments(config) if takes_moments(config) else None
            space = sibling_space(config, self.father, self.parents.other_sources, self.parents.base, folder)
            self._opened = key, Evaluator(config, self.father, space)
            self._opened[1].scorer = self.scorer
        return self._opened[1]

    def moments(self, config: Config) -> Path:
        """Folder with the parents' moments, measured once on unlabelled text: every parent's own."""
        if not self._measured:
            full = self.make_config("regression", {"moments": "probes"})
            self._measured = self.open_run("moments", full)
            for role in self.parents.sources:
                self._measure(role, full)
        if kind_of(config) == MERGED_KIND and not self._merged:
            self._merged = True
            parents = Parents(config, self.parents.sources, self.parents.base, "cpu", True)
            parents.probes = self.texts
            plain = sibling_space(config, parents.father, parents.other_sources, parents.base)
            measure_merged(self._measured, parents, plain.merge, null=False)
        return self._measured.folder

    def _measure(self, role: str, config: Config) -> None:
        """One parent's moments, products of all inputs that are not wide."""
        source = self.parents.sources[role]
        model = load(source, device="cpu", dtype="float32")
        tokenized = tokenize_probes(self.texts, model.tokenizer, max_tokens=config.scan.max_tokens, device="cpu")
        path = self._measured_path(moments_file(role))
        measure_moments(model, tokenized, path, moment_options(config, model))

    def _measured_path(self, name: str) -> Path:
        assert self._measured is not None
        return self._measured.path(name)

    def restore(self) -> None:
        """Give the father its own weights."""
        if self._undo:
            self._undo()
            self._undo = None
        if self._opened is not None:
            self._opened[1].candidate.restore()

    def undo_with(self, undo: Callable[[], None]) -> None:
        """Say what gives a father its own weights back that was changed by other means than ``open``'s."""
        self._undo = undo

    def smooth(self, *parts: str) -> float:
        """The smooth fitness of the model as it is on parts of the items."""
        return float(np.mean([score for part in parts for _, score in grades(self.graders[part])]))

    def log_smooth(self, part: str) -> float:
        """Mean logarithm of the smooth score on a part of the items."""
        return float(np.mean([np.log(max(score, 1e-30)) for _, score in grades(self.graders[part])]))

    def judge(self) -> tuple[tuple[float, ...], float]:
        """The model as it is: credit of every held-out item, and the smooth fitness."""
        table = grades(self.graders["held_out"])
        return tuple(credit for credit, _ in table), float(np.mean([smooth for _, smooth in table]))

    def open_run(self, name: str, config: Config) -> Run:
        """A run in a folder of its own."""
        folder = tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder)
        return open_run(Path(folder), config, (), "cpu")

    @cached_property
    def texts(self) -> tuple[Probe, ...]:
        """Unlabelled text of the father and of each sibling, a topic each; it states no fact of a held-out item."""
        return self.siblings.texts(self.count)

    @cached_property
    def scans(self) -> Scans:
        """The father's scan alone: all that the response prior of siblings reads of one."""
        self.restore()
        alone = Parents(self.config, {"father": self.parents.sources["father"]}, None, "cpu", True)
        return scan_parents(self.open_run("scan", self.config), alone)


def grades(grader: Grader, indices: Sequence[int] | None = None) -> list[tuple[float, float]]:
    """(credit, smooth score) of items under the model as it is."""
    items: Sequence[Any] = grader.items  # type: ignore[attr-defined]
    chosen = range(len(items)) if indices is None else indices
    table = dict(grader.grades(chosen))
    return [(table[index].answer.credit, table[index].smooth) for index in chosen]


def accuracy(model: LoadedModel, items: Sequence[Item]) -> float:
    """Share of items that a model answers right."""
    return float(np.mean([credit for credit, _ in grades(open_grader(items, Scorer(model.model, model.tokenizer)))]))


def base_probes(seed: int) -> list[Probe]:
    """What the base reads as its own: built-in probe texts, and documents about its own world."""
    documents = base_documents(random.Random(f"{seed}:probes"))
    own = [Probe(next(documents), "en", "world", f"world-{number}") for number in range(16)]
    return [*select_probes(load_probes(), ("ko", "en"), 2, seed), *own]


def nll_per_byte(model: LoadedModel, probes: Sequence[Probe]) -> float:
    """NLL per UTF-8 byte, in nats."""
    tokenized = tokenize_probes(tuple(probes), model.tokenizer, max_tokens=128, device="cpu")
    total = sum(float(document_nll(model.model, batch).double().sum()) for batch in tokenized.batches)
    return total / float(tokenized.bytes_read.sum())
