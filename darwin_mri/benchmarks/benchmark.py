"""What a benchmark or a task of the user's own is: items, how they are asked, and what reports call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from darwin_mri.benchmarks.items import Item
from darwin_mri.benchmarks.protocols import generative
from darwin_mri.benchmarks.sources import Source
from darwin_mri.config import Generation
from darwin_mri.errors import ConfigError
from darwin_mri.records import Protocol

Loader = Callable[[Source], tuple[Item, ...]]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be loaded.

    Attributes:
        name: what configs and the command line call it.
        title: what reports call it.
        protocol: how it is prompted and scored by log-likelihood.
        loader: items from a source; the nursery's benchmarks are generated and ignore it.
        language: of the instruction in the generative protocol; empty where the benchmark has none.
        full: published number of items, by slice where there are several tasks, else under "all".
        unit: of its scores; empty where they are fractions, which are shown in per cent.
        choices: whether its items have choices, so that a chat model may name one (bench.protocol generate).
        other_world: items of another world's seed, which the nursery's names take as ``nursery_click@SEED``.
    """

    name: str
    title: str
    protocol: Protocol
    loader: Loader
    language: str = "en"
    full: Mapping[str, int] = field(default_factory=dict)
    unit: str = ""
    choices: bool = True
    other_world: Callable[[int], tuple[Item, ...]] | None = None

    def chat_protocol(self, generation: Generation) -> Protocol:
        """How a chat model is prompted and its answer read.

        Raises:
            ConfigError: the benchmark repeats another project's log-likelihood task and has no other form.
        """
        if not self.language:
            raise ConfigError(f"{self.name} repeats a log-likelihood task: for generated answers use another benchmark")
        return generative(self.name, self.language, generation)
