"""What a run needs around it, asked before any work: a folder to write to, and workers that can be had."""

from __future__ import annotations

from pathlib import Path

from darwin_mri.config import Config
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.run import require_run_folder


def require_surroundings(config: Config, out: Path) -> None:
    """Refuse a run that could not be written, or whose workers would be waited for in vain.

    Raises:
        InputError: the run folder cannot be written to.
        ConfigError: Ray is not installed, does not answer, or has too few CPUs or GPUs.
    """
    require_run_folder(out)
    if fault := _workers_fault(config):
        raise ConfigError(fault)


def surrounding_faults(config: Config, out: Path) -> tuple[str, ...]:
    """What ``require_surroundings`` would say, for a plan."""
    faults = []
    try:
        require_run_folder(out)
    except InputError as error:
        faults.append(str(error))
    if fault := _workers_fault(config):
        faults.append(fault)
    return tuple(faults)


def _workers_fault(config: Config) -> str:
    search = config.search
    if search.workers != "ray":
        return ""
    from darwin_mri.breeding.capacity import cluster_fault  # a plan for other workers loads no search

    return cluster_fault(search.actors, search.gpus, search.address)
