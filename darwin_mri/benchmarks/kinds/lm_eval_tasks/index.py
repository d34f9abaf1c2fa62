"""A task of lm-eval by name: the files that define it, what they ask for, and a digest of all that they set."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darwin_mri.benchmarks.kinds.lm_eval_tasks.code import code_asked, read_unresolved, with_includes
from darwin_mri.benchmarks.kinds.lm_eval_tasks.upstream import known_metrics, task_manager
from darwin_mri.config import LmEvalTask
from darwin_mri.errors import ConfigError, InputError

DEEPEST = 20  # groups within groups
# Of where data lie and how a task is called: neither prompts nor scores.
UNHASHED = ("dataset_kwargs", "tag", "group", "include", "metadata", "task_alias", "group_alias")


@dataclass(frozen=True)
class TaskFile:
    """A file that defines a task, a group, or a part of one.

    Attributes:
        name: of the task or group.
        config: its settings with includes, nothing of it resolved, those of groups above it laid over.
        path: of the file.
    """

    name: str
    config: Mapping[str, Any]
    path: Path | None


@dataclass(frozen=True)
class Found:
    """A task that lm-eval knows.

    Attributes:
        manager: lm-eval's index that knows it.
        files: of the task; of a group and all of its members.
        digest: of all that the files set and of the Python beside them that they name.
    """

    manager: Any = field(repr=False)
    files: tuple[TaskFile, ...]
    digest: str

    @property
    def tasks(self) -> list[TaskFile]:
        """The tasks, without their groups."""
        return [file for file in self.files if not isinstance(file.config.get("task"), list)]


def find_task(task: LmEvalTask, where: str) -> Found:
    """Look a task up, and see that it asks for no code that is not allowed. Neither data nor code is loaded.

    Args:
        task: its entry in the config.
        where: it stands, for messages.

    Returns:
        What its files say.

    Raises:
        ConfigError: lm-eval has no such task; the message offers the nearest name.
        InputError: the folder is not there, a file does not parse, or asks for code that is not allowed.
    """
    folder = Path(task.include_path) if task.include_path else None
    if folder is not None and not folder.is_dir():
        raise InputError(f"{where}: include_path {folder} is no folder: name the one that holds your task files")
    state = tuple(sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in _yaml_files(folder)))
    return _find(task.lm_eval, folder, task.code_allowed, where, state)


@functools.lru_cache(maxsize=32)
def _find(name: str, folder: Path | None, allowed: bool, where: str, state: tuple) -> Found:
    for defaults in (False, True) if folder else (True,):
        manager = _manager(folder, defaults, state)
        files = _members(manager.task_index, name)
        if files is not None:
            break
    else:
        raise _unknown(name, folder, manager.all_tasks, where)
    metrics, _ = known_metrics()
    hashed: list[Any] = []
    for file in files:
        asked = [(file.path.name if file.path else file.name, code) for code in code_asked(file.config, metrics)]
        for path, _, named in with_includes(file.path) if file.path else ():
            asked += [(path.name, code) for code in named]
            hashed += [_source(path, code) for code in named]
        if asked and not allowed:
            raise InputError(
                f"{where}: {asked[0][0]} asks to run code ({asked[0][1]}): read it, and give --allow-task-code if you"
                " trust it"
            )
        folder_of = f"{file.path.parent}/" if file.path else ""
        hashed.append(_portable({k: v for k, v in file.config.items() if k not in UNHASHED}, folder_of))
        hashed.append(_version(file.config))
    text = json.dumps(hashed, sort_keys=True, default=str)
    return Found(manager, tuple(files), hashlib.sha256(text.encode()).hexdigest()[:16])


@functools.lru_cache(maxsize=4)
def _manager(folder: Path | None, defaults: bool, _: tuple) -> Any:
    return task_manager(folder, defaults=defaults)


def _members(index: Mapping[str, Any], name: str) -> list[TaskFile] | None:
    """The files of a task, group or tag; None where it or a member is not in the index."""
    files = []
    for file in _walk(index, name, {}, 0):
        if file is None:
            return None
        files.append(file)
    return files


def _walk(index: Mapping[str, Any], name: str, over: Mapping[str, Any], depth: int) -> Iterator[TaskFile | None]:
    entry = index.get(name)
    if entry is None or depth > DEEPEST:
        yield None
    elif entry.cfg is None:  # a tag
        for member in sorted(entry.tags):
            yield from _walk(index, member, over, depth + 1)
    else:
        config = {**entry.cfg, **over}
        if "group" not in entry.cfg or "class" in entry.cfg:
            yield TaskFile(name, config, entry.yaml_path)
        else:
            yield from _group(index, TaskFile(name, {**entry.cfg}, entry.yaml_path), over, depth)


def _group(index: Mapping[str, Any], group: TaskFile, over: Mapping[str, Any], depth: int) -> Iterator[TaskFile | None]:
    yield group
    members = group.config.get("task")
    shared = {key: value for key, value in group.config.items() if key not in _OF_GROUPS}
    for member in members if isinstance(members, list) else ():
        own = {"task": member} if isinstance(member, str) else dict(member)
        name = own.get("task") or own.get("group")
        laid = {**shared, **over, **{key: value for key, value in own.items() if key not in ("task", "group")}}
        if isinstance(name, str) and name in index:
            yield from _walk(index, name, laid, depth + 1)
        elif isinstance(own.get("task"), list):  # a group defined inside this one
            yield from _group(index, TaskFile(str(own.get("group")), own, group.path), over, depth + 1)
        elif "dataset_path" in own:  # a task defined inside this one
            yield TaskFile(f"{group.name}::{name}", {**laid, "task": name}, group.path)
        else:
            yield None


_OF_GROUPS = ("task", "group", "group_alias", "aggregate_metric_list", "metadata", "tag", "include")


def _unknown(name: str, folder: Path | None, known: list[str], where: str) -> ConfigError | InputError:
    for path in _yaml_files(folder):
        try:
            read_unresolved(path)
        except InputError as fault:
            return InputError(f"{where}: lm-eval does not find '{name}', and {fault}")
    if name in known:
        return InputError(f"{where}: a member of the group '{name}' is not there: mend the group")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    advice = f"did you mean '{near[0]}'?" if near else "name a task, a group or a tag, and include_path for your own"
    return ConfigError(f"{where}: lm-eval has no task '{name}': {advice}")


def _yaml_files(folder: Path | None) -> list[Path]:
    return sorted(folder.glob("**/*.yaml")) if folder is not None else []


def _version(config: Mapping[str, Any]) -> Any:
    metadata = config.get("metadata")
    return metadata.get("version") if isinstance(metadata, dict) else None


def _portable(value: Any, folder: str) -> Any:
    """Settings as JSON values, the same wherever the folder lies."""
    if isinstance(value, Mapping):
        return {str(key): _portable(part, folder) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(part, folder) for part in value]
    return value.removeprefix(folder) if isinstance(value, str) and folder else value


def _source(path: Path, code: str) -> str:
    """The Python file beside a task file that ``!function module.name`` names; the words alone where there is none."""
    module = code.partition(" ")[2].rpartition(".")[0]
    file = path.parent / (module.replace(".", "/") + ".py")
    return file.read_text(encoding="utf-8", errors="replace") if module and file.is_file() else code
