"""The names of the methods a config may ask for."""

from __future__ import annotations

from typing import Literal, get_args

Operator = Literal[
    "linear",
    "slerp",
    "task_arithmetic",
    "ties",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "breadcrumbs",
    "breadcrumbs_ties",
    "nuslerp",
    "multislerp",
    "karcher",
    "model_stock",
    "sce",
    "ram",
    "ramplus_tl",
    "arcee_fusion",
    "nearswap",
    "regression",
]
"""Methods for parents of one architecture."""
Arm = Literal["raw", "folded", "aligned", "transplant", "refit", "competence"]
"""Methods across architectures, each registered in ``merging.arms``."""
Method = Literal[Operator, Arm]
TrackerName = Literal["trackio", "wandb", "mlflow", "tensorboard"]
"""What a run can be logged to, each by ``trackers.to_NAME``."""
OPERATORS: tuple[str, ...] = get_args(Operator)
ARMS: tuple[str, ...] = get_args(Arm)
# Methods with one result for all parents: their one ratio goes from the father to it.
JOINT = frozenset({"model_stock", "sce", "ram", "ramplus_tl", "arcee_fusion", "nearswap"})
# Methods whose ratios are shares of the whole; the others add task vectors, which may exceed 1.
SHARING = frozenset({"linear", "slerp", "nuslerp", "multislerp", "karcher", "regression", *JOINT})
# Presets of the prior that follow slopes of the fitness.
FITTED = frozenset(("response", "cross-fitted"))
