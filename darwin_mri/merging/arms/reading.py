"""Where knowledge can be written: which states of a model tell questions apart, in wordings a readout never saw.

An edit of an FFN is a linear map of what the FFN reads: its input x decides what gate and up matrices can do, its
neurons a what the down projection can. So a linear readout is fitted, site by site, to name the question from the state
in all wordings but one, and is asked in that one. Where it fails, no edit of that layer can answer the question in
another wording, whoever teaches. Two places are read: where the answer follows, and the last token of the subject,
where editing by rank-one updates writes (arXiv 2202.05262). No answer and no label is used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from darwin_mri import seeds
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.probes import Batch, Probe, TokenizedProbes, final_states, observe, tokenize_probes
from darwin_mri.probes.hooks import Observer

QUESTIONS = 200  # read at most; bounds the states that are kept
WORDINGS = 4  # of each at most
PENALTY = 1e-3  # of the readout, as a share of its inputs' mean power; the arms' own (arm.ridge)
COMMON = 0.25  # of the other questions: what stands in more of them is no part of a subject
SITES = ("x", "a")
PLACES = ("answer", "subject")
NEARLY = 0.75  # of the best layer's share; half of the layers on the pair it was chosen on

Key = tuple[str, str]
"""(place, site)."""


@dataclass(frozen=True)
class Wording:
    """One wording of a question.

    Attributes:
        text: up to where the answer follows.
        question: number of the question.
        number: of the wording.
        subject_end: character where the last part of the subject ends.
    """

    text: Probe
    question: int
    number: int
    subject_end: int


def choose_wordings(prompts: Sequence[Probe], seed: int, protect: Sequence[str] = ()) -> list[Wording]:
    """Questions that come in several wordings (the same ``pair``), and in each the end of its subject.

    Args:
        prompts: texts up to where an answer follows.
        seed: of the choice where there are more than ``QUESTIONS``.
        protect: languages and domains whose prompts are left out, as nothing is taught there.

    Returns:
        Up to ``WORDINGS`` wordings of each question; empty where no two of these prompts share a ``pair``.
    """
    by_pair: dict[str, list[Probe]] = defaultdict(list)
    for prompt in prompts:
        if prompt.pair and not prompt.is_of(protect):
            by_pair[prompt.pair].append(prompt)
    several = {pair: own[:WORDINGS] for pair, own in by_pair.items() if len(own) > 1}
    names = sorted(several)
    if len(names) > QUESTIONS:
        chosen = seeds.named(seed, "reading").choice(len(names), QUESTIONS, replace=False)
        names = [names[i] for i in sorted(chosen)]
    texts = [[prompt.text for prompt in several[name]] for name in names]
    return [
        Wording(prompt, question, number, end)
        for question, (name, parts) in enumerate(zip(names, _subjects(texts), strict=True))
        for number, prompt in enumerate(several[name])
        for end in [max((prompt.text.rfind(part) + len(part) for part in parts), default=len(prompt.text))]
    ]


def subject_ends(texts: Sequence[Probe], starts: Sequence[int]) -> list[int]:
    """The character in each prompt where the last part of its subject ends.

    Args:
        texts: prompts, with or without what follows; wordings of one question share ``pair``.
        starts: the character where each prompt ends.

    Returns:
        As many characters; the prompt's own end where no other wording shows what its subject is.
    """
    prompts = [text.text[:start] for text, start in zip(texts, starts, strict=True)]
    by_question: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        by_question[text.pair or text.doc].append(number)
    groups = [own for own in by_question.values() if len(own) > 1]
    ends = [len(prompt) for prompt in prompts]
    for numbers, parts in zip(groups, _subjects([[prompts[n] for n in own] for own in groups]), strict=True):
        for n in numbers:
            ends[n] = max((prompts[n].rfind(part) + len(part) for part in parts), default=ends[n])
    return ends


def _subjects(texts: Sequence[Sequence[str]]) -> list[list[str]]:
    """What every wording of a question says and few other questions do: beginnings of words, per question."""
    firsts = [own[0] for own in texts]
    subjects = []
    for own in texts:
        parts = [
            next((word[:n] for n in range(len(word), 1, -1) if _in_all(word[:n], own)), "") for word in _words(own)
        ]
        rare = [part for part in parts if part and sum(part in text for text in firsts) <= 1 + COMMON * len(firsts)]
        subjects.append(rare)
    return subjects


def _words(wordings: Sequence[str]) -> list[str]:
    return [word.strip(".,!?;:\"'()") for word in min(wordings, key=len).split()]


def _in_all(part: str, wordings: Sequence[str]) -> bool:
    return all(part in text for text in wordings)


@torch.inference_mode()
def recognise(
    parent: LoadedModel, wordings: Sequence[Wording], advance: Callable[[int], None] = lambda _: None
) -> dict[Key, np.ndarray]:
    """How well each layer's FFN tells the questions apart.

    Args:
        parent: the model that reads.
        wordings: by ``choose_wordings``.
        advance: called with 1 for each layer.

    Returns:
        (place, site) -> (layers with a plain FFN, questions): in which share of a question's wordings it was recognised
        by a readout of the other wordings.
    """
    layers = plain_layers(parent)
    states = _read(parent, wordings, layers)
    questions = torch.tensor([wording.question for wording in wordings])
    numbers = torch.tensor([wording.number for wording in wordings])
    hits: dict[Key, list[np.ndarray]] = defaultdict(list)
    for index in layers:
        for key in states:
            hits[key].append(_recognised(torch.stack(states[key].pop(index)), questions, numbers))
        advance(1)
    return {key: np.stack(rows) for key, rows in hits.items()}


def plain_layers(parent: LoadedModel) -> list[int]:
    """The layers that have a plain FFN."""
    return [info.index for info in parent.anatomy.layers if info.ffn is not None]


def _read(
    parent: LoadedModel, wordings: Sequence[Wording], layers: Sequence[int]
) -> dict[Key, dict[int, list[Tensor]]]:
    """(place, site) -> layer -> the states (width,) of every wording, on the CPU."""
    probes = [Probe(w.text.text, w.text.language, w.text.domain, str(i)) for i, w in enumerate(wordings)]
    longest = max(len(parent.tokenizer(probe.text, add_special_tokens=False)["input_ids"]) for probe in probes)
    tokenized = tokenize_probes(probes, parent.tokenizer, max_tokens=longest, device=str(parent.device))
    places = _places(tokenized, wordings)
    states: dict[Key, dict[int, list[Tensor]]] = {
        (place, site): {index: [torch.empty(0)] * len(wordings) for index in layers}
        for place in PLACES
        for site in SITES
    }
    for batch in tokenized.batches:
        with observe(parent, _keeper(states, batch, tokenized, places)):  # nothing else of a batch is kept
            final_states(parent.model, batch)
    return states


def _keeper(
    states: dict[Key, dict[int, list[Tensor]]],
    batch: Batch,
    tokenized: TokenizedProbes,
    places: Sequence[tuple[int, int]],
) -> Observer:
    """What keeps a batch's states.

    Args:
        states: (place, site) -> layer -> by wording; gets them.
        batch: that is read.
        tokenized: the wordings.
        places: of each, from ``_places``.

    Returns:
        To be called with layer, site and values (rows, length, width).
    """
    documents = batch.documents.tolist()
    numbers = [int(tokenized.probes[document].doc) for document in documents]
    rows = torch.arange(len(documents), device=batch.text.device)
    tokens = torch.tensor([places[document] for document in documents], device=batch.text.device)  # (rows, places)
    tokens += batch.text.int().argmax(1, keepdim=True)  # counted from where the text begins

    def keep(index: int, site: str, values: Tensor) -> None:
        for place, at in zip(PLACES, tokens.T, strict=True):
            own = states.get((place, site), {}).get(index)
            if own is not None:
                for number, state in zip(numbers, values[rows, at].cpu(), strict=True):
                    own[number] = state  # (width,)

    return keep


def _places(tokenized: TokenizedProbes, wordings: Sequence[Wording]) -> list[tuple[int, int]]:
    """Per tokenized text, its last token and the token in which the subject ends."""
    places = []
    for probe, ends in zip(tokenized.probes, tokenized.ends, strict=True):
        subject_end = wordings[int(probe.doc)].subject_end
        subject = next((i for i, end in enumerate(ends) if end >= subject_end), len(ends) - 1)
        places.append((len(ends) - 1, subject))
    return places


def _recognised(states: Tensor, questions: Tensor, numbers: Tensor) -> np.ndarray:
    """Per question, in which share of its wordings a readout fitted on the other wordings names it.

    Ridge regression on one-hot names, in its dual form: the matrices are (wordings, wordings), not (width, width).

    Args:
        states: (wordings, width).
        questions: (wordings,).
        numbers: (wordings,), of the wording.

    Returns:
        (questions,).
    """
    count, states = int(questions.max()) + 1, states.double()
    right, asked = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for number in numbers.unique():
        held = numbers == number
        mean = states[~held].mean(0)
        fitted, unseen = states[~held] - mean, states[held] - mean
        names = torch.nn.functional.one_hot(questions[~held], count).double()
        system = fitted @ fitted.T
        system += (PENALTY * system.diagonal().mean() + 1e-12) * torch.eye(len(system), dtype=system.dtype)
        scores = unseen @ fitted.T @ torch.linalg.solve(system, names - names.mean(0)) + names.mean(0)
        right.index_add_(0, questions[held], (scores.argmax(1) == questions[held]).double())
        asked.index_add_(0, questions[held], torch.ones(int(held.sum()), dtype=torch.float64))
    return (right / asked).numpy()
