"""What the father's last residual states should become, and where: the targets that ``competence`` solves for.

Three ways to set them (``arm.target``), where the answer follows; the header of ``competence`` has the formulas. Module
``subject`` has those of a layer in between, at the subject.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.errors import InputError
from darwin_mri.merging.arms.context import Context, PairedBatch, SynthesizedText, paired_batches
from darwin_mri.merging.arms.edits import Arrange, EditTarget, keep_marks, written_tokens
from darwin_mri.merging.arms.layer_choice import chosen_layers
from darwin_mri.merging.arms.losses import advantage, segment_losses, token_losses
from darwin_mri.merging.arms.moments import Moment, explained, ridge
from darwin_mri.merging.arms.nearest import FinalGain, nearest_states
from darwin_mri.merging.arms.subject import subject_targets
from darwin_mri.merging.arms.synthesis import synthesize_texts
from darwin_mri.probes import Batch, capture, final_states


def edit_targets(context: Context, arrange: Arrange = keep_marks) -> tuple[list[EditTarget], dict[str, float]]:
    """Targets for every batch of text.

    Args:
        context: the pair, its texts and prompts.
        arrange: rearranges the places that are edited; for null arms.

    Returns:
        The targets, and figures: the number of tokens, the share of them that is edited (``taught``), the fit of the
        maps, and the mother's share of the completions.
    """
    synthesized: tuple[SynthesizedText, ...] = ()
    if context.settings.writer != "nobody":
        if not context.prompts:
            raise InputError("arm competence lets the parents write: give prompts, or set arm.writer to nobody")
        synthesized = synthesize_texts(context) if context.synthesized is None else context.synthesized
    if context.settings.place == "subject" and not synthesized:
        raise InputError("arm.place: subject writes what the parents completed: it cannot have arm.writer: nobody")
    texts = [*(text.text for text in synthesized), *context.texts]
    batches = paired_batches(context.father, context.mother, texts, max_tokens=context.settings.max_tokens)
    if context.settings.place == "subject":
        targets, fit = subject_targets(context, chosen_layers(context)[-1], batches, synthesized, arrange)
    elif context.settings.target == "states":
        targets, fit = _from_states(context, batches, arrange)
    else:
        targets, fit = _from_text(context, batches, synthesized, arrange)
    targets = _sample_rows(context, targets)
    count = sum(int(target.batch.text.sum()) for target in targets)
    fit["tokens"] = float(count)
    fit["taught"] = sum(float(target.edit.sum()) for target in targets) / max(count, 1)
    if synthesized:
        fit["written_by_mother"] = sum(text.author == "mother" for text in synthesized) / len(synthesized)
    return targets, fit


@torch.inference_mode()
def _from_states(
    context: Context, batches: Sequence[PairedBatch], arrange: Arrange
) -> tuple[list[EditTarget], dict[str, float]]:
    """Where the mother predicts better, its last state under a map fitted where both predict well."""
    father, mother, device = context.father, context.mother, context.father.device
    seen = []  # per batch: h_f (rows, length, hidden); h_m (places, mother hidden); losses and lead (places,)
    for batch in batches:
        h_f, (loss_f, _), _ = _last_states(father, batch.father)
        h_m = final_states(mother.model, batch.mother)
        loss_m, _ = token_losses(mother, batch.mother, h_m)
        losses = segment_losses(loss_f, batch.father_at), segment_losses(loss_m, batch.mother_at).to(device)
        lead = advantage(loss_f, loss_m, batch)
        seen.append((batch, h_f, h_m[batch.mother_at[:2]].to(device).float(), losses, lead))
    medians = [torch.cat([losses[side] for *_, losses, _ in seen]).median() for side in (0, 1)]
    widths = mother.anatomy.hidden_size, father.anatomy.hidden_size
    mm, mf, power = Moment(widths[0], widths[0], device), Moment(widths[0], widths[1], device), 0.0
    for batch, h_f, h_m, losses, _ in seen:
        both = (losses[0] <= medians[0]) & (losses[1] <= medians[1])
        states = h_f[batch.father_at[:2]][both]  # (places, hidden)
        mm.add(h_m[both], h_m[both])
        mf.add(h_m[both], states)
        power += float(states.square().sum(dtype=torch.float64))
    state_map = ridge(mm.sum, mf.sum, context.settings.ridge)  # (hidden, mother hidden)
    fit = {"r2_states": explained(state_map, mm.sum, mf.sum, power)}
    targets = []
    for batch, h_f, h_m, _, lead in seen:
        leads = arrange(lead > context.settings.margin)
        rows, columns = batch.father_at[0][leads], batch.father_at[1][leads]
        target, edit = h_f.clone(), torch.zeros_like(batch.father.text)
        target[rows, columns] = h_m[leads] @ state_map.T
        edit[rows, columns] = True
        targets.append(EditTarget(batch.father, len(father.layers) - 1, target.cpu(), edit))
    return targets, fit


@torch.inference_mode()
def _from_text(
    context: Context, batches: Sequence[PairedBatch], synthesized: tuple[SynthesizedText, ...], arrange: Arrange
) -> tuple[list[EditTarget], dict[str, float]]:
    """Where the father does not guess a synthesized token, a state from which that token follows."""
    father, device = context.father, context.father.device
    embedding = father.model.get_output_embeddings().weight  # (vocabulary, width)
    width, hidden = embedding.shape[1], father.anatomy.hidden_size
    ee, eh, power = Moment(width, width, device), Moment(width, hidden, device), 0.0
    gain = FinalGain(hidden, device)
    seen = []
    for batch in batches:
        h_f, (_, correct), normed = _last_states(father, batch.father)
        following = batch.father.ids.roll(-1, dims=1)  # (rows, length); column t: the token that t should lead to
        known = correct.roll(-1, dims=1)  # (rows, length)
        known[:, -1] = False
        states = h_f[known]  # (tokens, hidden)
        embedded = embedding[following[known]].float()  # (tokens, width)
        ee.add(embedded, embedded)
        eh.add(embedded, states)
        power += float(states.square().sum(dtype=torch.float64))
        unknown = written_tokens(father, batch, synthesized).roll(-1, dims=1) & ~known
        unknown[:, -1] = False
        seen.append((batch.father, h_f.cpu(), following, unknown))
        gain.add(h_f[batch.father.text], normed[batch.father.text])
    token_map = ridge(ee.sum, eh.sum, context.settings.ridge)  # (hidden, width)
    fit = {"r2_tokens": explained(token_map, ee.sum, eh.sum, power)}
    nearest = context.settings.target == "nearest"
    targets = []
    for batch, states, following, unknown in seen:
        edit = torch.zeros_like(unknown)  # (rows, length)
        places = torch.nonzero(batch.text.roll(-1, dims=1) & batch.text, as_tuple=True)
        edit[places] = arrange(unknown[places])
        target = states.to(device, copy=True)
        if nearest:
            target[edit] = nearest_states(father, target[edit], following[edit], gain.value)
        else:
            target[edit] = embedding[following[edit]].float() @ token_map.T
        targets.append(EditTarget(batch, len(father.layers) - 1, target.cpu(), edit))
    return targets, fit


def _sample_rows(context: Context, targets: list[EditTarget]) -> list[EditTarget]:
    """Every row with an edit, and of the others a seeded sample: forwards are most of the cost.

    The sample has ``held_rows`` rows per row with an edit.
    """
    share = context.settings.held_rows
    if share is None:
        return targets
    with_edit = [target.edit.any(1) for target in targets]  # (rows,) each
    others = sum(int((~rows).sum()) for rows in with_edit)
    keep = min(1.0, share * max(1, sum(int(rows.sum()) for rows in with_edit)) / max(others, 1))
    generator = context.generator("held")
    sample = []
    for target, rows in zip(targets, with_edit, strict=True):
        rows = rows | (torch.rand(len(rows), generator=generator) < keep).to(rows.device)
        if bool(rows.any()):
            ids, attention, text = (
                part[rows].cpu() for part in (target.batch.ids, target.batch.attention, target.batch.text)
            )
            batch = Batch.of(ids, attention, text, torch.arange(len(ids)), context.father.device)
            sample.append(EditTarget(batch, target.layer, target.states[rows.cpu()], target.edit[rows]))
    return sample


def _last_states(parent: LoadedModel, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """(residual stream after the last layer in fp32, (losses, correct first guesses), state after the final norm)."""
    last = len(parent.layers) - 1
    with capture(parent, {last: ("h_out",)}) as seen:
        hidden = final_states(parent.model, batch)
        stream = seen[last, "h_out"].float()
    return stream, token_losses(parent, batch, hidden), hidden
