"""Probe texts, their tokens and alignment, and the hooks that stream what a layer does."""

from darwin_mri.probes.alignment import encode_with_ends, shared_positions
from darwin_mri.probes.hooks import ablate, increment_module, observe
from darwin_mri.probes.reading import (
    LOGIT_POSITIONS,
    Batch,
    Reading,
    document_nll,
    prefix_tokens,
    project,
    read,
    require_tokens,
    select_reading,
)
from darwin_mri.probes.restart import Restarts
from darwin_mri.probes.texts import DOMAINS, Probe, describe_probes, load_probes, select_probes

__all__ = [
    "DOMAINS", "LOGIT_POSITIONS", "Batch", "Probe", "Reading", "Restarts", "ablate", "describe_probes", "document_nll", "encode_with_ends",
    "increment_module", "load_probes", "observe", "prefix_tokens", "project", "read", "require_tokens", "select_probes", "select_reading",
    "shared_positions",
]  # fmt: skip
