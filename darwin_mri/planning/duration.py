"""How long each stage of a run takes: an estimate from counted tokens and a speed that is named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darwin_mri.batch_sizes import GRADIENT_FORWARDS, PASS_FORWARDS, SCAN_FORWARDS, STATISTICS_FORWARDS
from darwin_mri.checkpoints.survey import Survey
from darwin_mri.config import Config
from darwin_mri.config_arms import SUBJECT_STEPS
from darwin_mri.config_methods import FITTED
from darwin_mri.mri.subsampling import make_design
from darwin_mri.planning import machine
from darwin_mri.planning.lengths import TokenCounts
from darwin_mri.planning.memory import (
    ONE_MODEL_ARMS,
    layer_parameters,
    moment_files,
    moment_values,
)
from darwin_mri.records import PlanStage

SLOPES = 3.3  # forwards that a forward and backward pass takes (docs/LOG.md)
FILLED = 0.7  # mean share of max_tokens that a text has
LAYER_SECONDS = 8e-6  # per token and layer on a processor, whatever the width
NULLS = 4  # and one more where several parents have ratios of their own
REPAIR_NULLS = 2
MAP_GROUPS = 5  # groups of maps in a layer, each solved on a forward of its own through this layer
SOLVING = 8  # how much slower than a forward pass's the operations of a solve in fp64 are
HELD_OUT = 400  # items per benchmark, where the config does not say


def estimate_seconds(
    config: Config, surveys: Sequence[Survey], device: machine.Device | None, rate: float | None, counts: TokenCounts
) -> tuple[tuple[PlanStage, ...], str]:
    """Seconds of each stage, and the speed they rest on.

    Args:
        config: of the run.
        surveys: of the parents, the father's first.
        device: the accelerator; None for the processor.
        rate: FLOP/s that a forward pass reaches; from this machine when None.
        counts: what the models read.

    Returns:
        (stages in their order, the speed in words).
    """
    speed, basis = _speed(device, rate)
    estimate = _Estimate(config, surveys, speed, 0 if device else LAYER_SECONDS, counts)
    stages = [
        estimate.scan(),
        *estimate.moments(),
        *estimate.prior(),
        *estimate.donors(),
        estimate.search(),
        *estimate.repair(),
        estimate.bench(),
    ]
    return tuple(stage.model_copy(update={"seconds": round(stage.seconds, 1)}) for stage in stages), basis


def _speed(device: machine.Device | None, rate: float | None) -> tuple[float, str]:
    """FLOP/s of a forward pass, and where the figure is from."""
    if rate:
        return rate, f"{rate / 1e12:g} TFLOP/s in a forward pass, as given"
    if device:
        return device.speed, f"{device.name}: {device.basis}"
    speed = machine.processor_speed()
    return speed, f"this processor: {speed / 1e9:.0f} GFLOP/s in a forward pass, measured"


class _Estimate:
    """The estimate of each stage."""

    def __init__(
        self, config: Config, surveys: Sequence[Survey], speed: float, layer_seconds: float, counts: TokenCounts
    ) -> None:
        self.config, self.surveys, self.speed, self.layer_seconds = config, surveys, speed, layer_seconds
        self.counts = counts
        self.groups = len({(probe.language, probe.domain) for probe in counts.probes})
        self.probe_tokens = float(counts.tokens.sum())
        self.length = {name: counts.item(name) for name in {*config.fitness, *config.bench.tasks}}
        self.fitness_tokens = sum(self.length[name].once for name in config.fitness)

    def seconds(self, survey: Survey, tokens: float) -> float:
        """Of a forward pass over so many tokens."""
        layers = len(survey.anatomy.layers)
        return tokens * (2 * layer_parameters(survey) / self.speed + layers * self.layer_seconds)

    def scan(self) -> PlanStage:
        read, parts = self.probe_tokens, 2 if self.config.scan.mixers else 1
        # An ablated forward begins at its layer: half of the layers in the mean.
        exact = [1 + parts * len(survey.anatomy.layers) / 2 for survey in self.surveys]
        note = f"{len(self.surveys) * read:,.0f} tokens, and once more from each ablated layer on"
        if self.config.scan.ablation == "fast":
            exact = [SCAN_FORWARDS if self._some_stand_for_all(forwards) else forwards for forwards in exact]
            note = f"{len(self.surveys) * read:,.0f} tokens, read {max(exact):.0f} times at most"
        total = sum(self.seconds(survey, read * count) for survey, count in zip(self.surveys, exact, strict=True))
        return PlanStage(name="scan", seconds=total, note=note)

    def _some_stand_for_all(self, exact: float) -> bool:
        """Whether ablation is estimated: some texts of every kind are measured (``AblationPlan``)."""
        budget = SCAN_FORWARDS - PASS_FORWARDS - STATISTICS_FORWARDS - GRADIENT_FORWARDS
        if exact <= SCAN_FORWARDS - PASS_FORWARDS or not len(self.counts.tokens):
            return False
        design = make_design(self.counts.probes, np.ones(len(self.counts.tokens)), self.config.seed)
        return len(design.first(self.counts.tokens, budget / max(exact, budget))) > 0

    def moments(self) -> list[PlanStage]:
        files = moment_files(self.config)
        if not files:
            return []
        reads, tokens = files, self.probe_tokens
        products = sum(2 * tokens * moment_values(self.config, survey) / self.speed for survey in self.surveys)
        total = sum(self.seconds(survey, reads * tokens) for survey in self.surveys) + files * products
        note = f"{self.config.moments}, {files} file{'s' if files > 1 else ''} for each parent"
        return [PlanStage(name="moments", seconds=total, note=note)]

    def prior(self) -> list[PlanStage]:
        prior = self.config.prior
        if prior.preset == "flat":
            return []
        tokens = 2 * sum(self.counts.group_tokens(name) for name in prior.protect)
        note = f"with gradients: texts in {len(prior.protect)} protected languages or domains, twice"
        if prior.preset in FITTED:
            times = 2 + prior.steps if prior.preset == "response" else 3 + 2 * prior.steps
            tokens += times * prior.items * self.fitness_tokens
            note += f"; {prior.items} items per benchmark, {times} times"
        return [PlanStage(name="prior", seconds=self.seconds(self.surveys[0], SLOPES * tokens), note=note)]

    def donors(self) -> list[PlanStage]:
        config, father = self.config, self.surveys[0]
        if not config.cross or config.method in ONE_MODEL_ARMS:
            return []
        tokens = self.counts.donor_tokens
        if tokens is None:
            tokens = config.arm.documents * self.groups * config.arm.max_tokens * FILLED
        if config.method != "competence":
            seconds = sum(self.seconds(survey, tokens) for survey in self.surveys) * 2
            return [PlanStage(name="donors", seconds=seconds, note=f"2 passes over {tokens:,.0f} tokens")]
        written = self.counts.written_tokens
        if written is None:
            questions = sum(self.length[name].question + config.arm.new_tokens for name in config.fitness)
            written = 0.0 if config.arm.writer == "nobody" or config.arm.prompts else config.search.items * questions
        held = tokens if config.arm.held_rows is None else min(tokens, config.arm.held_rows * written)
        refits, read = _refits(config, father), written + held
        width, hidden = father.anatomy.ffn_size, father.anatomy.hidden_size
        refit = 2 * read * width * (width + hidden) + SOLVING * (width**3 / 3 + 2 * width**2 * hidden)
        seconds = self.seconds(father, 2 * written + tokens + refits * read) + refits * refit / self.speed
        if config.arm.place != "answer":
            seconds += self.seconds(father, SUBJECT_STEPS * SLOPES * written)
        seconds += sum(self.seconds(survey, written) for survey in self.surveys[1:])
        counted = self.counts.written_tokens is not None or not config.arm.prompts
        note = f"{refits} refits over {read:,.0f} tokens" + ("" if counted else ", prompts of a folder apart")
        return [PlanStage(name="donors", seconds=config.arm.rounds * seconds, note=note)]

    def search(self) -> PlanStage:
        search = self.config.search
        evaluations = search.evaluations
        seconds = self.seconds(self.surveys[0], evaluations * search.items * self.fitness_tokens)
        return PlanStage(
            name="search", seconds=seconds, note=f"{evaluations} evaluations of {search.items} items per benchmark"
        )

    def repair(self) -> list[PlanStage]:
        """Of every strength; those of the nulls are the bench's in the manifest, and counted here."""
        repair, father = self.config.repair, self.surveys[0]
        if repair is None:
            return []
        tokens, strengths = repair.documents * self.groups * repair.max_tokens * FILLED, len(repair.strengths)
        runs = strengths + REPAIR_NULLS
        width, hidden, layers = father.anatomy.ffn_size, father.anatomy.hidden_size, len(father.anatomy.layers)
        # Per layer: the moments of all inputs, and the widest system's factor and solution.
        moments = layers * tokens * 2 * (width * (width + hidden) + 3 * hidden * (hidden + width))
        solve = layers * SOLVING * (width**3 / 3 + 2 * width**2 * hidden)
        seconds = sum(self.seconds(survey, tokens) for survey in self.surveys)
        seconds += runs * (self.seconds(father, tokens * (2 + MAP_GROUPS)) + (moments + solve) / self.speed)
        items = (strengths + repair.optional) * self.config.search.items
        seconds += self.seconds(father, items * self.fitness_tokens)
        note = f"{strengths} strengths and {REPAIR_NULLS} nulls on {tokens:,.0f} tokens, {items:,} items per benchmark"
        return [PlanStage(name="repair", seconds=seconds, note=note)]

    def bench(self) -> PlanStage:
        bench, (father, *others) = self.config.bench, self.surveys
        held_out = bench.items or HELD_OUT
        whole = sum(self.length[name].once for name in bench.tasks) * held_out
        each = sum(self.length[name].apart for name in bench.tasks) * held_out if bench.harness else whole
        nulls = NULLS + (len(self.config.ratio_roles) > 1) + (REPAIR_NULLS if self.config.repair else 0)
        children = 2 if self.config.repair else 1
        seconds = self.seconds(father, (1 + children) * each + nulls * whole) + sum(
            self.seconds(other, each) for other in others
        )
        scored = len(self.surveys) + children
        models = {3: "three", 4: "four"}.get(scored, str(scored))
        return PlanStage(
            name="bench",
            seconds=seconds,
            note=f"{held_out} items per benchmark, {models} models and {nulls} null children",
        )


def _refits(config: Config, father: Survey) -> int:
    """How many layers ``competence`` solves again, at most where the reading test chooses them."""
    layers, arm = len(father.anatomy.layers), config.arm
    if isinstance(arm.layers, tuple):
        return len(arm.layers) * arm.sweeps
    chosen = layers // 2 if arm.place == "subject" else layers if arm.layers == "read" else round(arm.depth * layers)
    return max(1, chosen) * arm.sweeps
