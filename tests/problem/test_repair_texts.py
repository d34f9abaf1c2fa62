"""Who teaches which text, and texts whose words are shuffled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.config import RepairConfig
from darwin_mri.errors import InputError
from darwin_mri.probes import Probe, document_nll
from darwin_mri.problem.repair_texts import choose_teachers, lessons, shuffle_words, tokenize_texts
from tests.merging.pairs import loaded, texts
from tests.toys import pico_llama

SETTINGS = RepairConfig(max_tokens=24)


class InMemory:
    """Models that all stay where they are."""

    def __init__(self, **models: LoadedModel) -> None:
        self.models = models

    @contextmanager
    def on_device(self, role: str) -> Iterator[LoadedModel]:
        yield self.models[role]


def test_the_parent_that_predicts_a_text_better_teaches_it(tmp_path: Path) -> None:
    models = {role: loaded(pico_llama(tmp_path / role, seed=seed)) for seed, role in enumerate(("father", "mother"))}
    plain = [*texts(10, 30), *(Probe(f"{p.text} 가", "ko", "prose", f"k{p.doc}") for p in texts(6, 20, 5))]
    tokenized = tokenize_texts(plain, models["father"].tokenizer, SETTINGS, "cpu")
    record = choose_teachers(InMemory(**models), list(models), tokenized, ("ko",))
    nll = torch.zeros(2, len(plain))
    for row, model in enumerate(models.values()):
        for batch in tokenized.batches:
            nll[row, batch.documents] = document_nll(model.model, batch)
    better = ["father" if a <= b else "mother" for a, b in nll.T.tolist()]
    assert record.roles[:10] == tuple(better[:10]) and set(better[:10]) == {"father", "mother"}
    assert set(record.roles[10:]) == {"father"} and "mother" in better[10:]  # protected, whatever is better
    own = {group.language: group for group in record.groups}
    assert own["ko"].protected and not own["en"].protected and own["en"].documents == 10
    assert own["en"].nll_per_byte["mother"] == pytest.approx(
        float(nll[1, :10].sum() / tokenized.bytes_read[:10].sum()), rel=1e-5
    )
    taught = lessons(tokenized, record.roles, "cpu")
    assert list(taught) == ["father", "mother"]
    rows = {role: sum(len(batch.documents) for batch in batches) for role, batches in taught.items()}
    assert rows == Counter(record.roles)


def test_a_parent_whose_loss_is_no_number_is_named(tmp_path: Path) -> None:
    models = {role: loaded(pico_llama(tmp_path / role)) for role in ("father", "mother")}
    models["mother"].model.model.norm.weight.data[:] = float("nan")
    tokenized = tokenize_texts(texts(3, 20), models["father"].tokenizer, SETTINGS, "cpu")
    with pytest.raises(InputError, match="loss of the mother is not finite"):
        choose_teachers(InMemory(**models), list(models), tokenized, ())


def test_shuffled_texts_have_the_same_words_in_another_order() -> None:
    read = [Probe("one two three four five six seven", "en", "prose", "a"), Probe("아무말" * 20, "ko", "prose", "b")]
    spaced, whole = shuffle_words(read, 1)
    assert Counter(spaced.text.split()) == Counter(read[0].text.split()) and spaced.text != read[0].text
    assert Counter(whole.text) == Counter(read[1].text) and whole.text != read[1].text
    assert shuffle_words(read, 1) == (spaced, whole) != shuffle_words(read, 2)
    assert (spaced.doc, whole.language) == ("a", "ko")


def test_texts_too_short_to_predict_a_token_are_refused(tmp_path: Path) -> None:
    tokenizer = loaded(pico_llama(tmp_path / "model")).tokenizer
    with pytest.raises(InputError, match="no text has two tokens"):
        tokenize_texts([Probe("x", "en", "prose", "a")], tokenizer, SETTINGS, "cpu")
