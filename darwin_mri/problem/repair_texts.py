"""What a child is repaired on: documents without labels, and which parent teaches which of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from darwin_mri import seeds
from darwin_mri.batch_sizes import scan_tokens
from darwin_mri.benchmarks import Item
from darwin_mri.checkpoints import device_memory
from darwin_mri.config import Config, RepairConfig
from darwin_mri.errors import InputError
from darwin_mri.merging.repair import Models
from darwin_mri.probes import (
    Batch,
    Probe,
    TokenizedProbes,
    describe_probes,
    document_nll,
    load_probes,
    select_probes,
    select_tokenized,
    tokenize_probes,
)
from darwin_mri.problem.donors import item_prompts
from darwin_mri.problem.parents import Parents
from darwin_mri.records import RepairTeachers, TaughtGroup
from darwin_mri.records.roles import FATHER

ITEMS = "items"  # in repair.texts: the questions of the search items
LONGEST_WORD = 24  # mean characters from which on what stands between spaces is no word


def repair_texts(
    config: Config, settings: RepairConfig, pool: Callable[[], Mapping[str, Sequence[Item]]]
) -> tuple[Probe, ...]:
    """The documents of a run's repair: a folder's, the search items' questions, else the run's probe texts.

    Args:
        config: of the run.
        settings: of the repair.
        pool: gives all items that may be searched on, of which no answer is read.

    Returns:
        The texts.
    """
    if settings.texts == ITEMS:
        return select_probes(item_prompts(pool(), "repair.texts"), None, settings.documents, config.seed)
    folder = settings.texts or config.scan.probes
    probes = load_probes(Path(folder) if folder else None)
    return select_probes(probes, config.scan.languages, settings.documents, config.seed)


def require_texts(parents: Parents) -> None:
    """Raise InputError or ConfigError where a run is to repair its child and the texts cannot be read."""
    if parents.config.repair:
        repair_texts(parents.config, parents.config.repair, lambda: parents.items.pool)


def shuffle_words(texts: Sequence[Probe], seed: int) -> tuple[Probe, ...]:
    """The same documents with the words of each in a random order: text that says nothing.

    Where a text has no spaces to speak of, its characters are shuffled.

    Args:
        texts: the documents.
        seed: of the orders.

    Returns:
        The documents in their order.
    """

    def shuffled(number: int, text: str) -> str:
        words = text.split()
        spaced = len(text) <= LONGEST_WORD * len(words)
        parts = words if spaced else list(text)
        seeds.named(seed, "repair", "shuffled words", number).shuffle(parts)
        return (" " if spaced else "").join(parts)

    return tuple(replace(probe, text=shuffled(number, probe.text)) for number, probe in enumerate(texts))


def tokenize_texts(texts: Sequence[Probe], tokenizer: object, settings: RepairConfig, device: str) -> TokenizedProbes:
    """Documents in the father's tokens, which are those of all parents.

    Args:
        texts: the documents.
        tokenizer: the father's.
        settings: how many tokens of each are read.
        device: where they are read.

    Returns:
        Those of them that have two tokens.

    Raises:
        InputError: none has.
    """
    budget = scan_tokens(device_memory(device))
    known = tokenize_probes(texts, tokenizer, max_tokens=settings.max_tokens, device=device, token_budget=budget)
    if not known.probes:
        raise InputError("repair: no text has two tokens: give longer texts in repair.texts")
    return known


def choose_teachers(
    models: Models, roles: Sequence[str], tokenized: TokenizedProbes, protect: Sequence[str]
) -> RepairTeachers:
    """Which parent teaches which document: the one of the lowest NLL per byte on it, the father where it is protected.

    All parents have the same tokens, so their NLLs are of the same bytes.

    Args:
        models: the parents.
        roles: of the parents, the father first.
        tokenized: the documents in their tokens.
        protect: languages and domains whose documents the father teaches.

    Returns:
        The teachers of all documents.

    Raises:
        InputError: a parent's loss is not finite.
    """
    nll = np.zeros((len(roles), len(tokenized.probes)))  # nats
    for row, role in enumerate(roles):
        with models.on_device(role) as parent:
            for batch in tokenized.batches:
                nll[row, batch.documents.cpu().numpy()] = document_nll(parent.model, batch).double().cpu().numpy()
    if not np.isfinite(nll).all():
        role = roles[int(np.argmin(np.isfinite(nll).all(1)))]
        raise InputError(f"repair: the loss of the {role} is not finite on the texts: check its weights")
    best = nll.argmin(0)  # the father where all are alike
    shielded = [probe.is_of(protect) for probe in tokenized.probes]
    teachers: list[str] = [FATHER if kept else str(roles[int(row)]) for row, kept in zip(best, shielded, strict=True)]
    sizes = tokenized.bytes_read.numpy()
    groups = []
    for language, domain in dict.fromkeys((probe.language, probe.domain) for probe in tokenized.probes):
        rows = [i for i, p in enumerate(tokenized.probes) if (p.language, p.domain) == (language, domain)]
        own = nll[:, rows].sum(1) / sizes[rows].sum()
        groups.append(
            TaughtGroup(
                language=language,
                domain=domain,
                protected=shielded[rows[0]],
                documents=len(rows),
                teachers=dict(Counter(teachers[i] for i in rows)),
                nll_per_byte={role: float(value) for role, value in zip(roles, own, strict=True)},
            )
        )
    return RepairTeachers(
        texts=describe_probes(tokenized.probes, tokenized.tokens).digest,
        roles=tuple(teachers),
        groups=tuple(groups),
        tokens=tokenized.tokens,
    )


def lessons(tokenized: TokenizedProbes, roles: Sequence[str], device: str) -> Mapping[str, tuple[Batch, ...]]:
    """Teacher -> the documents that it teaches, in batches of their own.

    Args:
        tokenized: the documents.
        roles: the teacher of each.
        device: where they are read.

    Returns:
        The batches, the father's first.
    """
    taught: dict[str, list[int]] = {}
    for number, role in sorted(enumerate(roles), key=lambda pair: (pair[1] != FATHER, pair[1], pair[0])):
        taught.setdefault(role, []).append(number)
    budget = scan_tokens(device_memory(device))
    return {
        role: select_tokenized(tokenized, rows, device=device, token_budget=budget).batches
        for role, rows in taught.items()
    }
