"""The sections of a run's YAML, every field explained."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field, PositiveFloat, model_validator

from darwin_mri.config_base import Section

FRONTS = ("nsga2", "mo-cma")  # strategies whose objectives are the tasks of the fitness


class ScanConfig(Section):
    """What the MRI reads."""

    probes: str | None = Field(default=None, description="folder of JSONL probe files; the built-in set when absent")
    languages: tuple[str, ...] | None = Field(default=None, description="languages to measure; the probes' when absent")
    documents: int = Field(default=16, ge=1, description="documents per language and domain")
    max_tokens: int = Field(default=128, ge=8, description="tokens read of each document")
    bootstrap: int = Field(default=400, ge=50, description="bootstrap resamples over documents")
    positions: int = Field(default=1024, ge=64, description="paired token positions kept for FFN similarity")
    mixers: bool = Field(
        default=False,
        description="mean-ablate mixers as well as FFNs: doubles the forwards of the scan's longest part",
    )
    ablation: Literal["fast", "exact"] = Field(
        default="fast",
        description="mean ablation; fast: measured on some documents, estimated on the rest; exact: measured on all",
    )
    moments: Literal["diagonal", "full"] | None = Field(
        default=None,
        description="measure second moments of the inputs of every linear map: squares alone, or all products; when"
        " absent what the method needs",
    )
    moments_from: tuple[str, ...] = Field(
        default=(),
        description="files of moments, or hub repositories with one, for the parents in their order; in place of"
        " measuring; measured where one is empty",
    )
    moments_width: int | None = Field(
        default=None,
        ge=1,
        description="inputs wider than this get squares alone, as products take width x width values; twice the hidden"
        " size when absent, which leaves out the neurons of most FFNs",
    )
    validation: bool = Field(
        default=False,
        description="measure the effect of blending each gene alone, and how well each preset predicted it",
    )


class PriorConfig(Section):
    """How scans become the search's starting point."""

    preset: Literal["response", "cross-fitted", "flat", "v5", "v6", "paper"] = Field(
        default="cross-fitted",
        description="cross-fitted: measured slopes, as far as unseen items agree; response: all the way; v5, v6, paper:"
        " the published Darwin formulas; flat: no use of the scan",
    )
    protect: tuple[str, ...] = Field(
        default=("ko",), description="languages (ko) or domains (code) whose harm freezes a layer"
    )
    tolerance: float = Field(
        default=0.01, ge=0, description="relative rise of NLL per byte that a layer may cost a protected text"
    )
    stability: float = Field(
        default=0.8, gt=0, le=1, description="share of bootstrap resamples in which the harm must exceed the tolerance"
    )
    reference_ratio: float | None = Field(
        default=None, gt=0, description="ratio at which harm is measured; upper / 1.5 when absent"
    )
    upper: float | None = Field(
        default=None, gt=0, description="largest ratio; 1.5 for task vectors, 1 for interpolation"
    )
    sigma_max: float = Field(default=0.3, gt=0, description="spread of a gene without evidence, as a share of upper")
    sigma_min: float = Field(
        default=0.03, gt=0, description="spread of a gene with perfect evidence, as a share of upper"
    )
    items: int = Field(default=96, ge=8, description="search items per benchmark used to measure the fitness response")
    steps: int = Field(default=4, ge=0, description="quasi-Newton steps of presets response and cross-fitted")


class SearchConfig(Section):
    """How long and how wide the search looks."""

    space: Literal["ffn", "layers", "darwin14", "darwin-v6"] | None = Field(
        default=None,
        description="ffn: one ratio per layer; layers: mixers and the rest too; darwin14, darwin-v6: the published"
        " genomes; when absent layers, for an arm ffn",
    )
    strategy: Literal["cma", "random", "prior-mean", "nsga2", "mo-cma"] = Field(
        default="cma",
        description="cma: CMA-ES; random and prior-mean (no search) are there to compare with; nsga2 (NSGA-II) and"
        " mo-cma (MO-CMA-ES) look for the front of all tasks of the fitness, each an objective",
    )
    front: int = Field(
        default=12, ge=2, description="nsga2, mo-cma: most members of the front, scored on fresh and held-out items"
    )
    baselines: tuple[Literal["flat", "random"], ...] = Field(
        default=("flat", "random"),
        description="nsga2, mo-cma: searches without the scan beside the run's own, with as many evaluations: the same"
        " from a flat start, and random candidates; [] for none",
    )
    prefer: Literal["knee"] | dict[str, float] = Field(
        default="knee",
        description="nsga2, mo-cma: member of the front that becomes the child, by fresh items; knee, or weights of the"
        " tasks for the best weighted sum, such as {korean: 2, maths: 1}",
    )
    engine: Literal["transformers", "vllm"] = Field(
        default="transformers",
        description="what a candidate is asked in: transformers: a resident model; vllm: an engine of its own",
    )
    budget: int = Field(default=60, ge=1, description="evaluations")
    time_limit: float | None = Field(
        default=None,
        gt=0,
        description="seconds after which no generation is begun, and with search.asynchronous no candidate",
    )
    population: int = Field(default=10, ge=2, description="candidates per generation")
    items: int = Field(default=80, ge=8, description="search items per benchmark in the fitness")
    anchors: int | None = Field(
        default=None,
        ge=8,
        description="items per benchmark that each candidate answers, chosen to stand for the others; all when absent",
    )
    blocks: int = Field(default=4, ge=1, description="parts in which the items are scored; racing decides after each")
    racing: bool = Field(
        default=True, description="drop a candidate once it is significantly worse than the better half"
    )
    finalists: int = Field(
        default=4, ge=1, description="best candidates re-scored on fresh search items before the winner is chosen"
    )
    smooth: bool = Field(default=True, description="fitness is the gold choice's probability; accuracy when false")
    workers: Literal["here", "devices", "ray"] = Field(
        default="here", description="devices: a thread for each of search.devices; ray: actors on one machine or many"
    )
    devices: tuple[str, ...] = Field(default=(), description="workers: devices, such as [cuda:0, cuda:1]")
    actors: int = Field(default=2, ge=1, description="workers: ray")
    gpus: float = Field(default=0.0, ge=0, description="workers: ray, GPUs of each actor")
    address: str | None = Field(
        default=None, description="workers: ray, address of a running cluster; a local one when absent"
    )
    limit: float = Field(default=0.0, ge=0, description="seconds for one block of items; 0 for none")
    asynchronous: bool | None = Field(
        default=None,
        description="a free worker gets the next candidate at once; false: each generation waits for its slowest"
        " worker, and the result does not depend on which one is faster; when absent true for devices and ray",
    )

    @property
    def is_asynchronous(self) -> bool:
        """Whether free workers get the next candidate at once."""
        return self.workers != "here" if self.asynchronous is None else self.asynchronous

    @property
    def finds_front(self) -> bool:
        """Whether the search has several objectives."""
        return self.strategy in FRONTS

    @property
    def evaluations(self) -> int:
        """Most candidates that are scored on search items or fresh ones, those of the baselines included."""
        beside = len(self.baselines) if self.finds_front else 0
        return self.budget * (1 + beside) + self.retested

    @property
    def retested(self) -> int:
        """Most candidates that are scored again on fresh items."""
        return self.front if self.finds_front else self.finalists

    def front_fault(self, tasks: Collection[str]) -> str:
        """Why the tasks of a fitness cannot be searched so; empty where they can."""
        if not self.finds_front:
            return "" if self.prefer == "knee" else f"search.prefer is for search.strategy {' or '.join(FRONTS)}"
        if len(tasks) < 2:
            return f"search.strategy {self.strategy} needs two tasks or more in fitness, each an objective: use cma"
        if self.prefer == "knee":
            return ""
        if unknown := sorted(set(self.prefer) - set(tasks)):
            return f"search.prefer names {unknown[0]}, which is not in fitness: choose among {', '.join(tasks)}"
        if not self.prefer or min(self.prefer.values()) < 0 or not sum(self.prefer.values()):
            return "search.prefer needs weights of at least 0, one of them above 0"
        return ""

    @model_validator(mode="after")
    def _whole_gpus(self) -> SearchConfig:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus {self.gpus:g}: Ray gives an actor a share of one GPU, or whole GPUs")
        return self


class RepairConfig(Section):
    """How the child's linear maps are solved again toward its parents' outputs, after the search."""

    strengths: tuple[PositiveFloat, ...] = Field(
        default=(0.03, 0.3, 3.0),
        min_length=1,
        description="pulls toward the merged weights, as shares of a map's mean squared input: each is tried, the one"
        " with the best score on search items is kept",
    )
    optional: bool = Field(
        default=True, description="whether no repair at all is among what the search items choose from"
    )
    texts: str | None = Field(
        default=None,
        description="folder of JSONL texts without labels that all models read, or items for the questions of the items"
        " that may be searched on; the probes when absent",
    )
    documents: int = Field(default=16, ge=1, description="documents per language and domain")
    max_tokens: int = Field(default=128, ge=8, description="tokens read of each document")
    memory_gb: float = Field(
        default=4.0, gt=0, description="host memory for the parents' outputs; less of it means more forwards"
    )


class Generation(Section):
    """How a chat model answers, for protocol generate."""

    samples: int = Field(default=1, ge=1, description="answers per item; more than one is counted by majority (maj@k)")
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy decoding, for which one sample is enough")
    max_new_tokens: int = Field(
        default=2048, ge=1, description="length limit of one answer in tokens, thinking included"
    )
    thinking: bool = Field(
        default=False, description="turns thinking on in the chat template, where the template has the switch"
    )

    @model_validator(mode="after")
    def _sensible(self) -> Generation:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"{self.samples} greedy samples are the same answer: give a temperature such as 0.6")
        return self


class Served(Section):
    """A baseline behind an OpenAI-compatible endpoint; its key is read from OPENAI_API_KEY."""

    url: str = Field(description="base of the interface, such as http://127.0.0.1:8000/v1")
    model: str | None = Field(default=None, description="name it is served under; the server's own answer when absent")
    timeout: float = Field(default=600.0, gt=0, description="seconds to wait for the server's next bytes")
    retries: int = Field(default=4, ge=0, description="further tries of a request that failed")
    concurrency: int = Field(default=8, ge=1, description="requests in flight")


class BenchConfig(Section):
    """What is reported, and how models are asked."""

    tasks: tuple[str, ...] = Field(
        default=("nursery_click", "nursery_musr", "nursery_gpqa"), description="what is reported"
    )
    items: int | None = Field(
        default=None, ge=8, description="held-out items per benchmark, seeded sample; all when absent"
    )
    search_share: float = Field(default=0.4, gt=0, lt=1, description="share of clusters that the search may see")
    held_out_share: float | None = Field(
        default=None, gt=0, lt=1, description="share of clusters that is reported; all the rest when absent"
    )
    harness: bool = Field(
        default=True, description="parents and child are scored by lm-eval; null children always by the fast scorer"
    )
    backend: str = Field(default="hf", description="lm-eval's model backend: hf (resident model), vllm, sglang, ...")
    backend_args: str = Field(default="", description="passed through to the backend, as lm-eval's --model_args")
    protocol: Literal["loglikelihood", "generate"] = Field(
        default="loglikelihood", description="log-probability of the choices, or a chat answer with a letter in it"
    )
    generation: Generation = Generation()
    long_items: Literal["error", "skip", "beyond"] = Field(
        default="error",
        description="items longer than a model's context: error (refused by name), skip (left out for all models), "
        "beyond (scored all the same)",
    )
    baseline: str | None = Field(
        default=None, description="another model that is measured beside child and parents, such as a 27B one"
    )
    endpoint: Served | None = None
