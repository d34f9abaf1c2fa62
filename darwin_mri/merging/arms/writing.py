"""The parents write the text: prompts without answers, each completed by the parent who is surer, or agrees with itself
over wordings; the father where a text is protected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from darwin_mri.merging.arms.context import Context, Side
from darwin_mri.merging.speech import generate
from darwin_mri.probes import Probe, prefix_tokens

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
    settings, prompts = context.settings, context.prompts
    free = [n for n, prompt in enumerate(prompts) if settings.writer != "father" and not _protected(context, prompt)]
    hers = set(free) if settings.writer == "mother" else set()
    made: dict[str, dict[int, Completion]] = {}
    for name, side, asked in (
        ("father", context.father, [n for n in range(len(prompts)) if n not in hers]),
        ("mother", context.mother, free),
    ):
        completions = complete(side, [prompts[n] for n in asked], settings.new_tokens, settings.max_tokens)
        made[name] = dict(zip(asked, completions, strict=True))
    trust = {name: settings.trust == "agreement" and agreement(prompts, found) for name, found in made.items()}
    written = []
    for number, prompt in enumerate(prompts):
        said = {name: found[number] for name, found in made.items() if number in found}
        author = max(sorted(said), key=lambda name: _trusted(said[name], trust[name], number))
        completion = said[author]
        if completion.text.strip():
            text = replace(prompt, text=prompt.text + completion.text)
            written.append(Written(text, len(prompt.text), author))
    return tuple(written)


def _protected(context: Context, prompt: Probe) -> bool:
    return prompt.language in context.protect or prompt.domain in context.protect


def _trusted(said: Completion, agreed: dict[int, float] | bool, number: int) -> tuple[float, float]:
    """What decides who is believed: agreement with oneself first where it was measured, then confidence."""
    return (agreed[number] if isinstance(agreed, dict) else 0.0), said.confidence


def agreement(prompts: Sequence[Probe], said: Mapping[int, Completion]) -> dict[int, float]:
    """Per prompt, the mean confidence (a probability) that the writer gave this answer in all wordings of the same question.

    Who knows says the same however asked; who guesses is sure of another answer each time (self-consistency, arXiv 2203.11171). Wordings of one
    question share ``pair``; answers are compared by their first word, without punctuation.
    """
    by_question: dict[str, list[int]] = {}
    for number in said:
        by_question.setdefault(prompts[number].pair or prompts[number].doc, []).append(number)
    agreed = {}
    for numbers in by_question.values():
        answers = [(first_word(said[n].text), math.exp(said[n].confidence)) for n in numbers]
        for n, (mine, _) in zip(numbers, answers, strict=True):
            agreed[n] = sum(sure for word, sure in answers if word == mine) / len(answers)
    return agreed


def first_word(text: str) -> str:
    words = text.split()
    return words[0].strip(".,!?;:\"'").lower() if words else ""


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
    sure: list[Tensor] = []  # log-probability of the likeliest next token at each step, which greedy writing takes

    def note(logits: Tensor) -> None:
        sure.append(logits.float().log_softmax(-1).amax(-1))

    out = generate(side.model, side.tokenizer, ids, new_tokens, watch=note)
    confidence = torch.stack(sure, dim=1)
    completions = []
    for row, tokens in enumerate(out):
        count = _kept(side, tokens[length:].tolist())
        text = _continuation(side, tokens[:length].tolist(), tokens[length : length + count].tolist())
        completions.append(Completion(text, float(confidence[row, :count].mean()) if count else float("-inf")))
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
