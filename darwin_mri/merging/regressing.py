"""The method ``regression`` of one tensor: which moments it takes, and the shares that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.blending import Blend
from darwin_mri.merging.computed import method_values
from darwin_mri.merging.methods import MEASURED, REGRESSION
from darwin_mri.merging.moments import ParentMoments, Regularisation
from darwin_mri.merging.operators import ends, linear
from darwin_mri.merging.regression import Regression, delta_moments, make_shares
from darwin_mri.merging.settings import Settings


@dataclass(frozen=True, eq=False)
class LinearMap:
    """One tensor that may be a linear map of the layers.

    Attributes:
        name: as the merge names it.
        on_disk: as the father's disk names it.
        transposed: whether it is stored as (inputs, outputs); None for what is no linear map.
        moments: of all parents' inputs; None where none were measured.
    """

    name: str
    on_disk: str
    transposed: bool | None
    moments: ParentMoments | None


def regress(own: LinearMap, tensors: Sequence[Tensor], base: Tensor | None, settings: Settings) -> Blend:
    """A linear map of the child as a function of the ratios.

    Args:
        own: the map.
        tensors: the father's, then those of the other parents, as stored.
        base: the base's.
        settings: whose ``values`` name the moments, and what is done to them.

    Returns:
        The blend: ``linear`` for identity moments, for what is no linear map, and for one whose input was not measured.

    Raises:
        ConfigError: moments of deltas without a base.
        InputError: moments that were not measured, or have no inverse.
    """
    if own.transposed is None:
        return linear(tensors[0], tensors[1:])
    values = REGRESSION.options(method_values(REGRESSION.name, settings.values), len(tensors))
    kind, father, others = values["moments"], tensors[0], tensors[1:]
    regularisation = regularisation_of(settings)
    if kind == "deltas":
        if base is None:
            raise ConfigError(f"regression of '{own.on_disk}' with moments: deltas needs a base model: give one")
        return _of_deltas(own, father, others, base, regularisation)
    if kind not in MEASURED:
        return linear(father, others)
    if own.moments is None:
        raise InputError(
            f"regression with moments: {kind} needs measured moments, and there are none: scan with --moments full, or"
            " keep moments*.safetensors beside the genome"
        )
    if own.moments.key(own.name) is None:
        return linear(father, others)  # not every parent reads it: a layer that takes keys and values from another
    shares = own.moments.shares(own.name, regularisation, diagonal=kind == "diagonal")
    return Regression(father, tuple(others), shares, own.transposed is True, known=ends(father, others))


def regularisation_of(settings: Settings) -> Regularisation:
    """What settings do to moments before a system is solved with them."""
    values = REGRESSION.options(method_values(REGRESSION.name, settings.values), 2)
    return Regularisation(float(values["shrink"]), float(values["ridge"]))  # type: ignore[arg-type]


def _of_deltas(
    own: LinearMap, father: Tensor, others: Sequence[Tensor], base: Tensor, regularisation: Regularisation
) -> Blend:
    moments = delta_moments(father, others, base, transposed=own.transposed is True)
    # A parent that is the base has changed nothing: it gets the ridge of the others, so that the sum has an inverse.
    sizes = [moment if moment.dim() == 1 else moment.diagonal() for moment in moments]
    ridge = regularisation.ridge * float(max(size.mean() for size in sizes))
    if not ridge:
        return linear(father, others)  # nobody has changed anything, or no ridge is asked for
    shrunk = [Regularisation(regularisation.shrink, 0.0).apply(moment) for moment in moments]
    for moment in shrunk:
        (moment if moment.dim() == 1 else moment.diagonal()).add_(ridge)
    return Regression(
        father, tuple(others), make_shares(shrunk, own.on_disk), own.transposed is True, known=ends(father, others)
    )
