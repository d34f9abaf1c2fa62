"""``competence``: down projections solved again, layer after layer, so that the father says what the better parent knows.

At every place of a text a target t for the father's last residual state is set: where the teacher leads, what leads to the
text that follows; elsewhere his own state. The layers of a chosen range share the way there. With R = t - h the residual that is
left after the layers before, n the layers still to come and g the measured gain from this layer's increment to the last state,
the increment should move by d = R / (n g), which asks of down' = down + E

    E a ~ d,   E = (sum w d a^T) (sum w a a^T + lambda I)^-1   (MEMIT's closed form, arXiv 2210.07229).

Behind a post-norm f = s * o / rms(o) both sides are taken at its unit size: a / rms(o), and unit(f / s + d / s) - f / s.

No label, no gradient; only second moments of neurons, one layer at a time. Three teachers:

* target ``states``: on places where the mother predicts the text after it better by ``margin`` nats, t is her last hidden state
  under a ridge map fitted where both parents do well (better than their own median).
* target ``text``: where the father's first guess of the written next token is wrong, t is a ridge map of that token's
  embedding, fitted where his first guess is right.
* target ``nearest``: at the same places, the nearest state from which that token follows (module ``nearest``).

With the last two the text is the teacher, so it must not hold the answers from elsewhere: the parents write it themselves
(``writing``), and only what they wrote is taught.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from darwin_mri.checkpoints import ffn_matrices, submodule
from darwin_mri.errors import InputError
from darwin_mri.merging.arms.context import Context, PairedBatch, Side, forward, paired_batches, watch
from darwin_mri.merging.arms.losses import advantage, segment_losses, token_losses
from darwin_mri.merging.arms.moments import Moment, explained, ridge
from darwin_mri.merging.arms.nearest import FinalGain, nearest_states
from darwin_mri.merging.arms.shapes import guarded, norm_gain, rms, stored, unit
from darwin_mri.merging.arms.writing import Written, write_texts
from darwin_mri.merging.donors import DonorFFN
from darwin_mri.probes import Batch, increment_module

GAIN_STEP = 0.1  # of an increment's rms: the nudge by which a layer's gain is measured
SMALLEST_GAIN = 0.05


@dataclass(frozen=True)
class Lesson:
    """One batch with the state the father should have: ``target`` (rows, length, hidden); ``taught`` marks where it is not his own."""

    batch: Batch
    target: Tensor
    taught: Tensor


def build(context: Context) -> Iterator[DonorFFN]:
    """One donor per refitted father layer; it differs from the father in its down projection alone."""
    layers = chosen_layers(context)
    lessons, fit = make_lessons(context)
    edits: dict[int, Tensor] = {}
    figures: dict[int, dict[str, float]] = {}
    for _ in range(context.settings.sweeps):
        for position, index in enumerate(layers):
            edits[index], figures[index] = _refit(context, index, len(layers) - position, lessons, edits)
    for index in layers:
        tensors = stored(context.father, index, None, None, edits[index].cpu())
        yield DonorFFN(index, None, tensors, fit={**fit, **figures[index]})


def chosen_layers(context: Context) -> list[int]:
    """The father's layers that are refitted: those of the settings, else the last ``depth`` share of those with an FFN."""
    able = [info.index for info in context.father.anatomy.layers if info.ffn is not None]
    if context.settings.layers is None:
        return able[-max(1, round(context.settings.depth * len(able))) :]
    missing = sorted(set(context.settings.layers) - set(able))
    if missing:
        raise InputError(
            f"arm.layers names layer {missing[0]}, which the father has no plain FFN in (he has {len(able)})"
        )
    return sorted(set(context.settings.layers))


def make_lessons(context: Context) -> tuple[list[Lesson], dict[str, float]]:
    """Targets for every batch of text, and figures: how many tokens, which share is taught, who wrote."""
    written: tuple[Written, ...] = ()
    if context.settings.writer != "nobody":
        if not context.prompts:
            raise InputError("arm competence lets the parents write: give prompts, or set arm.writer to nobody")
        written = write_texts(context) if context.written is None else context.written
    batches = paired_batches(
        context.father, context.mother, [*(w.text for w in written), *context.texts], max_tokens=context.settings.max_tokens
    )  # fmt: skip
    by_states = context.settings.target == "states"
    lessons, fit = _from_states(context, batches) if by_states else _from_text(context, batches, written)
    lessons = _fewer(context, lessons)
    count = sum(int(lesson.batch.text.sum()) for lesson in lessons)
    fit["tokens"] = float(count)
    fit["taught"] = sum(float(lesson.taught.sum()) for lesson in lessons) / max(count, 1)
    if written:
        fit["written_by_mother"] = sum(w.author == "mother" for w in written) / len(written)
    return lessons, fit


@torch.inference_mode()
def _from_states(context: Context, batches: Sequence[PairedBatch]) -> tuple[list[Lesson], dict[str, float]]:
    father, mother, device = context.father, context.mother, context.father.device
    seen = []
    for batch in batches:
        h_f, right, _ = _last_states(father, batch.father)
        h_m = forward(mother, batch.mother)
        loss_m, _ = token_losses(mother, batch.mother, h_m)
        losses = segment_losses(right[0], batch.father_at), segment_losses(loss_m, batch.mother_at).to(device)
        lead = advantage(right[0], loss_m, batch)
        seen.append((batch, h_f, h_m[batch.mother_at[:2]].to(device).float(), losses, lead))
    medians = [torch.cat([losses[side] for *_, losses, _ in seen]).median() for side in (0, 1)]
    widths = mother.anatomy.hidden_size, father.anatomy.hidden_size
    mm, mf, power = Moment(widths[0], widths[0], device), Moment(widths[0], widths[1], device), 0.0
    for batch, h_f, h_m, losses, _ in seen:
        both = (losses[0] <= medians[0]) & (losses[1] <= medians[1])
        ours = h_f[batch.father_at[:2]][both]
        mm.add(h_m[both], h_m[both])
        mf.add(h_m[both], ours)
        power += float(ours.square().sum(dtype=torch.float64))
    state_map = ridge(mm.sum, mf.sum, context.settings.ridge)
    fit = {"r2_states": explained(state_map, mm.sum, mf.sum, power)}
    state_map = context.permuted(state_map)
    lessons = []
    for batch, h_f, h_m, _, lead in seen:
        leads = _maybe_shuffled(context, lead > context.settings.margin)
        rows, columns = batch.father_at[0][leads], batch.father_at[1][leads]
        target, taught = h_f.clone(), torch.zeros_like(batch.father.text)
        target[rows, columns] = h_m[leads] @ state_map.T
        taught[rows, columns] = True
        lessons.append(Lesson(batch.father, target, taught))
    return lessons, fit


@torch.inference_mode()
def _from_text(
    context: Context, batches: Sequence[PairedBatch], written: tuple[Written, ...]
) -> tuple[list[Lesson], dict[str, float]]:
    father, device = context.father, context.father.device
    embedding = father.model.get_output_embeddings().weight
    width, hidden = embedding.shape[1], father.anatomy.hidden_size
    ee, eh, power = Moment(width, width, device), Moment(width, hidden, device), 0.0
    gain = FinalGain(hidden, device)
    seen = []
    for batch in batches:
        h_f, (_, right), normed = _last_states(father, batch.father)
        following = batch.father.ids.roll(-1, dims=1)  # column t: the token that t should lead to
        known = right.roll(-1, dims=1)
        known[:, -1] = False
        ours = h_f[known]
        embedded = embedding[following[known]].float()
        ee.add(embedded, embedded)
        eh.add(embedded, ours)
        power += float(ours.square().sum(dtype=torch.float64))
        teach = written_tokens(father, batch, written).roll(-1, dims=1) & ~known
        teach[:, -1] = False
        seen.append((batch.father, h_f, following, teach))
        gain.add(h_f[batch.father.text], normed[batch.father.text])
    token_map = ridge(ee.sum, eh.sum, context.settings.ridge)
    fit = {"r2_tokens": explained(token_map, ee.sum, eh.sum, power)}
    token_map = context.permuted(token_map)
    nearest = context.settings.target == "nearest"
    lessons = []
    for batch, h_f, following, teach in seen:
        taught = torch.zeros_like(teach)
        places = torch.nonzero(batch.text.roll(-1, dims=1) & batch.text, as_tuple=True)
        taught[places] = _maybe_shuffled(context, teach[places])
        target = h_f.clone()
        if nearest:
            target[taught] = nearest_states(father, h_f[taught], following[taught], gain.value)
        else:
            target[taught] = embedding[following[taught]].float() @ token_map.T
        lessons.append(Lesson(batch, target, taught))
    return lessons, fit


def _fewer(context: Context, lessons: list[Lesson]) -> list[Lesson]:
    """Every row that teaches, and of the others a seeded sample of ``held_rows`` per row that does: forwards are most of the cost."""
    share = context.settings.held_rows
    if share is None:
        return lessons
    teaches = [lesson.taught.any(1) for lesson in lessons]
    others = sum(int((~rows).sum()) for rows in teaches)
    keep = min(1.0, share * max(1, sum(int(rows.sum()) for rows in teaches)) / max(others, 1))
    generator = context.generator("held")
    kept = []
    for lesson, rows in zip(lessons, teaches, strict=True):
        rows = rows | (torch.rand(len(rows), generator=generator) < keep).to(rows.device)
        if bool(rows.any()):
            ids, attention, text = (
                part[rows].cpu() for part in (lesson.batch.ids, lesson.batch.attention, lesson.batch.text)
            )
            batch = Batch.of(ids, attention, text, torch.arange(len(ids)), context.father.device)
            kept.append(Lesson(batch, lesson.target[rows], lesson.taught[rows]))
    return kept


def _last_states(side: Side, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """The residual stream after the last layer in fp32, losses and right guesses per token, and the state after the final norm."""
    last = len(side.layers) - 1
    with watch(side, {last: ("h",)}) as seen:
        hidden = forward(side, batch)
        stream = seen[last, "h"].float()
    return stream, token_losses(side, batch, hidden), hidden


def written_tokens(father: Side, batch: PairedBatch, written: tuple[Written, ...]) -> Tensor:
    """Which of the father's tokens belong to a completion; every text token where nobody wrote."""
    if not written:
        return batch.father.text.clone()
    marks = torch.zeros_like(batch.father.text)
    for row, document in enumerate(batch.documents):
        if document >= len(written):
            continue  # a text of the context, read to hold what the father does
        tokens = int(batch.father.text[row].sum())
        first = int(batch.father.text[row].nonzero()[0])
        encoded = father.tokenizer(
            written[document].text.text,
            add_special_tokens=False,
            return_offsets_mapping=True,
            truncation=True,
            max_length=tokens,
        )
        ends = [end for _, end in encoded["offset_mapping"]]
        for column, end in enumerate(ends):
            marks[row, first + column] = end > written[document].start
    return marks


def _maybe_shuffled(context: Context, marks: Tensor) -> Tensor:
    """The marks as they are, or, under the null ``mask``, in a random order."""
    if "mask" not in context.nulls:
        return marks
    return marks[torch.randperm(len(marks), generator=context.generator("mask")).to(marks.device)]


@torch.inference_mode()
def _refit(
    context: Context, index: int, remaining: int, lessons: Sequence[Lesson], edits: dict[int, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """The layer's new down projection, (hidden, width) fp32, and figures of how far the taught states still were."""
    father, device = context.father, context.father.device
    layer, info, ffn = father.ffn(index)
    down, last = ffn_matrices(layer, ffn)[2], len(father.layers) - 1
    down = edits.get(index, down)
    gain = _stream_gain(father, index, lessons[0].batch, edits)
    norm = guarded(norm_gain(layer, info.post_norm, father.anatomy.hidden_size)) if info.post_norm else None
    width, hidden = down.shape[1], down.shape[0]
    aa, ad = Moment(width, width, device), Moment(width, hidden, device)
    held = _held_weight(context, lessons)
    distance, start = 0.0, 0.0
    for lesson in lessons:
        sites: dict[int, tuple[str, ...]] = {index: ("a", "o")}
        sites[last] = (*sites.get(last, ()), "h")
        with watch(father, sites) as seen, edited(father, edits):
            forward(father, lesson.batch)
        text = lesson.batch.text
        residual = (lesson.target - seen[last, "h"].float())[text]
        taught = lesson.taught[text]
        distance += float(residual[taught].square().sum(dtype=torch.float64))
        start += float(lesson.target[text][taught].square().sum(dtype=torch.float64))
        a, wanted = seen[index, "a"][text].float(), residual / (remaining * gain)
        if norm is not None:
            out = seen[index, "o"][text].float()
            size = rms(out).clamp_min(1e-6)
            a, wanted = a / size, unit(out / size + wanted / norm) - out / size
        weight = torch.where(taught, 1.0, held).sqrt()[:, None]
        aa.add(a * weight, a * weight)
        ad.add(a * weight, wanted * weight)
    change = ridge(aa.sum, ad.sum, context.settings.ridge)
    moved = {
        "gain": gain,
        "distance": (distance / start) ** 0.5 if start > 0 else 0.0,
        "change": float(change.norm() / down.norm().clamp_min(1e-12)),
    }
    return down + change, moved


def _held_weight(context: Context, lessons: Sequence[Lesson]) -> float:
    """Weight of a place that must stay as it is, beside 1 for a taught one: all held places together weigh ``hold`` times all taught."""
    taught = sum(int(lesson.taught.sum()) for lesson in lessons)
    held = sum(int(lesson.batch.text.sum()) for lesson in lessons) - taught
    return context.settings.hold * max(taught, 1) / max(held, 1)


def _stream_gain(father: Side, index: int, batch: Batch, edits: dict[int, Tensor]) -> float:
    """d(last state) / d(this layer's increment) along a random direction, measured by nudging: about 1 in a plain residual stream,
    a product of layer scalars in Gemma 4."""
    info, last = father.anatomy.layers[index], len(father.layers) - 1
    module = increment_module(father.layers[index], info)
    assert module is not None
    nudge = torch.randn(father.anatomy.hidden_size, generator=torch.Generator().manual_seed(index)).to(father.device)
    scale: list[Tensor] = []

    def push(_: nn.Module, args: object, output: Tensor) -> Tensor:
        scale.append(output.float().square().mean().sqrt() * GAIN_STEP)
        return output + (nudge * scale[-1]).to(output.dtype)

    states = []
    for pushed in (False, True):
        handle = module.register_forward_hook(push) if pushed else None
        try:
            with watch(father, {last: ("h",)}) as seen, edited(father, edits):
                forward(father, batch)
            states.append(seen[last, "h"][batch.text].float())
        finally:
            if handle is not None:
                handle.remove()
    step = nudge * scale[0]
    gain = float(((states[1] - states[0]) @ step).mean() / step.square().sum().clamp_min(1e-30))
    return gain if abs(gain) > SMALLEST_GAIN else SMALLEST_GAIN


@contextmanager
def edited(father: Side, edits: dict[int, Tensor]) -> Iterator[None]:
    """While open, the down projections of these layers are replaced by the given (hidden, width) matrices."""
    handles = []
    for index, down in edits.items():
        layer, _, ffn = father.ffn(index)

        def replaced(module: nn.Module, args: tuple[Tensor, ...], output: Tensor, down: Tensor = down) -> Tensor:
            bias = module.bias if isinstance(getattr(module, "bias", None), Tensor) else None
            return functional.linear(args[0], down.to(args[0].dtype), bias)  # type: ignore[arg-type]

        handles.append(submodule(layer, ffn.down).register_forward_hook(replaced))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
