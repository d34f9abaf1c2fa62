"""What a user would do instead: a short fine-tuning by gradient on the same text that the arm competence is given.

The mother's completions are hard labels, which cross any tokenizer (sequence-level distillation, arXiv 1606.07947). The
loss is the next token's on what the parents wrote and on the general texts, in batches of the same text budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations

from darwin_mri import seeds
from darwin_mri.arena.settings import Entry
from darwin_mri.checkpoints import LoadedModel, submodule
from darwin_mri.merging import DonorFFN
from darwin_mri.merging.arms import Context
from darwin_mri.merging.arms.context import PairedBatch, paired_batches
from darwin_mri.merging.arms.edits import written_tokens
from darwin_mri.merging.arms.layer_choice import chosen_layers
from darwin_mri.probes import Batch, final_states, token_nll

WARM = 0.1  # share of the steps in which the learning rate rises


def finetune(context: Context, entry: Entry) -> Iterator[DonorFFN]:
    """Train weights of the father, yield them as donors, and leave the father as it was.

    Args:
        context: the father, the synthesized texts and the general ones.
        entry: what learns (``train``), for how many steps, and at which peak rate; one of ``Entry.variants``.

    Yields:
        One donor per layer with weights that learned.
    """
    father, rank = context.father, entry.rank
    assert isinstance(rank, int)
    batches = paired_batches(
        father,
        father,
        [*(written.text for written in context.synthesized or ()), *context.texts],
        max_tokens=context.settings.max_tokens,
    )
    marks = [_learned(context, batch) for batch in batches]
    layers = chosen_layers(context) if entry.train == "ffn" else list(range(len(father.layers)))
    names = _names(context, layers, entry.train)  # before adapters rename the weights
    weights = dict(father.model.named_parameters())
    torch.manual_seed(seeds.integer(context.seed, "adapters"))
    learning = _adapted(father, names, rank) if entry.train == "lora" else _whole(weights, names)
    with learning as parameters, torch.enable_grad():
        _descend(
            context,
            entry,
            parameters,
            [(b.father, m) for b, m in zip(batches, marks, strict=True) if bool(m[:, 1:].any())],
        )
        trained = {name: _value(father, name).detach().cpu().clone() for name in names}
    for index in layers:
        yield DonorFFN(index, None, {name: trained[name] for name in names if names[name] == index})


def _descend(
    context: Context, entry: Entry, parameters: Sequence[Tensor], batches: Sequence[tuple[Batch, Tensor]]
) -> None:
    """AdamW on batches drawn by the seed; ``batches`` come with the (rows, length) marks of tokens to predict."""
    model, peak = context.father.model, entry.learning_rate
    assert isinstance(peak, float)
    optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=0.0)
    rng = seeds.named(context.seed, "finetune")
    for step in range(entry.steps):
        rate = min(1.0, (step + 1) / max(1.0, WARM * entry.steps)) * (1 - step / entry.steps)
        optimizer.param_groups[0]["lr"] = peak * rate
        batch, learned = batches[int(rng.integers(len(batches)))]
        rows, columns = torch.nonzero(learned[:, 1:], as_tuple=True)
        following = batch.ids[rows, columns + 1]  # (places,)
        states = final_states(model, batch)[rows, columns]  # (places, hidden)
        token_nll(model, states, following).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@contextmanager
def _whole(weights: Mapping[str, nn.Parameter], names: Mapping[str, int]) -> Iterator[list[Tensor]]:
    """While open, these weights learn; afterwards they are what they were."""
    before = {name: weights[name].detach().clone() for name in names}
    for name in names:
        weights[name].requires_grad_(True)
    try:
        yield [weights[name] for name in names]
    finally:
        with torch.no_grad():
            for name in names:
                weights[name].copy_(before[name])
                weights[name].requires_grad_(False)


class _LowRank(nn.Module):
    """W + 2 B A, with A drawn and B zero at the start (LoRA, arXiv 2106.09685, at alpha = 2 rank)."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, weight.shape[1], device=weight.device))
        self.b = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (2 * self.b @ self.a).to(weight.dtype)


@contextmanager
def _adapted(father: LoadedModel, names: Mapping[str, int], rank: int) -> Iterator[list[Tensor]]:
    """While open, these matrices have adapters, which learn; afterwards the model has none."""
    modules = [submodule(father.model, name.removesuffix(".weight")) for name in names]
    adapters = [_LowRank(father.model.get_parameter(name), rank) for name in names]
    for module, adapter in zip(modules, adapters, strict=True):
        register_parametrization(module, "weight", adapter)
    try:
        yield [parameter for adapter in adapters for parameter in adapter.parameters()]
    finally:
        for module in modules:
            remove_parametrizations(module, "weight", leave_parametrized=False)


def _value(father: LoadedModel, name: str) -> Tensor:
    """A weight as the model uses it now, its adapter added."""
    module, _, own = name.rpartition(".")
    return getattr(submodule(father.model, module), own)


def _learned(context: Context, batch: PairedBatch) -> torch.Tensor:
    """Tokens that count in the loss: of a completion what was written, of a general text all."""
    marks = written_tokens(context.father, batch, context.synthesized or ())
    for row, document in enumerate(batch.documents):
        if document >= len(context.synthesized or ()):
            marks[row] = batch.father.text[row]
    return marks


def _names(context: Context, layers: Sequence[int], train: str) -> dict[str, int]:
    """Parameter name -> layer of what learns in these layers."""
    of = {id(p): name for name, p in context.father.model.named_parameters()}
    layer_of = {}
    for index in layers:
        layer = context.father.layers[index]
        if train == "ffn":
            ffn = context.father.ffn(index)[2]
            parts = dict.fromkeys(filter(None, (ffn.gate, ffn.up, ffn.down)))
            weights = [submodule(layer, part).weight for part in parts]
        elif train == "lora":
            weights = [module.weight for module in layer.modules() if isinstance(module, nn.Linear)]
        else:
            weights = list(layer.parameters())
        layer_of |= {of[id(weight)]: index for weight in weights}
    return layer_of
