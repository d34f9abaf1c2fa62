"""What a user would do instead: a short fine-tuning by gradient on the same text that the arm competence is given.

The FFN matrices of the same layers learn or, with ``depth: 1`` and more steps, all that is asked for; the
loss is the next token's on what the parents wrote and on the general texts, in batches of the same text budget.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from darwin_mri import seeds
from darwin_mri.arena.settings import Entry
from darwin_mri.checkpoints import submodule
from darwin_mri.merging import DonorFFN
from darwin_mri.merging.arms import Context
from darwin_mri.merging.arms.competence import chosen_layers
from darwin_mri.merging.arms.context import PairedBatch, paired_batches
from darwin_mri.merging.arms.targets import written_tokens

WARM = 0.1  # share of the steps in which the learning rate rises


def finetune(context: Context, entry: Entry) -> Iterator[DonorFFN]:
    """Train the FFN matrices of the chosen layers, yield them as donors, and leave the father as it was."""
    father, written = context.father, context.synthesized or ()
    layers = chosen_layers(context)
    names = _ffn_names(context, layers)
    parameters = {name: p for name, p in father.model.named_parameters() if name in names}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    texts = [*(w.text for w in written), *context.texts]
    batches = paired_batches(father, father, texts, max_tokens=context.settings.max_tokens)
    marks = [_learned(context, batch) for batch in batches]
    optimizer = torch.optim.AdamW(parameters.values(), lr=entry.learning_rate, weight_decay=0.0)
    rng = seeds.named(context.seed, "finetune")
    try:
        with torch.enable_grad():
            for p in parameters.values():
                p.requires_grad_(True)
            for step in range(entry.steps):
                rate = min(1.0, (step + 1) / max(1.0, WARM * entry.steps)) * (1 - step / entry.steps)
                optimizer.param_groups[0]["lr"] = entry.learning_rate * rate
                number = int(rng.integers(len(batches)))
                batch = batches[number].father
                logits = father.model(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False).logits
                rows, columns = torch.nonzero(marks[number][:, 1:], as_tuple=True)
                following = batch.ids[rows, columns + 1]  # (places,)
                torch.nn.functional.cross_entropy(logits[rows, columns].float(), following).backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        trained = {name: p.detach().clone() for name, p in parameters.items()}
    finally:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(before[name])
                p.requires_grad_(False)
    for index in layers:
        yield DonorFFN(index, None, {name: trained[name].cpu() for name in names if names[name] == index})


def _learned(context: Context, batch: PairedBatch) -> torch.Tensor:
    """Tokens that count in the loss: of a completion what was written, of a general text all."""
    marks = written_tokens(context.father, batch, context.synthesized or ())
    for row, document in enumerate(batch.documents):
        if document >= len(context.synthesized or ()):
            marks[row] = batch.father.text[row]
    return marks


def _ffn_names(context: Context, layers: list[int]) -> dict[str, int]:
    """Parameter name -> layer of every FFN weight of these layers."""
    of = {id(p): name for name, p in context.father.model.named_parameters()}
    layer_of = {}
    for index in layers:
        layer, _, ffn = context.father.ffn(index)
        for part in dict.fromkeys(filter(None, (ffn.gate, ffn.up, ffn.down))):
            layer_of[of[id(submodule(layer, part).weight)]] = index
    return layer_of
