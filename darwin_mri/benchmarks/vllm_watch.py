"""Waiting calls of a vLLM engine whose process died are ended: vLLM's synchronous client would wait for ever."""

from __future__ import annotations

from multiprocessing.connection import wait
from threading import Event, Thread
from typing import Any

POLL_SECONDS = 0.5


def watch(client: Any) -> Event:
    """Watch the processes of an engine from a thread.

    Args:
        client: vLLM's client of the engine core, which holds its processes, queue of outputs and pending calls.

    Returns:
        To be set when the engine is given up; the thread ends then.
    """
    given_up = Event()
    sentinels = [process.sentinel for process in client.resources.engine_manager.processes]
    Thread(target=_end_calls, args=(client, sentinels, given_up), name="vLLM watch", daemon=True).start()
    return given_up


def _end_calls(client: Any, sentinels: list[int], given_up: Event) -> None:
    while not wait(sentinels, POLL_SECONDS):
        if given_up.is_set():
            return
    error = RuntimeError("its process ended")
    client.outputs_queue.put(error)  # what a request waits for
    while not given_up.is_set():
        for future in list(client.utility_results.values()):  # what a call of a worker's method waits for
            if not future.done():
                future.set_exception(error)
        given_up.wait(POLL_SECONDS)
