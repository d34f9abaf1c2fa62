"""``competence``: down projections solved again, layer after layer, so that the father predicts what its teacher knows.

Every place of a text has a target t for the father's last residual state: at edited places a state from which the text
that follows is predicted, at all others the father's own state. The layers of a chosen range share the change. With
R = t - h the residual that the layers before have left, n the layers still to come and g the measured gain from this
layer's increment to the last state, the increment should change by d = R / (n g), which asks of down' = down + E

    E a ~ d,   E = (sum w d a^T) (sum w a a^T + lambda I)^-1   (MEMIT's closed form, arXiv 2210.07229).

Behind a post-norm f = s * o / rms(o) both sides are taken at its unit size: a / rms(o), and
unit(f / s + d / s) - f / s.

No label, no gradient; only second moments of neurons, one layer at a time. Three teachers:

* target ``states``: at places where the mother predicts the text that follows better by ``margin`` nats, t is the
  mother's last hidden state under a ridge map fitted where both parents do well (better than their own median).
* target ``text``: where the father's first guess of the synthesized next token is wrong, t is a ridge map of that
  token's embedding, fitted where the first guess is correct.
* target ``nearest``: at the same places, the nearest state from which that token follows (module ``nearest``).

With the last two the text is the teacher, so it must not bring answers from outside: the parents complete it themselves
(module ``synthesis``), and only completions are edited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from darwin_mri.checkpoints import LoadedModel, ffn_matrices, submodule
from darwin_mri.config_arms import SUBJECT_STEPS
from darwin_mri.merging.arms.context import Context
from darwin_mri.merging.arms.edits import Arrange, EditTarget, keep_marks
from darwin_mri.merging.arms.layer_choice import chosen_layers, settle
from darwin_mri.merging.arms.moments import Moment, free_directions, ridge
from darwin_mri.merging.arms.shapes import as_parameters, clip_gain, norm_gain, rms, unit
from darwin_mri.merging.arms.targets import edit_targets
from darwin_mri.merging.donors import DonorFFN
from darwin_mri.probes import capture, increment_modules, read_through

GAIN_STEP = 0.1  # of an increment's rms: the step by which a layer's gain is measured
SMALLEST_GAIN = 0.05
TARGETS = 3  # refits of a layer that take as long as writing and setting targets, for the progress bar
KEYS = 2048  # of edited places that are compared with each other


def build(context: Context, arrange: Arrange = keep_marks) -> Iterator[DonorFFN]:
    """One donor per refitted father layer; it differs from the father in its down projection alone.

    Args:
        context: the pair.
        arrange: rearranges the places that are edited; for null arms.

    Yields:
        Donors in the order of their layers, with figures of the targets and of the fit.
    """
    context = settle(context)
    layers, fit = chosen_layers(context), dict[str, float]()
    edits: dict[int, Tensor] = {}  # layer -> its new down projection, (hidden, width)
    figures: dict[int, dict[str, float]] = {}
    for number in range(context.settings.rounds):
        if number:  # the father, as it is by now, writes again
            context = replace(context, synthesized=None)
        with replace_down(context.father, edits):
            targets, fit = edit_targets(context, arrange)
        context.advance(target_steps(context))
        for _ in range(context.settings.sweeps):
            for position, index in enumerate(layers):
                edits[index], figures[index] = _refit(context, index, len(layers) - position, targets, edits)
                context.advance(1)
    for index in layers:
        tensors = as_parameters(context.father, index, None, None, edits[index].cpu())
        yield DonorFFN(index, None, tensors, fit={**fit, **figures[index]})


def target_steps(context: Context) -> int:
    """About how many layers could be refitted in the time that writing and setting targets takes."""
    return TARGETS + (SUBJECT_STEPS if context.settings.place == "subject" else 0)


@torch.inference_mode()
def _refit(
    context: Context, index: int, remaining: int, targets: Sequence[EditTarget], edits: dict[int, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """The layer's new down projection, (hidden, width) fp32, and figures of how far the states were from their targets.

    ``remaining`` counts the layers still to come, this one included; ``edits`` are the layers already changed.
    """
    father, device = context.father, context.father.device
    layer, info, ffn = father.ffn(index)
    down, last = ffn_matrices(layer, ffn)[2], targets[0].layer
    down = edits.get(index, down)
    gain = _stream_gain(context, index, targets[0], edits)
    norm = clip_gain(norm_gain(layer, info.post_norm, father.anatomy.hidden_size)) if info.post_norm else None
    width, hidden = down.shape[1], down.shape[0]
    aa, ad = Moment(width, width, device), Moment(width, hidden, device)
    preserve = _preserve_weight(context, targets)
    held = None if preserve else Moment(width, width, device)
    distance, size = 0.0, 0.0
    keys: list[tuple[Tensor, Tensor]] = []  # per batch, neurons at edited places, and the tokens that shall follow
    for target in targets:
        sites: dict[int, tuple[str, ...]] = {index: ("a", "o")}
        sites[last] = (*sites.get(last, ()), "h_out")
        with capture(father, sites) as seen, replace_down(father, edits):
            read_through(father, target.batch, last)
        text = target.batch.text  # (rows, length); what it selects is (tokens, ...)
        states = target.states.to(device)[text]  # (tokens, hidden)
        residual = states - seen[last, "h_out"][text].float()
        edit = target.edit[text]  # (tokens,)
        distance += float(residual[edit].square().sum(dtype=torch.float64))
        size += float(states[edit].square().sum(dtype=torch.float64))
        a, change = seen[index, "a"][text].float(), residual / (remaining * gain)  # (tokens, width), (tokens, hidden)
        if norm is not None:
            out = seen[index, "o"][text].float()  # (tokens, hidden)
            out_rms = rms(out).clamp_min(1e-6)  # (tokens, 1)
            a, change = a / out_rms, unit(out / out_rms + change / norm) - out / out_rms
        if sum(len(tokens) for _, tokens in keys) < KEYS:
            keys.append((a[edit], target.batch.ids.roll(-1, dims=1)[text][edit]))
        weight = torch.where(edit, 1.0, preserve).sqrt()[:, None]  # (tokens, 1)
        aa.add(a * weight, a * weight)
        ad.add(a * weight, change * weight)
        if held is not None:
            held.add(a[~edit], a[~edit])
    if held is None:
        update = ridge(aa.sum, ad.sum, context.settings.ridge)  # (hidden, width)
    else:
        free = free_directions(held.sum, context.settings.held_power)  # (width, directions)
        update = ridge(free.T @ aa.sum @ free, free.T @ ad.sum, context.settings.ridge) @ free.T.float()
    figures = {
        "gain": gain,
        "distance": (distance / size) ** 0.5 if size > 0 else 0.0,
        "change": float(update.norm() / down.norm().clamp_min(1e-12)),
        "collision": collision(*(torch.cat(parts)[:KEYS] for parts in zip(*keys, strict=True))),
    }
    return down + update, figures


def collision(keys: Tensor, tokens: Tensor) -> float:
    """How much alike the keys of different answers are: the closer, the less one map can tell them apart.

    EAMET (arXiv 2505.11876) finds that such keys limit how many facts can be written.

    Args:
        keys: neurons at edited places, (places, width).
        tokens: that shall follow there, (places,).

    Returns:
        Mean over the places of the largest cosine with the key of another token; 0 where there is no other.
    """
    if len(tokens.unique()) < 2:
        return 0.0
    units = functional.normalize(keys.float(), dim=-1)
    cosines = (units @ units.T).masked_fill(tokens[:, None] == tokens[None, :], -1.0)
    return float(cosines.amax(1).mean())


def _preserve_weight(context: Context, targets: Sequence[EditTarget]) -> float:
    """Weight of a place that must stay as it is, beside 1 for an edited one.

    All places that stay weigh ``hold`` times as much as all that are edited; nothing where the edit is kept off what
    they lead to.
    """
    if context.settings.hold == "null-space":
        return 0.0
    edited = sum(int(target.edit.sum()) for target in targets)
    preserved = sum(int(target.batch.text.sum()) for target in targets) - edited
    return context.settings.hold * max(edited, 1) / max(preserved, 1)


def _stream_gain(context: Context, index: int, target: EditTarget, edits: dict[int, Tensor]) -> float:
    """The gain d(target's state) / d(this layer's increment) along a random direction, measured by a small step.

    About 1 in a plain residual stream, a product of layer scalars in Gemma 4.
    """
    father = context.father
    info, batch, last = father.anatomy.layers[index], target.batch, target.layer
    (module,) = increment_modules(father.layers[index], info)
    generator = context.generator("stream gain", index)
    direction = torch.randn(father.anatomy.hidden_size, generator=generator).to(father.device)  # (hidden,)
    scale: list[Tensor] = []

    def push(_: nn.Module, args: object, output: Tensor) -> Tensor:
        scale.append(output.float().square().mean().sqrt() * GAIN_STEP)
        return output + (direction * scale[-1]).to(output.dtype)

    states = []
    for pushed in (False, True):
        handle = module.register_forward_hook(push) if pushed else None
        try:
            with capture(father, {last: ("h_out",)}) as seen, replace_down(father, edits):
                read_through(father, batch, last)
            states.append(seen[last, "h_out"][batch.text].float())  # (tokens, hidden)
        finally:
            if handle is not None:
                handle.remove()
    step = direction * scale[0]
    gain = float(((states[1] - states[0]) @ step).mean() / step.square().sum().clamp_min(1e-30))
    return gain if abs(gain) > SMALLEST_GAIN else SMALLEST_GAIN


@contextmanager
def replace_down(father: LoadedModel, edits: Mapping[int, Tensor]) -> Iterator[None]:
    """While open, the down projections of these layers are replaced by the given (hidden, width) matrices."""
    handles = []
    for index, down in edits.items():
        layer, _, ffn = father.ffn(index)

        def recompute(module: nn.Module, args: tuple[Tensor, ...], output: Tensor, down: Tensor = down) -> Tensor:
            bias = module.bias if isinstance(getattr(module, "bias", None), Tensor) else None
            return functional.linear(args[0], down.to(args[0].dtype), bias)  # type: ignore[arg-type]

        handles.append(submodule(layer, ffn.down).register_forward_hook(recompute))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
