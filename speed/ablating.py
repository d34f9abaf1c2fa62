"""A whole scan against plain forwards over the same tokens, and ablation by estimate and check against exact ablation.

    python -m speed --only ablation --out FILE

The model is the nursery's base; where ``DARWIN_MRI_MODELS`` names a folder, each GGUF file in it is read as well.
``documents`` and ``max_tokens`` are those of a default scan, or fewer where the model is read from a file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darwin_mri.batch_sizes import SCAN_FORWARDS
from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.mri import AblationPlan, ScanOptions, scan_parent
from darwin_mri.mri.activations import measure_activations
from darwin_mri.mri.scan_ablation import Ablated, ablate_parts
from darwin_mri.probes import Probe, TokenizedProbes, document_nll, load_probes, select_probes, tokenize_probes
from speed.measure import make_row

AGREEMENT = 0.95
SIZES = {"nursery": (16, 128), "file": (8, 48)}  # documents per language and domain, tokens of each
LEADING = 5


def ablation_rows() -> Iterator[dict[str, Any]]:
    """Two rows for each model: the scan's cost in plain forwards, and the lowest rank agreement over the groups."""
    refs = ["nursery:gemma4-base"]
    folder = os.environ.get("DARWIN_MRI_MODELS")
    refs += sorted(map(str, Path(folder).glob("*.gguf"))) if folder else []
    for ref in refs:
        parent = load(find_model(ref), device="cpu", dtype="float32")
        documents, tokens = SIZES["nursery" if ref.startswith("nursery:") else "file"]
        probes = select_probes(load_probes(), None, documents, 1)
        tokenized = tokenize_probes(probes, parent.tokenizer, max_tokens=tokens, device="cpu")
        yield cost_row(parent, tokenized)
        yield agreement_row(parent, tokenized)


def cost_row(parent: LoadedModel, tokenized: TokenizedProbes) -> dict[str, Any]:
    """A whole scan against a plain forward with the loss; both once, in CPU seconds, as other work takes its share."""
    began = time.process_time()
    with torch.inference_mode():
        for batch in tokenized.batches:
            document_nll(parent.model, batch)
    forward = time.process_time() - began
    began = time.process_time()
    scan, _ = scan_parent(parent, tokenized, [], ScanOptions(resamples=400, seed=1))
    seconds = time.process_time() - began
    counted = scan.ablation.forwards if scan.ablation else 0.0
    return make_row(
        f"whole scan, {parent.source.ref}",
        "plain forward and loss, same tokens",
        seconds / forward,
        SCAN_FORWARDS,
        lower=True,
        detail=f"{seconds:.1f} s / {forward:.2f} s, {tokenized.tokens} tokens; ablation {counted:.1f} by count",
    )


def agreement_row(parent: LoadedModel, tokenized: TokenizedProbes) -> dict[str, Any]:
    """Spearman's rho over layers of estimated and exact rise, the lowest of all parts, languages and domains."""
    activations, losses = measure_activations(parent, tokenized), {}
    forwards = {}
    for mode in ("fast", "exact"):
        losses[mode], how = ablate_parts(AblationPlan(parent, tokenized, ("f", "m"), mode, 1), activations)
        forwards[mode] = how.forwards
    weights, languages = group_weights(tokenized.probes)
    rho, leading, inside = compare(losses["fast"], losses["exact"], weights, languages)
    return make_row(
        f"fast ablation, {parent.source.ref}",
        "exact ablation: lowest rho",
        min(rho),
        AGREEMENT,
        lower=False,
        detail=(
            f"mean rho {np.mean(rho):.3f}, {sum(r >= AGREEMENT for r in rho)} of {len(rho)} at {AGREEMENT} or more;"
            f" same {LEADING} leading layers in {leading} of {len(rho)};"
            f" exact in the interval of the estimate: {inside:.0%};"
            f" {forwards['fast']:.1f} / {forwards['exact']:.1f} forwards"
        ),
    )


def group_weights(probes: Sequence[Probe]) -> tuple[np.ndarray, int]:
    """(groups, documents) of 0 and 1: parallel passages of every language, then every domain; the languages' number."""
    languages = sorted({probe.language for probe in probes if probe.pair})
    groups = [[bool(p.pair) and p.language == language for p in probes] for language in languages]
    groups += [[p.domain == domain for p in probes] for domain in sorted({p.domain for p in probes})]
    return np.array(groups, dtype=float), len(languages)


def compare(
    fast: dict[str, Ablated], exact: dict[str, Ablated], weights: np.ndarray, languages: int
) -> tuple[list[float], int, float]:
    """How estimated rises compare with exact ones.

    Args:
        fast: losses by part.
        exact: losses by part.
        weights: (groups, documents); languages first, which mixers have no figure for.
        languages: number of groups that are languages.

    Returns:
        (rho of each part and group, groups with the same leading layers, share of exact figures in the 95 % interval of
        the estimation error).
    """
    from scipy.stats import spearmanr

    rho: list[float] = []
    inside: list[np.ndarray] = []
    same = 0
    for part, losses in exact.items():
        own = weights if part == "f" else weights[languages:]
        truth, estimate = losses.nll @ own.T, fast[part].nll @ own.T  # (layers, groups)
        spread = np.sqrt(fast[part].error_variance(own).T)
        inside.append((np.abs(truth - estimate) <= 1.96 * spread)[spread > 0])
        for group in range(len(own)):
            result: Any = spearmanr(truth[:, group], estimate[:, group])
            rho.append(float(result[0]))
            first, second = (set(np.argsort(-side[:, group])[:LEADING].tolist()) for side in (truth, estimate))
            same += first == second
    return rho, same, float(np.concatenate(inside).mean())
