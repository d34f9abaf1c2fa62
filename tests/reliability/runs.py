"""Runs of the command in processes of their own, and what must hold of a run's folder after any fault."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from darwin_mri.checkpoints.atomic_folder import NOTE
from tests.family import small
from tests.reliability.server import Server
from tests.toys import pico_llama, pico_qwen35

STAGES = ("inputs", "scan", "moments", "donors", "prior", "search", "repair", "child", "health", "bench", "report")
FEW: dict[str, Any] = {
    "scan": {"documents": 2, "max_tokens": 12, "moments": "diagonal"},
    "prior": {"items": 8, "steps": 0},
    "search": {"budget": 3, "population": 2, "finalists": 1, "blocks": 2},
    "repair": {"strengths": [1.0], "optional": False, "documents": 2, "max_tokens": 12},
}
CROSSING: dict[str, Any] = {
    "parents": ("father", "mother"),
    "base": None,
    "method": "aligned",
    "scan": {"documents": 2, "max_tokens": 12},
    "repair": None,
}
TIMES = ("seconds", "created")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code, negative where a signal ended it.
        out: what it printed.
        err: what it said.
        left: processes of its session that are still there.
        counts: stage -> files that were opened for writing.
    """

    code: int
    out: str
    err: str
    left: tuple[int, ...]
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """Of what it said."""
        return self.err.splitlines()


class Place:
    """A folder with all that a command may touch: parents, home, temporary files, caches, where it is started, runs."""

    def __init__(self, root: Path, server: Server, family: dict[str, Path]) -> None:
        self.root, self.server = root, server
        for name in ("home", "tmp", "cache", "work", "said"):
            (root / name).mkdir(parents=True)
        self.family = {role: Path(shutil.copytree(path, root / "parents" / role)) for role, path in family.items()}
        self.run = root / "run"
        self.number = 0

    def configure(self, name: str = "config", tasks: Sequence[str] = ("nursery_click",), **changes: Any) -> Path:
        """A config of the family with as little work as all stages allow."""
        own = {**FEW, **changes}
        own["parents"] = [str(self.family[role]) for role in own.get("parents", ("father", "sister"))]
        own["father"], own["mother"] = own["parents"][:2]
        data = small(self.family, **own).model_dump(mode="json", exclude_none=True)
        data |= {"fitness": {task: 1 / len(tasks) for task in tasks}, "bench": {**data["bench"], "tasks": [*tasks]}}
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        return path

    def start(self, *words: str | Path, env: dict[str, str] | None = None, **order: Any) -> tuple[int, Path]:
        """Begin a command; the value is its process id and where it writes what it says."""
        self.number += 1
        said = self.root / "said" / str(self.number)
        for end in (".out", ".err"):  # a command may be killed before it opens them
            said.with_name(said.name + end).touch()
        own = {"HOME": "home", "TMPDIR": "tmp", "DARWIN_MRI_CACHE": "cache", "RAY_TMPDIR": "tmp"}
        environment = {name: str(self.root / folder) for name, folder in own.items()} | (env or {})
        order = {"folder": str(self.run), **order}
        pid = self.server.ask(
            words=[*map(str, words)], stdout=f"{said}.out", stderr=f"{said}.err", cwd=str(self.root / "work"),
            env=environment, **order,
        )  # fmt: skip
        return pid, said

    def end(self, pid: int, said: Path) -> Ended:
        """Wait for a command."""
        code = self.server.ask(wait=pid)
        out, err = (said.with_name(said.name + end).read_text("utf-8", "surrogateescape") for end in (".out", ".err"))
        counts = said.with_name(said.name + ".out.counts")
        known = json.loads(counts.read_text(encoding="utf-8")) if counts.is_file() else {}
        return Ended(code, out, err, session(pid), known)

    def call(self, *words: str | Path, **order: Any) -> Ended:
        """A command from its beginning to its end."""
        return self.end(*self.start(*words, **order))

    def strays(self) -> list[str]:
        """Files outside the run's folder that no command had to write."""
        kept = [path for name in ("home", "tmp", "work", "cache") for path in (self.root / name).rglob("*")]
        return [str(path.relative_to(self.root)) for path in kept if path.is_file()]


def make_family(root: Path) -> dict[str, Path]:
    """Role -> folder: three siblings of two layers, their base, and a mother of another architecture."""
    names = ("father", "sister", "brother", "base")
    siblings = {
        name: pico_llama(root / name, seed=seed, num_hidden_layers=2, dtype="bfloat16")
        for seed, name in enumerate(names)
    }
    return {**siblings, "mother": pico_qwen35(root / "mother", seed=9, dtype="bfloat16")}


def session(leader: int) -> tuple[int, ...]:
    """Processes that still run of a session, of Linux's own list."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, own = (entry / "stat").read_text().rpartition(") ")[2].split()[:4]
            except OSError:
                continue
            if int(own) == leader and state != "Z":
                found.append(int(entry.name))
    return tuple(found)


def faults_of(run: Path) -> list[str]:
    """What is half-written in a run's folder: records that are no JSON, children that are not what their note says."""
    bad: list[str] = []
    for path in sorted(path for path in run.rglob("*") if path.is_file() and path.name != "live.json"):
        name = path.relative_to(run).as_posix()
        if path.name.startswith("."):
            bad += [f"{name} is left over"]
        elif path.suffix == ".json":
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                bad.append(f"{name} is no JSON")
        elif path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            bad += [f"{name} has a broken line" for line in lines[:-1] if not _is_json(line)]
    for child in (run / "child", run / "child-repaired"):
        if child.is_dir():
            digests = json.loads((child / NOTE).read_text(encoding="utf-8"))["shards"]
            own = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in child.glob("*.safetensors")}
            bad += [f"{child.name} is not what its note says"] if own != digests else []
    return bad


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def contents(run: Path) -> dict[str, Any]:
    """File -> what must be the same after a fault as without: all but times, live state, manifest, pages' texts."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file() and path.name != "live.json"):
        name = path.relative_to(run).as_posix()
        if path.suffix == ".json":
            found[name] = _timeless(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".jsonl":
            lines = [_timeless(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
            if path.name == "blocks.jsonl":  # several workers end in any order
                lines.sort(key=lambda line: (line["generation"], line["candidate"], line["block"]))
            found[name] = _rounded(lines) if "answers" in path.parts else lines
        elif path.suffix in (".html", ".txt", ".md"):
            found[name] = "a page, with times in it"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    found["manifest.json"] = found["manifest.json"]["config"], found["manifest.json"]["status"]
    return found


def _rounded(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Answers by item: in an answer that was asked again in another batch, the last digits are those of that batch."""
    return {
        answer["key"]: {**answer, "log_probabilities": [round(value, 3) for value in answer["log_probabilities"]]}
        for answer in answers
    }


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(own) for key, own in value.items() if key not in TIMES}
    return [_timeless(own) for own in value] if isinstance(value, list) else value


def differences(run: Path, whole: dict[str, Any]) -> list[str]:
    """Files of a run that are not those of the unbroken run."""
    own = contents(run)
    return [name for name in sorted(own.keys() | whole.keys()) if own.get(name) != whole.get(name)]


def allow_writing(folder: Path) -> None:
    """Give the permission to write back."""
    for above, _, files in os.walk(folder):
        os.chmod(above, 0o755)
        for name in files:
            os.chmod(os.path.join(above, name), 0o644)
