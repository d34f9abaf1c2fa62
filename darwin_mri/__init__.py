"""darwin_mri looks into language models before merging them: scan, prior, search, child, comparison, report.

Importing this package loads neither torch nor transformers; names resolve on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "BenchConfig": "darwin_mri.config",
    "Comparison": "darwin_mri.records",
    "Config": "darwin_mri.config",
    "DarwinError": "darwin_mri.errors",
    "Genome": "darwin_mri.records",
    "PairScan": "darwin_mri.records",
    "Prior": "darwin_mri.records",
    "Scan": "darwin_mri.records",
    "bench": "darwin_mri.pipeline",
    "breed": "darwin_mri.pipeline",
    "load_config": "darwin_mri.config",
    "merge": "darwin_mri.pipeline",
    "scan": "darwin_mri.pipeline",
    "write_report": "darwin_mri.report",
}
__all__ = ["__version__", *sorted(_HOMES)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import_module("darwin_mri.report")  # light; from then on records show their tables in notebooks
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'darwin_mri' has no attribute '{name}'")


def __dir__() -> list[str]:
    return list(__all__)
