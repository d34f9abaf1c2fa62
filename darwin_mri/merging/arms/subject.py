"""Targets at a question's subject, for fathers whose states tell questions apart there and not where answers follow.

The state of layer L at the last token of the subject gets a step d, one for each question and the same in all its
wordings, so that later layers carry the written answer to its place: d minimises the loss of the completions (as the
value vectors of ROME and MEMIT, arXiv 2202.05262 and 2210.07229), by Adam on the states alone. No weight learns by
gradient: ``competence`` then solves the down projections up to L in closed form, as for its other targets. What the
father wrote itself is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from darwin_mri.batch_sizes import GRADIENT_TOKENS
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.config_arms import SUBJECT_STEPS
from darwin_mri.merging.arms.context import Context, PairedBatch, SynthesizedText
from darwin_mri.merging.arms.edits import Arrange, EditTarget, token_ends, written_tokens
from darwin_mri.merging.arms.reading import subject_ends
from darwin_mri.probes import Batch, capture, final_states, read_through, token_nll

RATE = 0.1  # of Adam, in units of the state's rms
LARGEST = 1.0  # norm of a step, in units of the state's


@dataclass(frozen=True)
class _Rows:
    """Rows of one batch that ask a question, as many as a backward pass takes.

    Attributes:
        rows: of the batch, (rows,).
        batch: these alone.
        question: of each, (rows,).
        column: of the subject's last token, (rows,).
        written: (rows, length) boolean, tokens of the completion.
    """

    rows: Tensor
    batch: Batch
    question: Tensor
    column: Tensor
    written: Tensor


@torch.inference_mode(False)  # donors are built in it, and the steps need gradients
def subject_targets(
    context: Context,
    layer: int,
    batches: Sequence[PairedBatch],
    synthesized: Sequence[SynthesizedText],
    arrange: Arrange,
) -> tuple[list[EditTarget], dict[str, float]]:
    """Targets of the layer's states at the subjects of completed prompts.

    Args:
        context: the pair.
        layer: after which the states are meant; the last one that is refitted.
        batches: completed prompts and other texts.
        synthesized: the completed prompts.
        arrange: rearranges the places that are edited; for null arms.

    Returns:
        The targets, and figures: the completions' loss in nats per token before and after the steps.
    """
    father = context.father
    names = {key: n for n, key in enumerate(dict.fromkeys(_question(written) for written in synthesized))}
    ends = subject_ends([written.text for written in synthesized], [written.start for written in synthesized])
    asked = [_rows(father, batch, synthesized, ends, names) for batch in batches]
    steps, fit = _descend(father, layer, [rows for parts in asked for rows in parts], len(names))
    targets = []
    for batch, parts in zip(batches, asked, strict=True):
        states = _states(father, layer, batch.father)
        edit = torch.zeros_like(batch.father.text)
        change = torch.zeros_like(states)
        for rows in parts:
            edit[rows.rows, rows.column] = True
            change[rows.rows, rows.column] = steps[rows.question]
        if parts:
            places = torch.nonzero(batch.father.text, as_tuple=True)
            moved = change[edit]  # (questions' places, hidden), in the order of places
            edit = torch.zeros_like(edit).index_put(places, arrange(edit[places]))
            states[edit] = states[edit] + moved * _rms(states[edit])
        targets.append(EditTarget(batch.father, layer, states.cpu(), edit))
    return targets, fit


def _question(written: SynthesizedText) -> str:
    return written.text.pair or written.text.doc


def _rms(states: Tensor) -> Tensor:
    return states.square().mean(-1, keepdim=True).sqrt()


@torch.no_grad()
def _states(father: LoadedModel, layer: int, batch: Batch) -> Tensor:
    with capture(father, {layer: ("h_out",)}) as seen:
        read_through(father, batch, layer)
    return seen[layer, "h_out"].float().clone()


def _rows(
    father: LoadedModel,
    batch: PairedBatch,
    synthesized: Sequence[SynthesizedText],
    ends: Sequence[int],
    names: dict[str, int],
) -> list[_Rows]:
    """The rows of a batch whose completion is not the father's own.

    Args:
        father: the father.
        batch: a batch of both parents.
        synthesized: the completed prompts.
        ends: of each the character where its subject ends.
        names: number of each question.

    Returns:
        The rows with the places that matter, in parts of at most ``GRADIENT_TOKENS`` tokens.
    """
    asks = [
        row
        for row, document in enumerate(batch.documents)
        if document < len(synthesized) and synthesized[document].author != "father"
    ]
    prompts = [synthesized[batch.documents[row]] for row in asks]
    columns = []
    for row, written in zip(asks, prompts, strict=True):
        text, subject_end = batch.father.text[row], ends[batch.documents[row]]
        tokens = token_ends(father, written.text.text, int(text.sum()))
        place = next((n for n, end in enumerate(tokens) if end >= subject_end), len(tokens) - 1)
        columns.append(int(text.nonzero()[0]) + place)
    questions, written = [names[_question(one)] for one in prompts], written_tokens(father, batch, tuple(synthesized))
    size = max(1, GRADIENT_TOKENS // batch.father.ids.shape[1])
    parts = []
    for at in range(0, len(asks), size):
        rows = torch.tensor(asks[at : at + size], device=father.device)
        ids, attention, text = (
            part[rows].cpu() for part in (batch.father.ids, batch.father.attention, batch.father.text)
        )
        parts.append(
            _Rows(
                rows,
                Batch.of(ids, attention, text, torch.arange(len(rows)), father.device),
                torch.tensor(questions[at : at + size], device=father.device),
                torch.tensor(columns[at : at + size], device=father.device),
                written[rows],
            )
        )
    return parts


def _descend(
    father: LoadedModel, layer: int, asked: Sequence[_Rows], questions: int
) -> tuple[Tensor, dict[str, float]]:
    """(questions, hidden) steps in units of the states' rms, and the loss of the completions before and after."""
    hidden = father.anatomy.hidden_size
    steps = torch.zeros(questions, hidden, device=father.device, requires_grad=True)
    optimizer = torch.optim.Adam([steps], lr=RATE)
    tokens = max(1, sum(int(rows.written.sum()) for rows in asked))
    losses: list[float] = []
    for _ in range(SUBJECT_STEPS + 1):
        losses.append(0.0)
        learns = len(losses) <= SUBJECT_STEPS
        for rows in asked:
            with torch.set_grad_enabled(learns), _moved(father.layers[layer], rows, steps):
                out = final_states(father.model, rows.batch)
                at, columns = torch.nonzero(rows.written, as_tuple=True)
                loss = token_nll(father.model, out[at, columns - 1], rows.batch.ids[at, columns]).sum()
            losses[-1] += float(loss.detach()) / tokens
            if learns:
                loss.backward()
        if learns:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                norms = steps.norm(dim=1, keepdim=True) / hidden**0.5
                steps.mul_(LARGEST / norms.clamp_min(LARGEST))
    return steps.detach(), {"loss_before": losses[0], "loss_after": losses[-1]}


@contextmanager
def _moved(layer: nn.Module, rows: _Rows, steps: Tensor) -> Iterator[None]:
    """While open, the layer's states at the subjects are moved by the questions' steps."""

    def move(_: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        states = output if isinstance(output, Tensor) else output[0]
        at = torch.arange(len(rows.column), device=states.device), rows.column
        size = _rms(states[at].detach().float())
        moved = states.index_put(at, (steps[rows.question] * size).to(states.dtype), accumulate=True)
        return moved if isinstance(output, Tensor) else (moved, *output[1:])

    handle = layer.register_forward_hook(move)
    try:
        yield
    finally:
        handle.remove()
