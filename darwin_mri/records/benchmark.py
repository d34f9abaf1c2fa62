"""What was asked of whom, and how: protocols, the stored split of a benchmark, and the identity of a file of answers."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from darwin_mri.config import Generation
from darwin_mri.records.base import Part, Record


class Protocol(Part):
    """What decides a score besides model and items; its hash goes with every answer and score, and scores of different
    protocols are never put in one contrast."""

    name: str
    version: int = 1  # raised whenever the same fields come to mean something else
    kind: Literal["loglikelihood", "generate"]
    metric: str  # the headline, declared before looking: acc, acc_norm (log-probability per character), maj@k
    prompt: str  # the template; for kind generate the instruction that follows the chat message
    generation: Generation | None = None  # for kind generate

    @property
    def label(self) -> str:
        """Name and version, with what a reader must know of the sampling."""
        words = [f"{self.name} v{self.version}"]
        if self.generation is not None:
            g = self.generation
            words += ["thinking" if g.thinking else "no thinking", self.metric]
            words += [f"T = {g.temperature:g}" if g.temperature else "greedy", f"{g.max_new_tokens} tokens"]
        return ", ".join(words)

    @property
    def hash(self) -> str:
        """First 12 hex digits of sha256 over every field."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class SplitItems(Part):
    """One benchmark's items by hash; the lists share no cluster."""

    benchmark: str
    search: tuple[str, ...] = ()  # feed the fitness
    fresh: tuple[str, ...] = ()  # re-test the finalists
    held_out: tuple[str, ...] = ()  # are reported
    clusters: int = 0  # of the whole benchmark


class Splits(Record):
    """Which items a run searched on and which it reports: by seed over clusters, stored so that anybody can check."""

    seed: int
    search_share: float
    held_out_share: float | None = None  # None: all that the search may not see
    benchmarks: tuple[SplitItems, ...]


class AnswerSet(Record):
    """The identity of ``answers/MODEL/TASK.jsonl``: a later run takes answers over where all but ``items`` is the same."""

    model: str
    digest: str  # of the weights, of a null child's genes, or a served model's own name
    benchmark: str
    protocol: str
    protocol_hash: str
    engine: str  # "darwin_mri scorer", "lm-eval hf", "endpoint"
    precision: str = ""
    items: int = 0
