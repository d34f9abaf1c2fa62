"""A run is a folder: its paths, its manifest, and how long each stage took."""

from __future__ import annotations

import importlib.metadata
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

import yaml

from darwin_mri.config import Config
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.records import Manifest, Record, write_text

RESUME_CONFIG = "state/config.yaml"
VERSIONED = ("darwin-mri", "torch", "transformers", "safetensors", "cma", "numpy", "scipy", "lm-eval", "tokenizers")
AnyRecord = TypeVar("AnyRecord", bound=Record)


class Progress(Protocol):
    """What the pipeline tells about long work; the command line draws it, libraries may stay silent."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A bar of ``total`` steps; the value called with steps done."""
        ...

    def say(self, text: str) -> None:
        """A line that stays."""
        ...

    def status(self, text: str) -> None:
        """How the running stage stands: beside its bar on a terminal, a line elsewhere."""
        ...


class Silent:
    """A Progress that shows nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda steps: None

    def say(self, text: str) -> None:
        pass

    def status(self, text: str) -> None:
        pass


class Run:
    """One run folder. ``keep`` says whether records already there are read instead of made again (resume)."""

    def __init__(self, folder: Path, config: Config, manifest: Manifest, keep: bool) -> None:
        self.folder, self.config, self.manifest, self.keep = folder, config, manifest, keep

    def path(self, name: str) -> Path:
        return self.folder / name

    def save_manifest(self, **changes: object) -> None:
        self.manifest = self.manifest.model_copy(update=changes)
        self.manifest.save(self.path("manifest.json"))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds spent inside to the manifest's account of ``stage``."""
        began = time.monotonic()
        try:
            yield
        finally:
            seconds = dict(self.manifest.seconds)
            seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - began, 2)
            self.save_manifest(seconds=seconds)

    def record(self, name: str, kind: type[AnyRecord], make: Callable[[], AnyRecord]) -> AnyRecord:
        """The record in file ``name``: read when resuming and there, else made and written."""
        if self.keep and self.path(name).is_file():
            return kind.load(self.path(name))
        made = make()
        made.save(self.path(name))
        return made


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> tuple[str | None, bool | None]:
    """(commit, dirty) of the source tree the package runs from; (None, None) when it is not a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        status = subprocess.run(
            ["git", "status", "--porcelain", "--", str(here)],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(status.strip())


def new_manifest(config: Config, argv: tuple[str, ...], device: str) -> Manifest:
    commit, dirty = git_state()
    return Manifest(
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        argv=argv,
        config=public_config(config),
        commit=commit,
        dirty=dirty,
        versions=versions(),
        device=device,
        seed=config.seed,
        status="running",
    )


def public_config(config: Config) -> dict[str, object]:
    """The resolved config with parents' folders cut to their last names: nothing absolute, no host is published."""
    data = config.model_dump(mode="json")
    for role in ("father", "mother", "base"):
        if isinstance(data[role], str) and Path(data[role]).is_absolute():
            data[role] = Path(data[role]).name
    for section, key in (("scan", "probes"), ("arm", "texts"), ("arm", "prompts")):
        if data[section][key]:
            data[section][key] = Path(data[section][key]).name
    if data["search"]["address"]:
        data["search"]["address"] = "..."  # a host is nobody's business
    bench = data["bench"]
    for section, key in ((data, "data"), (bench, "baseline")):
        if isinstance(section[key], str) and Path(section[key]).is_absolute():
            section[key] = Path(section[key]).name
    if bench["endpoint"]:
        bench["endpoint"]["url"] = "http://..."  # a host is nobody's business
        if bench["endpoint"]["model"]:
            bench["endpoint"]["model"] = Path(bench["endpoint"]["model"]).name
    if bench["backend_args"]:  # may name folders and hosts
        bench["backend_args"] = ",".join(part.partition("=")[0] for part in bench["backend_args"].split(","))
    return data


def open_run(
    folder: Path, config: Config, argv: tuple[str, ...], device: str, *, resume: bool = False, overwrite: bool = False
) -> Run:
    """Make or reopen a run folder.

    Raises:
        InputError: the folder holds something else, or a run and neither ``resume`` nor ``overwrite`` was asked for.
        ConfigError: resuming with a config other than the run's own.
    """
    manifest_path = folder / "manifest.json"
    if resume:
        manifest = Manifest.load(manifest_path)
        theirs, ours = dict(manifest.config), public_config(config)
        if theirs != ours:
            changed = sorted(key for key in ours if ours[key] != theirs.get(key))
            raise ConfigError(
                f"{folder} was started with another config ({', '.join(changed)} differ): resume with its own"
            )
        run = Run(folder, config, manifest, keep=True)
        run.save_manifest(status="running")
        return run
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give --out a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not manifest_path.is_file():
            raise InputError(f"{folder} is not empty and holds no run: give --out another folder")
        if not overwrite:
            raise InputError(
                f"{folder} already holds a run: go on with it by --resume, replace it by --overwrite, or choose another --out"
            )
        _clear(folder)
    run = Run(folder, config, new_manifest(config, argv, device), keep=False)
    run.save_manifest()
    # Parents' folders as the user gave them, for --resume; state/ is never published.
    write_text(
        run.path(RESUME_CONFIG), yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    )
    return run


def _clear(folder: Path) -> None:
    """Remove what an earlier run wrote and nothing else; the child is replaced when the new one is ready."""
    for pattern in (
        "*.json",
        "ledger.jsonl",
        "report.html",
        "report.txt",
        "card.md",
        ".eval_results/*.yaml",
        "scan/*.json",
        "answers/*/*.json*",
        "state/*.jsonl",
        "state/answers/*.jsonl",
    ):
        for path in folder.glob(pattern):
            path.unlink()
