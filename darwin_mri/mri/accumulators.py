"""Sums over the tokens of a batch, in fp32 or wider: plain torch on a CPU, where it is the fastest; kernels on CUDA."""

from __future__ import annotations

from functools import cached_property

import torch

from darwin_mri import kernels

HALF = (torch.bfloat16, torch.float16)


class SegmentSum:
    """Tokens in groups, and sums of their values by group.

    Args:
        group: (tokens,) the group of each token.
        count: number of groups.
    """

    def __init__(self, group: torch.Tensor, count: int) -> None:
        self.group, self.count = group, count

    def add(self, total: torch.Tensor, rows: torch.Tensor) -> None:
        """Do total[group[i]] += rows[i], on CUDA in a fixed order, which ``index_add_`` does not have.

        Args:
            total: (groups, width), changed in place.
            rows: (tokens, width).
        """
        if kernels.fit(rows, self.group):
            from darwin_mri.kernels.sums import add_groups

            sums = torch.zeros_like(total, dtype=torch.float32)
            add_groups(sums, rows, *self.sorted, positive=False)
            total += sums
        elif rows.is_cuda:
            total += self._members.float() @ rows.float()
        else:
            total.index_add_(0, self.group, rows.to(total.dtype))

    def raise_to(self, largest: torch.Tensor, values: torch.Tensor) -> None:
        """Do largest[..., group[i]] = max(largest[..., group[i]], values[..., i]).

        Args:
            largest: (..., groups), changed in place.
            values: (..., tokens).
        """
        largest.scatter_reduce_(-1, self.group.expand_as(values), values, "amax")

    @cached_property
    def sorted(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens in the order of their groups, (tokens,), and where each group begins among them, (groups + 1,)."""
        order = self.group.argsort(stable=True)
        numbers = torch.arange(self.count + 1, device=self.group.device)
        return order, torch.searchsorted(self.group[order], numbers)

    @cached_property
    def _members(self) -> torch.Tensor:
        """(groups, tokens) boolean: which token belongs to which group."""
        return torch.arange(self.count, device=self.group.device)[:, None] == self.group


class MaskedRows:
    """Some rows of a matrix of activations, with the sums that a scan takes of them.

    Args:
        matrix: (positions, width), padding and all, in the model's dtype.
        rows: (tokens,) which positions are tokens of a text.
        other: the same tokens at another site, for ``dot``.
    """

    def __init__(self, matrix: torch.Tensor, rows: torch.Tensor, other: MaskedRows | None = None) -> None:
        self.matrix, self.rows, self.other = matrix, rows, other
        self.fused = kernels.fit(matrix, rows, *([other.matrix] if other else []))

    @cached_property
    def values(self) -> torch.Tensor:
        """(tokens, width), in the model's dtype."""
        return self.matrix.index_select(0, self.rows)

    @cached_property
    def _floats(self) -> torch.Tensor:
        return self.values.float()

    def pick(self, numbers: torch.Tensor) -> torch.Tensor:
        """(numbers, width) of the tokens with these numbers, in fp32."""
        return self.matrix.index_select(0, self.rows[numbers]).float()

    def sums(self, *names: str) -> dict[str, torch.Tensor]:
        """Sums over the values of each token.

        Args:
            names: ``sum`` of x, of x^2 (``square``), x^3 (``cube``) and x^4 (``fourth``); the ``largest`` |x|; how many
                are ``positive``; the product with the same token at the other site (``dot``).

        Returns:
            Name -> (tokens,), the names asked for; all of them where one kernel computes them together.
        """
        if self.fused:
            from darwin_mri.kernels.sums import OF_ROW, along_rows

            sums = along_rows(self.matrix, self.rows, self.other and self.other.matrix)
            return dict(zip(OF_ROW, sums, strict=True))
        return {name: self._sum(name) for name in names}

    def _sum(self, name: str) -> torch.Tensor:
        # A product with a vector of ones reads the tokens once and writes next to nothing.
        ones = self._floats.new_ones(self._floats.shape[1])
        match name:
            case "sum":
                return self._floats @ ones
            case "square":
                return self._square @ ones
            case "cube":
                return torch.linalg.vecdot(self._square, self._floats)
            case "fourth":
                return torch.linalg.vecdot(self._square, self._square)
            case "largest":
                return self._magnitude.amax(dim=1)
            case "positive":
                return self._positive @ ones
            case _:
                assert self.other is not None
                return torch.linalg.vecdot(self._floats, self.other._floats)

    def add_dimensions(self, total: torch.Tensor, square: torch.Tensor, peak: torch.Tensor) -> None:
        """Add the sums of x and x^2 over the tokens, and raise the largest |x|; all changed in place.

        Args:
            total: (width,) sum of x.
            square: (width,) sum of x^2.
            peak: (width,) largest |x|.
        """
        if self.fused:
            from darwin_mri.kernels.sums import add_columns

            add_columns(total, square, peak, self.matrix, self.rows)
            return
        # The largest by abs and amax: torch's aminmax takes ten times as long on a CPU.
        ones = self._floats.new_ones(len(self.rows))
        total += ones @ self._floats
        square += ones @ self._square
        torch.maximum(peak, self._magnitude.amax(dim=0), out=peak)

    def add_positive(self, total: torch.Tensor, groups: SegmentSum) -> None:
        """Add to total[g] in how many tokens of group g each dimension is positive.

        Args:
            total: (groups, width), changed in place.
            groups: the group of each token.
        """
        if self.fused:
            from darwin_mri.kernels.sums import add_groups

            order, bounds = groups.sorted
            add_groups(total, self.matrix, self.rows[order], bounds, positive=True)
        else:
            groups.add(total, self._positive)

    def add_moment(self, total: torch.Tensor) -> None:
        """Add sum of x x^T over the tokens to ``total``, (width, width)."""
        add_product(total, self.values.T, self.values)

    @cached_property
    def _square(self) -> torch.Tensor:
        return self._floats * self._floats

    @cached_property
    def _magnitude(self) -> torch.Tensor:
        return self._floats.abs()

    @cached_property
    def _positive(self) -> torch.Tensor:
        # By way of bytes, which convert seven times faster than booleans.
        return (self._floats > 0).view(torch.uint8).float()


def add_product(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """Add a @ b to ``total``. On CUDA half precision stays as it is: its products are exact and added up in fp32.

    Args:
        total: (n, m) fp32, changed in place.
        a: (n, k).
        b: (k, m).
    """
    if a.is_cuda and a.dtype in HALF:
        total += torch.mm(a, b, out_dtype=torch.float32)
    else:
        total.addmm_(a.float(), b.float())
