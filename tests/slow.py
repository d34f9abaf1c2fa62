"""Tests that take long and whose ground shorter ones cover too: they run with DARWIN_MRI_SLOW=1."""

from __future__ import annotations

import os
from typing import Any

import pytest

SLOW = bool(os.environ.get("DARWIN_MRI_SLOW"))
slow = pytest.mark.skipif(not SLOW, reason="takes long; set DARWIN_MRI_SLOW=1")


def slow_param(*values: Any) -> Any:
    """A case of a parametrised test that takes long."""
    return pytest.param(*values, marks=slow)
