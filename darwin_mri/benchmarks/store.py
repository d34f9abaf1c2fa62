"""Answers on disk: kept item by item while they are made, taken over by a later run, published when all are there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from darwin_mri.benchmarks.engines import Engine
from darwin_mri.benchmarks.items import Item, item_hash
from darwin_mri.files import writing
from darwin_mri.records import Answer, AnswerSet, Protocol, write_text
from darwin_mri.run import Progress


class AnswerStore:
    """The answers of one run folder.

    ``state/answers/`` holds a journal per model, protocol, engine and task, one flushed line per answer: what was
    answered is never asked again, whatever interrupts. ``answers/MODEL/TASK.jsonl`` is written whole once every item of
    this run is answered.

    Args:
        folder: the run folder.
        progress: where to say what was taken over.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder, self.progress = folder, progress

    def collect(
        self,
        key: str,
        identity: AnswerSet,
        open_engine: Callable[[], Engine],
        items: Sequence[Item],
        protocol: Protocol,
        advance: Callable[[int], None],
    ) -> list[Answer]:
        """Every item's answer, from the journal or from the engine; published under ``answers/KEY``.

        Args:
            key: the model's name in this run ("child", "null:uniform", ...).
            identity: of the answers: model, task, protocol, engine.
            open_engine: called only when an item's answer is missing.
            items: n items.
            protocol: they are asked under.
            advance: called with the number of items done.

        Returns:
            n answers, in the order of ``items``.
        """
        journal = self.folder / "state" / "answers" / f"{identity.benchmark}-{_name(identity)}.jsonl"
        kept = read_answers(journal)
        missing = [item for item in items if not _same(kept.get(item_hash(item)), item)]
        if len(missing) < len(items):
            advance(len(items) - len(missing))
            self.progress.say(f"{identity.model}, {identity.benchmark}: {len(items) - len(missing)} answers taken over")
        if missing:
            engine = open_engine()
            with writing(journal):
                journal.parent.mkdir(parents=True, exist_ok=True)
                end_last_line(journal)
            for answer in engine.answers(missing, protocol):
                with writing(journal), journal.open("a", encoding="utf-8", newline="\n") as stream:
                    stream.write(answer.model_dump_json() + "\n")
                kept[answer.key] = answer
                advance(1)
        answers = [kept[item_hash(item)] for item in items]
        path = answers_path(self.folder, key, identity.benchmark)
        write_text(path, "".join(answer.model_dump_json() + "\n" for answer in answers))
        identity.model_copy(update={"items": len(answers)}).save(path.with_suffix(".json"))
        return answers


def answers_path(folder: Path, key: str, task: str) -> Path:
    """Where a model's answers to a task are published.

    Args:
        folder: of the run.
        key: the model's name in the run.
        task: name of the task.

    Returns:
        The path of a JSONL file.
    """
    return folder / "answers" / key.replace(":", "-") / f"{task}.jsonl"


def read_answers(path: Path) -> dict[str, Answer]:
    """Answers of a file by item hash, the last of each; lines that were cut short are left out."""
    answers: dict[str, Answer] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                answer = Answer.model_validate_json(line)
            except ValidationError:
                continue
            answers[answer.key] = answer
    return answers


def end_last_line(path: Path) -> None:
    """End a file whose last line was cut short, so that what is appended starts a line of its own."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb+") as stream:
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                stream.write(b"\n")


def _name(identity: AnswerSet) -> str:
    text = identity.model_copy(update={"items": 0, "model": ""}).to_json()
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _same(answer: Answer | None, item: Item) -> bool:
    """Whether a kept answer is to this very item, clustered and sliced as now."""
    return answer is not None and (answer.gold, answer.cluster, answer.slice) == (item.gold, item.cluster, item.slice)
