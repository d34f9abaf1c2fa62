"""Regression: the child's map answers each parent's inputs as that parent does, in closed form.

W = (sum_p r_p W_p C_p)(sum_p r_p C_p)^-1 minimises sum_p r_p E|W x_p - W_p x_p|^2, with C_p = E[x_p x_p^T] of parent
p's inputs (RegMean, arXiv 2212.09849). The father's weight is 1 - sum r, 0 at least; only proportions of weights count.
Computed as F + sum_p (W_p - F) K_p, K_p = r_p C_p (sum_q r_q C_q)^-1: the share of parent p in every direction of the
input. C_p = I gives K_p = r_p I, the method ``linear``; a diagonal one gives a ratio per column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from darwin_mri.errors import InputError
from darwin_mri.merging.streaming import Ratio, Ratios, WholeBlend, as_ratios


class Shares(Protocol):
    """What each parent's difference from the father counts for, by direction of the input."""

    def prepare(self, deltas: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What does not depend on the ratios, from the differences (outputs, width) of the other parents."""
        ...

    def join(self, prepared: Sequence[Tensor], ratios: Ratios) -> Tensor:
        """The child's difference from the father, (outputs, width)."""
        ...

    def on(self, device: torch.device) -> Shares:
        """What ``join`` needs, on a device; the same object for all maps that read one input."""
        ...

    @property
    def nbytes(self) -> int:
        """What ``on`` takes there."""
        ...


def weights_of(ratios: Ratios) -> tuple[float, ...]:
    """Weights of all parents: the father's 1 - sum r, 0 at least, then the others'."""
    return max(0.0, 1.0 - sum(ratios)), *ratios


@dataclass(frozen=True, eq=False)
class Columns:
    """Shares of diagonal moments: one for each column.

    Attributes:
        moments: (parents, width) fp64, the father's first.
    """

    moments: Tensor

    @property
    def nbytes(self) -> int:
        """As ``Shares``."""
        return self.moments.nbytes

    def prepare(self, deltas: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """As ``Shares``: the differences themselves."""
        return tuple(deltas)

    def join(self, prepared: Sequence[Tensor], ratios: Ratios) -> Tensor:
        """As ``Shares``."""
        weights = torch.tensor(weights_of(ratios), dtype=self.moments.dtype, device=self.moments.device)
        weighted = weights[:, None] * self.moments  # (parents, width)
        shares = (weighted / weighted.sum(0)).to(prepared[0].dtype)
        return torch.stack([delta * share for delta, share in zip(prepared, shares[1:], strict=True)]).sum(0)

    def on(self, device: torch.device) -> Columns:
        """As ``Shares``."""
        return Columns(self.moments.to(device))


@dataclass(frozen=True, eq=False)
class Directions:
    """Shares of two parents, by the directions that both moments are diagonal in.

    With C_M X = C_F X diag(l), X^T C_F X = I, the mother's share is K = X^-T diag(r l / (w + r l)) X^T.

    Attributes:
        back: X^-T, (width, width).
        into: X^T, (width, width).
        odds: l, (width,): what the mother's inputs have in a direction over what the father's have.
    """

    back: Tensor
    into: Tensor
    odds: Tensor
    _moved: dict[torch.device, Directions] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, father: Tensor, mother: Tensor, name: str = "") -> Directions:
        """The directions of two moments.

        Args:
            father: C_F, (width, width) fp64.
            mother: C_M, of the same shape.
            name: of the map, for errors.

        Returns:
            The directions.

        Raises:
            InputError: the father's moment has no inverse.
        """
        lower = _cholesky(father, name)
        half = torch.linalg.solve_triangular(lower, mother, upper=False)
        odds, basis = torch.linalg.eigh(torch.linalg.solve_triangular(lower, half.T, upper=False))
        into = torch.linalg.solve_triangular(lower.T, basis, upper=True).T.contiguous()
        return cls(lower @ basis, into, odds.clamp_min(0.0))

    @property
    def nbytes(self) -> int:
        """As ``Shares``."""
        return 4 * self.into.numel() + self.odds.nbytes

    def prepare(self, deltas: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """As ``Shares``: the difference by directions, so that a candidate is one product."""
        (delta,) = deltas
        return (delta @ self.back.to(delta.dtype),)

    def join(self, prepared: Sequence[Tensor], ratios: Ratios) -> Tensor:
        """As ``Shares``."""
        father, mother = weights_of(ratios)
        shares = mother * self.odds / (father + mother * self.odds)
        return (prepared[0] * shares.to(prepared[0].dtype)) @ self.into.to(prepared[0].dtype)

    def on(self, device: torch.device) -> Directions:
        """As ``Shares``; fp32, as the products are."""
        if device not in self._moved:
            into = self.into.float().to(device)
            self._moved[device] = Directions(into.new_empty(0), into, self.odds.to(device))
        return self._moved[device]


@dataclass(frozen=True, eq=False)
class Solved:
    """Shares of any number of parents, solved anew at every choice of ratios.

    Attributes:
        moments: of every parent, (width, width) fp64, the father's first.
        name: of the map, for errors.
    """

    moments: tuple[Tensor, ...]
    name: str = ""
    _last: dict[Ratios, tuple[Tensor, ...]] = field(default_factory=dict, repr=False)
    _moved: dict[torch.device, Solved] = field(default_factory=dict, repr=False)

    @property
    def nbytes(self) -> int:
        """As ``Shares``."""
        return sum(moment.nbytes for moment in self.moments)

    def prepare(self, deltas: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """As ``Shares``: the differences themselves."""
        return tuple(deltas)

    def join(self, prepared: Sequence[Tensor], ratios: Ratios) -> Tensor:
        """As ``Shares``."""
        shares = self._shares(ratios)
        changes = [delta @ share.to(delta.dtype) for delta, share in zip(prepared, shares, strict=True)]
        return torch.stack(changes).sum(0)

    def _shares(self, ratios: Ratios) -> tuple[Tensor, ...]:
        """K_p of every other parent: maps that read one input are written one after the other at the same ratios."""
        if ratios not in self._last:
            weights = weights_of(ratios)
            whole = torch.stack([w * moment for w, moment in zip(weights, self.moments, strict=True)]).sum(0)
            factor = _cholesky(whole, self.name)
            self._last.clear()
            self._last[ratios] = tuple(
                weight * torch.cholesky_solve(moment, factor).T
                for weight, moment in zip(weights[1:], self.moments[1:], strict=True)
            )
        return self._last[ratios]

    def on(self, device: torch.device) -> Solved:
        """As ``Shares``."""
        if device not in self._moved:
            self._moved[device] = Solved(tuple(moment.to(device) for moment in self.moments), self.name)
        return self._moved[device]


def make_shares(moments: Sequence[Tensor], name: str = "") -> Shares:
    """The shares of some moments, the father's first.

    Args:
        moments: (width, width) fp64 of every parent, or the diagonals (width,).
        name: of the map, for errors.

    Returns:
        By columns, by directions, or solved anew at every choice of ratios.

    Raises:
        InputError: a moment has no inverse.
    """
    if moments[0].dim() == 1:
        return Columns(torch.stack(list(moments)))
    return Directions.of(moments[0], moments[1], name) if len(moments) == 2 else Solved(tuple(moments), name)


@dataclass(frozen=True, eq=False)
class Regression(WholeBlend):
    """One linear map of the child as a function of the ratios.

    Attributes:
        father: the father's matrix as stored.
        others: matrices of the other parents; what ``Shares.prepare`` made of them in a kept one.
        shares: of the parents.
        transposed: whether matrices are stored as (inputs, outputs).
        prepared: whether ``others`` are prepared.
        known: children that need no arithmetic, by ratios.
    """

    father: Tensor
    others: tuple[Tensor, ...]
    shares: Shares
    transposed: bool = False
    prepared: bool = False
    known: Mapping[Ratios, Tensor] = field(default_factory=dict, kw_only=True)

    @property
    def linear(self) -> bool:
        """Never: a direction's share is no multiple of the ratio."""
        return False

    def child(self, ratio: Ratio, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at these ratios, a new one, rounded once to ``dtype``."""
        ratios = as_ratios(ratio)
        if ratios in self.known:
            return self.known[ratios].detach().to(dtype, copy=True)
        if not any(ratios):
            return self.father.detach().to(dtype, copy=True)
        change = self.shares.join(self._prepared(), ratios)
        return (self.father.float() + (change.T if self.transposed else change)).to(dtype)

    def kept(self, device: torch.device) -> Regression:
        """The same function, held on a device."""
        prepared = tuple(part.to(device) for part in self._prepared())
        return replace(
            self, father=self.father.to(device), others=prepared, shares=self.shares.on(device), prepared=True, known={}
        )

    def kept_bytes(self, device: torch.device) -> int:
        """What ``kept`` takes there."""
        return self.father.nbytes + 4 * len(self.others) * self.father.numel() + self.shares.nbytes

    def _prepared(self) -> tuple[Tensor, ...]:
        if self.prepared:
            return self.others
        father = self._as_map(self.father)
        return self.shares.prepare([self._as_map(other) - father for other in self.others])

    def _as_map(self, tensor: Tensor) -> Tensor:
        """fp32, (outputs, inputs)."""
        return tensor.float().T if self.transposed else tensor.float()


def delta_moments(father: Tensor, others: Sequence[Tensor], base: Tensor, *, transposed: bool) -> tuple[Tensor, ...]:
    """Moments without data: C_p = dW_p^T dW_p, of what fine-tuning has changed (ACTMat, arXiv 2604.01329).

    Args:
        father: the father's matrix as stored.
        others: those of the other parents.
        base: the base's.
        transposed: whether they are stored as (inputs, outputs).

    Returns:
        (inputs, inputs) fp64 of every parent, the father's first; the diagonals (inputs,) of a map with more than twice
        as many inputs as outputs, whose products would take many times its own memory.
    """
    moments: list[Tensor] = []
    for tensor in (father, *others):
        delta = tensor.double() - base.double()
        delta = delta.T if transposed else delta  # (outputs, inputs)
        wide = delta.shape[1] > 2 * delta.shape[0]
        moments.append(delta.square().sum(0) if wide else delta.T @ delta)
    return tuple(moments)


def _cholesky(moment: Tensor, name: str) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(moment)
    if int(failed):
        rank = int(torch.linalg.matrix_rank(moment, hermitian=True))
        raise InputError(
            f"the moment of {name or 'an input'} is singular (rank {rank} of {len(moment)}): give more text, or set"
            " settings.ridge above 0"
        )
    return factor
