"""Tensors handed to vLLM's worker through memory that both processes map; nothing is written to a disk."""

from __future__ import annotations

import math
import mmap
import os
import re
import select
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 2**30  # handed over at once; bounds the host's memory
NUMBERED = re.compile(r"^.*?\.\d+(?=\.)")  # a layer, by the first number in a name
ALIGNMENT = 64  # bytes; more than any dtype needs

Entry = tuple[str, str, Sequence[int], int]
"""(name, dtype in torch's words, shape, where it begins) of a tensor; all of it can be sent to any process."""


def groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Tensors on disk that must be sent together: those of one layer, else of one module."""
    groups: dict[str, list[str]] = {}
    for name in names:
        layer = NUMBERED.match(name)
        groups.setdefault(layer[0] if layer else name.rpartition(".")[0], []).append(name)
    return [tuple(group) for group in groups.values()]


def chunks(groups: Sequence[Sequence[str]], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Groups joined up to ``CHUNK_BYTES``; none is divided."""
    chunk: list[str] = []
    for group in groups:
        if chunk and sum(sizes[name] for name in (*chunk, *group)) > CHUNK_BYTES:
            yield chunk
            chunk = []
        chunk.extend(group)
    if chunk:
        yield chunk


@contextmanager
def shared(names: Sequence[str], tensor: Callable[[str], Tensor]) -> Iterator[tuple[str, list[Entry]]]:
    """Put tensors into memory that another process of this user can map; it is freed at the end, or with this process.

    Args:
        names: of the tensors.
        tensor: makes one of them; each is made, copied and dropped in turn.

    Yields:
        (path of the memory, its entries).
    """
    file = os.memfd_create("darwin_mri")
    try:
        entries: list[Entry] = []
        end = 0
        for name in names:
            made = tensor(name).detach().cpu().contiguous()
            start = -(-end // ALIGNMENT) * ALIGNMENT
            end = start + made.nbytes
            os.ftruncate(file, end)
            _write(file, start, made)
            entries.append((name, str(made.dtype).removeprefix("torch."), tuple(made.shape), start))
        yield f"/proc/{os.getpid()}/fd/{file}", entries
    finally:
        os.close(file)


def _write(file: int, start: int, tensor: Tensor) -> None:
    """Write a tensor's bytes at a place; one call writes at most 2 GiB."""
    content = tensor.view(-1).view(torch.uint8).numpy().data
    while content:
        written = os.pwrite(file, content, start)
        start, content = start + written, content[written:]


def mapped(path: str, entries: Sequence[Entry]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of shared memory by name, mapped and not copied."""
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    for name, dtype, shape, start in entries:
        count = math.prod(shape)
        yield name, torch.frombuffer(memory, dtype=getattr(torch, dtype), count=count, offset=start).view(tuple(shape))


def _end_with(process: int, core: int | None) -> None:
    """Wait until a process, given by its descriptor, ends; then end the engine's core, if it is another, and this."""
    select.select([process], [], [])
    if core is not None and core == os.getppid():  # it would end by itself, but not at once
        os.kill(core, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class WeightReceiver:
    """What vLLM's worker learns (its ``worker_extension_cls``): to take weights from shared memory.

    The worker's own ``reload_weights`` puts them in place. It wants every tensor of a module that it touches: what is
    not given of a fused projection would be left undefined.
    """

    reload_weights: Callable[..., None]  # the worker's
    get_model: Callable[[], Any]

    def receive_weights(self, path: str, entries: Sequence[Entry]) -> None:
        """Put shared tensors into the running model, by their names on disk."""
        self.reload_weights(weights_iterator=mapped(path, entries))
        self._pack_tied()

    def end_with(self, process: int) -> None:
        """End the engine when the process that asks it ends, by whatever it is ended."""
        parent = os.getppid()  # the engine's core, where the worker has a process of its own
        watched = os.pidfd_open(process), None if parent == process else parent
        Thread(target=_end_with, args=watched, name="end with search", daemon=True).start()

    def _pack_tied(self) -> None:
        """Pack again what a CPU's matrix product has packed of tied weights.

        vLLM's reload packs anew the module that a tensor is read for, not another one that shares its parameter.
        """
        owners: dict[int, list[Any]] = {}
        for module in self.get_model().modules():
            for parameter in module.parameters(recurse=False):
                owners.setdefault(id(parameter), []).append(module)
        for modules in owners.values():
            for module in modules if len(modules) > 1 else ():
                if hasattr(module, "cpu_linear"):
                    module.quant_method.process_weights_after_loading(module)
