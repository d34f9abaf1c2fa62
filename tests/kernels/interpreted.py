"""The kernels under Triton's interpreter, which needs no GPU.

    TRITON_INTERPRET=1 python -m tests.kernels.interpreted

Run as a module, since the interpreter is chosen when Triton is first imported. In fp32 only: the interpreter truncates
half precision where a GPU rounds it. With a GPU, ``tests/pipeline/test_device.py`` compares the compiled kernels.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from darwin_mri import kernels
from darwin_mri.checkpoints import find_model, load
from darwin_mri.kernels import sums
from darwin_mri.merging import Settings, blend
from darwin_mri.merging.blending import Blend
from darwin_mri.mri.accumulators import SegmentSum
from darwin_mri.mri.activations import measure_activations
from darwin_mri.probes import load_probes, select_probes, tokenize_probes
from tests import toys

COUNT = 3000
METHODS = ("linear", "dare_linear", "ties", "dare_ties", "della")


def main() -> None:
    """Compare every kernel with plain torch; an AssertionError says which differs."""
    cuda: Any = torch.cuda
    cuda.device = nullcontext  # there is no device to choose
    torch.manual_seed(0)
    children()
    statistics()
    a_pass()
    print("equal")


def children() -> None:
    """Every method, setting and ratio: the same bits."""
    base, father, mother = (torch.randn(COUNT) for _ in range(3))
    father[:500], mother[200:700] = base[:500], base[200:700]
    for method, density, own, divide, scale, weight in itertools.product(
        METHODS, (0.5, 1.0), (0.7, 1.0), ("ratio", "weights", "none"), (0.6, 1.0), (0.8, 1.0)
    ):
        settings = Settings(density=density, density_father=own, divide=divide, scale=scale, weight_father=weight)
        streamed = blend(method, (father, mother), base, settings, seed=1, name="x")
        for function, ratio in itertools.product((streamed, streamed.kept(torch.device("cpu"))), (0.3, 1.0, -0.8)):
            plain, by_kernel = (write(function, ratio, fit) for fit in (lambda *_: False, all_dense))
            assert torch.equal(by_kernel, plain), f"{method} at {ratio} with {settings}"


def all_dense(*tensors: torch.Tensor) -> bool:
    return all(tensor.is_contiguous() for tensor in tensors)


def write(function: Blend, ratio: float, fit: Callable[..., bool]) -> torch.Tensor:
    """A child by the kernels, or without, as ``fit`` says."""
    kernels.fit = fit
    out = torch.empty(COUNT)
    function.write(out, ratio, torch.float32)
    return out


def statistics() -> None:
    """What a scan adds up, to a sum's rounding."""
    values, other = torch.randn(300, 700), torch.randn(300, 700)
    rows, group = torch.arange(3, 290), torch.randint(0, 3, (287,))
    x, y = values[rows], other[rows]
    expected = [
        x.sum(1),
        x.pow(2).sum(1),
        x.pow(3).sum(1),
        x.pow(4).sum(1),
        x.abs().amax(1),
        (x > 0).float().sum(1),
        (x * y).sum(1),
    ]
    torch.testing.assert_close(sums.along_rows(values, rows, other), torch.stack(expected), rtol=1e-5, atol=1e-3)
    columns = torch.zeros(3, 700)
    sums.add_columns(columns[0], columns[1], columns[2], values, rows)
    torch.testing.assert_close(columns, torch.stack([x.sum(0), x.pow(2).sum(0), x.abs().amax(0)]), rtol=1e-5, atol=1e-3)
    order, bounds = SegmentSum(group, 4).sorted  # the last group is empty
    for positive in (True, False):
        totals = torch.ones(4, 700)
        sums.add_groups(totals, values, rows[order], bounds, positive=positive)
        each = (x > 0).float() if positive else x
        plain = torch.stack([each[group == g].sum(0) for g in range(4)]) + 1
        torch.testing.assert_close(totals, plain, rtol=1e-5, atol=1e-4)


def a_pass() -> None:
    """A scan's pass over a model, with every sum by the kernels and with none."""
    with tempfile.TemporaryDirectory() as folder:
        source = find_model(str(toys.pico_gemma4(Path(folder) / "model")))
        parent = load(source, device="cpu", dtype="float32")
    chosen = select_probes(load_probes(), ("ko", "en"), 2, 1)
    probes = tokenize_probes(chosen, parent.tokenizer, max_tokens=16, device="cpu")
    activations = []
    for fit in (lambda *_: False, all_dense):
        kernels.fit = fit
        activations.append(measure_activations(parent, probes))
    for plain, by_kernel in zip(*(measured.layers for measured in activations), strict=True):
        for site, added in plain.sites.items():
            torch.testing.assert_close(vars(by_kernel.sites[site]), vars(added), rtol=1e-4, atol=1e-4)
        for name in ("pooled", "state", "firing", "gate_square"):
            torch.testing.assert_close(getattr(by_kernel, name), getattr(plain, name), rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main()
