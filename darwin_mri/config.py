"""The YAML a user writes, validated: every field explained, unknown keys refused with the nearest known one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from darwin_mri.errors import ConfigError

OPERATORS = ("linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della")
ARMS = ("raw", "folded", "aligned", "transplant", "refit", "competence")
Method = Literal[
    "linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della",
    "raw", "folded", "aligned", "transplant", "refit", "competence",
]  # fmt: skip


REAL = {"click": 0.6, "musr": 0.4}  # the seed's fitness


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnySection = TypeVar("AnySection", bound=Section)


class ScanConfig(Section):
    """What the MRI reads."""

    probes: str | None = Field(default=None, description="folder of JSONL probe files; the built-in set when absent")
    languages: tuple[str, ...] | None = Field(
        default=None, description="languages to measure; all in the probe set when absent"
    )
    documents: int = Field(default=16, ge=1, description="documents per language and domain")
    max_tokens: int = Field(default=128, ge=8, description="tokens read of each document")
    bootstrap: int = Field(default=400, ge=50, description="bootstrap resamples over documents")
    positions: int = Field(default=1024, ge=64, description="paired token positions kept for FFN similarity")
    mixers: bool = Field(
        default=True, description="mean-ablate mixers as well as FFNs: doubles the forwards of the scan's longest part"
    )
    validation: bool = Field(
        default=False, description="measure the truth of blending each gene alone, and how well each preset foresaw it"
    )


class PriorConfig(Section):
    """How scans become the search's starting point."""

    preset: Literal["response", "flat", "v5", "v6", "paper"] = Field(
        default="response",
        description="response: measured slopes; v5, v6, paper: the published Darwin formulas; flat: no MRI",
    )
    protect: tuple[str, ...] = Field(
        default=("ko",), description="languages (ko) or domains (code) whose harm freezes a layer"
    )
    tolerance: float = Field(
        default=0.01, ge=0, description="relative rise of NLL per byte that a layer may cost a protected text"
    )
    stability: float = Field(
        default=0.8, gt=0, le=1, description="share of bootstrap resamples in which the rule must hold"
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
    steps: int = Field(default=4, ge=0, description="preset response: quasi-Newton steps down the fitness loss")


class SearchConfig(Section):
    """How long and how wide the search looks."""

    space: Literal["ffn", "layers", "darwin14", "darwin-v6"] = Field(
        default="layers",
        description="ffn: one ratio per layer; layers: mixers and the rest too; darwin14, darwin-v6: the published genomes",
    )
    strategy: Literal["cma", "random", "prior-mean"] = Field(
        default="cma", description="random and prior-mean (no search) are there to compare with"
    )
    budget: int = Field(default=60, ge=1, description="evaluations")
    time_limit: float | None = Field(default=None, gt=0, description="seconds after which no generation is begun")
    population: int = Field(default=10, ge=2, description="candidates per generation")
    items: int = Field(default=80, ge=8, description="search items per benchmark in the fitness")
    anchors: int | None = Field(
        default=None,
        ge=8,
        description="items per benchmark asked of a candidate, chosen to stand for the others; all when absent",
    )
    blocks: int = Field(default=4, ge=1, description="parts the items are asked in")
    racing: bool = Field(default=True, description="ask a candidate no more once it cannot reach the better half")
    finalists: int = Field(default=4, ge=1, description="best candidates re-scored on fresh search items")
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


class ArmConfig(Section):
    """How a cross-architecture donor is built from the mother (aligned, transplant, refit, competence)."""

    texts: str | None = Field(
        default=None, description="folder of JSONL texts both parents read; the built-in probes when absent"
    )
    documents: int = Field(default=64, ge=1, description="documents per language and domain")
    max_tokens: int = Field(default=128, ge=8, description="tokens read of each document")
    ridge: float = Field(
        default=1e-3, gt=0, description="penalty of every linear map, as a share of its inputs' mean power"
    )
    map: Literal["ridge", "procrustes"] = Field(default="ridge", description="kind of the maps between both streams")
    memory_gb: float = Field(
        default=8.0, gt=0, description="memory for second moments; less of it means more passes over the texts"
    )
    start: Literal["aligned", "transplant"] = Field(
        default="aligned", description="refit: whose neurons are read again"
    )
    share: float = Field(
        default=0.25, gt=0, le=1, description="refit of a transplant: share of neurons that are the mother's"
    )
    layers: tuple[int, ...] | None = Field(
        default=None, description="competence: father layers to refit; the last ones when absent"
    )
    depth: float = Field(default=0.5, gt=0, le=1, description="competence: which share of the layers are the last ones")
    target: Literal["nearest", "text", "states"] = Field(
        default="text",
        description="competence: learn what is written, by the nearest state it follows from or by a map of its tokens; or the mother's states",
    )
    sweeps: int = Field(
        default=1, ge=1, description="competence: how often the layers are refitted one after the other"
    )
    writer: Literal["parents", "father", "mother", "nobody"] = Field(
        default="parents",
        description="competence: who completes the prompts; the father always where a text is protected",
    )
    trust: Literal["confidence", "agreement"] = Field(
        default="confidence",
        description="competence, parents write: who is believed, the surer one or who agrees with themselves over wordings (pair)",
    )
    prompts: str | None = Field(
        default=None,
        description="folder of JSONL prompts without answers, or nursery: of its world; the search items' questions when absent",
    )
    forms: int = Field(default=3, ge=1, description="prompts of the nursery: wordings of each fact and habit")
    new_tokens: int = Field(default=24, ge=1, description="competence: longest completion")
    margin: float = Field(
        default=0.3, ge=0, description="competence, states: nats by which the mother must lead to be listened to"
    )
    held_rows: float | None = Field(
        default=None, gt=0, description="competence: texts that only hold, per text that teaches; all when absent"
    )
    hold: float = Field(
        default=1.0, gt=0, description="competence: weight of what must stay as it is, beside 1 for what is taught"
    )


class Generation(Section):
    """How a chat model answers, for protocol generate."""

    samples: int = Field(default=1, ge=1, description="answers per item; more than one is counted by majority (maj@k)")
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy, and then one sample says all")
    max_new_tokens: int = Field(default=2048, ge=1, description="of one answer, thinking included")
    thinking: bool = Field(default=False, description="asked of the chat template, where it knows the switch")

    @model_validator(mode="after")
    def _sensible(self) -> Generation:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"{self.samples} greedy samples are the same answer: give a temperature such as 0.6")
        return self


class Served(Section):
    """A baseline behind an OpenAI-compatible endpoint; its key is read from OPENAI_API_KEY."""

    url: str = Field(description="base of the interface, such as http://127.0.0.1:8000/v1")
    model: str | None = Field(default=None, description="name it is served under; asked of the server when absent")
    timeout: float = Field(default=600.0, gt=0, description="seconds to wait for the server's next bytes")
    retries: int = Field(default=4, ge=0, description="further tries of a request that failed")
    concurrency: int = Field(default=8, ge=1, description="requests in flight")


class BenchConfig(Section):
    """What is reported, and how models are asked."""

    tasks: tuple[str, ...] = ("nursery_click", "nursery_musr", "nursery_gpqa")
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
        description="items longer than a model's context: refused by name, left out for all, or read all the same",
    )
    baseline: str | None = Field(default=None, description="another model measured beside, such as a 27B")
    endpoint: Served | None = None


class Config(Section):
    """One run."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    father: str
    mother: str
    base: str | None = None
    method: Method = "task_arithmetic"
    density: float = Field(
        default=1.0, gt=0, le=1, description="share of the mother's task vector kept (ties, dare_*, della)"
    )
    density_father: float = Field(
        default=1.0, gt=0, le=1, description="share of the father's task vector kept (ties, dare_*, della)"
    )
    rescale: Literal["inverse_density", "l1", "none"] = Field(
        default="inverse_density", description="what makes up for what is dropped: 1 / density, the L1 norm, or nothing"
    )
    tensors: dict[str, dict[str, float | str]] = Field(
        default={}, description="settings of single tensors by name or pattern, e.g. {'*.mlp.*': {density: 0.5}}"
    )
    data: str | None = Field(
        default=None, description="folder with click/, musr/ and gpqa/; the hub when absent (see docs/benchmarks.md)"
    )
    fitness: dict[str, float] = Field(
        default={"nursery_click": 0.6, "nursery_musr": 0.4},
        description="benchmark weights; click 0.6, musr 0.4 where data is given and neither this nor bench.tasks",
    )
    seed: int = Field(default=1, ge=0)
    device: Literal["auto", "cuda", "cpu"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: float32 on CPU, else the father's"
    )
    scan: ScanConfig = ScanConfig()
    prior: PriorConfig = PriorConfig()
    search: SearchConfig = SearchConfig()
    arm: ArmConfig = ArmConfig()
    bench: BenchConfig = BenchConfig()

    @model_validator(mode="before")
    @classmethod
    def _asked_of_the_data(cls, given: Any) -> Any:
        """Who names data and no benchmark means the real ones: the nursery's ask about a world that no real model knows."""
        if not isinstance(given, dict) or not given.get("data") or "fitness" in given:
            return given
        bench = given.get("bench") or {}
        if not isinstance(bench, dict) or "tasks" in bench:
            return given
        return {**given, "fitness": REAL, "bench": {**bench, "tasks": tuple(REAL)}}

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if not self.fitness or any(w <= 0 for w in self.fitness.values()):
            raise ValueError("fitness needs at least one benchmark, each with a weight above 0")
        missing = set(self.fitness) - set(self.bench.tasks)
        if missing:
            raise ValueError(f"fitness names {sorted(missing)}, which bench.tasks does not list")
        if self.cross and self.search.space == "layers":
            raise ValueError(
                f"method {self.method} changes FFN weights only: set search.space to ffn, darwin14 or darwin-v6"
            )
        if self.search.workers == "devices" and not self.search.devices:
            raise ValueError("search.workers is devices: list them in search.devices, such as [cuda:0, cuda:1]")
        if self.prior.reference_ratio and self.prior.reference_ratio > self.upper:
            raise ValueError("prior.reference_ratio is above prior.upper")
        return self

    @property
    def cross(self) -> bool:
        """Whether the method is a cross-architecture arm."""
        return self.method in ARMS

    @property
    def upper(self) -> float:
        """Largest ratio of the search."""
        return self.prior.upper or (1.0 if self.cross or self.method in ("linear", "slerp") else 1.5)

    @property
    def reference_ratio(self) -> float:
        """Ratio at which the blend response is measured."""
        return self.prior.reference_ratio or self.upper / 1.5

    @property
    def weights(self) -> dict[str, float]:
        """Fitness weights that sum to 1."""
        total = sum(self.fitness.values())
        return {name: weight / total for name, weight in self.fitness.items()}


def _known_keys(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    for part in path:
        kind = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        for option in (kind, *get_args(kind)):  # a section, or "section or nothing"
            if isinstance(option, type) and issubclass(option, BaseModel):
                model = option
    return list(model.model_fields)


def make_config(data: dict[str, Any], where: str) -> Config:
    """Validate a mapping; raises ConfigError that names the field and, for an unknown key, the nearest known one."""
    return _validated(Config, data, where)


def make_bench_config(data: dict[str, Any], where: str) -> BenchConfig:
    """The bench section alone, as the command ``bench`` needs it; errors as ``make_config``."""
    return _validated(BenchConfig, data, where)


def _validated(kind: type[AnySection], data: dict[str, Any], where: str) -> AnySection:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "config"
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(kind, first["loc"][:-1]), 1)
            message = "unknown key" + (f": did you mean '{near[0]}'?" if near else "")
        raise ConfigError(f"{where}: {name}: {message}") from None


def load_config(path: Path | None, overrides: dict[str, Any]) -> Config:
    """Read a YAML file (or nothing) and lay command-line overrides over it (None values are not overrides).

    Args:
        path: YAML file; None when everything comes from the command line.
        overrides: nested mapping, e.g. ``{"search": {"budget": 40}}``.
    """
    data = {} if path is None else _mapping(path)
    _overlay(data, overrides)
    return make_config(data, str(path) if path else "command line")


def load_section(kind: type[AnySection], path: Path) -> AnySection:
    """A YAML file of another kind than a run's, such as an arena's; errors as ``load_config``."""
    return _validated(kind, _mapping(path), str(path))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist: pass --config an existing YAML file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"config file {path} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"config file {path} must hold a mapping of options, as configs/david.yaml does")
    return data


def _overlay(data: dict[str, Any], overrides: dict[str, Any]) -> None:
    for key, value in overrides.items():
        if isinstance(value, dict):
            _overlay(data.setdefault(key, {}), value)
        elif value is not None:
            data[key] = value
