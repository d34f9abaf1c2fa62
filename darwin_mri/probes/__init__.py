"""Probe texts, their tokens and alignment, and the hooks that stream what a layer does."""

from darwin_mri.probes.alignment import encode_with_ends, shared_positions
from darwin_mri.probes.hooks import SITES, ablate, capture, increment_modules, observe, read_through
from darwin_mri.probes.languages import guess_language, letters_by_script
from darwin_mri.probes.prefix_cache import PrefixCache
from darwin_mri.probes.texts import DOMAINS, Probe, describe_probes, load_probes, select_probes
from darwin_mri.probes.tokens import (
    Batch,
    TokenizedProbes,
    batch_together,
    document_nll,
    embedding_rows,
    final_states,
    prefix_tokens,
    project,
    require_tokens,
    require_tokens_below,
    select_tokenized,
    token_nll,
    tokenize_probes,
)

__all__ = [
    "DOMAINS",
    "SITES",
    "Batch",
    "PrefixCache",
    "Probe",
    "TokenizedProbes",
    "ablate",
    "batch_together",
    "capture",
    "describe_probes",
    "document_nll",
    "embedding_rows",
    "encode_with_ends",
    "final_states",
    "guess_language",
    "increment_modules",
    "letters_by_script",
    "load_probes",
    "observe",
    "prefix_tokens",
    "project",
    "read_through",
    "require_tokens",
    "require_tokens_below",
    "select_probes",
    "select_tokenized",
    "shared_positions",
    "token_nll",
    "tokenize_probes",
]
