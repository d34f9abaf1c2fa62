"""Second moments gathered in a stream, and the linear maps solved from them in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class Moment:
    """sum over rows of x y^T: products in fp32 per batch, added up in fp64. Memory is one (x width, y width) matrix."""

    def __init__(self, x_width: int, y_width: int, device: torch.device) -> None:
        self.sum = torch.zeros(x_width, y_width, dtype=torch.float64, device=device)
        self.rows = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Rows of x (n, x width) with the same rows of y (n, y width)."""
        self.sum += (x.float().T @ y.float()).double()
        self.rows += len(x)


def ridge(xx: Tensor, xy: Tensor, penalty: float, prior: Tensor | None = None) -> Tensor:
    """The linear map T that minimises sum |y - T x|^2 + lambda |T - prior|^2, lambda = penalty * tr(xx) / width.

    In closed form (yx + lambda prior)(xx + lambda I)^-1.

    Args:
        xx: (x width, x width) fp64, sum of x x^T.
        xy: (x width, y width) fp64, sum of x y^T.
        penalty: of T's distance to the prior, relative to the mean square of x.
        prior: what T is drawn to, (y width, x width); zero when absent.

    Returns:
        T in fp32, (y width, x width).
    """
    strength = penalty * float(xx.diagonal().mean()) + 1e-12
    right_side = xy if prior is None else xy + strength * prior.double().T
    system = xx.clone()  # no identity beside it: at 10,240 neurons each matrix is .8 GB
    system.diagonal().add_(strength)
    factor, failed = torch.linalg.cholesky_ex(system)
    solved = torch.linalg.solve(system, right_side) if int(failed) else torch.cholesky_solve(right_side, factor)
    return solved.T.float().contiguous()


def free_directions(xx: Tensor, share: float) -> Tensor:
    """The directions in which inputs have next to no power, so that a map changed along them alone answers as before.

    They are the eigenvectors of the second moment beyond the leading ones (AlphaEdit's null space, arXiv 2410.02355).

    Args:
        xx: (width, width) fp64, sum of x x^T over what must stay.
        share: of the power that the leading directions carry, in (0, 1).

    Returns:
        (width, directions) fp64, orthonormal; (width, 0) where all directions are needed for that share.
    """
    powers, vectors = torch.linalg.eigh(xx)  # ascending
    powers = powers.clamp_min(0.0)
    small = powers.cumsum(0) <= (1 - share) * powers.sum()
    return vectors[:, small]


def procrustes(xx: Tensor, xy: Tensor) -> Tensor:
    """The scaled (partial) isometry T = s U V^T nearest to taking x to y (Schoenemann 1966).

    U S V^T = svd(yx), s = tr S / tr xx. Arguments and result as ``ridge``'s.
    """
    u, s, vh = torch.linalg.svd(xy.T, full_matrices=False)
    scale = s.sum() / xx.diagonal().sum().clamp_min(1e-300)
    return (scale * (u @ vh)).float().contiguous()


def explained(t: Tensor, xx: Tensor, xy: Tensor, yy: float) -> float:
    """R^2 = 1 - sum |y - T x|^2 / sum |y|^2, from the moments alone.

    Args:
        t: (y width, x width) the map.
        xx: (x width, x width) sum of x x^T.
        xy: (x width, y width) sum of x y^T.
        yy: sum of |y|^2.

    Returns:
        At most 1; 0 where y is zero.
    """
    t = t.double()
    residual = yy - 2 * float((t.T * xy).sum()) + float(((t @ xx) * t).sum())
    return 1 - residual / yy if yy > 0 else 0.0


def layer_groups(layers: Sequence[int], bytes_each: int, budget: int) -> Iterator[list[int]]:
    """Layers in groups whose moments fit in memory together; every group takes one pass over the text.

    Args:
        layers: indices.
        bytes_each: bytes of one layer's moments.
        budget: bytes for all of a group's.

    Yields:
        At least one layer at a time.
    """
    size = max(1, budget // max(bytes_each, 1))
    for start in range(0, len(layers), size):
        yield list(layers[start : start + size])
