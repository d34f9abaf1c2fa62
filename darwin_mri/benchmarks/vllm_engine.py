"""vLLM as a search's engine: it runs in processes of its own and takes a candidate's changed weights in place.

vLLM is imported here and in ``vllm_start``, and only when an engine starts.

Weights go in by vLLM's own reload (``shared_tensors.WeightReceiver``), module by module and complete: where a tensor
of a decoder layer changes, all tensors of that layer are sent, so that fused projections and experts are whole. After
each change the prefix cache is emptied, since it holds what the old weights computed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from darwin_mri import seeds
from darwin_mri.benchmarks.decoding import Sampling
from darwin_mri.benchmarks.generation import Reply
from darwin_mri.benchmarks.shared_tensors import chunks, groups, shared
from darwin_mri.benchmarks.vllm_start import VllmSettings, open_llm
from darwin_mri.benchmarks.vllm_watch import watch
from darwin_mri.checkpoints import CheckpointReader
from darwin_mri.checkpoints.libraries import first_line
from darwin_mri.errors import DarwinError, InputError

STOP_SECONDS = 5.0  # after which an engine that is given up is killed
T = TypeVar("T")


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

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, seed: int = 0) -> list[list[Reply]]:
        """Write on from prompts.

        Args:
            prompts: token ids.
            sampling: how texts are drawn and where they end.
            seed: of the samples; with the prompt it settles them.

        Returns:
            The replies of each prompt, ``sampling.samples`` of them.

        Raises:
            EngineFailure, InputError: as ``log_probabilities``.
        """
        for prompt in prompts:
            self._check_length(len(prompt), sampling.max_new_tokens)

        def ask(llm: Any) -> list[list[Reply]]:
            from vllm import SamplingParams

            asked = [
                SamplingParams(
                    n=sampling.samples,
                    temperature=sampling.temperature,
                    max_tokens=sampling.max_new_tokens,
                    stop=list(sampling.stop),
                    seed=seeds.integer(seed, "sampled answers", str(list(prompt))),
                    top_k=sampling.top_k,
                    top_p=sampling.top_p,
                    skip_special_tokens=not sampling.special_tokens,
                )
                for prompt in prompts
            ]
            outputs = llm.generate([{"prompt_token_ids": list(ids)} for ids in prompts], asked, use_tqdm=False)
            return [[Reply(one.text, one.finish_reason or "") for one in output.outputs] for output in outputs]

        return self._ask(ask) if prompts else []

    def make_room(self, length: int) -> None:
        """Take prompts that have so many tokens with what follows; a running engine of shorter ones is ended."""
        if length > self.settings.max_length:
            self.close()
            self.settings = replace(self.settings, max_length=length)

    def reset(self) -> None:
        """End the engine's processes; those that a later call starts have the folder's own model."""
        self._candidate = None
        self.close()

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
            self._try(lambda llm: llm.collective_rpc("end_with", args=(os.getpid(),)))
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
            llm = open_llm(self.folder, own)
            self._given_up = watch(llm.llm_engine.engine_core)
        except DarwinError:
            raise
        except Exception as error:
            if self.starts:
                raise EngineFailure(f"vLLM does not start again: {first_line(error)}") from error
            raise InputError(f"vLLM cannot serve {self.folder.name}: {first_line(error)}") from error
        self.starts += 1
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
