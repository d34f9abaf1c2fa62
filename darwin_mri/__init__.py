"""darwin_mri looks into language models before merging them: scan, prior, search, child, comparison, report.

Importing this package loads neither torch nor transformers; names resolve on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from darwin_mri.lazy import lazy_names

if TYPE_CHECKING:
    from darwin_mri.config import BenchConfig as BenchConfig
    from darwin_mri.config import Config as Config
    from darwin_mri.config import load_config as load_config
    from darwin_mri.config import make_config as make_config
    from darwin_mri.errors import DarwinError as DarwinError
    from darwin_mri.pipeline import bench as bench
    from darwin_mri.pipeline import breed as breed
    from darwin_mri.pipeline import merge as merge
    from darwin_mri.pipeline import scan as scan
    from darwin_mri.records import Comparison as Comparison
    from darwin_mri.records import Genome as Genome
    from darwin_mri.records import PairScan as PairScan
    from darwin_mri.records import Prior as Prior
    from darwin_mri.records import Scan as Scan
    from darwin_mri.report import write_report as write_report
    from darwin_mri.stages.score import ScoreOptions as ScoreOptions

__version__ = "0.1.0"

_resolve, __dir__ = lazy_names(__name__)


def __getattr__(name: str) -> Any:
    value = _resolve(name)
    import_module("darwin_mri.report")  # light; from then on records show their tables in notebooks
    return value
