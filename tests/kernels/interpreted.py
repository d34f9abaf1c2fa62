"""The kernels under Triton's interpreter, which needs no GPU: run as a module, since the interpreter is chosen when Triton is first imported.

    TRITON_INTERPRET=1 python -m tests.kernels.interpreted

In fp32 only: the interpreter cuts half precision off where a GPU rounds it. Beside a GPU, ``tests/pipeline/test_device.py`` compares the real ones.
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
from darwin_mri.checkpoints import find_anatomy, find_model, load_model, load_tokenizer
from darwin_mri.kernels import sums
from darwin_mri.merging import Settings, blend
from darwin_mri.mri.activations import measure_activations
from darwin_mri.mri.adding import Groups
from darwin_mri.probes import load_probes, read, select_probes
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
        made = blend(method, father, mother, base, settings, seed=1, name="x")
        for one, ratio in itertools.product((made, made.kept(torch.device("cpu"))), (0.3, 1.0)):
            plain, ours = (write(one, ratio, dense) for dense in (lambda *_: False, all_dense))
            assert torch.equal(ours, plain), f"{method} at {ratio} with {settings}"


def all_dense(*tensors: torch.Tensor) -> bool:
    return all(tensor.is_contiguous() for tensor in tensors)


def write(one: Any, ratio: float, fit: Callable[..., bool]) -> torch.Tensor:
    """A child by the kernels, or without, as ``fit`` says."""
    kernels.fit = fit
    out = torch.empty(COUNT)
    one.write(out, ratio, torch.float32)
    return out


def statistics() -> None:
    """What a scan adds up, to a sum's rounding."""
    values, other = torch.randn(300, 700), torch.randn(300, 700)
    rows, group = torch.arange(3, 290), torch.randint(0, 3, (287,))
    x, y = values[rows], other[rows]
    wanted = [
        x.sum(1),
        x.pow(2).sum(1),
        x.pow(3).sum(1),
        x.pow(4).sum(1),
        x.abs().amax(1),
        (x > 0).float().sum(1),
        (x * y).sum(1),
    ]
    torch.testing.assert_close(sums.along_rows(values, rows, other), torch.stack(wanted), rtol=1e-5, atol=1e-3)
    ours = torch.zeros(3, 700)
    sums.add_columns(ours[0], ours[1], ours[2], values, rows)
    torch.testing.assert_close(ours, torch.stack([x.sum(0), x.pow(2).sum(0), x.abs().amax(0)]), rtol=1e-5, atol=1e-3)
    order, bounds = Groups(group, 4).sorted  # the last group is empty
    for positive in (True, False):
        found = torch.ones(4, 700)
        sums.add_groups(found, values, rows[order], bounds, positive=positive)
        each = (x > 0).float() if positive else x
        plain = torch.stack([each[group == g].sum(0) for g in range(4)]) + 1
        torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-4)


def a_pass() -> None:
    """A scan's pass over a model, with every sum by the kernels and with none."""
    with tempfile.TemporaryDirectory() as folder:
        source = find_model(str(toys.pico_gemma4(Path(folder) / "model")))
        model, tokenizer = load_model(source, device="cpu", dtype="float32"), load_tokenizer(source)
    reading = read(select_probes(load_probes(), ("ko", "en"), 2, 1), tokenizer, max_tokens=16, device="cpu")
    found = []
    for fit in (lambda *_: False, all_dense):
        kernels.fit = fit
        found.append(measure_activations(model, find_anatomy(model), reading))
    for plain, ours in zip(*(activations.layers for activations in found), strict=True):
        for site, added in plain.sites.items():
            torch.testing.assert_close(vars(ours.sites[site]), vars(added), rtol=1e-4, atol=1e-4)
        for name in ("pooled", "state", "firing", "gate_square"):
            torch.testing.assert_close(getattr(ours, name), getattr(plain, name), rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main()
