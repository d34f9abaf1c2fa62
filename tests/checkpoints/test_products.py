"""Float32 products by oneDNN: as exact as before, never where the user or the processor says otherwise.

The setting is the process's own, so it is tried in processes of their own.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from darwin_mri.checkpoints import products

BEGIN = """
import torch
from darwin_mri.checkpoints import products
from darwin_mri.checkpoints.devices import resolve_device
"""
AMD = products.is_amd() and torch.backends.cpu.get_cpu_capability() == "AVX512" and not torch.cuda.is_available()


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_float32_stays_float32_on_this_machine_and_torch_can_say_what_is_set() -> None:
    run(
        "resolve_device('cpu')\n"
        "assert products.product_error() < products.TOLERANCE\n"
        f"assert products.use_fast_products() is {AMD}\n"
        f"assert torch.get_float32_matmul_precision() == {'medium' if AMD else 'highest'!r}\n"
    )


def test_the_measure_sees_inputs_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = torch.nn.functional.linear
    monkeypatch.setattr("torch.nn.functional.linear", lambda x, w: linear(x.bfloat16(), w.bfloat16()).double())
    assert products.product_error() > 100 * products.TOLERANCE


def test_a_processor_that_would_lower_the_precision_is_left_alone() -> None:
    run(
        "products.is_amd, products.product_error = (lambda: True), (lambda: 2e-3)\n"
        "torch.backends.cpu.get_cpu_capability = lambda: 'AVX512'\n"
        "resolve_device('cpu')\n"
        "assert torch.get_float32_matmul_precision() == 'highest'\n"
    )


@pytest.mark.parametrize(
    "setting",
    [
        "torch.set_float32_matmul_precision('highest')",
        "torch.set_float32_matmul_precision('high')",
        "torch.backends.mkldnn.matmul.fp32_precision = 'ieee'",
    ],
)
def test_what_the_user_set_stays(setting: str) -> None:
    run(
        f"{setting}\n"
        "products.is_amd = lambda: True\n"
        "before = torch.backends.mkldnn.matmul.fp32_precision\n"
        "resolve_device('cpu')\n"
        "assert torch.backends.mkldnn.matmul.fp32_precision == before\n"
    )
