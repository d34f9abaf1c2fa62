"""The bench stage: parents and child by lm-eval, null children by the fast scorer, on held-out items; then the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from darwin_mri.benchmarks import (
    BENCHMARKS,
    Item,
    Scorer,
    chance,
    lm_eval_answers,
    load_benchmark,
    sample_items,
    to_answers,
)
from darwin_mri.checkpoints import ModelSource, load_model, load_tokenizer
from darwin_mri.merging import Candidate
from darwin_mri.records import Answer, Comparison, Genome, write_text
from darwin_mri.stages.merging import Breed
from darwin_mri.stages.parents import Loaded, working_dtype
from darwin_mri.stages.run import Progress, Run
from darwin_mri.stats.compare import compare

ItemsByTask = Mapping[str, Sequence[Item]]
AnswersByTask = dict[str, list[Answer]]


def bench_model(
    source: ModelSource, items: ItemsByTask, *, device: str, dtype: str, harness: bool, progress: Progress, title: str
) -> AnswersByTask:
    """Load a model from disk and answer every item, by lm-eval or by the fast scorer."""
    model = load_model(source, device=device, dtype=working_dtype(device, dtype))
    tokenizer = load_tokenizer(source)
    if not harness:
        return score(Scorer(model, tokenizer), items, progress, title)
    answers: AnswersByTask = {}
    with progress.stage(f"lm-eval {title}", sum(len(part) for part in items.values())) as advance:
        for name, part in items.items():
            length = model.config.get_text_config().max_position_embeddings
            answers[name] = lm_eval_answers(model, tokenizer, part, task_name=name, max_length=min(length, 4096))
            advance(len(part))
    return answers


def score(scorer: Scorer, items: ItemsByTask, progress: Progress, title: str) -> AnswersByTask:
    """Answers of the model as it is now, by the fast scorer."""
    answers: AnswersByTask = {}
    with progress.stage(f"score {title}", sum(len(part) for part in items.values())) as advance:
        for name, part in items.items():
            answers[name] = to_answers(part, scorer.log_probabilities(scorer.prepare(part)))
            advance(len(part))
    return answers


def bench_nulls(
    father: Loaded, breed: Breed, genome: Genome, items: ItemsByTask, progress: Progress
) -> dict[str, AnswersByTask]:
    """Answers of the null children, applied in memory to the resident father, who is himself again afterwards."""
    scorer = Scorer(father.model, father.tokenizer)
    out = {}
    for name, genes in genome.nulls.items():
        merge = breed.shuffled().merge if name == "shuffled-donor" else breed.merge
        candidate = Candidate(father.model, breed.tensors(), merge)
        candidate.apply(genes)
        out[name] = score(scorer, items, progress, f"null {name}")
        candidate.restore()
    return out


def save_answers(run: Run, key: str, answers: AnswersByTask) -> None:
    for task, lines in answers.items():
        write_text(answers_path(run.folder, key, task), "".join(line.model_dump_json() + "\n" for line in lines))


def answers_path(folder: Path, key: str, task: str) -> Path:
    return folder / "answers" / key.replace(":", "-") / f"{task}.jsonl"


def load_answers(run: Run, key: str, tasks: Sequence[str]) -> AnswersByTask | None:
    """A model's answers from an earlier part of this run; None unless every task is there."""
    out: AnswersByTask = {}
    for task in tasks:
        path = answers_path(run.folder, key, task)
        if not path.is_file():
            return None
        out[task] = [Answer.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return out


def whole_benchmarks(tasks: Sequence[str], size: int | None, seed: int) -> dict[str, tuple[Item, ...]]:
    """All items of each benchmark, or a seeded sample of ``size``; never the first ones."""
    loaded = {task: load_benchmark(task) for task in tasks}
    return {task: sample_items(items, size, seed) if size else items for task, items in loaded.items()}


def make_comparison(
    answers: Mapping[str, AnswersByTask],
    names: Mapping[str, tuple[str, str]],
    items: ItemsByTask,
    weights: Mapping[str, float],
    seed: int,
    *,
    split: Literal["held-out", "full"] = "held-out",
) -> Comparison:
    """The comparison record; ``names`` maps each key of ``answers`` to (model name, role)."""
    protocols = {BENCHMARKS[task].protocol for task in items}
    return compare(
        answers,
        names,
        " / ".join(sorted(protocols)),
        {task: chance(tuple(part)) for task, part in items.items()},
        weights,
        seed,
        split=split,
    )
