"""Tokenised texts in batches: sorted by length, or all together where another model's batch decides."""

from __future__ import annotations

from pathlib import Path

import torch

from darwin_mri.checkpoints import find_model, load
from darwin_mri.merging.arms.context import paired_batches
from darwin_mri.probes import Probe, batch_together, tokenize_probes
from tests.toys import pico_llama


def test_texts_of_any_length_go_into_one_batch(tmp_path: Path) -> None:
    model = load(find_model(str(pico_llama(tmp_path / "m"))), device="cpu", dtype="float32")
    lengths = [5] * 900 + [40] * 20  # in batches by length the long ones would stand apart
    probes = [Probe("a b " * n, "en", "prose", str(i)) for i, n in enumerate(lengths)]
    tokenized = tokenize_probes(probes, model.tokenizer, max_tokens=200, device="cpu", token_budget=1 << 20)
    assert len(tokenized.batches) > 1
    keep = [*range(910, 0, -1)]
    batch = batch_together(tokenized, keep, device="cpu")
    assert sorted(batch.documents.tolist()) == list(range(len(keep)))
    for row in (0, 450, len(keep) - 1):
        read = batch.ids[row][batch.text[row]]
        assert torch.equal(read, torch.tensor(tokenized.ids[keep[int(batch.documents[row])]]))


def test_a_pair_reads_the_same_texts_where_their_lengths_differ_for_the_mother_alone(tmp_path: Path) -> None:
    father = load(find_model(str(pico_llama(tmp_path / "father"))), device="cpu", dtype="float32")
    mother = load(find_model("nursery:qwen35-mother"), device="cpu", dtype="float32")
    long, short = "zq xv kj wp " * 10, "the cat is in " * 10
    count = {
        name: [len(model.tokenizer(text)["input_ids"]) for text in (long, short)]
        for name, model in (("father", father), ("mother", mother))
    }
    assert max(count["father"]) < 1.2 * min(count["father"]) and max(count["mother"]) > 1.5 * min(count["mother"])
    probes = [Probe(text, "en", "prose", str(i)) for i, text in enumerate([short] * 80 + [long] * 80)]
    batches = paired_batches(father, mother, probes, max_tokens=200, token_budget=1 << 16)
    assert sorted(n for batch in batches for n in batch.documents) == list(range(len(probes)))
    for batch in batches:
        assert len(batch.mother.ids) == len(batch.father.ids)
