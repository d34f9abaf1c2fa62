"""``search.engine: vllm``: candidates in an engine of their own, in place of the resident father."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from darwin_mri.batch_sizes import ENGINE_CACHE
from darwin_mri.benchmarks import Item, ItemScorer, read_lengths
from darwin_mri.benchmarks.vllm_engine import VllmEngine
from darwin_mri.benchmarks.vllm_scorer import VllmScorer
from darwin_mri.benchmarks.vllm_start import VllmSettings
from darwin_mri.checkpoints import LoadedModel, free_memory, waiting_on_host
from darwin_mri.config import Config
from darwin_mri.merging.child_tensors import child_tensors
from darwin_mri.merging.settings import Exceptions
from darwin_mri.probes import embedding_rows
from darwin_mri.problem.fitness import Evaluator, InPlace
from darwin_mri.problem.space import MergeSpace

DEVICE_SHARE = 0.9  # of a GPU's memory: weights, keys and values, activations
CPU_BLOCK = 32  # tokens: prompts share whole blocks, and vLLM's own 128 on a CPU are longer than many


class ServedCandidate:
    """A candidate in a vLLM engine, as ``InPlace``.

    Args:
        engine: of the father's folder.
        space: with the genome that is searched.
    """

    kept_out = ()

    def __init__(self, engine: VllmEngine, space: MergeSpace) -> None:
        self.engine, self.space, self.tensors = engine, space, space.tensors()

    def apply(self, genes: Mapping[str, float], exceptions: Exceptions | None = None) -> None:
        """As ``InPlace``; raises EngineFailure where the engine dies."""
        self.engine.load(child_tensors(self.space.merge, self.tensors, genes, exceptions))

    def restore(self) -> None:
        """As ``InPlace``: the engine ends, and one that is started later has the father's weights."""
        self.engine.reset()

    def release(self) -> None:
        """As ``InPlace``: nothing is kept outside the engine."""


class ServedEvaluator(Evaluator):
    """As ``Evaluator``, with a vLLM engine on the father's device; the father itself is only asked how it is built."""

    candidate: ServedCandidate

    def _in_place(self, father: LoadedModel) -> tuple[InPlace, ItemScorer]:
        self.tokenizer = father.tokenizer
        engine = VllmEngine(father.source.folder, _settings(self.config, father))
        scorer = VllmScorer(engine, father.tokenizer, father.model.config, embedding_rows(father.model))
        return ServedCandidate(engine, self.space), scorer

    def expect(self, *parts: Mapping[str, Sequence[Item]]) -> None:
        """As ``Evaluator``."""
        lengths = [max(read_lengths(items, self.tokenizer)) for part in parts for items in part.values() if items]
        self.candidate.engine.make_room(max(lengths, default=1))

    def start(self) -> None:
        """As ``Evaluator``.

        Raises:
            InputError: vLLM cannot serve the father.
        """
        self.candidate.engine.load(None)

    def stop(self) -> None:
        """As ``Evaluator``."""
        self.candidate.engine.close()

    @contextmanager
    def instead_of(self, father: LoadedModel) -> Iterator[None]:
        """As ``Evaluator``; the father waits in host memory, so that the engine has the device for itself."""
        with waiting_on_host(father), super().instead_of(father):
            yield


def open_evaluator(config: Config, father: LoadedModel, space: MergeSpace) -> Evaluator:
    """The evaluator that ``search.engine`` names.

    Args:
        config: of the run.
        father: on the device where candidates are scored.
        space: with the genome that is searched.

    Returns:
        The evaluator; no engine is started yet.
    """
    kind = ServedEvaluator if config.search.engine == "vllm" else Evaluator
    return kind(config, father, space)


def _settings(config: Config, father: LoadedModel) -> VllmSettings:
    dtype, sharing = str(father.model.dtype).removeprefix("torch."), _engines_on(config, father.device)
    if father.device.type != "cpu":
        return VllmSettings(1, dtype, str(father.device), memory_share=DEVICE_SHARE / sharing)
    cache = int(min(ENGINE_CACHE, free_memory("cpu") // 4) / sharing)
    return VllmSettings(1, dtype, cache_bytes=cache, block=CPU_BLOCK)


def _engines_on(config: Config, device: torch.device) -> float:
    """How many engines of this run share a device."""
    search = config.search
    if search.workers == "devices":
        return max(1, sum(torch.device(name) == device for name in search.devices))
    if search.workers == "ray":
        return search.actors if device.type == "cpu" else 1 / search.gpus if 0 < search.gpus < 1 else 1
    return 1
