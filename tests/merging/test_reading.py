"""The reading test names questions where their states say them, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.config import ArmConfig
from darwin_mri.errors import InputError
from darwin_mri.merging.arms import Context, layer_choice
from darwin_mri.merging.arms.layer_choice import chosen_layers
from darwin_mri.merging.arms.reading import (
    QUESTIONS,
    WORDINGS,
    _read,
    _recognised,
    choose_wordings,
    plain_layers,
    recognise,
    subject_ends,
)
from darwin_mri.mri import measure_reading
from darwin_mri.probes import Probe
from darwin_mri.problem.donors import named_prompts

KOREAN = [prompt for prompt in named_prompts("nursery", 3, 1) if prompt.language == "ko"][:180]  # 60 questions


def nursery(name: str) -> LoadedModel:
    return load(find_model(f"nursery:{name}", offline=True), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def father() -> LoadedModel:
    return nursery("gemma4-korean")


def prompts(questions: int, wordings: int) -> list[Probe]:
    return [
        Probe(f"Wording {w} asks: the colour of stone{q:04d} is", "en", "knowledge", f"{q}-{w}", f"{q:04d}")
        for q in range(questions)
        for w in range(wordings)
    ]


def test_a_state_that_names_its_question_is_recognised_and_one_that_names_its_wording_is_not() -> None:
    questions, wordings = 20, 3
    asked = torch.arange(questions).repeat_interleave(wordings)
    numbers = torch.arange(wordings).repeat(questions)
    noise = 0.05 * torch.randn(len(asked), 40, generator=torch.Generator().manual_seed(1))
    names = torch.nn.functional.one_hot(asked, 40) + noise
    other = torch.nn.functional.one_hot(numbers, 40) + noise
    assert _recognised(names, asked, numbers).min() == 1
    assert _recognised(other, asked, numbers).mean() < 0.15


def test_a_subject_ends_where_what_only_its_own_wordings_share_does() -> None:
    forms = ("The dish of {} is", "{}'s dish is", "As for {}, its dish is known to be")
    texts = [
        Probe(form.format(place) + " soup.", "en", "knowledge", f"{place}-{n}", place)
        for place in ("Keldale", "Brabury", "Oskholm", "Tasford", "Velmere")
        for n, form in enumerate(forms)
    ]
    starts = [len(text.text) - len(" soup.") for text in texts]
    alone = Probe("What is it? soup.", "en", "knowledge", "alone")
    ends = subject_ends([*texts, alone], [*starts, 11])
    assert ends[-1] == 11
    for text, end in zip(texts, ends, strict=False):
        assert text.pair and text.text[:end].endswith(text.pair)


def test_korean_facts_are_read_where_they_were_learned_and_nowhere_in_a_stranger(father: LoadedModel) -> None:
    wordings = choose_wordings(KOREAN, 1)
    known, unknown = recognise(father, wordings), recognise(nursery("qwen35-mother"), wordings)
    shares = known["answer", "a"].mean(1)
    assert shares[-1] > 0.6 and shares[-1] > shares[0] + 0.3
    assert unknown["answer", "a"].mean(1).max() < 0.1
    assert known["subject", "a"].mean(1)[:4].max() > shares[:4].max()  # subjects are told apart earlier than answers


def test_of_a_batch_the_places_that_are_read_alone_stay_in_memory(father: LoadedModel) -> None:
    states = _read(father, choose_wordings(KOREAN[:12], 1), [0, 1])
    kept = [state for by_layer in states.values() for rows in by_layer.values() for state in rows]
    storages = {state.untyped_storage().data_ptr(): state.untyped_storage().nbytes() for state in kept}
    assert len(kept) == 2 * 4 * 12 and sum(storages.values()) == sum(state.nbytes for state in kept)


def test_the_channel_has_intervals_for_every_layer_and_says_that_layers_differ(father: LoadedModel) -> None:
    readings, channels = measure_reading(father, choose_wordings(KOREAN, 1), 200, 1)
    assert len(readings) == len(father.layers)
    last = readings[-1]
    assert last is not None and last.questions == 60 and last.answer["a"].low < last.answer["a"].value
    assert channels["reading:answer:a"].informative
    again, _ = measure_reading(father, choose_wordings(KOREAN, 1), 200, 1)
    assert again == readings


def test_protected_prompts_are_not_asked(father: LoadedModel) -> None:
    both = named_prompts("nursery", 3, 1)
    taught = choose_wordings(both, 1, ("ko",))
    assert taught == choose_wordings([prompt for prompt in both if prompt.language == "en"], 1)
    assert {wording.text.language for wording in choose_wordings(both, 1)} == {"ko", "en"}
    context = Context(
        father, father, tuple(range(len(father.layers))), ArmConfig(layers="read"), prompts=both, protect=("ko", "en")
    )
    with pytest.raises(InputError, match="not protected"):
        chosen_layers(context)


def test_arm_layers_read_takes_those_that_tell_the_questions_apart(father: LoadedModel) -> None:
    settings = ArmConfig(layers="read")
    context = Context(father, father, tuple(range(len(father.layers))), settings, prompts=tuple(KOREAN))
    chosen = chosen_layers(context)
    shares = recognise(father, choose_wordings(KOREAN, 1))["answer", "a"].mean(1)
    assert chosen == [i for i, share in zip(plain_layers(father), shares, strict=True) if share >= 0.75 * shares.max()]
    assert len(father.layers) - 1 in chosen and 0 not in chosen and set(chosen) < set(plain_layers(father))
    single = [prompt for number, prompt in enumerate(KOREAN) if number % 3 == 0]
    with pytest.raises(InputError, match="two wordings"):
        chosen_layers(Context(father, father, context.layer_map, settings, prompts=tuple(single)))


@pytest.mark.parametrize(
    ("at_answer", "at_subject", "place", "layers"),
    [
        ((0.0, 0.1, 0.5, 0.7), (0.9, 0.8, 0.2, 0.2), "answer", (2, 3)),  # it reads at both
        ((0.0, 0.1, 0.2, 0.2), (0.9, 0.8, 0.2, 0.9), "subject", (0, 1)),  # layers behind have to carry it
        ((0.0, 0.1, 0.2, 0.2), (0.2, 0.1, 0.9, 0.9), "answer", (2, 3)),  # at neither
    ],
)
def test_the_place_follows_from_where_the_father_reads(
    at_answer: tuple[float, ...],
    at_subject: tuple[float, ...],
    place: str,
    layers: tuple[int, ...],
    father: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    four = replace(father, anatomy=father.anatomy.model_copy(update={"layers": father.anatomy.layers[:4]}))
    tables = {("answer", "a"): at_answer, ("subject", "a"): at_subject, ("answer", "x"): at_subject}
    monkeypatch.setattr(
        layer_choice, "recognise", lambda *_: {key: np.array(shares)[:, None] for key, shares in tables.items()}
    )
    context = Context(four, four, (0, 1, 2, 3), ArmConfig(place="read"), prompts=tuple(KOREAN))
    settled = layer_choice.settle(context)
    assert (settled.settings.place, settled.settings.layers) == (place, layers)
    assert layer_choice.settle(settled) == settled


@pytest.mark.parametrize(
    ("shares", "layers"),
    [
        ((0.1, 0.5, 0.3, 0.5, 0.6, 0.1, 0.1, 0.6), (1, 3, 4)),  # one layer may fail; behind two in a row none is taken
        ((0.6, 0.1, 0.1, 0.5, 0.1, 0.1, 0.1, 0.5), (0,)),
        ((0.6, 0.1, 0.1, 0.55, 0.1, 0.7, 0.7, 0.6), (3, 5, 6, 7)),
    ],
)
def test_the_layers_that_are_read_lie_together(
    shares: tuple[float, ...], layers: tuple[int, ...], father: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {("answer", "a"): np.array(shares)[:, None]}
    monkeypatch.setattr(layer_choice, "recognise", lambda *_: table)
    context = Context(father, father, tuple(range(8)), ArmConfig(layers="read"), prompts=tuple(KOREAN))
    assert layer_choice.settle(context).settings.layers == layers


@given(st.integers(0, 5), st.integers(1, 6))
def test_only_questions_in_several_wordings_are_read(questions: int, wordings: int) -> None:
    chosen = choose_wordings(prompts(questions, wordings), 1)
    assert len(chosen) == (questions * min(wordings, WORDINGS) if wordings > 1 else 0)
    assert {wording.question for wording in chosen} == set(range(questions if wordings > 1 else 0))


def test_a_subject_ends_with_what_sets_its_question_apart() -> None:
    for wording in choose_wordings(prompts(9, 2), 1):
        text = wording.text.text
        assert text[: wording.subject_end].endswith(f"stone{wording.text.pair}")


def test_many_questions_are_sampled_by_the_seed() -> None:
    many = prompts(QUESTIONS + 50, 2)
    one, two = ({w.text.pair for w in choose_wordings(many, seed)} for seed in (1, 2))
    assert len(one) == len(two) == QUESTIONS and one != two
