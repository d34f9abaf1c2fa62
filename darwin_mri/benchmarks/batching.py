"""Which items the fast scorer reads together, and where their rows branch: tuples of token ids, no tensors yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from darwin_mri.benchmarks.encoding import Prepared

LENGTH_SLACK = 1 / 24  # how much longer than its batch's shortest a context may be; every row re-reads the excess
FAMILY_SHARE = 0.5  # contexts that agree on this share of their tokens are kept side by side
SAVING = 0.1  # least share of the context tokens that a cut where contexts agree must save

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """A batch as rows of tokens, and the positions in them that predict the tokens of the choices.

    Attributes:
        rows: token ids of each row: a context with a choice, without the choice's last token, which predicts nothing.
        places: (row, position) of each hidden state that predicts some token, each once.
        queries: (number of the place, token) of every token of every choice.
        choices: of each query, the number of its choice, counted over the whole batch.
        counts: number of choices of each item.
    """

    rows: list[Ids]
    places: list[tuple[int, int]]
    queries: list[tuple[int, int]]
    choices: list[int]
    counts: list[int]


def lay_out(prepared: Prepared, batch: Sequence[int]) -> Layout:
    """The rows of a batch; choices whose inputs are the beginning of another's share its row."""
    rows: list[Ids] = []
    places: dict[tuple[int, int], int] = {}  # (row, position) -> its number
    queries: list[tuple[int, int]] = []
    choices: list[int] = []
    number = 0
    for index in batch:
        context, continuations = prepared.contexts[index], prepared.continuations[index]
        tails, tail_of = distinct_tails([ids[:-1] for ids in continuations])
        first_row = len(rows)
        rows += [context + tail for tail in tails]
        for choice, ids in enumerate(continuations):
            for offset, token in enumerate(ids):
                place = (first_row + tail_of[choice], len(context) - 1 + offset)
                queries.append((places.setdefault(place, len(places)), token))
                choices.append(number)
            number += 1
    return Layout(rows, list(places), queries, choices, [len(prepared.continuations[index]) for index in batch])


def plan_batches(prepared: Prepared, indices: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Batches of items of similar length.

    Args:
        prepared: tokenised items.
        indices: those to score, in any order; repeated ones count once.
        token_budget: most tokens of a batch (rows x length of the longest row); an item above it is a batch by itself.

    Yields:
        Indices of a batch's items.
    """
    batch: list[int] = []
    rows = shortest = longest = 0
    for index in by_family_and_length(prepared, indices):
        length = len(prepared.contexts[index])
        own_rows = row_count(prepared, index)
        shortest = min(shortest, length) if batch else length
        longest = max(longest, prepared.longest(index)) if batch else prepared.longest(index)
        too_many = (rows + own_rows) * longest > token_budget
        if batch and (too_many or length - shortest > LENGTH_SLACK * shortest):
            yield batch
            batch, rows, shortest, longest = [], 0, length, prepared.longest(index)
        batch.append(index)
        rows += own_rows
    if batch:
        yield batch


def tokens_of(prepared: Prepared, batch: Sequence[int]) -> int:
    """Tokens that a batch holds at once: rows x length of the longest row."""
    return sum(row_count(prepared, index) for index in batch) * max(map(prepared.longest, batch))


def row_count(prepared: Prepared, index: int) -> int:
    """Rows that an item takes in a batch."""
    return len(distinct_tails([ids[:-1] for ids in prepared.continuations[index]])[0])


def distinct_tails(tails: Sequence[Ids]) -> tuple[list[Ids], list[int]]:
    """The tails that are not the beginning of another, longest first, and which of them each tail begins."""
    kept: list[Ids] = []
    kept_of = [0] * len(tails)
    for choice in sorted(range(len(tails)), key=lambda i: -len(tails[i])):
        ids = tails[choice]
        for number, longer in enumerate(kept):
            if longer[: len(ids)] == ids:
                kept_of[choice] = number
                break
        else:
            kept_of[choice] = len(kept)
            kept.append(ids)
    return kept, kept_of


def cut_lengths(contexts: Sequence[Ids]) -> list[int]:
    """Lengths at which the cache of a batch branches, ascending, none to two of them.

    The first is where contexts agree (questions about one story), if a cut there saves enough tokens; the last is one
    token before the shortest context ends.
    """
    end = min(len(context) for context in contexts) - 1
    distinct = sorted(set(contexts))
    agreements = {min(end, common(left, right)) for left, right in pairwise(distinct)}
    fewest, trunk = (1.0 - SAVING) * len(distinct) * end, 0
    for cut in sorted(agreements):
        tokens = len({context[:cut] for context in distinct}) * cut + len(distinct) * (end - cut)
        if tokens < fewest:
            fewest, trunk = tokens, cut
    return [cut for cut in sorted({trunk, end}) if cut > 0]


def common(left: Ids, right: Ids) -> int:
    """How many tokens two texts begin with alike."""
    alike, end = 0, min(len(left), len(right))
    while alike < end:  # halves of slices, compared at once
        middle = (alike + end + 1) // 2
        if left[alike:middle] == right[alike:middle]:
            alike = middle
        else:
            end = middle - 1
    return alike


def by_family_and_length(prepared: Prepared, indices: Sequence[int]) -> list[int]:
    """Items by length, those that share most of their context side by side."""
    contexts = prepared.contexts
    families: list[list[int]] = []
    for index in sorted(set(indices), key=lambda i: (contexts[i], i)):
        if families:
            last = contexts[families[-1][-1]]
            shared = common(last, contexts[index])
            if shared >= FAMILY_SHARE * max(len(last), len(contexts[index])):
                families[-1].append(index)
                continue
        families.append([index])
    for family in families:
        family.sort(key=lambda i: (len(contexts[i]), prepared.longest(i)))
    families.sort(key=lambda family: (len(contexts[family[-1]]), prepared.longest(family[-1])))
    return [index for family in families for index in family]


def sums_by_item(layout: Layout, values: np.ndarray) -> list[np.ndarray]:
    """Sums of token values (queries,) by choice, (choices,) for each item."""
    sums = np.bincount(np.array(layout.choices), weights=values, minlength=sum(layout.counts))  # (all choices,)
    return np.split(sums, np.cumsum(layout.counts)[:-1])
