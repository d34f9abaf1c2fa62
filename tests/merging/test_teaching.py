"""The targets of the arm competence: nearest states, which parent to believe, and which texts to keep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from darwin_mri.errors import InputError
from darwin_mri.merging import Donors
from darwin_mri.merging.arms.competence import build, collision
from darwin_mri.merging.arms.edits import keep_marks
from darwin_mri.merging.arms.moments import free_directions
from darwin_mri.merging.arms.nearest import TARGET_PROBABILITY, FinalGain, nearest_states
from darwin_mri.merging.arms.synthesis import Completion, agreement
from darwin_mri.merging.arms.targets import edit_targets
from darwin_mri.probes import Probe, capture, final_states, project, tokenize_probes
from tests.merging import trained_pair
from tests.merging.pairs import context, loaded, texts
from tests.toys import pico_gemma4, pico_llama


@pytest.mark.parametrize("family", ["gemma", "llama", "trained"])
def test_nearest_states_predict_the_token_through_the_final_norm(family: str, tmp_path: Path) -> None:
    if family == "trained":
        father, read = trained_pair.father(), trained_pair.texts(4)
    else:
        father = loaded((pico_gemma4 if family == "gemma" else pico_llama)(tmp_path / family))
        read = texts(4, 40)
    batch = tokenize_probes(read, father.tokenizer, max_tokens=32, device="cpu").batches[0]
    last = len(father.layers) - 1
    with torch.inference_mode(), capture(father, {last: ("h_out",)}) as seen:
        normed = final_states(father.model, batch)
        stream = seen[last, "h_out"].float()
    gain = FinalGain(stream.shape[-1], stream.device)
    gain.add(stream[batch.text], normed[batch.text])
    states = stream[batch.text][:20]
    tokens = torch.randint(5, 40, (len(states),), generator=torch.Generator().manual_seed(0))
    if family == "trained":  # tokens that the father has learned to predict
        learned = torch.tensor([father.tokenizer.convert_tokens_to_ids(partner) for partner in trained_pair.PARTNERS])
        tokens = learned[tokens % len(learned)]
    moved = nearest_states(father, states, tokens, gain.value)
    norm = father.model.get_decoder().norm
    with torch.inference_mode():
        probabilities = project(father.model, norm(moved)).softmax(-1)
    assert (probabilities.argmax(-1) == tokens).float().mean() >= 0.9
    if family == "trained":  # an untrained model's vocabulary is too blunt to be sure of anything
        assert (probabilities[torch.arange(len(tokens)), tokens] > TARGET_PROBABILITY - 0.05).float().mean() >= 0.9
    assert all(parameter.grad is None for parameter in father.model.parameters())


def test_agreement_rewards_equal_answers_to_all_wordings() -> None:
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


def test_fewer_preserved_rows_keep_every_row_with_an_edit() -> None:
    father, mother = trained_pair.father(steps=40), trained_pair.mother(steps=40)
    sizes = {}
    for rows in (None, 0.25):
        c = context(
            father,
            mother,
            trained_pair.texts(),
            prompts=trained_pair.prompts(),
            protect=("ko",),
            new_tokens=1,
            held_rows=rows,
        )
        targets, _ = edit_targets(c)
        sizes[rows] = sum(int(t.edit.sum()) for t in targets), sum(len(t.edit) for t in targets)
    assert sizes[0.25][0] == sizes[None][0] > 0  # edited places
    assert sizes[0.25][1] < sizes[None][1]  # rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])  # on a GPU parents are read in bfloat16
@pytest.mark.parametrize("place", [{"depth": 0.67, "sweeps": 2}, {"place": "subject", "layers": (0, 1)}])
def test_edits_at_the_answer_and_at_the_subject_write_what_only_the_mother_knows(
    place: dict[str, object], dtype: torch.dtype
) -> None:
    father, mother = trained_pair.father(), trained_pair.mother()
    father.model.to(dtype)
    own = {name: parameter.detach().clone() for name, parameter in father.model.named_parameters()}
    c = context(
        father,
        mother,
        trained_pair.texts(),
        prompts=trained_pair.prompts(),
        protect=("ko",),
        new_tokens=1,
        target="nearest",
        trust="agreement",
        **place,
    )
    scores = {}
    for name, arrange in (("child", keep_marks), ("shuffled places", trained_pair.shuffle)):
        with torch.inference_mode():  # as a run builds them
            donors = Donors(build(c, arrange))
        father.model.load_state_dict(donors.tensors, strict=False)
        scores[name] = [trained_pair.score(father, words) for words in (trained_pair.KNOWN, trained_pair.NEW)]
        father.model.load_state_dict(own, strict=False)
    assert scores["child"][0] >= 0.9 and scores["child"][1] >= 0.7, scores
    assert scores["shuffled places"][1] <= 0.45, scores


@pytest.mark.parametrize(("protect", "opened"), [((), 1), (("ko", "en"), 0)])
def test_the_device_is_asked_for_once_and_only_where_the_mother_writes(protect: tuple[str, ...], opened: int) -> None:
    father, mother, asked = trained_pair.father(2), trained_pair.mother(2), []

    @contextmanager
    def on_device() -> Iterator[None]:
        asked.append("mother")
        yield

    fields = {"prompts": trained_pair.prompts(), "protect": protect, "new_tokens": 1, "target": "nearest"}
    list(build(context(father, mother, trained_pair.texts(), mother_on_device=on_device, **fields)))
    assert len(asked) == opened


def test_what_the_father_wrote_itself_is_held_at_the_subject() -> None:
    father, mother = trained_pair.father(), trained_pair.mother()
    fields = {"prompts": trained_pair.prompts(), "writer": "father", "new_tokens": 1, "place": "subject"}
    for donor in build(context(father, mother, trained_pair.texts(), layers=(0, 1), **fields)):
        ((name, down),) = donor.tensors.items()
        assert torch.allclose(down, father.model.get_parameter(name), atol=1e-4) and donor.fit["taught"] == 0
    with pytest.raises(InputError, match="cannot have arm.writer: nobody"):
        list(build(context(father, mother, trained_pair.texts(), layers=(0,), place="subject", writer="nobody")))


def test_a_second_round_teaches_only_what_is_still_wrong() -> None:
    father, mother = trained_pair.father(), trained_pair.mother()
    taught = {}
    for rounds in (1, 2):
        fields = {"prompts": trained_pair.prompts(), "protect": ("ko",), "new_tokens": 1, "target": "nearest"}
        c = context(father, mother, trained_pair.texts(), depth=0.67, rounds=rounds, **fields)
        donors = Donors(build(c))
        taught[rounds] = donors.layers[0].fit["taught"]
        own = {name: parameter.detach().clone() for name, parameter in father.model.named_parameters()}
        father.model.load_state_dict(donors.tensors, strict=False)
        assert trained_pair.score(father, trained_pair.NEW) >= 0.7
        father.model.load_state_dict(own, strict=False)
    assert taught[2] < 0.5 * taught[1], taught


def test_an_edit_off_more_held_directions_changes_less_of_what_must_stay() -> None:
    father, mother = trained_pair.father(), trained_pair.mother()
    own = {name: parameter.detach().clone() for name, parameter in father.model.named_parameters()}
    batch = tokenize_probes(trained_pair.texts(8), father.tokenizer, max_tokens=32, device="cpu").batches[0]
    index, taught, moved = len(father.layers) - 1, {}, {}
    with torch.inference_mode(), capture(father, {index: ("a",)}) as seen:
        final_states(father.model, batch)
    neurons = seen[index, "a"][batch.text].float()  # (tokens, width), of the father on text that must stay
    for power in (0.5, 0.999):
        fields = {"prompts": trained_pair.prompts(), "protect": ("ko",), "new_tokens": 1, "target": "nearest"}
        c = context(father, mother, trained_pair.texts(), depth=0.3, hold="null-space", held_power=power, **fields)
        (donor,) = build(c)
        ((name, down),) = donor.tensors.items()
        edit = down.float() - own[name].float()
        moved[power] = float((neurons @ edit.T).norm() / (neurons.norm() * edit.norm()))
        father.model.load_state_dict(dict(donor.tensors), strict=False)
        taught[power] = trained_pair.score(father, trained_pair.NEW)
        father.model.load_state_dict(own, strict=False)
        assert 0 < donor.fit["collision"] <= 1
    assert moved[0.999] < 0.5 * moved[0.5], moved
    assert taught[0.5] > trained_pair.score(father, trained_pair.NEW), taught


def test_free_directions_leave_the_held_outputs_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    held = torch.randn(200, 6, generator=generator) @ torch.randn(6, 20, generator=generator)  # rank 6
    held = (held + 1e-3 * torch.randn(200, 20, generator=generator)).double()
    free = free_directions(held.T @ held, 0.999)
    assert free.shape == (20, 14)
    torch.testing.assert_close(free.T @ free, torch.eye(14, dtype=free.dtype))
    assert float((held @ free).norm() / held.norm()) < 1e-2
    assert free_directions(torch.eye(5, dtype=torch.float64), 0.9).shape == (5, 0)


def test_keys_of_different_answers_collide_and_those_of_one_answer_do_not() -> None:
    keys = torch.tensor([[1.0, 0], [1, 0.01], [0, 1]])
    assert collision(keys, torch.tensor([1, 2, 3])) > 0.66  # the first two are nearly equal
    assert collision(keys, torch.tensor([1, 1, 3])) < 0.02
    assert collision(keys, torch.tensor([1, 1, 1])) == 0
