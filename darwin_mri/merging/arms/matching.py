"""Which neuron does what another does: assignment by correlation, up to the sign that a gated neuron may carry."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

EXACT = 2048  # neurons up to which the assignment is optimal; its cost grows with the cube


def correlations(products: Tensor, father_squares: Tensor, mother_squares: Tensor) -> Tensor:
    """Uncentred correlation of neurons from sums over the same rows: E[ab] / sqrt(E[a^2] E[b^2]); 0 where one is dead.

    Args:
        products: (father neurons, mother neurons) sums of a b.
        father_squares: (father neurons,) sums of a^2.
        mother_squares: (mother neurons,) sums of b^2.

    Returns:
        (father neurons, mother neurons) fp32.
    """
    scale = father_squares.sqrt()[:, None] * mother_squares.sqrt()[None, :]
    return torch.where(scale > 0, products / scale.clamp_min(1e-300), torch.zeros_like(products)).float()


def match(correlation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pair father and mother neurons so that the sum of |correlation| is largest (greedily beyond ``EXACT`` neurons).

    Args:
        correlation: (father neurons, mother neurons).

    Returns:
        father neurons, mother neurons (both of length min of the two), and the sign of each pair's correlation.
    """
    strength = correlation.abs().cpu().numpy()
    if max(strength.shape) <= EXACT:
        father, mother = linear_sum_assignment(strength, maximize=True)
    else:
        father, mother = _greedy(strength)
    rows, columns = torch.from_numpy(np.asarray(father)), torch.from_numpy(np.asarray(mother))
    signs = torch.where(correlation.cpu()[rows, columns] < 0, -1.0, 1.0)
    return rows, columns, signs


def _greedy(strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The strongest free pair again and again, in rounds that take all pairs that are each other's best."""
    left = strength.copy()
    mother_of = np.full(len(left), -1)
    while True:
        best_column, best_row = left.argmax(axis=1), left.argmax(axis=0)
        rows = np.flatnonzero(best_row[best_column] == np.arange(len(left)))
        rows = rows[left[rows, best_column[rows]] > 0]
        if not len(rows):
            break
        mother_of[rows] = best_column[rows]
        left[rows, :] = 0
        left[:, best_column[rows]] = 0
    # What is left correlates with nothing (dead neurons): any order is as good.
    free_rows = np.flatnonzero(mother_of < 0)
    free_columns = np.setdiff1d(np.arange(left.shape[1]), mother_of)
    count = min(len(free_rows), len(free_columns))
    mother_of[free_rows[:count]] = free_columns[:count]
    father = np.flatnonzero(mother_of >= 0)
    return father, mother_of[father]
