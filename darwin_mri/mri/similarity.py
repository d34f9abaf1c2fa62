"""Channel 3: which mother layer does what a father layer does.

Debiased linear CKA (Kornblith et al. 2019, with the unbiased HSIC of Song et al. 2012) of the FFN increments f at
token positions that end at the same character, so tokenizers may differ. The layer map is the monotone map of father
layers to mother layers with the largest total CKA.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from darwin_mri import seeds
from darwin_mri.probes import TokenizedProbes, shared_positions

FOLDS = 10  # groups of documents left out in turn for the standard error of CKA
NEURON_ROWS = 1024  # neurons correlated at once

Matrix = torch.Tensor | None
Features = Sequence[Matrix]
"""Per layer values at paired positions, (positions, width); None for a layer without an FFN."""


Pairing = tuple[list[tuple[int, int]], list[tuple[int, int]], np.ndarray]
"""(Father (probe, token), other parent (probe, token), document number of each position), all of equal length."""


def paired_positions(father: TokenizedProbes, mother: TokenizedProbes, limit: int, seed: int) -> Pairing:
    """A seeded sample of positions both models can see.

    Args:
        father: the probes in the father's tokens.
        mother: the probes in the mother's tokens.
        limit: at most so many positions.
        seed: of the sample.

    Returns:
        (father (probe, token), mother (probe, token), document number of each position), all of equal length.
    """
    mother_index = {(p.doc, p.language): i for i, p in enumerate(mother.probes)}
    pairs = []
    for i, probe in enumerate(father.probes):
        j = mother_index.get((probe.doc, probe.language))
        if j is None:
            continue
        for a, b in shared_positions(list(father.ends[i]), list(mother.ends[j])):
            pairs.append((i, a, j, b))
    order = seeds.named(seed, "positions").permutation(len(pairs))[:limit]
    chosen = [pairs[k] for k in sorted(order)]
    documents = np.array([i for i, *_ in chosen])
    return [(i, a) for i, a, _, _ in chosen], [(j, b) for _, _, j, b in chosen], documents


def common_positions(pairings: Sequence[Pairing]) -> list[Pairing]:
    """Of the father's positions paired with each other parent, those that all parents can see.

    Args:
        pairings: of the father with each other parent (``paired_positions``).

    Returns:
        The pairings at those positions, so that one pass of the father serves them all.
    """
    shared = set(pairings[0][0]).intersection(*(left for left, _, _ in pairings[1:]))
    out = []
    for left, right, documents in pairings:
        rows = [row for row, position in enumerate(left) if position in shared]
        out.append(([left[row] for row in rows], [right[row] for row in rows], documents[rows]))
    return out


def cka_matrix(father: Features, mother: Features) -> np.ndarray:
    """Debiased linear CKA in [-1, 1] of every father layer with every mother layer, (father layers, mother layers).

    A layer without an FFN, or whose FFN adds a constant, has CKA 0 with everything.
    """
    return _cka([_gram(x) for x in father], [_gram(y) for y in mother], None)


def cka_errors(father: Features, mother: Features, documents: np.ndarray, folds: int = FOLDS) -> np.ndarray:
    """Standard error of every entry of the CKA matrix by the delete-a-group jackknife over documents.

    Resampling with replacement would pair a position with its own copy, which the debiased estimate must not see;
    leaving a group of documents out does not. With g groups: sqrt((g - 1) / g sum_i (cka_i - mean)^2).

    Args:
        father: the father's layers, (positions, width) each.
        mother: the mother's layers, at the same positions.
        documents: (positions,) document number of each position.
        folds: at most so many groups.

    Returns:
        (father layers, mother layers).
    """
    left, right = [_gram(x) for x in father], [_gram(y) for y in mother]
    names = sorted(set(documents.tolist()))
    groups = min(folds, len(names))
    fold = {name: number % groups for number, name in enumerate(names)}
    fold_of = np.array([fold[name] for name in documents.tolist()])  # (positions,)
    left_out = [_cka(left, right, torch.as_tensor(np.flatnonzero(fold_of != number))) for number in range(groups)]
    spread = np.stack(left_out) - np.mean(left_out, axis=0)  # (groups, father layers, mother layers)
    return np.sqrt((groups - 1) / groups * (spread**2).sum(0))


def _cka(left: Sequence[Matrix], right: Sequence[Matrix], keep: torch.Tensor | None) -> np.ndarray:
    """CKA of every left with every right Gram matrix (positions, positions), on the positions ``keep`` or on all."""
    left_grams, right_grams = ([_debiased(gram, keep) for gram in grams] for grams in (left, right))
    out = np.zeros((len(left_grams), len(right_grams)))
    for i, k in enumerate(left_grams):
        for j, m in enumerate(right_grams):
            if k is not None and m is not None:
                out[i, j] = float(torch.vdot(k.flatten(), m.flatten()))
    return np.clip(out, -1.0, 1.0)


def _gram(features: Matrix) -> Matrix:
    """X X^T of centred features, (positions, positions) in float64: CKA of a model with itself must be 1.

    In float32 it is not where one feature is much larger than the others.
    """
    if features is None or len(features) < 5:
        return None
    features = features.double()
    features = features - features.mean(0)
    return features @ features.T


def _debiased(gram: Matrix, keep: torch.Tensor | None) -> Matrix:
    """The U-centred Gram matrix scaled to unit norm, so that CKA is a plain inner product.

    U-centring (Szekely and Rizzo 2014, eq. 2.1): off the diagonal K_ij - r_i/(n-2) - r_j/(n-2) + s/((n-1)(n-2)) with r
    the row sums and s the sum of K whose diagonal is zero; the diagonal stays zero. <K~, L~> / (n (n-3)) is the
    unbiased HSIC.
    """
    if gram is None:
        return None
    gram = gram.clone() if keep is None else gram[keep.to(gram.device)][:, keep.to(gram.device)]
    gram.fill_diagonal_(0.0)
    n = len(gram)
    if n < 5:
        return None
    rows = gram.sum(1)
    gram = gram - rows[:, None] / (n - 2) - rows[None, :] / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    gram.fill_diagonal_(0.0)
    norm = gram.norm()
    return gram / norm if norm > 1e-12 else None


def procrustes_residual(father: torch.Tensor, mother: torch.Tensor) -> float:
    """Share of the father's variance that no rotation and scale of the mother's values explains.

    1 - |X^T Y|_*^2, X and Y centred and of unit Frobenius norm (orthogonal Procrustes, Schoenemann 1966).

    Args:
        father: (positions, father width).
        mother: (positions, mother width). With fewer positions than dimensions a rotation can fit noise: compare with
            shuffled positions.
    """
    x, y = (value.float() - value.float().mean(0) for value in (father, mother))
    scale = float(x.norm() * y.norm())
    if scale == 0.0:
        return 1.0
    return float(np.clip(1 - (_nuclear_norm(x, y) / scale) ** 2, 0.0, 1.0))


def _nuclear_norm(x: torch.Tensor, y: torch.Tensor) -> float:
    """|X^T Y|_*, the sum of its singular values.

    Those of R_x R_y^T, X^T = Q_x R_x, where there are fewer positions than dimensions. As roots of eigenvalues in
    float64, which a GPU finds a hundred times faster than singular values; what that costs the smallest of them is 1e-8
    of the largest.
    """
    if len(x) < min(x.shape[1], y.shape[1]):
        x, y = (torch.linalg.qr(value.T, mode="r").R.T for value in (x, y))
    product = (x.T @ y).double()
    square = product @ product.T if len(product) <= product.shape[1] else product.T @ product
    return float(torch.linalg.eigvalsh(square).clamp_min(0).sqrt().sum())


def neuron_match(father: torch.Tensor, mother: torch.Tensor) -> float:
    """Mean over the father's neurons of the largest absolute correlation with one of the mother's.

    Args:
        father: activations (positions, neurons); silent neurons correlate with nothing.
        mother: activations (positions, neurons) at the same positions.
    """
    x, y = (_standardised(value.float()) for value in (father, mother))
    best = [(part.T @ y).abs().amax(1) for part in x.split(NEURON_ROWS, dim=1)]
    return float(torch.cat(best).mean())


def _standardised(values: torch.Tensor) -> torch.Tensor:
    values = values - values.mean(0)
    return values / values.norm(dim=0).clamp_min(1e-12)


def monotone_map(score: np.ndarray) -> tuple[int, ...]:
    """For each father layer its mother layer, never going back, with the largest total score (dynamic programme).

    Args:
        score: (father layers, mother layers).
    """
    rows, columns = score.shape
    best = np.zeros_like(score)
    previous = np.zeros((rows, columns), dtype=int)  # the column of the row before, on the best path to this entry
    best[0] = score[0]
    for i in range(1, rows):
        top = 0
        for j in range(columns):
            if best[i - 1, j] > best[i - 1, top]:
                top = j
            previous[i, j] = top
            best[i, j] = score[i, j] + best[i - 1, top]
    path = [int(best[-1].argmax())]
    for i in range(rows - 1, 0, -1):
        path.append(int(previous[i, path[-1]]))
    return tuple(reversed(path))


def proportional_map(father_layers: int, mother_layers: int) -> tuple[int, ...]:
    """Father layer i at the same relative depth: floor((i + 1/2) * mother / father)."""
    return tuple(int((i + 0.5) * mother_layers / father_layers) for i in range(father_layers))


def map_p_value(
    father: Features,
    mother: Features,
    documents: np.ndarray,
    *,
    permutations: int = 20,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean over father layers of the best CKA, and its p-value against mother positions shuffled.

    Args:
        father: the father's layers, (positions, width) each.
        mother: the mother's layers, at the same positions.
        documents: (positions,) document number of each position.
        permutations: number of shuffles.
        seed: of the shuffles.

    Returns:
        (mean best CKA, p-value).
    """
    left, right = [_gram(x) for x in father], [_gram(y) for y in mother]
    observed = float(np.max(_cka(left, right, None), axis=1).mean())
    rng = seeds.named(seed, "layer map")
    reached = 0
    for _ in range(permutations):
        order = torch.as_tensor(rng.permutation(len(documents)))
        shuffled = [None if gram is None else gram[order.to(gram.device)][:, order.to(gram.device)] for gram in right]
        reached += float(np.max(_cka(left, shuffled, None), axis=1).mean()) >= observed
    return observed, (reached + 1) / (permutations + 1)
