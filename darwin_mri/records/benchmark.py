"""How items were asked and split: protocols, the stored split of a benchmark, and the identity of a file of answers."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from darwin_mri.config import Generation
from darwin_mri.records.base import Part, Record


class Protocol(Part):
    """What decides a score besides model and items.

    Its hash goes with every answer and score, and scores of different protocols are never put in one contrast.

    Attributes:
        name: of the protocol.
        version: raised whenever the same fields come to mean something else.
        kind: how a model answers: by log-likelihoods of the choices, or by a generated text.
        metric: the headline, declared before looking: acc, acc_norm (log-probability per character), maj@k.
        prompt: the template; for kind generate the instruction that follows the chat message.
        generation: sampling, for kind generate.
    """

    name: str
    version: int = 1
    kind: Literal["loglikelihood", "generate"]
    metric: str
    prompt: str
    generation: Generation | None = None

    @property
    def label(self) -> str:
        """Name and version, with what a reader must know of the sampling."""
        words = [f"{self.name} v{self.version}"]
        if self.generation is not None:
            sampling = self.generation
            words += ["thinking" if sampling.thinking else "no thinking", self.metric]
            words += [f"T = {sampling.temperature:g}" if sampling.temperature else "greedy"]
            words += [f"{sampling.max_new_tokens} tokens"]
        return ", ".join(words)

    @property
    def hash(self) -> str:
        """First 12 hex digits of sha256 over every field."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class SplitItems(Part):
    """One benchmark's items by hash; the lists share no cluster.

    Attributes:
        benchmark: its name.
        search: items that feed the fitness.
        fresh: items that re-test the finalists.
        held_out: items that are reported.
        clusters: number of clusters of the whole benchmark.
    """

    benchmark: str
    search: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    clusters: int = 0


class Splits(Record):
    """Which items a run searched on and which it reports: by seed over clusters, stored so that anybody can check.

    Attributes:
        seed: decides on which side a cluster falls.
        search_share: share of each slice's clusters in the search part.
        held_out_share: share that is reported; None: all that the search may not see.
        benchmarks: the items, by benchmark.
    """

    seed: int
    search_share: float
    held_out_share: float | None = None
    benchmarks: tuple[SplitItems, ...]


class AnswerSet(Record):
    """The identity of ``answers/MODEL/TASK.jsonl``: a later run takes answers over where all but ``items`` is the same.

    Attributes:
        model: its name.
        digest: of the weights, of a null child's genes, or a served model's own name.
        benchmark: its name.
        protocol: the protocol's label.
        protocol_hash: the protocol's hash.
        engine: what answered: "darwin_mri scorer", "lm-eval hf", "endpoint", ...
        precision: device and type of the numbers; empty where unknown.
        items: number of answers.
    """

    model: str
    digest: str
    benchmark: str
    protocol: str
    protocol_hash: str
    engine: str
    precision: str = ""
    items: int = 0
