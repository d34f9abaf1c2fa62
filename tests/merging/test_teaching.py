"""What competence asks for: nearest states, whom to believe, and which texts to keep."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from darwin_mri.merging import Donors
from darwin_mri.merging.arms import build_donors
from darwin_mri.merging.arms.competence import make_lessons
from darwin_mri.merging.arms.context import forward, watch
from darwin_mri.merging.arms.nearest import SURE, FinalGain, nearest_states
from darwin_mri.merging.arms.writing import Completion, agreement
from darwin_mri.probes import Probe, project, read
from tests.merging import school
from tests.merging.pairs import context, side, texts
from tests.toys import pico_gemma4, pico_llama


@pytest.mark.parametrize("family", ["gemma", "llama", "trained"])
def test_the_nearest_state_says_the_token_through_the_models_own_norm(family: str, tmp_path: Path) -> None:
    if family == "trained":
        father, read_ = school.father(), school.reading(4)
    else:
        father = side((pico_gemma4 if family == "gemma" else pico_llama)(tmp_path / family))
        read_ = texts(4, 40)
    batch = read(read_, father.tokenizer, max_tokens=32, device="cpu").batches[0]
    last = len(father.layers) - 1
    with torch.inference_mode(), watch(father, {last: ("h",)}) as seen:
        normed = forward(father, batch)
        stream = seen[last, "h"].float()
    gain = FinalGain(stream.shape[-1], stream.device)
    gain.add(stream[batch.text], normed[batch.text])
    states = stream[batch.text][:20]
    tokens = torch.randint(5, 40, (len(states),), generator=torch.Generator().manual_seed(0))
    if family == "trained":  # tokens that the father has learned to say
        said_often = torch.tensor([father.tokenizer.convert_tokens_to_ids(partner) for partner in school.PARTNERS])
        tokens = said_often[tokens % len(said_often)]
    found = nearest_states(father, states, tokens, gain.value)
    norm = father.model.get_decoder().norm
    with torch.inference_mode():
        said = project(father.model, norm(found)).softmax(-1)
    assert (said.argmax(-1) == tokens).float().mean() >= 0.9
    if family == "trained":  # an untrained model's vocabulary is too blunt to be sure of anything
        assert (said[torch.arange(len(tokens)), tokens] > SURE - 0.05).float().mean() >= 0.9
    assert all(parameter.grad is None for parameter in father.model.parameters())


def test_agreement_believes_who_says_the_same_however_asked() -> None:
    prompts = tuple(Probe(f"q{i}", "en", "knowledge", f"d{i}", "q") for i in range(3)) + (
        Probe("other", "en", "knowledge", "d3", "o"),
    )
    sure = {
        0: Completion(" red.", -0.1),
        1: Completion(" Red", -0.1),
        2: Completion(" red,", -0.1),
        3: Completion(" x", -0.2),
    }
    guess = {
        0: Completion(" red", 0.0),
        1: Completion(" blue", 0.0),
        2: Completion(" green", 0.0),
        3: Completion(" y", -0.1),
    }
    known, guessed = agreement(prompts, sure), agreement(prompts, guess)
    assert all(known[n] > 0.9 for n in range(3)) and all(guessed[n] < 0.34 for n in range(3))
    assert known[3] < guessed[3]  # a question asked once: confidence decides


def test_fewer_held_rows_keep_every_row_that_teaches() -> None:
    father, mother = school.father(steps=40), school.mother(steps=40)
    made = {}
    for rows in (None, 0.25):
        c = context(
            father, mother, school.reading(), prompts=school.prompts(), protect=("ko",), new_tokens=1, held_rows=rows
        )
        lessons, _ = make_lessons(c)
        made[rows] = (
            sum(int(lesson.taught.sum()) for lesson in lessons),
            sum(len(lesson.taught) for lesson in lessons),
        )
    assert made[0.25][0] == made[None][0] > 0
    assert made[0.25][1] < made[None][1]


def test_nearest_states_teach_in_a_closed_form_what_only_the_mother_knows() -> None:
    father, mother = school.father(), school.mother()
    own = {name: parameter.detach().clone() for name, parameter in father.model.named_parameters()}
    found = {}
    for name, changes in (("child", {}), ("shuffled mask", {"nulls": frozenset({"mask"})})):
        c = context(
            father, mother, school.reading(), prompts=school.prompts(), protect=("ko",), new_tokens=1, depth=0.67,
            target="nearest", sweeps=2, trust="agreement", **changes,
        )  # fmt: skip
        father.model.load_state_dict(Donors(build_donors("competence", c)).tensors, strict=False)
        found[name] = school.score(father, school.KNOWN), school.score(father, school.NEW)
        father.model.load_state_dict(own, strict=False)
    assert found["child"][0] >= 0.9 and found["child"][1] >= 0.7, found
    assert found["shuffled mask"][1] <= 0.45, found
