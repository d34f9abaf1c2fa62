"""What counts as naming a subject: lists of tokens drawn from the subjects' own training texts, by no hand.

A token is compared without the space before it and without case. Of every subject's statements the prompts and the
answers are two texts. In each, a token's log odds against the same part of the other subjects' statements, with all of
them as the prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words"), divided by their standard error, give a rank;
the ``LISTED`` highest above ``LEAST`` of each part are the subject's list. Tokens without a letter, a digit or an
arithmetic sign are left out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from proving.subjects import Subject

STATEMENTS = 2000  # of every subject, drawn by seed 1
LISTED = 50  # tokens of each part
LEAST = 1.96  # standard errors
SIGNS = "+-="
HITS = 2  # of the ten tokens that a subject's list must hold to be named


def plain(token: str) -> str:
    """A token's text without the space around it and without case."""
    return token.strip().lower()


def topic_lists(subjects: Sequence[Subject], tokenizer: Any) -> dict[str, frozenset[str]]:
    """Subject -> its characteristic tokens."""
    parts: list[dict[str, Counter[str]]] = [{}, {}]  # prompts, answers
    for subject in subjects:
        for part, texts in zip(parts, _parts(subject), strict=True):
            part[subject.name] = _count(texts, tokenizer)
    listed = [_characteristic(part) for part in parts]
    return {subject.name: listed[0][subject.name] | listed[1][subject.name] for subject in subjects}


def _parts(subject: Subject) -> tuple[Sequence[str], Sequence[str]]:
    """Prompts, and answers."""
    drawn = list(islice(subject.statements(random.Random(1)), STATEMENTS))
    return [prompt for prompt, _ in drawn], [answer for _, answer in drawn]


def _count(texts: Sequence[str], tokenizer: Any) -> Counter[str]:
    ids = Counter(i for row in tokenizer(list(texts), add_special_tokens=False)["input_ids"] for i in row)
    out: Counter[str] = Counter()
    for token, count in ids.items():
        out[plain(tokenizer.decode([token]))] += count
    return Counter({k: n for k, n in out.items() if any(c.isalnum() or c in SIGNS for c in k)})


def _characteristic(counts: Mapping[str, Counter[str]]) -> dict[str, frozenset[str]]:
    """Subject -> the tokens of the highest log odds, in standard errors."""
    tokens = sorted({token for own in counts.values() for token in own})
    table = np.array([[own[token] for token in tokens] for own in counts.values()], dtype=float)  # (subjects, tokens)
    prior = table.sum(0)
    out = {}
    for name, own in zip(counts, table, strict=True):
        other = prior - own
        odds = [np.log((y + prior) / (y.sum() + prior.sum() - y - prior)) for y in (own, other)]
        score = (odds[0] - odds[1]) / np.sqrt(1 / (own + prior) + 1 / (other + prior))
        order = np.argsort(-score, kind="stable")[:LISTED]
        out[name] = frozenset(tokens[i] for i in order if score[i] > LEAST)
    return out


def count_hits(shown: Sequence[str], lists: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """Subject -> how many of the shown tokens its list holds."""
    words = [plain(token) for token in shown]
    return {name: sum(word in own for word in words) for name, own in lists.items()}


def is_named(subject: str, hits: Mapping[str, int]) -> bool:
    """Whether a subject's list holds at least ``HITS`` of the tokens, and more than every other subject's list."""
    return hits[subject] >= HITS and all(hits[subject] > own for name, own in hits.items() if name != subject)
