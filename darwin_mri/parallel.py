"""Work spread over the threads that torch may use: results in the order of the items, whatever is done first.

Each of them runs torch's operations on itself alone. torch's own way splits every single operation, which for a block
that fits in a core's cache costs more than it saves, and far more where another process keeps a core busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
_here = threading.local()
_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Do a piece of work for each item, by as many threads as ``torch.get_num_threads()`` says.

    Args:
        work: must not depend on which items are done; what it calls ``spread`` for is done on its own thread. torch's
            modes for gradients and inference are those of the caller.
        items: what it is done for.

    Returns:
        One result for each item, in their order.
    """
    threads = torch.get_num_threads()
    if threads < 2 or not items or getattr(_here, "spreads", False):
        return [work(item) for item in items]
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def run(item: Item) -> Result:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return work(item)

    return list(_pool(threads).map(run, items))


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that live as long as the process; a forked child makes its own."""
    key = os.getpid(), threads
    with _lock:
        if key not in _pools:
            pool, ready = ThreadPoolExecutor(threads, "darwin-mri"), threading.Barrier(threads)
            list(pool.map(lambda _: _begin(ready), range(threads)))
            torch.set_num_threads(threads)  # a count is its thread's own, and also that of threads begun later
            _pools[key] = pool
        return _pools[key]


def _begin(ready: threading.Barrier) -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread's first look at the count takes the one set last, by whatever thread
    _here.spreads = True
    ready.wait()  # or one thread would take all of these calls
