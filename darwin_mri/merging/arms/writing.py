"""The parents write the text: prompts without answers, each completed by the parent who is surer, the father where he is protected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from darwin_mri.merging.arms.context import Context, Side, forward
from darwin_mri.merging.arms.losses import token_losses
from darwin_mri.merging.speech import generate
from darwin_mri.probes import Batch, Probe, prefix_tokens

BATCH_ROWS = 128
SENTENCE_ENDS = (".", "!", "?", "。", "！", "？")


@dataclass(frozen=True)
class Written:
    """A prompt with its completion. ``start`` is the character where the completion begins; ``author`` father or mother."""

    text: Probe
    start: int
    author: str


@dataclass(frozen=True)
class Completion:
    """``confidence`` is the mean log-probability of the writer's own tokens, in nats; minus infinity for an empty completion."""

    text: str
    confidence: float


def write_texts(context: Context) -> tuple[Written, ...]:
    """Every prompt completed greedily, in the order given; prompts nobody completes are left out.

    Who writes is ``settings.writer``: ``parents`` (the more confident one), ``father`` or ``mother``. Where a prompt's language
    or domain is protected, the father writes whatever the setting.
    """
    asked = {"father": context.father, "mother": context.mother}
    if context.settings.writer == "father":
        del asked["mother"]
    made = {
        name: complete(side, context.prompts, context.settings.new_tokens, context.settings.max_tokens)
        for name, side in asked.items()
    }
    written = []
    for number, prompt in enumerate(context.prompts):
        author = _author(context, prompt, {name: completions[number].confidence for name, completions in made.items()})
        completion = made[author][number]
        if completion.text.strip():
            text = replace(prompt, text=prompt.text + completion.text)
            written.append(Written(text, len(prompt.text), author))
    return tuple(written)


def _author(context: Context, prompt: Probe, confidence: dict[str, float]) -> str:
    if prompt.language in context.protect or prompt.domain in context.protect or "mother" not in confidence:
        return "father"
    if context.settings.writer == "mother":
        return "mother"
    return "mother" if confidence["mother"] > confidence["father"] else "father"


@torch.inference_mode()
def complete(side: Side, prompts: Sequence[Probe], new_tokens: int, max_tokens: int) -> list[Completion]:
    """Greedy completions, each cut at its first line break, sentence's end or end of text: an answer, not an essay.

    Prompts of equal length go together, so that no padding can change a completion.
    """
    prefix = list(prefix_tokens(side.tokenizer))
    ids = [prefix + side.tokenizer(p.text, add_special_tokens=False)["input_ids"][-max_tokens:] for p in prompts]
    out: list[Completion] = [Completion("", float("-inf"))] * len(prompts)
    by_length: dict[int, list[int]] = {}
    for number, tokens in enumerate(ids):
        by_length.setdefault(len(tokens), []).append(number)
    for length, numbers in sorted(by_length.items()):
        for start in range(0, len(numbers), BATCH_ROWS):
            part = numbers[start : start + BATCH_ROWS]
            for number, completion in zip(
                part, _complete(side, [ids[n] for n in part], length, new_tokens), strict=True
            ):
                out[number] = completion
    return out


def _complete(side: Side, ids: list[list[int]], length: int, new_tokens: int) -> list[Completion]:
    out = generate(side.model, side.tokenizer, ids, new_tokens)
    kept = [_kept(side, row[length:].tolist()) for row in out]
    everything = torch.ones_like(out)
    spoken = torch.zeros_like(out, dtype=torch.bool)
    for row, count in enumerate(kept):
        spoken[row, length : length + count] = True
    batch = Batch.of(out.cpu(), everything.cpu(), spoken.cpu(), torch.arange(len(out)), out.device)
    losses, _ = token_losses(side, batch, forward(side, batch))
    completions = []
    for row, count in enumerate(kept):
        text = _continuation(side, out[row, :length].tolist(), out[row, length : length + count].tolist())
        confidence = -float(losses[row, length : length + count].mean()) if count else float("-inf")
        completions.append(Completion(text, confidence))
    return completions


def _continuation(side: Side, before: list[int], after: list[int]) -> str:
    """The text that ``after`` adds to ``before``. Decoded alone, a first token may lose the space it begins with."""
    head, whole, alone = (
        side.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for tokens in (before, before + after, after)
    )
    return whole[len(head) :] if whole.startswith(head) else alone


def _kept(side: Side, tokens: list[int]) -> int:
    """How many of the new tokens are kept: up to a special token, a line break after words, or a sentence's end."""
    special = set(side.tokenizer.all_special_ids)
    for count in range(len(tokens)):
        if tokens[count] in special:
            return count
        text = side.tokenizer.decode(tokens[: count + 1]).lstrip()
        if "\n" in text:
            return count
        if text.endswith(SENTENCE_ENDS):
            return count + 1
    return len(tokens)
