"""Channels 4 (causal) and 5: ablation of every component in a few forwards, or on every document.

``fast`` measures each component on some documents and estimates the rest with first-order attribution as a control
variate (module ``subsampling``). Where exact ablation fits in as many forwards, or the model has no backward pass, it
is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from darwin_mri import seeds
from darwin_mri.batch_sizes import GRADIENT_FORWARDS, PASS_FORWARDS, SCAN_FORWARDS, STATISTICS_FORWARDS
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.mri.ablation import ForwardShares, LossCache, ablation_nll, find_components
from darwin_mri.mri.activations import Activations
from darwin_mri.mri.attribution import NoGradientError, first_order
from darwin_mri.mri.subsampling import Fit, fit, make_design
from darwin_mri.probes import PrefixCache, TokenizedProbes, select_tokenized
from darwin_mri.records import AblationInfo


@dataclass(frozen=True)
class Ablated:
    """Losses of the model with one part of each layer ablated.

    Attributes:
        nll: (layers, documents) in nats, measured or estimated; the unablated loss where a layer has no such part.
        estimate: of which the losses are rows; None where all were measured.
        rows: layer -> row of the estimate.
    """

    nll: np.ndarray
    estimate: Fit | None = None
    rows: tuple[tuple[int, int], ...] = ()

    def error_variance(self, weights: np.ndarray) -> np.ndarray:
        """Variance of the estimation error of weighted sums of losses.

        Args:
            weights: (sums, documents).

        Returns:
            (sums, layers) in nats squared.
        """
        out = np.zeros((len(weights), len(self.nll)))
        if self.estimate is not None and self.rows:
            layers, rows = np.array(self.rows).T
            out[:, layers] = self.estimate.error_variance(weights)[:, rows]
        return out

    def draw(self, seed: int, name: str) -> np.ndarray:
        """(layers, documents): the losses, with as much noise where they are estimated as measured ones have."""
        out = self.nll.copy()
        if self.estimate is not None and self.rows:
            layers, rows = np.array(self.rows).T
            out[layers] += self.estimate.noise_table(seeds.named(seed, "ablation noise", name))[rows]
        return out


class AblationPlan:
    """How a model's ablation goes, and how much work that is.

    Args:
        parent: the model.
        tokenized: the probes in its tokens.
        parts: ``f`` (FFN), ``m`` (mixer), or both.
        mode: ``fast`` or ``exact``.
        seed: chooses the documents that are measured.
    """

    def __init__(
        self, parent: LoadedModel, tokenized: TokenizedProbes, parts: Sequence[str], mode: str, seed: int = 0
    ) -> None:
        self.parent, self.tokenized, self.parts = parent, tokenized, tuple(parts)
        self.components = find_components(parent, parts)
        self.mode, self.reason, self.seed = mode, "", seed
        if mode == "fast" and self.exact_forwards <= SCAN_FORWARDS - PASS_FORWARDS:
            self.mode, self.reason = "exact", "all of them fit in as many forwards"
        elif mode == "fast" and not len(self.measured):
            self.mode, self.reason = "exact", "there are too few for one of each language and domain to stand for more"

    @cached_property
    def shares(self) -> ForwardShares:
        """What restarted forwards cost."""
        return ForwardShares(self.parent, PrefixCache(self.parent, self.tokenized.batches[:1]).exact)

    @cached_property
    def exact_forwards(self) -> float:
        """Forwards of exact ablation."""
        return self.shares.exact(self.components)

    @cached_property
    def tokens(self) -> np.ndarray:
        """(documents,) tokens of each."""
        return np.array([len(row) for row in self.tokenized.ids], dtype=float)

    @cached_property
    def measured(self) -> np.ndarray:
        """Documents that fast ablation measures."""
        design = make_design(self.tokenized.probes, np.ones(len(self.tokens)), self.seed)
        budget = SCAN_FORWARDS - PASS_FORWARDS - STATISTICS_FORWARDS - GRADIENT_FORWARDS
        return design.first(self.tokens, budget / max(self.exact_forwards, budget))

    @property
    def forwards(self) -> float:
        """Forwards of this ablation."""
        if self.mode == "exact":
            return self.exact_forwards
        return GRADIENT_FORWARDS + self.exact_forwards * float(self.tokens[self.measured].sum() / self.tokens.sum())


def ablate_parts(
    plan: AblationPlan,
    activations: Activations,
    *,
    cache: LossCache | None = None,
    advance: Callable[[float], None] = lambda _: None,
) -> tuple[dict[str, Ablated], AblationInfo]:
    """Losses with each layer's FFN, and mixer, ablated.

    Args:
        plan: of this model and these probes.
        activations: the one pass.
        cache: losses measured by an earlier, interrupted scan.
        advance: called with the number of documents read, in whole forwards.

    Returns:
        Losses by part, and how they were obtained.
    """
    reason, forwards = plan.reason, plan.forwards
    if plan.mode == "fast":
        try:
            attribution = _attribution(plan, activations, cache, advance)
        except NoGradientError as error:
            reason, forwards = str(error), GRADIENT_FORWARDS + plan.exact_forwards
        else:
            return _estimate(plan, activations, attribution, cache, advance)
    losses = _measure(plan, activations, cache, advance)
    info = AblationInfo(mode="exact", forwards=forwards, documents=len(plan.tokens), note=reason)
    return {part: Ablated(table) for part, table in losses.items()}, info


class _Sampled:
    """A cache for losses of some documents, apart from those of all.

    Args:
        cache: where they are kept.
    """

    def __init__(self, cache: LossCache) -> None:
        self.cache = cache

    def get(self, where: tuple[str | int | float, ...]) -> np.ndarray | None:
        return self.cache.get(("sampled", *where))

    def put(self, where: tuple[str | int | float, ...], values: np.ndarray) -> None:
        self.cache.put(("sampled", *where), values)


def _measure(
    plan: AblationPlan, activations: Activations, cache: LossCache | None, advance: Callable[[float], None]
) -> dict[str, np.ndarray]:
    """Part -> losses (layers, documents) of all documents of the activations' texts."""
    after, documents = plan.shares.after, len(activations.tokenized.probes)
    weight = plan.exact_forwards / max(sum(after[index] for _, index in plan.components), 1e-9)  # with the streams

    def count(layer: int, number: int) -> None:
        share = plan.tokens[plan.measured].sum() / plan.tokens.sum() if documents < len(plan.tokens) else 1.0
        advance(float(after[layer] * weight) * number / documents * float(share) * len(plan.tokens))

    return {part: ablation_nll(plan.parent, activations, part, cache=cache, advance=count) for part in plan.parts}


def _estimate(
    plan: AblationPlan,
    activations: Activations,
    attribution: np.ndarray,
    cache: LossCache | None,
    advance: Callable[[float], None],
) -> tuple[dict[str, Ablated], AblationInfo]:
    tokenized, chosen, plain = plan.tokenized, plan.measured, activations.nll
    budget = max(batch.ids.numel() for batch in tokenized.batches)
    some = select_tokenized(tokenized, chosen.tolist(), device=str(plan.parent.device), token_budget=budget)
    own = replace(activations, tokenized=some, nll=plain[chosen])  # the means are those of all
    losses = _measure(plan, own, _Sampled(cache) if cache else None, advance)
    rise = np.zeros((len(plan.components), len(plain)))
    for row, (part, index) in enumerate(plan.components):
        rise[row, chosen] = losses[part][index] - plain[chosen]
    measured = np.zeros(rise.shape, dtype=bool)
    measured[:, chosen] = True
    estimate = fit(make_design(tokenized.probes, plain, plan.seed), rise, measured, attribution)
    out = {}
    for part in plan.parts:
        rows = tuple((index, row) for row, (name, index) in enumerate(plan.components) if name == part)
        nll = np.tile(plain, (len(plan.parent.layers), 1))
        for index, row in rows:
            nll[index] += estimate.rise[row]
        out[part] = Ablated(nll, estimate, rows)
    return out, AblationInfo(mode="fast", forwards=plan.forwards, documents=len(chosen))


def _attribution(
    plan: AblationPlan, activations: Activations, cache: LossCache | None, advance: Callable[[float], None]
) -> np.ndarray:
    """First-order attribution, (components, documents)."""
    known = [cache.get(("attribution", *component)) if cache else None for component in plan.components]
    found = [row for row in known if row is not None]
    if len(found) == len(plan.components):
        advance(GRADIENT_FORWARDS * len(plan.tokens))
        return np.array(found)
    table = first_order(
        plan.parent, activations, plan.components, lambda documents: advance(GRADIENT_FORWARDS * documents)
    )
    if cache:
        for component, row in zip(plan.components, table, strict=True):
            cache.put(("attribution", *component), row)
    return table
