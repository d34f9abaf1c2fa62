"""Texts synthesized by the parents: prompts without answers, each completed by the parent that is more confident.

Or by the one that agrees with itself over several wordings of a question; by the father where a prompt is protected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from darwin_mri.batch_sizes import WRITING_ROWS, WRITING_TOKENS
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.merging.arms.context import Context, SynthesizedText
from darwin_mri.merging.sampling import generate
from darwin_mri.probes import Probe, prefix_tokens

SENTENCE_ENDS = (".", "!", "?", "。", "！", "？")


@dataclass(frozen=True)
class Completion:
    """What one parent adds to a prompt.

    Attributes:
        text: the completion.
        confidence: mean log-probability that the parent gave its own tokens, in nats; minus infinity where it is empty.
    """

    text: str
    confidence: float


def synthesize_texts(context: Context) -> tuple[SynthesizedText, ...]:
    """Complete every prompt greedily, in the order given; prompts without any completion are left out.

    ``settings.writer`` decides which parent completes: ``parents`` (the more confident one), ``father`` or ``mother``.
    Where a prompt's language or domain is protected, the father does, whatever the setting.
    """
    settings, prompts = context.settings, context.prompts
    free = [n for n, prompt in enumerate(prompts) if settings.writer != "father" and not prompt.is_of(context.protect)]
    mother_alone = set(free) if settings.writer == "mother" else set()
    completions: dict[str, dict[int, Completion]] = {}  # role -> prompt number -> completion
    for role, parent, numbers in (
        ("father", context.father, [n for n in range(len(prompts)) if n not in mother_alone]),
        ("mother", context.mother, free),
    ):
        with context.mother_on_device() if role == "mother" and numbers else nullcontext():
            texts = complete(parent, [prompts[n] for n in numbers], settings.new_tokens, settings.max_tokens)
        completions[role] = dict(zip(numbers, texts, strict=True))
    agreements = (
        {role: agreement(prompts, own) for role, own in completions.items()} if settings.trust == "agreement" else {}
    )

    def trust(role: str, number: int) -> tuple[float, float]:
        """Agreement with itself first where it is measured, then confidence."""
        agreed = agreements[role][number] if agreements else 0.0
        return agreed, completions[role][number].confidence

    synthesized = []
    for number, prompt in enumerate(prompts):
        roles = sorted(role for role, own in completions.items() if number in own)
        author = max(roles, key=lambda role: trust(role, number))
        completion = completions[author][number]
        if completion.text.strip():
            text = replace(prompt, text=prompt.text + completion.text)
            synthesized.append(SynthesizedText(text, len(prompt.text), author))
    return tuple(synthesized)


def agreement(prompts: Sequence[Probe], completions: Mapping[int, Completion]) -> dict[int, float]:
    """Per prompt, the mean probability that the parent gave this answer over all wordings of the same question.

    A model that knows gives the same answer to every wording; a model that guesses is confident of another answer each
    time (self-consistency, arXiv 2203.11171). Wordings of one question share ``pair``; answers are compared by their
    first word, without punctuation.
    """
    by_question: dict[str, list[int]] = {}
    for number in completions:
        by_question.setdefault(prompts[number].pair or prompts[number].doc, []).append(number)
    agreements = {}
    for numbers in by_question.values():
        answers = [(_first_word(completions[n].text), math.exp(completions[n].confidence)) for n in numbers]
        for n, (answer, _) in zip(numbers, answers, strict=True):
            agreements[n] = sum(probability for word, probability in answers if word == answer) / len(answers)
    return agreements


def _first_word(text: str) -> str:
    words = text.split()
    return words[0].strip(".,!?;:\"'").lower() if words else ""


@torch.inference_mode()
def complete(parent: LoadedModel, prompts: Sequence[Probe], new_tokens: int, max_tokens: int) -> list[Completion]:
    """Greedy completions, each cut at its first line break, sentence's end or end of text.

    Prompts of equal length go together, so that no padding can change a completion.

    Args:
        parent: the model that completes.
        prompts: texts without an answer.
        new_tokens: of a completion at most.
        max_tokens: the last tokens of a prompt that are read.

    Returns:
        One completion per prompt, in their order.
    """
    prefix = list(prefix_tokens(parent.tokenizer))
    ids = [prefix + parent.tokenizer(p.text, add_special_tokens=False)["input_ids"][-max_tokens:] for p in prompts]
    out: list[Completion] = [Completion("", float("-inf"))] * len(prompts)
    by_length: dict[int, list[int]] = {}
    for number, tokens in enumerate(ids):
        by_length.setdefault(len(tokens), []).append(number)
    for length, numbers in sorted(by_length.items()):
        rows = max(1, min(WRITING_ROWS, WRITING_TOKENS // (length + new_tokens)))
        for start in range(0, len(numbers), rows):
            part = numbers[start : start + rows]
            for number, completion in zip(
                part, _complete(parent, [ids[n] for n in part], length, new_tokens), strict=True
            ):
                out[number] = completion
    return out


def _complete(parent: LoadedModel, ids: list[list[int]], length: int, new_tokens: int) -> list[Completion]:
    steps: list[Tensor] = []  # per step (prompts,) log-probability of the likeliest next token, which is taken

    def note(logits: Tensor) -> None:
        steps.append(logits.float().log_softmax(-1).amax(-1))

    out = generate(parent.model, parent.tokenizer, ids, new_tokens, on_logits=note)
    confidence = torch.stack(steps, dim=1)  # (prompts, steps)
    completions = []
    for row, tokens in enumerate(out):
        count = _completion_length(parent, tokens[length:].tolist())
        text = _continuation(parent, tokens[:length].tolist(), tokens[length : length + count].tolist())
        completions.append(Completion(text, float(confidence[row, :count].mean()) if count else float("-inf")))
    return completions


def _continuation(parent: LoadedModel, before: list[int], after: list[int]) -> str:
    """The text that ``after`` adds to ``before``. Decoded alone, a first token may lose the space it begins with."""
    head, whole, alone = (
        parent.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for tokens in (before, before + after, after)
    )
    return whole[len(head) :] if whole.startswith(head) else alone


def _completion_length(parent: LoadedModel, tokens: list[int]) -> int:
    """How many of the new tokens are kept: up to a special token, a line break after words, or a sentence's end."""
    special = set(parent.tokenizer.all_special_ids)
    for count in range(len(tokens)):
        if tokens[count] in special:
            return count
        text = parent.tokenizer.decode(tokens[: count + 1]).lstrip()
        if "\n" in text:
            return count
        if text.endswith(SENTENCE_ENDS):
            return count + 1
    return len(tokens)
