"""How an engine of vLLM is started, and what can be said beforehand of whether it would."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import torch

from darwin_mri.benchmarks.shared_tensors import WeightReceiver
from darwin_mri.checkpoints.libraries import first_line
from darwin_mri.errors import InputError

# Set where the user has not: other processes must not be forked from one with threads, nothing is reported home, and
# no engine has the cores of a CPU for itself.
ENVIRONMENT = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_starting = threading.Lock()  # the environment names an engine's GPU while it starts


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


def require_servable(folder: Path, device: str) -> None:
    """Raise InputError where vLLM cannot be imported, is built for another device or does not know a folder's family.

    What vLLM would run by transformers' code counts as unknown.

    Args:
        folder: of the model; no weight is read.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    with _environment(device):
        _require_platform(device)
        from vllm.engine.arg_utils import EngineArgs

        try:
            found = EngineArgs(model=str(folder)).create_model_config()
        except Exception as error:  # whatever vLLM raises
            raise InputError(f"vLLM cannot serve {folder.name}: {first_line(error)}") from error
        if found.using_transformers_backend():  # which fails for some of these families when it starts
            raise InputError(
                f"vLLM cannot serve {folder.name}: it has no model of its own for {found.architectures[0]}:"
                " set search.engine to transformers"
            )


def open_llm(folder: Path, settings: VllmSettings) -> Any:
    """A running ``vllm.LLM``.

    Args:
        folder: of the model.
        settings: how it is started.

    Returns:
        The model with its engine, whose processes do not see Ctrl-C: this process decides when they end.

    Raises:
        InputError: vLLM is not installed, or is built for another device.
        Exception: whatever vLLM raises.
    """
    with _starting, _environment(settings.device), _no_interrupts():
        _require_platform(settings.device)
        from vllm import LLM

        if torch.device(settings.device).type == "cuda":  # vLLM wants its share free: give up what torch only keeps
            gc.collect()
            torch.cuda.empty_cache()
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


def _require_platform(device: str) -> None:
    try:
        from vllm.platforms import current_platform
    except ImportError as error:
        raise InputError(f"search.engine: vllm needs vLLM ({error}): pip install 'darwin-mri[vllm]'") from error
    if current_platform.device_type != torch.device(device).type:
        raise InputError(f"this vLLM is built for {current_platform.device_type}, not for device {device}")


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """While open, processes that start have SIGINT blocked for good: a terminal sends Ctrl-C to all of them."""
    resource_tracker.ensure_running()  # it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
