"""Float32 products by oneDNN: as exact as before, never where the user or the processor says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from darwin_mri.checkpoints import products
from darwin_mri.checkpoints.devices import resolve_device

SETTING: Any = getattr(torch.backends.mkldnn, "matmul")  # noqa: B009


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    before = SETTING.fp32_precision
    SETTING.fp32_precision = "none"
    products.use_fast_products.cache_clear()
    yield
    SETTING.fp32_precision = before
    products.use_fast_products.cache_clear()


def test_float32_stays_float32_on_this_machine() -> None:
    resolve_device("cpu")
    assert products.product_error() < products.TOLERANCE
    fast = products.is_amd() and torch.backends.cpu.get_cpu_capability() == "AVX512"
    assert (SETTING.fp32_precision != "none") == fast == products.use_fast_products()


def test_the_measure_sees_inputs_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = torch.nn.functional.linear
    monkeypatch.setattr("torch.nn.functional.linear", lambda x, w: linear(x.bfloat16(), w.bfloat16()).double())
    assert products.product_error() > 100 * products.TOLERANCE


def test_a_processor_that_would_lower_the_precision_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "is_amd", lambda: True)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(products, "product_error", lambda: 2e-3)
    assert not products.use_fast_products() and SETTING.fp32_precision == "none"


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "is_amd", lambda: True)
    SETTING.fp32_precision = "ieee"
    assert not products.use_fast_products() and SETTING.fp32_precision == "ieee"
