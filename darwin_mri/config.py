"""The YAML a user writes, validated: every field explained, unknown keys refused with the nearest known one."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from darwin_mri.config_arms import ArmConfig
from darwin_mri.config_base import NAME, AnySection, Section
from darwin_mri.config_methods import ARMS, JOINT, OPERATORS, SHARING, Arm, Method, Operator, TrackerName
from darwin_mri.config_sections import (
    BenchConfig,
    Generation,
    PriorConfig,
    RepairConfig,
    ScanConfig,
    SearchConfig,
    Served,
)
from darwin_mri.config_tasks import (
    AgreementTask,
    LimitConfig,
    LmEvalTask,
    NllTask,
    OwnTask,
    QuestionTask,
    Tasks,
    engine_fault,
    with_tasks,
)
from darwin_mri.config_validation import validated
from darwin_mri.errors import ConfigError
from darwin_mri.files import read_yaml
from darwin_mri.quantities import KINDS as QUANTITIES
from darwin_mri.quantities import quantity_fault
from darwin_mri.roles import PARENTS

__all__ = [
    "ARMS",
    "JOINT",
    "OPERATORS",
    "AgreementTask",
    "Arm",
    "ArmConfig",
    "BenchConfig",
    "Config",
    "Generation",
    "LimitConfig",
    "LmEvalTask",
    "Method",
    "NllTask",
    "Operator",
    "OwnTask",
    "PriorConfig",
    "QuestionTask",
    "RepairConfig",
    "ScanConfig",
    "SearchConfig",
    "Section",
    "Served",
    "load_config",
    "load_section",
    "make_bench_config",
    "make_config",
    "make_tasks",
]


class Config(Tasks):
    """One run."""

    name: str = Field(default="run", pattern=NAME, description="of the run, whose folder is reports/NAME")
    father: str = Field(description="the parent whose shapes, config and tokenizer the child keeps")
    mother: str = Field(description="the second parent")
    parents: tuple[str, ...] = Field(
        default=(),
        min_length=2,
        max_length=len(PARENTS),
        description="all parents, the father first; father and mother are the short form for two",
    )
    base: str | None = Field(default=None, description="common ancestor of all, for task vectors")
    tokenizer: str = Field(
        default="father",
        description="whose tokens the child has: father (parents whose tokens differ are refused), union, or a model",
    )
    method: Method = Field(default="task_arithmetic", description="operator or arm (docs/merging.md)")
    density: float = Field(default=1.0, description="share of the mother's task vector kept (ties, dare_*, della)")
    density_father: float = Field(
        default=1.0, description="share of the father's task vector kept (ties, dare_*, della)"
    )
    rescale: Literal["inverse_density", "l1", "none"] = Field(
        default="inverse_density",
        description="what compensates for dropped elements: factor 1 / density, the original L1 norm, or nothing",
    )
    settings: dict[str, float | str] = Field(
        default={},
        description="further settings of the method, such as gamma, select_topk or density@parent3 (docs/merging.md)",
    )
    tensors: dict[str, dict[str, float | str]] = Field(
        default={}, description="settings of single tensors by name or pattern, e.g. {'*.mlp.*': {density: 0.5}}"
    )
    towers: Literal["father", "merge"] = Field(
        default="father",
        description="tensors beside the text model (vision, audio, projectors, drafters): the father's, or merged at"
        " the mean ratio of the child's text genes",
    )
    data: str | None = Field(
        default=None, description="folder with click/, musr/ and gpqa/; the hub when absent (see docs/benchmarks.md)"
    )
    fitness: dict[str, float] = Field(
        default={"nursery_click": 0.6, "nursery_musr": 0.4},
        description="benchmark or task -> weight; when absent every one of tasks alike that no limit names, or where"
        " data is given click 0.6 and musr 0.4",
    )
    limits: dict[str, LimitConfig] = Field(
        default={}, description="benchmark or task -> by how much the child may be worse than a parent on it"
    )
    seed: int = Field(default=1, ge=0, description="of probes, splits, masks and search")
    device: Literal["auto", "cuda", "cpu"] = Field(default="auto", description="auto: a GPU where there is one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: float32 on CPU, else the father's"
    )
    scan: ScanConfig = ScanConfig()
    prior: PriorConfig = PriorConfig()
    search: SearchConfig = SearchConfig()
    arm: ArmConfig = ArmConfig()
    repair: RepairConfig | None = Field(
        default=None, description="solves the child's linear maps again after the search; no repair when absent"
    )
    bench: BenchConfig = BenchConfig()
    log: tuple[TrackerName, ...] = Field(default=(), description="experiment trackers that get the search's course")

    @model_validator(mode="before")
    @classmethod
    def _name_parents(cls, given: Any) -> Any:
        """``parents`` and its short form say the same; ``father`` and ``mother`` replace the first and the second."""
        if not isinstance(given, dict):
            return given
        if not isinstance(given.get("parents") or (), list | tuple):
            raise ValueError("parents is no list: name two to eight models, the father first")
        refs = list(given.get("parents") or ())
        for place, role in enumerate(PARENTS[:2]):
            if given.get(role) is not None and len(refs) >= place:
                refs[place : place + 1] = [given[role]]
        if given.get("parents") and not 2 <= len(refs) <= len(PARENTS):
            models = f"{len(refs)} model{'s' if len(refs) > 1 else ''}"
            raise ValueError(f"parents names {models}: list two to eight, the father first")
        return {**given, **dict(zip(PARENTS[:2], refs, strict=False)), "parents": refs}

    @model_validator(mode="before")
    @classmethod
    def _choose_tasks(cls, given: Any) -> Any:
        """The fitness that is not given, and with it the tasks of the bench."""
        return with_tasks(given) if isinstance(given, dict) else given

    @model_validator(mode="before")
    @classmethod
    def _derive_space(cls, given: Any) -> Any:
        """An arm changes FFNs only, so its space is ``ffn`` where none is given; an operator's is ``layers``."""
        if not isinstance(given, dict):
            return given
        search = given.get("search") or {}
        if isinstance(search, SearchConfig):
            search = search.model_dump(exclude_unset=True)
        if not isinstance(search, dict) or search.get("space") is not None:
            return given
        return {**given, "search": {**search, "space": "ffn" if given.get("method") in ARMS else "layers"}}

    @model_validator(mode="after")
    def _possible(self) -> Config:
        """What a merge's numbers may be is said in ``quantities``, for genomes and recipes as well."""
        common = {"density": self.density, "density_father": self.density_father}
        for where, numbers in (("", common), *((f"tensors '{name}': ", own) for name, own in self.tensors.items())):
            for name, value in numbers.items():
                if name in QUANTITIES and (fault := quantity_fault(name, value)):
                    raise ValueError(where + fault)
        if self.method == "competence" and (fault := self.arm.prompts_fault()):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _named(self) -> Config:
        """The tasks and parents that are named are there."""
        if not self.fitness or any(w <= 0 for w in self.fitness.values()):
            raise ValueError("fitness needs at least one benchmark, each with a weight above 0")
        stand_ins = tuple(self.stand_ins.values())
        for where, names in (("fitness", self.fitness), ("limits", self.limits), ("stand_in", stand_ins)):
            if missing := set(names) - set(self.bench.tasks):
                raise ValueError(f"{where} names {sorted(missing)}, which bench.tasks does not list")
        for name, limit in self.limits.items():
            if limit.against not in self.roles:
                raise ValueError(f"limits.{name}.against is '{limit.against}': name one of {', '.join(self.roles)}")
        for name, task in self.tasks.items():
            partner = getattr(task, "partner", "better")
            if partner != "better" and partner not in self.roles:
                raise ValueError(f"tasks.{name}.with is '{partner}': name better or one of {', '.join(self.roles)}")
        if unused := set(self.tasks) - set(self.bench.tasks):
            raise ValueError(
                f"tasks names {sorted(unused)}: list them in bench.tasks, and in fitness to search by them"
            )
        for fault in (
            self.search.front_fault(self.fitness),
            engine_fault(self.search.engine, self.tasks, self.searched),
        ):
            if fault:
                raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _mergeable(self) -> Config:
        if self.cross and self.search.space == "layers":
            raise ValueError(
                f"method {self.method} changes FFN weights only: set search.space to ffn, darwin14 or darwin-v6"
            )
        if len(self.parents) > 2 and self.cross:
            raise ValueError(
                f"method {self.method} crosses the father with one other parent, not with {len(self.parents) - 1}"
            )
        if len(self.parents) > 2 and self.search.space in ("darwin14", "darwin-v6"):
            raise ValueError(f"search.space {self.search.space} is for two parents: choose layers or ffn")
        if self.cross and self.towers == "merge":
            raise ValueError(f"method {self.method} changes FFN weights only: set towers to father")
        if self.cross and self.repair:
            raise ValueError(f"repair is for parents of one architecture, and {self.method} crosses two: leave it out")
        if self.search.workers == "devices" and not self.search.devices:
            raise ValueError("search.workers is devices: list them in search.devices, such as [cuda:0, cuda:1]")
        if self.prior.reference_ratio and self.prior.reference_ratio > self.upper:
            raise ValueError("prior.reference_ratio is above prior.upper")
        return self

    @property
    def roles(self) -> dict[str, str]:
        """Role -> model, the father first."""
        return dict(zip(PARENTS, self.parents, strict=False))

    @property
    def ratio_roles(self) -> tuple[str, ...]:
        """Roles of the parents that have genes: all but the father, or one for all where the method has one result."""
        return tuple(self.roles)[1:2] if self.method in JOINT else tuple(self.roles)[1:]

    @property
    def cross(self) -> bool:
        """Whether the method is a cross-architecture arm."""
        return self.method in ARMS

    @property
    def moments(self) -> Literal["diagonal", "full"] | None:
        """Which moments are measured: those that are asked for, else what the method needs."""
        needs: dict[object, Literal["diagonal", "full"]] = {
            "diagonal": "diagonal",
            "probes": "full",
            "merged": "diagonal",
        }
        own = needs.get(self.settings.get("moments", "probes")) if self.method == "regression" else None
        return "full" if "full" in (own, self.scan.moments) else own or self.scan.moments

    @property
    def upper(self) -> float:
        """Largest ratio of the search."""
        return self.prior.upper or (1.0 if self.cross or self.method in SHARING else 1.5)

    @property
    def reference_ratio(self) -> float:
        """Ratio of each other parent at which the blend response is measured: several share what one alone has."""
        return self.prior.reference_ratio or self.upper / 1.5 / len(self.ratio_roles)

    @property
    def searched(self) -> tuple[str, ...]:
        """The tasks that each candidate is asked: those of the fitness, then those of limits alone."""
        return tuple(dict.fromkeys((*self.fitness, *self.limits)))

    @property
    def stand_ins(self) -> dict[str, str]:
        """Task of the fitness -> the task whose slopes stand in for its own."""
        named = {name: getattr(self.tasks.get(name), "stand_in", None) for name in self.fitness}
        return {name: other for name, other in named.items() if other is not None}

    @property
    def weights(self) -> dict[str, float]:
        """Fitness weights that sum to 1."""
        total = sum(self.fitness.values())
        return {name: weight / total for name, weight in self.fitness.items()}


def make_config(data: dict[str, Any], where: str = "config") -> Config:
    """Validate a mapping; raises ConfigError that names the field and, for an unknown key, the nearest known one."""
    return validated(Config, data, where)


def make_bench_config(data: dict[str, Any], where: str) -> BenchConfig:
    """The bench section alone, as the command ``bench`` needs it; errors as ``make_config``."""
    return validated(BenchConfig, data, where)


def make_tasks(entries: dict[str, Any], where: str) -> dict[str, OwnTask]:
    """Own tasks by name, as the command ``bench`` needs them; errors as ``make_config``."""
    return validated(Tasks, {"tasks": entries}, where).tasks


def load_config(path: Path | None, overrides: dict[str, Any]) -> Config:
    """Read a YAML file (or nothing) and lay command-line overrides over it (None values are not overrides).

    Args:
        path: YAML file; None when everything comes from the command line.
        overrides: nested mapping, e.g. ``{"search": {"budget": 40}}``; ``further`` lists the parents after the second.
    """
    data = {} if path is None else _mapping(path)
    overrides = dict(overrides)
    further = overrides.pop("further", None)
    method = overrides.get("method")
    if method and (method in ARMS) != (data.get("method") in ARMS) and isinstance(data.get("search"), dict):
        data["search"].pop("space", None)  # the file's space was for another kind of method
    _overlay(data, overrides)
    if further and isinstance(data.get("parents") or [], list):
        first = (data.get("parents") or [])[:2]
        data["parents"] = [*(data.get(role) or ref for role, ref in zip_longest(PARENTS[:2], first)), *further]
    return make_config(data, str(path) if path else "command line")


def load_section(kind: type[AnySection], path: Path) -> AnySection:
    """A YAML file of another kind than a run's, such as an arena's; errors as ``load_config``."""
    return validated(kind, _mapping(path), str(path))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = read_yaml(path) or {}
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
            if data.get(key) is None:
                data[key] = {}
            _overlay(data[key], value)
        elif value is not None:
            data[key] = value
