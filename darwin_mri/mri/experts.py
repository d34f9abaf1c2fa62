"""How a mixture of experts spreads its tokens: per-expert load by language and domain, from the one pass."""

from __future__ import annotations

import numpy as np

from darwin_mri.mri.activations import Activations
from darwin_mri.mri.language import cell_tokens
from darwin_mri.records import ExpertLoad

DIGITS = 6  # a share of 10^6 tokens: more than a probe set has


def expert_loads(activations: Activations) -> list[ExpertLoad | None]:
    """Per layer the load of its experts; None for a layer without a mixture.

    With n_e the tokens of a group that pass expert e, T its tokens and E experts: share = n_e / T; the load p_e = n_e /
    sum n; entropy = -sum p log p / log E, 1 where all experts carry the same; imbalance = E max p; difference = half of
    sum |p_e - q_e|, the total variation distance of p from the load q of all probes, 0 to 1.

    Args:
        activations: the one pass.

    Returns:
        One entry per layer.
    """
    tokens, cells = cell_tokens(activations), activations.cells
    groups = {name: _members(cells, name) for name in activations.units.groups()}
    out: list[ExpertLoad | None] = []
    for layer in activations.layers:
        if layer.routed is None or not layer.routed.any():
            out.append(None)
            continue
        routed = layer.routed.cpu().numpy()  # (cells, experts)
        counts = {name: routed[rows].sum(0) for name, rows in groups.items()}  # (experts,) each
        loads = {name: count / max(count.sum(), 1.0) for name, count in counts.items()}
        out.append(
            ExpertLoad(
                experts=routed.shape[1],
                share={
                    name: tuple(round(float(n), DIGITS) for n in count / max(tokens[groups[name]].sum(), 1.0))
                    for name, count in counts.items()
                },
                entropy={name: round(_entropy(load), DIGITS) for name, load in loads.items()},
                imbalance={name: round(float(load.max() * len(load)), DIGITS) for name, load in loads.items()},
                difference={
                    name: round(float(np.abs(load - loads["all"]).sum() / 2), DIGITS)
                    for name, load in loads.items()
                    if name != "all"
                },
            )
        )
    return out


def _members(cells: tuple[tuple[str, str], ...], group: str) -> np.ndarray:
    """Which (language, domain) cells a group has, (cells,) boolean."""
    kind, _, name = group.partition(":")
    return np.array([kind == "all" or name == (cell[0] if kind == "language" else cell[1]) for cell in cells])


def _entropy(load: np.ndarray) -> float:
    positive = load[load > 0]
    return float(-(positive * np.log(positive)).sum() / np.log(len(load))) + 0.0 if len(load) > 1 else 1.0
