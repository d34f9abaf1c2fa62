"""CPU and GPU agree: runs where CUDA is, and is skipped elsewhere.

Tolerances: fp32 on both, TF32 off, so what is left is the order of sums: 1e-3 relative for statistics and losses, 1e-3 nats for
log-probabilities, and the same bits for a candidate's tensors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from darwin_mri.benchmarks import Scorer, load_benchmark, sample_items
from darwin_mri.checkpoints import find_model
from darwin_mri.merging import Candidate
from darwin_mri.mri.activations import measure_activations
from darwin_mri.stages import parents, scanning
from darwin_mri.stages.merging import breed_siblings
from darwin_mri.stages.run import Silent, open_run
from tests.pipeline.conftest import small

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def loaded(folder: Path, device: str) -> parents.Loaded:
    return parents.load(find_model(str(folder)), "", device=device, dtype="float32")


def test_a_pass_agrees_and_never_waits_for_the_device(family: dict[str, Path]) -> None:
    config = small(family)
    found = {}
    for device in ("cpu", "cuda"):
        model = loaded(family["father"], device)
        parent = parents.parent_for_scan(model, parents.chosen_probes(config.scan, 1), config.scan)
        measure_activations(model.model, model.anatomy, parent.reading)  # warm: kernels are loaded with a sync
        found[device] = measure_activations(model.model, model.anatomy, parent.reading)
    np.testing.assert_allclose(found["cuda"].nll, found["cpu"].nll, rtol=1e-3)
    for ours, theirs in zip(found["cuda"].layers, found["cpu"].layers, strict=True):
        for site, sums in theirs.sites.items():
            torch.testing.assert_close(ours.sites[site].table.cpu(), sums.table, rtol=1e-3, atol=1e-3)


def test_hooks_do_not_synchronise(family: dict[str, Path]) -> None:
    from darwin_mri.mri.activations import _Recorder
    from darwin_mri.probes import observe

    config, model = small(family), loaded(family["father"], "cuda")
    reading = parents.parent_for_scan(model, parents.chosen_probes(config.scan, 1), config.scan).reading
    recorder = _Recorder(reading, len(model.anatomy.layers), "cuda", (), 0)

    def watched(index: int, site: str, value: torch.Tensor) -> None:
        torch.cuda.set_sync_debug_mode("error")
        try:
            recorder(index, site, value)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    recorder.start(0, reading.batches[0])
    with torch.inference_mode(), observe(model.model, model.anatomy, watched):
        batch = reading.batches[0]
        model.model.get_decoder()(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False)


def test_candidates_have_the_same_bits_kept_or_made_anew(family: dict[str, Path]) -> None:
    config = small(family, method="linear")
    genes = {}
    states = []
    for device, keep in (("cpu", None), ("cuda", None), ("cuda", 0)):
        father = loaded(family["father"], device)
        breed = breed_siblings(config, father, find_model(str(family["sister"])), None)
        genes = dict.fromkeys(breed.tensors(), 0.3)
        candidate = Candidate(father.model, breed.tensors(), breed.merge, keep_bytes=keep)
        for _ in range(2):  # the second time from what is kept
            candidate.restore()
            candidate.apply(genes)
        states.append({name: value.cpu() for name, value in father.model.state_dict().items()})
    for other in states[1:]:
        assert all(torch.equal(other[name], value) for name, value in states[0].items())


def test_the_scorer_agrees(family: dict[str, Path]) -> None:
    items = sample_items(load_benchmark("nursery_click", None), 12, 1)
    scores = []
    for device in ("cpu", "cuda"):
        father = loaded(family["father"], device)
        scorer = Scorer(father.model, father.tokenizer, beyond_context=True)
        scores.append(np.concatenate(scorer.log_probabilities(scorer.prepare(items))))
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-3)


def test_a_mother_that_waits_is_scanned_the_same(family: dict[str, Path], tmp_path: Path) -> None:
    config = small(family)
    father = loaded(family["father"], "cuda")
    scans = [
        scanning.scan_both(
            open_run(tmp_path / place, config, (), "cuda"), father, loaded(family["sister"], place), Silent()
        )
        for place in ("cuda", "cpu")
    ]
    assert scans[0].mother.to_json() == scans[1].mother.to_json()
    assert scans[0].pair.cka == scans[1].pair.cka
