"""Merge operators for parents of one architecture: pure functions of tensors, each after its paper.

Everywhere F, M, B are the father, another parent and their common base, dF = F - B and dM = M - B their task vectors,
and the ratio r is how much of M the child takes; with several other parents sums run over all of them. Without a base,
B = F. An operator returns a ``Blend``, the child's tensor as a function of the ratios: what does not depend on them
(masks, thresholds) is done once, and a search that keeps the vectors computes the same bits as a writer that streams
them. Arithmetic is fp32, rounded once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.blending import Blend, Interpolation
from darwin_mri.merging.blocks import of_blocks, total
from darwin_mri.merging.computed import Computed
from darwin_mri.merging.methods import METHODS, REGRESSION
from darwin_mri.merging.settings import OF_TWO, Settings
from darwin_mri.merging.streaming import Contribution, Ratios
from darwin_mri.merging.task_vectors import (
    Draw,
    breadcrumbs,
    breadcrumbs_ties,
    dare_linear,
    dare_ties,
    della,
    della_linear,
    named_tensors,
    task_arithmetic,
    ties,
)
from darwin_mri.records.roles import PARENTS

NEARLY_PARALLEL = 0.9995  # |cosine| above which the slerp's sine is too small to divide by


def linear(father: Tensor, others: Sequence[Tensor]) -> Interpolation:
    """(1 - sum r) F + sum r M, computed as F + sum r (M - F): the average of model soups (arXiv 2203.05482)."""
    return Interpolation(
        father, tuple(Contribution(other, base=father) for other in others), known=ends(father, others)
    )


def slerp(father: Tensor, mother: Tensor) -> Interpolation:
    """sin((1 - r) w) / sin(w) F + sin(r w) / sin(w) M, w the angle between F and M as flat vectors (Shoemake 1985).

    Falls back to ``linear`` where the vectors are nearly parallel or opposite, or one of them is zero.
    """
    products = of_blocks(lambda f, m: (total(f * m), total(f * f), total(m * m)), father, mother)
    dot, father_square, mother_square = (sum(column) for column in zip(*products, strict=True))
    norms = math.sqrt(father_square * mother_square)
    cosine = dot / norms if norms > 0 else 1.0
    if not abs(cosine) < NEARLY_PARALLEL:
        return linear(father, [mother])
    return Interpolation(father, (Contribution(mother),), math.acos(cosine), known=ends(father, [mother]))


def blend(
    method: str, parents: Sequence[Tensor], base: Tensor | None, settings: Settings, *, seed: int, name: str
) -> Blend:
    """One tensor of the child by a named method.

    Args:
        method: one of ``config.OPERATORS``; those of NEEDS_BASE compare two task vectors and need a base.
        parents: the father's tensor, then those of the other parents, of one shape and device, any floating dtype.
        base: the base's, of the same shape and device, or None.
        settings: the operator's.
        seed: the run's, on which (with ``name`` and the parent) random masks depend.
        name: the tensor's name on the father's disk.

    Returns:
        The child's tensor as a function of the ratio.

    Raises:
        ConfigError: an unknown method, a number of parents that it does not merge, or a missing base.
        InputError: the tensors differ in shape or are not floating.
    """
    if method not in OPERATORS:
        raise ConfigError(f"merge method '{method}' is unknown: choose one of {', '.join(OPERATORS)}")
    require_parents(method, len(parents))
    father, *others = parents
    _check_tensors(method, {**dict(named_tensors(others, father)), "base": base}, name)
    if base is None and settings.scale != 1:
        raise ConfigError(f"scale {settings.scale} of tensor '{name}' multiplies the change from a base: give one")
    draw = Draw(father.shape, seed, name)
    match method:
        case "linear":
            return linear(father, others)
        case REGRESSION.name:
            return linear(father, others)  # with moments it is ``Merge.blend`` that makes it
        case "slerp":
            return slerp(father, *others)
        case "task_arithmetic":
            return task_arithmetic(father, others, base, settings)
        case "dare_linear":
            return dare_linear(father, others, base, draw, settings)
    if method in METHODS and not METHODS[method].sparse:
        return whole(method, father, others, base, settings)
    if base is None:
        raise ConfigError(f"{method} of tensor '{name}' needs a base model: give one, or use dare_linear")
    if method in DROPPING:
        return DROPPING[method](father, others, base, draw, settings)
    return TRIMMING[method](father, others, base, settings)


def whole(
    method: str, father: Tensor, others: Sequence[Tensor], base: Tensor | None, settings: Settings
) -> Interpolation | Computed:
    """A method of ``methods`` that needs whole tensors: nuslerp, multislerp, karcher, model_stock, sce and so on.

    With weights the father's is 1 - sum r. A method without weights has one result T, and the ratio goes from the
    father to it: F + r (T - F).

    Args:
        method: its name.
        father: F, any shape and floating dtype.
        others: every M, of the same shape.
        base: B, of the same shape, or None.
        settings: whose ``values`` the method takes.

    Returns:
        The child's tensor as a function of the ratios.
    """
    base = None if METHODS[method].base == "none" else base
    function = Computed((father, *others), base, method, settings.values, known=ends(father, others))
    if METHODS[method].weights == "per_parent":
        return function
    return linear(father, [function.merged(())])


def require_parents(method: str, count: int) -> None:
    """Raise ConfigError unless a method merges this many parents, the father among them."""
    most = 2 if method in OF_TWO else len(PARENTS)
    if not 2 <= count <= most:
        few = "one other parent" if most == 2 else f"1 to {most - 1} other parents"
        raise ConfigError(f"{method} merges the father with {few}, not with {count - 1}")


def ends(father: Tensor, others: Sequence[Tensor]) -> dict[Ratios, Tensor]:
    """The parents themselves, by the ratios that give them."""
    ends = {tuple(float(place == own) for place in range(len(others))): other for own, other in enumerate(others)}
    return {(0.0,) * len(others): father, **ends}


# By whether the method draws random numbers.
DROPPING = {"dare_ties": dare_ties, "della": della, "della_linear": della_linear}
TRIMMING = {"ties": ties, "breadcrumbs": breadcrumbs, "breadcrumbs_ties": breadcrumbs_ties}


def _check_tensors(method: str, tensors: dict[str, Tensor | None], name: str) -> None:
    """Refuse tensors, by role with the father's first, that do not belong to one architecture."""
    shape = next(tensor.shape for tensor in tensors.values() if tensor is not None)
    for role, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.shape != shape:
            shapes = f"{tuple(tensor.shape)}, not the father's {tuple(shape)}"
            raise InputError(f"tensor '{name}' of the {role} has shape {shapes}: {method} needs one architecture")
        if not tensor.is_floating_point() or tensor.element_size() == 1:
            raise InputError(f"tensor '{name}' of the {role} is {tensor.dtype}: only floating tensors are merged")
