"""A run is a folder: its paths, its manifest, and how long each stage took."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

import yaml

from darwin_mri.config import Config
from darwin_mri.errors import ConfigError, InputError, SpoiledRun
from darwin_mri.files import lock_file, require_output, unlock_file
from darwin_mri.records import Manifest, Record, write_text
from darwin_mri.records.live import LIVE
from darwin_mri.run.live import LiveFile, WatchedProgress
from darwin_mri.run.manifest import new_manifest, public_config
from darwin_mri.run.progress import Progress, Silent
from darwin_mri.trackers import STATE, TENSORBOARD, Trackers

RESUME_CONFIG = "state/config.yaml"
LOCK = "state/lock"  # held by the process that writes the run
ABSOLUTE = re.compile(r"(?<!\S)/(?:[^/\s]+/)+")  # what stands before the last name of an absolute path
# What a run writes, beside the child, which is replaced when the new one is ready.
WRITTEN = (
    *(f"{name}.json" for name in ("manifest", "inputs", "splits", "donors", "references", "anchors", "prior")),
    *(f"{name}.json" for name in ("genome", "child", "health", "comparison")),
    *(f"{name}.json" for name in ("repair", "child-repaired", "health-repaired", "comparison-repaired")),
    *("ledger.jsonl", "report.html", "report.txt", "card.md", "card.svg", ".eval_results/*.yaml"),
    *("scan/*.json", "answers/*/*.json*", "state/*.jsonl", "state/targets/*.safetensors", "state/answers/*.jsonl"),
    *("state/baselines/*/*.jsonl", "moments*.safetensors", "state/moments/**/*.safetensors"),
    *("state/repair/*.json", "state/repair/*/*.safetensors"),
    *(LIVE, STATE, f"{TENSORBOARD}/events.*"),
)
CHILDREN = ("child/darwin_mri.json", "child-repaired/darwin_mri.json")
AnyRecord = TypeVar("AnyRecord", bound=Record)
Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")


class Run:
    """One run folder. As a context manager it leaves an honest status in the manifest, whatever happens inside.

    Args:
        folder: of the run.
        config: of the run.
        manifest: as it is on disk.
        keep: whether records that are there are read instead of made again (``--resume``).
        progress: where long work reports.

    Attributes:
        guard: stage -> a context that the stage runs in.
    """

    def __init__(
        self, folder: Path, config: Config, manifest: Manifest, keep: bool, progress: Progress | None = None
    ) -> None:
        self.folder, self.config, self.manifest, self.keep = folder, config, manifest, keep
        self.live = LiveFile(folder / LIVE)
        self.progress: Progress = WatchedProgress(progress or Silent(), self.live)
        self.trackers = Trackers(config.log, folder, manifest.config, keep=keep, say=self.progress.say)
        self.guard: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()

    def __enter__(self) -> Run:
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.live.stop()
        if error is None:
            self.save_manifest(status="done")
        elif isinstance(error, KeyboardInterrupt):
            self.trackers.stop("interrupted")
            self.save_manifest(status="interrupted")
        else:
            self.trackers.stop("failed")
            lines = str(error).splitlines()
            note = ABSOLUTE.sub("", lines[0]) if lines else type(error).__name__  # the manifest may be published
            self.save_manifest(status="failed", note=note, spoiled=isinstance(error, SpoiledRun))

    def path(self, name: str) -> Path:
        """The file or folder of a name in the run folder."""
        return self.folder / name

    def has(self, *names: str) -> bool:
        """Whether this is a resumed run that has all of these files."""
        return self.keep and all(self.path(name).is_file() for name in names)

    def save_manifest(self, **changes: object) -> None:
        """Change fields of the manifest and write it."""
        self.manifest = self.manifest.model_copy(update=changes)
        self.manifest.save(self.path("manifest.json"))

    def stage(
        self,
        name: str,
        function: Callable[Concatenate[Run, Inputs], Output],
        *args: Inputs.args,
        **kwargs: Inputs.kwargs,
    ) -> Output:
        """Run one stage and add its seconds to the manifest.

        Args:
            name: of the stage in the manifest.
            function: called with this run and the arguments that follow.
            *args: of the function.
            **kwargs: of the function.

        Returns:
            What the function returns.
        """
        with self.timed(name), self.guard(name):
            return function(self, *args, **kwargs)

    @contextmanager
    def timed(self, stage: str) -> Generator[None]:
        """Add the seconds spent inside to the manifest's account of ``stage``."""
        began = time.monotonic()
        self.live.begin_stage(stage)
        try:
            yield
        finally:
            seconds = dict(self.manifest.seconds)
            seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - began, 2)
            self.save_manifest(seconds=seconds)

    def finish(self, write_report: Callable[[Path], object], values: Mapping[str, float]) -> None:
        """Write the report, tell the trackers what the run ends with, and let others write to the folder."""
        with self.timed("report"):
            write_report(self.folder)
        self.trackers.finish(values, self.path("report.html"))
        unlock_file(self.path(LOCK))

    def record(self, name: str, kind: type[AnyRecord], make: Callable[[], AnyRecord]) -> AnyRecord:
        """The record in a file: read when resuming and there, else made and written.

        Args:
            name: of the file.
            kind: of the record.
            make: makes it.

        Returns:
            The record.
        """
        if self.has(name):
            return kind.load(self.path(name))
        record = make()
        record.save(self.path(name))
        return record


def require_run_folder(folder: Path) -> None:
    """Raise InputError unless all that a run writes can be written there; asked before any work."""
    require_output(folder, (*WRITTEN, RESUME_CONFIG, "state/donors/*.safetensors", *CHILDREN))


def open_run(
    folder: Path,
    config: Config,
    argv: tuple[str, ...],
    device: str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Make or reopen a run folder.

    Args:
        folder: of the run.
        config: of the run.
        argv: the command as typed, without absolute paths.
        device: the run computes on.
        resume: go on with the run that is there.
        overwrite: replace the run that is there.
        progress: where long work reports; nowhere when None.

    Returns:
        The run, its manifest written.

    Raises:
        InputError: the folder cannot be written to or holds something else, or a run and neither ``resume`` nor
            ``overwrite`` was given; or another process writes to it.
        ConfigError: resuming with a config other than the run's own.
    """
    require_run_folder(folder)
    manifest_path = folder / "manifest.json"
    if resume:
        manifest = Manifest.load(manifest_path)
        if manifest.spoiled:
            raise InputError(
                f"{folder} cannot be resumed ({manifest.note}): begin anew by --overwrite, or another --out"
            )
        before, now = dict(manifest.config), public_config(config)
        if changed := sorted(key for key in {*before, *now} - {"log"} if now.get(key) != before.get(key)):
            raise ConfigError(
                f"{folder} was started with another config ({', '.join(changed)} differ): resume with its own"
            )
        _lock(folder)
        for left in folder.rglob(".*.tmp"):  # of a run that was killed while it wrote a record
            left.unlink()
        run = Run(folder, config, manifest, keep=True, progress=progress)
        run.save_manifest(status="running", note="", config=now)
        _keep_config(run)
        return run
    if folder.is_dir() and any(folder.iterdir()):
        if not manifest_path.is_file():
            raise InputError(f"{folder} is not empty and holds no run: give --out another folder")
        if not overwrite:
            raise InputError(
                f"{folder} already holds a run: go on with it by --resume, replace it by --overwrite,"
                " or choose another --out"
            )
    _lock(folder)
    _clear(folder)
    run = Run(folder, config, new_manifest(config, argv, device), keep=False, progress=progress)
    run.save_manifest()
    _keep_config(run)
    return run


def _keep_config(run: Run) -> None:
    """Parents' folders as the user gave them, for --resume; state/ is never published."""
    data = run.config.model_dump(mode="json")
    write_text(run.path(RESUME_CONFIG), yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _lock(folder: Path) -> None:
    if not lock_file(folder / LOCK):
        raise InputError(f"another run is writing to {folder}: wait until it has ended, or choose another --out")


def _clear(folder: Path) -> None:
    """Remove what an earlier run wrote and nothing else."""
    for pattern in WRITTEN:
        for path in folder.glob(pattern):
            path.unlink()
    repaired = folder / Path(CHILDREN[1])
    if repaired.is_file():  # nothing replaces it where the new run repairs nothing
        shutil.rmtree(repaired.parent)
