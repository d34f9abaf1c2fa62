"""The manifest of a run: what was started, from which code and packages, with which config; it may be published."""

from __future__ import annotations

import importlib.metadata
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from darwin_mri.config import Config
from darwin_mri.records import Manifest

VERSIONED = ("darwin-mri", "torch", "transformers", "safetensors", "cma", "numpy", "scipy", "lm-eval", "tokenizers")
HIDDEN_HOST = "http://..."


def new_manifest(config: Config, argv: tuple[str, ...], device: str) -> Manifest:
    """The manifest of a run that begins now.

    Args:
        config: of the run.
        argv: the command as typed, without absolute paths.
        device: the run computes on.

    Returns:
        A manifest of status ``running``.
    """
    commit, dirty = git_state()
    return Manifest(
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        argv=argv,
        config=public_config(config),
        commit=commit,
        dirty=dirty,
        versions=package_versions(),
        device=device,
        seed=config.seed,
        status="running",
    )


def package_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, as far as they are installed."""
    versions: dict[str, str] = {}
    for name in VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def git_state() -> tuple[str | None, bool | None]:
    """(commit, dirty) of the source tree the package runs from; (None, None) when it is not a checkout."""
    package = Path(__file__).parents[1]
    try:
        commit = _git("rev-parse", "HEAD", cwd=package).strip()
        status = _git("status", "--porcelain", "--", str(package), cwd=package)
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(status.strip())


def _git(*words: str, cwd: Path) -> str:
    return subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=True, timeout=10).stdout


def public_config(config: Config) -> dict[str, Any]:
    """The resolved config as it may be published: folders by their last names, no hosts."""
    data = config.model_dump(mode="json")
    bench, endpoint = data["bench"], data["bench"]["endpoint"]
    data["parents"] = [Path(ref).name if Path(ref).is_absolute() else ref for ref in data["parents"]]
    for section, key in ((data, "father"), (data, "mother"), (data, "base"), (data, "data"), (bench, "baseline")):
        if isinstance(section[key], str) and Path(section[key]).is_absolute():
            section[key] = Path(section[key]).name
    for section, key in (("scan", "probes"), ("arm", "texts"), ("arm", "prompts"), ("repair", "texts")):
        if data[section] and data[section][key]:
            data[section][key] = Path(data[section][key]).name
    files = data["scan"]["moments_from"]
    data["scan"]["moments_from"] = [Path(file).name if Path(file).is_absolute() else file for file in files]
    for task in data["tasks"].values():
        for key in {"jsonl", "nll", "agreement", "include_path"} & {key for key, value in task.items() if value}:
            task[key] = Path(task[key]).name
    if data["search"]["address"]:
        data["search"]["address"] = "..."
    if endpoint:
        endpoint["url"] = HIDDEN_HOST
        if endpoint["model"]:
            endpoint["model"] = Path(endpoint["model"]).name
    if bench["backend_args"]:  # values may name folders and hosts
        bench["backend_args"] = ",".join(part.partition("=")[0] for part in bench["backend_args"].split(","))
    return data
