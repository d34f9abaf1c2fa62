"""One tensor of a child by a named method, with everything that the method takes checked first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.methods import METHODS
from darwin_mri.merging.methods.sparse import Part
from darwin_mri.merging.methods.spec import MethodSpec, Value


@dataclass(frozen=True)
class Weighing:
    """What a method takes beside tensors.

    Attributes:
        weights: one for each parent; empty gives all 1. Left empty for a method without weights.
        values: the method's parameters (``MethodSpec.parameters``); the rest have their defaults.
        draws: uniform numbers in [0, 1) of the tensor's shape for each parent, where the method drops at random.
    """

    weights: Sequence[float] = ()
    values: Mapping[str, Value | Sequence[Value]] = field(default_factory=dict[str, Value | Sequence[Value]])
    draws: Sequence[Tensor] = ()


def merge(method: str, tensors: Sequence[Tensor], base: Tensor | None, weighing: Weighing, name: str) -> Tensor:
    """Merge one tensor.

    Args:
        method: one of ``METHODS``.
        tensors: the father's, then those of the other parents, of one shape and device, any floating dtype.
        base: the base's, of the same shape and device, or None. Methods without a base leave it out.
        weighing: weights, parameters and random numbers.
        name: the tensor's, for messages.

    Returns:
        The method's result, a new fp32 tensor of that shape.

    Raises:
        ConfigError: an unknown method or parameter, a value that it cannot have, a number of parents that the method
            does not merge, or a missing base.
        InputError: the tensors differ in shape or are not floating.
    """
    spec = METHODS.get(method)
    if spec is None:
        raise ConfigError(f"merge method '{method}' is unknown: choose one of {', '.join(METHODS)}")
    count = len(tensors)
    spec.require(count, base is not None)
    for tensor in (*tensors, *(() if base is None else (base,))):
        if tensor.shape != tensors[0].shape:
            shapes = f"{tuple(tensor.shape)}, not the father's {tuple(tensors[0].shape)}"
            raise InputError(f"tensor '{name}' has shape {shapes}, in a parent or the base: {method} needs one shape")
        if not tensor.is_floating_point() or tensor.element_size() == 1:
            raise InputError(f"tensor '{name}' is {tensor.dtype}: only floating tensors are merged")
    weights = _weights(spec, weighing.weights, count)
    options = spec.options(weighing.values, count)
    if spec.sparse:
        return spec.function(_parts(spec, tensors, weights, options, weighing.draws), base, **options)
    given = [tensors]
    given += [weights] if spec.weights == "per_parent" else []
    given += [base] if spec.base != "none" else []
    return spec.function(*given, **options)


def _weights(spec: MethodSpec, weights: Sequence[float], count: int) -> Sequence[float]:
    if spec.weights == "none" and weights:
        raise ConfigError(f"{spec.name} takes no weights of parents: leave them out")
    if weights and len(weights) != count:
        raise ConfigError(f"{spec.name} takes one weight for each of {count} parents, not {len(weights)}")
    return weights or [1.0] * count


def _parts(
    spec: MethodSpec,
    tensors: Sequence[Tensor],
    weights: Sequence[float],
    options: dict[str, Value | list[Value]],
    draws: Sequence[Tensor],
) -> list[Part]:
    """What each parent puts in; takes the parameters of single parents out of ``options``."""
    own = {parameter.name: options.pop(parameter.name) for parameter in spec.parameters if parameter.per_parent}
    parts: list[Part] = []
    for k, tensor in enumerate(tensors):
        numbers = {key: float(values[k]) for key, values in own.items() if isinstance(values, list)}
        parts.append(Part(tensor, weights[k], **numbers, draws=draws[k] if draws else None))
    return parts
