"""What mean ablation does to a document's loss to first order: gradient . (mean - increment), for all components.

One forward and one backward pass per batch; the gradient of an increment is used as it passes and not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from darwin_mri.batch_sizes import gradient_tokens
from darwin_mri.checkpoints import LoadedModel, device_memory
from darwin_mri.checkpoints.devices import is_out_of_memory, retry_smaller
from darwin_mri.errors import DarwinError
from darwin_mri.mri.activations import Activations
from darwin_mri.mri.response import repeatably
from darwin_mri.probes import Batch, TokenizedProbes, document_nll, increment_modules, select_tokenized

Component = tuple[str, int]
"""``f`` (FFN) or ``m`` (mixer), and the layer's number."""


class NoGradientError(Exception):
    """This model has no backward pass here; the message says why."""


def first_order(
    parent: LoadedModel,
    activations: Activations,
    components: Sequence[Component],
    advance: Callable[[int], None] = lambda _: None,
) -> np.ndarray:
    """First-order attribution of every component's ablation.

    Args:
        parent: the model.
        activations: its pass over the same probes, which knows the mean increments.
        components: which increments.
        advance: called with the number of documents done.

    Returns:
        (components, documents) in nats.

    Raises:
        NoGradientError: the model cannot be differentiated, or one text does not fit in memory.
    """
    tokenized, largest = activations.tokenized, max(batch.ids.numel() for batch in activations.tokenized.batches)
    budget, told = min(gradient_tokens(device_memory(parent.device)), largest), 0

    def attempt() -> np.ndarray:
        texts = select_tokenized(
            tokenized, range(len(tokenized.probes)), device=str(parent.device), token_budget=budget
        )
        return repeatably(
            lambda: _attribute(parent, activations, components, texts, count), type(parent.model), parent.device
        )

    def count(documents: int) -> None:
        nonlocal told  # an attempt that is repeated does not count twice
        if documents > told:
            advance(documents - told)
            told = documents

    def halve() -> bool:
        nonlocal budget
        budget //= 2
        return budget >= max(map(len, tokenized.ids))

    try:
        table = retry_smaller(attempt, halve, lambda: "one text's backward pass does not fit in memory")
    except DarwinError as error:
        raise NoGradientError(str(error)) from error
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        raise NoGradientError("this model has no backward pass") from error
    if not np.isfinite(table).all():
        raise NoGradientError("gradients are not finite")
    return table


def _attribute(
    parent: LoadedModel,
    activations: Activations,
    components: Sequence[Component],
    texts: TokenizedProbes,
    count: Callable[[int], None],
) -> np.ndarray:
    sums = torch.zeros(len(components), len(texts.probes), device=parent.device, dtype=torch.float64)
    done = 0
    with _frozen(parent.model), torch.inference_mode(False), torch.enable_grad():
        for batch in texts.batches:
            with _watch(parent, activations, components, batch, sums):
                document_nll(parent.model, batch).sum().backward()
            done += len(batch.ids)
            count(done)
    return sums.cpu().numpy()


@contextmanager
def _watch(
    parent: LoadedModel, activations: Activations, components: Sequence[Component], batch: Batch, sums: torch.Tensor
) -> Iterator[None]:
    """While open, a forward's increments report gradient . (mean - increment) to ``sums``, (components, documents)."""
    handles = [parent.layers[0].register_forward_pre_hook(require_gradients, with_kwargs=True)]
    mask = batch.attention.bool()  # (rows, length)

    def watch(module: nn.Module, row: int, mean: torch.Tensor | float) -> None:
        def keep(_: nn.Module, args: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple) else output
            increment = value.detach()

            def report(gradient: torch.Tensor) -> None:
                product = gradient.float() * (mean - increment.float())  # (rows, length, hidden)
                each = product.reshape(*mask.shape, -1).sum(-1)
                sums[row, batch.documents] += torch.where(mask, each, 0.0).double().sum(1)

            value.register_hook(report)

        handles.append(module.register_forward_hook(keep))

    for row, (part, index) in enumerate(components):
        modules = increment_modules(parent.layers[index], parent.anatomy.layers[index], part)
        known = activations.mean(index, part)
        assert known is not None, "a component has a mean increment"
        mean = (known / parent.anatomy.residual_multiplier).clone()
        for position, module in enumerate(modules):
            watch(module, row, 0.0 if position else mean)  # together they add the mean
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def require_gradients(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Let gradients begin at the stream that enters the first layer: a forward pre-hook of that layer.

    Args:
        _: the layer.
        args: its arguments; the stream (rows, length, hidden) is the first one, or
        kwargs: its keyword arguments, among which it is ``hidden_states``.

    Returns:
        The arguments, the stream cut off from what came before.
    """
    if args:
        return (args[0].detach().requires_grad_(), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": kwargs["hidden_states"].detach().requires_grad_()}


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """While open, no weight gets a gradient, which halves the backward pass."""
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in free:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)
