"""CPU and GPU agree: runs where CUDA is. Where it is not, ``test_fake_device.py`` runs these on a fake device.

Tolerances: fp32 on both, TF32 off, so what is left is the order of sums: 1e-3 relative for statistics and losses, 1e-3
nats for log-probabilities, and the same bits for a candidate's tensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darwin_mri.benchmarks import Scorer, sample_items
from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.config import OPERATORS, Config
from darwin_mri.errors import GateError
from darwin_mri.merging import Candidate, Donors, model_figures
from darwin_mri.merging.arms import ARMS, build_donors
from darwin_mri.mri import gene_slopes, text_blocks
from darwin_mri.mri.accumulators import MaskedRows, SegmentSum
from darwin_mri.mri.activations import measure_activations
from darwin_mri.pipeline import breed
from darwin_mri.planning import machine, plan_run
from darwin_mri.probes import TokenizedProbes
from darwin_mri.problem import parents
from darwin_mri.problem.parents import Parents, chosen_probes, tokenize_for_scan
from darwin_mri.problem.repair import RepairRun
from darwin_mri.problem.space import sibling_space
from darwin_mri.records import Comparison, Genome, Health
from darwin_mri.run import open_run
from darwin_mri.stages.scan import scan_parents
from tests import toys
from tests.choices import as_choices, load_choices
from tests.merging.pairs import context, texts
from tests.pipeline.conftest import small

DEVICE = os.environ.get("DARWIN_MRI_TEST_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device")


@contextmanager
def no_waiting() -> Iterator[None]:
    """While open, the host may not wait for the device."""
    if DEVICE == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    else:
        from tests.fake_device import FakeTensor

        before = FakeTensor.waits
        yield
        assert FakeTensor.waits == before, "the host waits for the device"


def loaded(folder: Path, device: str) -> LoadedModel:
    return load(find_model(str(folder)), device=device, dtype="float32")


def tokenized(model: LoadedModel, config: Config) -> TokenizedProbes:
    return tokenize_for_scan(
        model.source.ref, model.tokenizer, chosen_probes(config.scan, 1), config.scan, str(model.device)
    )


def test_a_pass_agrees_and_never_waits_for_the_device(family: dict[str, Path]) -> None:
    config = small(family)
    found = {}
    for device in ("cpu", DEVICE):
        model = loaded(family["father"], device)
        probes = tokenized(model, config)
        measure_activations(model, probes)  # warm: kernels are loaded with a sync
        found[device] = measure_activations(model, probes)
    np.testing.assert_allclose(found[DEVICE].nll, found["cpu"].nll, rtol=1e-3)
    for ours, theirs in zip(found[DEVICE].layers, found["cpu"].layers, strict=True):
        for site, sums in theirs.sites.items():
            torch.testing.assert_close(ours.sites[site].table.cpu(), sums.table, rtol=1e-3, atol=1e-3)


def test_hooks_do_not_synchronise(family: dict[str, Path]) -> None:
    from darwin_mri.mri.recorder import Recorder
    from darwin_mri.probes import observe

    config, model = small(family), loaded(family["father"], DEVICE)
    reading = tokenized(model, config)
    recorder = Recorder(reading, len(model.anatomy.layers), DEVICE, (), 0)

    def watched(index: int, site: str, value: torch.Tensor) -> None:
        with no_waiting():
            recorder(index, site, value)

    batch = reading.batches[0]
    recorder.start(0, batch)
    with torch.inference_mode(), observe(model, watched):
        model.model.get_decoder()(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False)
        with no_waiting():
            recorder.finish()


def candidates(family: dict[str, Path], config: Config, dtype: str) -> list[dict[str, torch.Tensor]]:
    """State of a candidate on the CPU, kept on the device, and one part waiting on the host, the other made again."""
    states = []
    for device, keep, wait in (("cpu", None, None), (DEVICE, None, None), (DEVICE, 0, 60_000)):
        father = load(find_model(str(family["father"])), "", device=device, dtype=dtype)
        space = sibling_space(config, father, (find_model(str(family["sister"])),), find_model(str(family["father"])))
        genes = dict.fromkeys(space.tensors(), 0.3)
        candidate = Candidate(father.model, space.tensors(), space.merge, keep_bytes=keep, wait_bytes=wait)
        for ratio in (0.7, 0.3):  # the second time from what is kept
            candidate.apply(dict.fromkeys(genes, ratio))
        states.append({name: value.cpu() for name, value in father.model.state_dict().items()})
    return states


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", [method for method in OPERATORS if method != "regression"])
def test_candidates_have_the_same_bits_kept_or_computed_again(family: dict[str, Path], method: str, dtype: str) -> None:
    config = small(family, method=method, density=0.6, base=str(family["father"]))
    first, *others = candidates(family, config, dtype)
    for other in others:
        assert not [name for name, value in first.items() if not torch.equal(other[name], value)]


def test_candidates_of_regression_are_alike_where_products_are_rounded_by_device(family: dict[str, Path]) -> None:
    config = small(family, method="regression", settings={"moments": "deltas"}, base=str(family["father"]))
    first, *others = candidates(family, config, "float32")
    for other in others:
        assert not [name for name, value in first.items() if not torch.allclose(other[name], value, atol=1e-4)]


@pytest.mark.parametrize("ratio", [0.4, -0.4])
@pytest.mark.parametrize("method", ["linear", "ties"])
def test_experts_are_put_together_on_the_device_as_on_a_cpu(method: Any, ratio: float, tmp_path: Path) -> None:
    """Also with a negative ratio, which a recipe may give."""
    father, mother = (toys.pico("qwen3_moe", tmp_path / f"{n}", seed=n, dtype="bfloat16") for n in (1, 2))
    config = Config(father=str(father), mother=str(mother), base=str(father), method=method, density=0.6)
    states = []
    for device in ("cpu", DEVICE):
        model = load(find_model(str(father)), device="cpu", dtype="bfloat16")
        model.model.to(device)
        space = sibling_space(config, model, (find_model(str(mother)),), find_model(str(father)))
        candidate = Candidate(model.model, space.tensors(), space.merge)
        for step in (0.7, ratio):
            candidate.apply(dict.fromkeys(space.tensors(), step))
        states.append({name: value.cpu() for name, value in model.model.state_dict().items()})
    assert not [name for name, value in states[0].items() if not torch.equal(states[1][name], value)]


OF_ROW = ("sum", "square", "cube", "fourth", "largest", "positive", "dot")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_add_up_as_torch_does(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = torch.randn(300, 1000).to(dtype)
    where = torch.randperm(300)[:123].sort().values
    other, group = torch.randn(300, 1000).to(dtype), torch.randint(0, 4, (123,))
    found = []
    for place in (DEVICE, "cpu"):
        at = where.to(place)
        tokens = MaskedRows(values.to(place), at, MaskedRows(other.to(place), at))
        dimensions, firing = torch.zeros(3, 1000, device=place), torch.zeros(5, 1000, device=place)
        tokens.add_dimensions(*dimensions)
        tokens.add_positive(firing, SegmentSum(group.to(place), 5))
        found.append([*tokens.sums(*OF_ROW).values(), dimensions, firing])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours.cpu(), plain, rtol=1e-5, atol=1e-3)


def test_a_scan_is_the_same_twice(family: dict[str, Path]) -> None:
    config, model = small(family), load(find_model(str(family["father"])), "", device=DEVICE, dtype="bfloat16")
    first, second = (measure_activations(model, tokenized(model, config)) for _ in range(2))
    assert (first.nll == second.nll).all()
    for ours, theirs in zip(first.layers, second.layers, strict=True):
        assert all(torch.equal(sums.table, theirs.sites[site].table) for site, sums in ours.sites.items())


def test_the_scorer_agrees(family: dict[str, Path]) -> None:
    items = as_choices(sample_items(load_choices("nursery_click", None), 12, 1))
    scores = []
    for device in ("cpu", DEVICE):
        father = loaded(family["father"], device)
        scorer = Scorer(father.model, father.tokenizer, beyond_context=True)
        scores.append(np.concatenate(scorer.log_probabilities(scorer.prepare(items))))
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-3)


def test_a_mother_that_waits_on_the_host_is_scanned_the_same(
    family: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = []
    for waits in (False, True):
        both = Parents.find(small(family, device="cuda", dtype="float32"), device=DEVICE)
        monkeypatch.setattr(parents, "fits_beside", lambda *_, together=not waits: together)
        both.load()
        assert (both.model("mother").device.type == "cpu") == waits
        scans.append(scan_parents(open_run(tmp_path / str(waits), both.config, (), both.device), both))
    assert scans[0].others[0].to_json() == scans[1].others[0].to_json()
    assert scans[0].pair.cka == scans[1].pair.cka


def test_slopes_are_the_same_twice_and_those_of_a_cpu(family: dict[str, Path]) -> None:
    config, found = small(family), []
    for device in ("cpu", DEVICE, DEVICE):
        model = loaded(family["father"], device)
        reading = tokenized(model, config)
        names = [name for name, _ in model.model.named_parameters() if name.endswith("down_proj.weight")]
        generator = torch.Generator().manual_seed(1)
        own = dict(model.model.named_parameters())
        along = {name: {name: torch.randn(own[name].shape, generator=generator).to(device)} for name in names}
        blocks = text_blocks(model.model, [(reading.batches, float(reading.bytes_read.sum()))])
        found.append(gene_slopes(model.model, along, 0.1, blocks))
    lean = gene_slopes(model.model, along, 0.1, blocks, model.layers)
    np.testing.assert_allclose(lean[0], found[2][0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-2, atol=1e-5)
    assert (found[1][0] == found[2][0]).all() and (found[1][1] == found[2][1]).all()


def test_a_repair_is_that_of_a_cpu_with_all_models_there_or_one_at_a_time(
    family: dict[str, Path], tmp_path: Path
) -> None:
    """Tensors may differ by their rounding to bfloat16; where the models wait does not change a bit."""
    settings = {"strengths": [0.3], "documents": 2, "max_tokens": 16}
    config = small(family, device="cuda", dtype="float32", repair=settings)
    found: dict[tuple[str, bool], dict[str, torch.Tensor]] = {}
    for device, together in (("cpu", True), (DEVICE, True), (DEVICE, False)):
        both = Parents.find(config, device=device)
        space = sibling_space(config, both.father, both.other_sources, both.base)
        genes = dict.fromkeys(space.tensors(), 0.4)
        genome = Genome(
            space="layers", method=config.method, seed=1, father="father", mother="sister", genes=genes, ratios=()
        )
        run = open_run(tmp_path / f"{device}-{together}", config, (), device)
        with RepairRun.opened(run, both, space, genome) as repairs:
            repairs.models.together = together
            figures = repairs.repair("0.3", 0.3)
            with repairs.models.on_device("child") as child:
                assert child.device.type == torch.device(device).type
                weights = {one.tensor: child.model.get_parameter(one.tensor).cpu().clone() for one in figures}
                assert both.father.device.type == (child.device.type if together else "cpu")
            found[device, together] = weights
        assert both.father.device.type == torch.device(device).type
    for name, tensor in found["cpu", True].items():
        assert (found[DEVICE, True][name] - tensor).norm() < 1e-2 * tensor.norm(), name
        assert torch.equal(found[DEVICE, True][name], found[DEVICE, False][name])


SHORT: dict[str, Any] = {
    "scan": {"documents": 2},
    "prior": {"items": 8, "steps": 1},
    "search": {"space": "ffn", "budget": 2, "population": 2, "finalists": 1},
}
RUNS: dict[str, dict[str, Any]] = {
    "siblings": {"method": "dare_ties", "density": 0.6},
    "crossed, the mother waits": {"base": None, "method": "folded"},
    "crossed, the mother writes and waits": {
        "base": None,
        "method": "competence",
        "arm": {"documents": 2, "new_tokens": 3, "target": "nearest"},
    },
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_whole_run(family: dict[str, Path], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the fake device with as much memory as the plan says a run needs at least, and refused with one byte less."""
    for name, value in (("PROMPTS", 2), ("NEW_TOKENS", 8), ("SAMPLED_TOKENS", 8)):
        monkeypatch.setattr(model_figures, name, value)  # what makes the fake device slow: many small operations
    mother = family["mother" if "crossed" in kind else "sister"]
    config = small(family, device="cuda", mother=str(mother), **{**SHORT, **RUNS[kind]})
    bench = config.bench.model_copy(update={"tasks": ("nursery_click",)})  # the shortest texts
    config = config.model_copy(update={"fitness": {"nursery_click": 1.0}, "bench": bench})
    out = tmp_path / "run"
    if DEVICE == "cuda":
        if "waits" in kind:
            monkeypatch.setattr(parents, "free_memory", lambda _: 0)
        breed(config, out, force=True)
    else:
        from tests.fake_device import MEMORY

        needed = least_memory(config, monkeypatch)
        limit_memory(needed - 1, monkeypatch)
        with pytest.raises(GateError, match="device memory: 1 of"):
            breed(config, out)
        assert not out.exists()
        limit_memory(needed, monkeypatch)
        with MEMORY.counted(), suppress(GateError):  # the pico child may fail its health check
            breed(config, out)
        assert 0 < MEMORY.peak <= needed
    assert Health.load(out / "health.json").gates and Comparison.load(out / "comparison.json").scores
    assert sum(path.stat().st_size for path in (out / "child").glob("*.safetensors")) > 0


def limit_memory(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the fake device so many bytes, and let the plan know."""
    from tests.fake_device import MEMORY

    device = machine.Device("a fake device", size, 1e12, "stated")
    monkeypatch.setattr(machine, "accelerator", lambda: device)
    MEMORY.limit = size


def least_memory(config: Config, monkeypatch: pytest.MonkeyPatch) -> int:
    """What the plan says of a device so small that all which can gives way."""
    limit_memory(1, monkeypatch)
    needs = plan_run(config, Path(), offline=True).needs
    return next(need.needed for need in needs if need.name == "device memory")


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("cross")
    return {"father": toys.pico_gemma4(root / "father"), "mother": toys.pico_qwen35(root / "mother", seed=1)}


def donors(folders: dict[str, Path], arm: str, places: tuple[str, str]) -> Donors:
    father, mother = (loaded(folders[role], place) for role, place in zip(("father", "mother"), places, strict=True))
    return Donors(build_donors(arm, context(father, mother, texts(8, 60), prompts=texts(3, 20, 1), new_tokens=4)))


@pytest.mark.parametrize("places", [(DEVICE, DEVICE), (DEVICE, "cpu")])
@pytest.mark.parametrize("arm", ["raw", "folded"])
def test_arms_that_read_weights_make_the_same_donors(cross: dict[str, Path], arm: str, places: tuple[str, str]) -> None:
    plain, ours = donors(cross, arm, ("cpu", "cpu")), donors(cross, arm, places)
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(ours.tensors[name].cpu(), tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("arm", sorted(set(ARMS) - {"raw", "folded"}))
def test_arms_that_read_text_make_donors(cross: dict[str, Path], arm: str) -> None:
    """Their matchings and their writing turn on ties, so only shapes and sizes are compared."""
    plain, ours = (donors(cross, arm, (place, place)) for place in ("cpu", DEVICE))
    assert plain.names() == ours.names()
    for name, tensor in plain.tensors.items():
        assert ours.tensors[name].shape == tensor.shape and bool(torch.isfinite(ours.tensors[name]).all())
        assert float(ours.tensors[name].norm()) == pytest.approx(float(tensor.norm()), rel=0.2)
