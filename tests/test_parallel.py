"""Work that several threads share comes out in order, under the caller's modes, and leaves torch's settings alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from darwin_mri.merging.blocks import BLOCK, SPAN, by_blocks, of_blocks, total
from darwin_mri.parallel import spread


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_keep_their_order_and_nested_work_ends(threads: int) -> None:
    results = spread(lambda item: (item, spread(lambda part: part * item, range(3))), range(40))
    assert results == [(item, [0, item, 2 * item]) for item in range(40)]


def test_a_thread_runs_torch_alone_and_the_callers_count_stays(threads: int) -> None:
    together = threading.Barrier(threads, timeout=20)  # nobody passes until as many threads have come

    def look(_: int) -> int:
        together.wait()
        return torch.get_num_threads()

    assert spread(look, range(threads)) == [1] * threads
    assert torch.get_num_threads() == threads
    later: list[int] = []
    other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert later == [threads]


def test_modes_are_the_callers(threads: int) -> None:
    def modes(_: int) -> tuple[bool, bool]:
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    assert set(spread(modes, range(4))) == {(False, True)}
    with torch.no_grad():
        assert set(spread(modes, range(4))) == {(False, False)}
    with torch.inference_mode():
        assert set(spread(modes, range(4))) == {(True, False)}


def test_an_error_reaches_the_caller(threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        spread(lambda item: 1 // (item - 5), range(9))
    assert spread(abs, [-1, 1]) == [1, 1]


@pytest.mark.parametrize("count", [0, 1, BLOCK, SPAN * BLOCK, 3 * SPAN * BLOCK + 17])
def test_blocks_are_those_of_one_thread(threads: int, count: int) -> None:
    values = torch.from_numpy(np.random.default_rng(count).standard_normal(count, dtype=np.float32))
    parts = values.split(BLOCK) if count else (values,)
    assert of_blocks(total, values) == [total(part) for part in parts]
    assert torch.equal(by_blocks(lambda own: own * 3, values), values * 3)
