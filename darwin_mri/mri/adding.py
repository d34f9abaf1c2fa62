"""Adding up what a batch's tokens are like, in fp32 or wider: plain torch on a CPU, where it is the fastest; kernels on CUDA."""

from __future__ import annotations

from functools import cached_property

import torch

from darwin_mri import kernels


class Groups:
    """Tokens by group, and what is added up by group.

    Args:
        group: (tokens,) the group of each token.
        count: of groups.
    """

    def __init__(self, group: torch.Tensor, count: int) -> None:
        self.group, self.count = group, count

    def add(self, total: torch.Tensor, rows: torch.Tensor) -> None:
        """total[group[i]] += rows[i]. On CUDA in an order that is always the same, which ``index_add_``'s is not."""
        if kernels.fit(rows, self.group):
            from darwin_mri.kernels.sums import add_groups

            found = torch.zeros_like(total, dtype=torch.float32)
            add_groups(found, rows, *self.sorted, positive=False)
            total += found
        elif rows.is_cuda:
            total += self._members.float() @ rows.float()
        else:
            total.index_add_(0, self.group, rows.to(total.dtype))

    def raise_to(self, largest: torch.Tensor, values: torch.Tensor) -> None:
        """largest[..., group[i]] = max(largest[..., group[i]], values[..., i])."""
        largest.scatter_reduce_(-1, self.group.expand_as(values), values, "amax")

    @cached_property
    def sorted(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens in the order of their groups, and where each group begins among them, (groups + 1,)."""
        order = self.group.argsort(stable=True)
        numbers = torch.arange(self.count + 1, device=self.group.device)
        return order, torch.searchsorted(self.group[order], numbers)

    @cached_property
    def _members(self) -> torch.Tensor:
        return torch.arange(self.count, device=self.group.device)[:, None] == self.group


class Tokens:
    """Some rows of a matrix of activations.

    Args:
        everything: (rows, width), padding and all, in the model's dtype.
        where: (tokens,) which rows are tokens of a text.
        other: the same tokens at another site, for ``dot``.
    """

    def __init__(self, everything: torch.Tensor, where: torch.Tensor, other: Tokens | None = None) -> None:
        self.everything, self.where, self.other = everything, where, other
        self.fused = kernels.fit(everything, where, *([other.everything] if other else []))

    @cached_property
    def values(self) -> torch.Tensor:
        """(tokens, width), in the model's dtype."""
        return self.everything.index_select(0, self.where)

    @cached_property
    def _floats(self) -> torch.Tensor:
        return self.values.float()

    def some(self, numbers: torch.Tensor) -> torch.Tensor:
        """(numbers, width) of the tokens of these numbers, in fp32."""
        return self.everything.index_select(0, self.where[numbers]).float()

    def sums(self, *names: str) -> dict[str, torch.Tensor]:
        """Of each token's values, (tokens,): the ``sum`` of x, of x^2 (``square``), x^3 (``cube``) and x^4 (``fourth``), the ``largest``
        |x|, how many are ``positive``, and the product with the same token at the other site (``dot``)."""
        if self.fused:
            from darwin_mri.kernels.sums import OF_ROW, along_rows

            rows = along_rows(self.everything, self.where, self.other and self.other.everything)
            return dict(zip(OF_ROW, rows, strict=True))
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
                return self._size.amax(dim=1)
            case "positive":
                return self._positive @ ones
            case _:
                assert self.other is not None
                return torch.linalg.vecdot(self._floats, self.other._floats)

    def add_dimensions(self, total: torch.Tensor, square: torch.Tensor, peak: torch.Tensor) -> None:
        """Add the sums of x and x^2 over the tokens, and raise the largest |x|, each (width,)."""
        if self.fused:
            from darwin_mri.kernels.sums import add_columns

            add_columns(total, square, peak, self.everything, self.where)
            return
        # The largest by abs and amax: torch's aminmax takes ten times as long on a CPU.
        each = self._floats.new_ones(len(self.where))
        total += each @ self._floats
        square += each @ self._square
        torch.maximum(peak, self._size.amax(dim=0), out=peak)

    def add_positive(self, total: torch.Tensor, groups: Groups) -> None:
        """total[g] += in how many tokens of group g each dimension is positive; (groups, width)."""
        if self.fused:
            from darwin_mri.kernels.sums import add_groups

            order, bounds = groups.sorted
            add_groups(total, self.everything, self.where[order], bounds, positive=True)
        else:
            groups.add(total, self._positive)

    def add_moment(self, total: torch.Tensor) -> None:
        """total += sum of x x^T over the tokens, (width, width)."""
        add_product(total, self.values.T, self.values)

    @cached_property
    def _square(self) -> torch.Tensor:
        return self._floats * self._floats

    @cached_property
    def _size(self) -> torch.Tensor:
        return self._floats.abs()

    @cached_property
    def _positive(self) -> torch.Tensor:
        # By way of bytes, which convert seven times faster than booleans.
        return (self._floats > 0).view(torch.uint8).float()


HALF = (torch.bfloat16, torch.float16)


def add_product(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """total (fp32) += a @ b. Half precision is multiplied as it is on CUDA, its products exact and added up in fp32."""
    if a.is_cuda and a.dtype in HALF:
        total += torch.mm(a, b, out_dtype=torch.float32)
    else:
        total.addmm_(a.float(), b.float())
