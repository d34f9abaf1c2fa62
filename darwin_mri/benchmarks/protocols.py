"""The protocols of benchmarks: log-likelihood of given choices, or a chat answer with a letter in it."""

from __future__ import annotations

from darwin_mri.config import Generation
from darwin_mri.records import Protocol

INSTRUCTIONS = {
    "en": "Choose one of {letters}. You may think first. End with a line of its own: Answer: X, where X is the letter.",
    "ko": (
        "{letters} 중 하나를 고르십시오. 먼저 생각해도 됩니다."
        " 마지막 줄에 '정답: X'라고만 쓰십시오. X는 고른 기호입니다."
    ),
}


def log_likelihood(name: str, prompt: str, metric: str = "acc") -> Protocol:
    """Zero-shot: the log-probability of " " + choice after the prompt; the most probable choice is the answer.

    Args:
        name: of the protocol.
        prompt: its template.
        metric: acc compares sums, acc_norm sums per character of the choice.

    Returns:
        The protocol.
    """
    return Protocol(name=name, kind="loglikelihood", metric=metric, prompt=prompt)


def generative(benchmark: str, language: str, generation: Generation) -> Protocol:
    """One user message to a chat model, the letter read from its answer, the majority of the samples.

    Args:
        benchmark: its name.
        language: of the instruction, ``en`` or ``ko``.
        generation: sampling.

    Returns:
        The protocol.
    """
    metric = f"maj@{generation.samples}" if generation.samples > 1 else "acc"
    return Protocol(
        name=f"{benchmark}-chat-letter",
        version=3,  # of how the letter is read
        kind="generate",
        metric=metric,
        prompt=INSTRUCTIONS[language],
        generation=generation,
    )
