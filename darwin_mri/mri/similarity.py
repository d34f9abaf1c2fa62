"""Channel 3: which mother layer does what a father layer does.

Debiased linear CKA (Kornblith et al. 2019, with the unbiased HSIC of Song et al. 2012) of the FFN increments f at token
positions that end at the same character, so tokenizers may differ. The layer map is the monotone map of father layers to
mother layers with the largest total CKA.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from darwin_mri.probes import Reading, shared_positions


def paired_positions(
    father: Reading, mother: Reading, limit: int, seed: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], np.ndarray]:
    """A seeded sample of positions both models can see.

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
    order = np.random.default_rng(seed).permutation(len(pairs))[:limit]
    chosen = [pairs[k] for k in sorted(order)]
    documents = np.array([i for i, *_ in chosen])
    return [(i, a) for i, a, _, _ in chosen], [(j, b) for _, _, j, b in chosen], documents


def cka_matrix(father: Sequence[torch.Tensor | None], mother: Sequence[torch.Tensor | None]) -> np.ndarray:
    """Debiased linear CKA of every father layer with every mother layer, shape (father layers, mother layers), in [-1, 1].

    A layer without an FFN, or whose FFN adds a constant, has CKA 0 with everything.
    """
    left = [_debiased_gram(x) for x in father]
    right = [_debiased_gram(y) for y in mother]
    out = np.zeros((len(left), len(right)))
    for i, k in enumerate(left):
        for j, m in enumerate(right):
            if k is not None and m is not None:
                out[i, j] = float((k * m).sum())
    return np.clip(out, -1.0, 1.0)


def _debiased_gram(features: torch.Tensor | None) -> torch.Tensor | None:
    """The U-centred Gram matrix scaled to unit norm, so that CKA is a plain inner product (Szekely and Rizzo 2014, eq. 2.1).

    U-centring: off the diagonal K_ij - r_i/(n-2) - r_j/(n-2) + s/((n-1)(n-2)) with r the row sums and s the sum of K whose
    diagonal is zero; the diagonal stays zero. <K~, L~> / (n (n-3)) is the unbiased HSIC.
    """
    if features is None or len(features) < 5:
        return None
    # Float64: CKA of a model with itself must be 1 however large one feature is.
    features = features.double()
    features = features - features.mean(0)
    gram = features @ features.T
    gram.fill_diagonal_(0.0)
    n = len(gram)
    rows = gram.sum(1)
    gram = gram - rows[:, None] / (n - 2) - rows[None, :] / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    gram.fill_diagonal_(0.0)
    norm = gram.norm()
    return gram / norm if norm > 1e-12 else None


def monotone_map(score: np.ndarray) -> tuple[int, ...]:
    """For each father layer its mother layer, never going back, with the largest total score (dynamic programme).

    Args:
        score: (father layers, mother layers).
    """
    rows, columns = score.shape
    best = np.zeros_like(score)
    came = np.zeros((rows, columns), dtype=int)
    best[0] = score[0]
    for i in range(1, rows):
        top = 0
        for j in range(columns):
            if best[i - 1, j] > best[i - 1, top]:
                top = j
            came[i, j] = top
            best[i, j] = score[i, j] + best[i - 1, top]
    path = [int(best[-1].argmax())]
    for i in range(rows - 1, 0, -1):
        path.append(int(came[i, path[-1]]))
    return tuple(reversed(path))


def proportional_map(father_layers: int, mother_layers: int) -> tuple[int, ...]:
    """Father layer i at the same relative depth: floor((i + 1/2) * mother / father)."""
    return tuple(int((i + 0.5) * mother_layers / father_layers) for i in range(father_layers))


def map_p_value(
    father: Sequence[torch.Tensor | None],
    mother: Sequence[torch.Tensor | None],
    documents: np.ndarray,
    *,
    permutations: int = 20,
    seed: int = 0,
) -> tuple[float, float]:
    """Observed mean CKA along the map and its p-value against mother positions shuffled over other documents."""  # fmt: skip
    observed = float(np.max(cka_matrix(father, mother), axis=1).mean())
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(permutations):
        order = rng.permutation(len(documents))
        shuffled = [None if y is None else y[torch.as_tensor(order)] for y in mother]
        reached += float(np.max(cka_matrix(father, shuffled), axis=1).mean()) >= observed
    return observed, (reached + 1) / (permutations + 1)
