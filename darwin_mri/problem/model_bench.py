"""Who answers benchmark items by which engine: local models, a resident candidate, a served model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from darwin_mri.benchmarks import (
    EndpointEngine,
    Engine,
    FastEngine,
    HarnessEngine,
    Item,
    OwnTasks,
    Scorer,
    get_benchmark,
)
from darwin_mri.benchmarks.store import AnswerStore
from darwin_mri.checkpoints import (
    LoadedModel,
    ModelSource,
    answers_digest,
    file_digests,
    load_model,
    load_tokenizer,
    working_dtype,
)
from darwin_mri.checkpoints.model import explain_out_of_memory
from darwin_mri.config import BenchConfig, Served
from darwin_mri.errors import ConfigError
from darwin_mri.problem.items import task_protocol
from darwin_mri.records import Answer, AnswerSet, Protocol

ItemsByTask = Mapping[str, Sequence[Item]]
AnswersByTask = dict[str, list[Answer]]
ADVICE = "free memory on the device or use a larger one; answers so far are kept, the same command goes on"


@dataclass(frozen=True)
class _Model:
    """Whose answers are collected: its name, the digest of what it is made of, and how its engines are opened.

    Attributes:
        name: as it is shown.
        digest: of what it is made of.
        engine_name: of the engine that is asked for choices.
        precision: device and type of the numbers.
        open_engine: opens that engine.
        open_fast: opens the engine of all other tasks, this package's own; None where the model is not in memory.
    """

    name: str
    digest: str
    engine_name: str
    precision: str
    open_engine: Callable[[], Engine]
    open_fast: Callable[[], Engine] | None = None


class ModelBench:
    """Asks models the items of a bench, and keeps every answer.

    Args:
        store: where answers are kept.
        items: by task.
        bench: protocol, engine and what becomes of long items.
        device: where local models compute.
        dtype: of local models; ``auto`` for their own.
        own: the user's own tasks by name.
    """

    def __init__(
        self, store: AnswerStore, items: ItemsByTask, bench: BenchConfig, device: str, dtype: str, own: OwnTasks
    ) -> None:
        self.store, self.items, self.bench, self.device, self.own = store, items, bench, device, own
        self.precision = working_dtype(device, dtype)

    def ask_local(self, key: str, source: ModelSource, resident: LoadedModel | None = None) -> AnswersByTask:
        """A local model's answers, by lm-eval or by the fast scorer; it is loaded only when some answer is missing.

        Args:
            key: the model's name in this run.
            source: the model, or for a server's backend its name.
            resident: the same model where it is in memory already.

        Returns:
            Task -> answers in the order of the items.
        """
        bench = self.bench
        fast = not bench.harness and bench.protocol == "loglikelihood" and bench.backend == "hf"

        @cache
        def loaded() -> tuple[Any, Any]:
            if resident is not None:
                return resident.model, resident.tokenizer
            return load_model(source, device=self.device, dtype=self.precision), load_tokenizer(source)

        @cache
        def engine(fast: bool) -> Engine:
            if not fast and (bench.backend != "hf" or bench.backend_args):
                model = source.ref if is_api(bench.backend) else str(source.folder)
                return HarnessEngine.named(bench.backend, bench.backend_args, model=model)
            return self._engine(*loaded(), fast)

        name = FastEngine.name if fast else f"lm-eval {bench.backend}"
        if bench.backend_args:  # which may name folders and hosts: published by hash only
            name += f" (arguments {hashlib.sha256(bench.backend_args.encode()).hexdigest()[:8]})"
        if is_api(bench.backend):
            digest, precision = hashlib.sha256(source.ref.encode()).hexdigest(), ""
        else:
            digest, precision = answers_digest(file_digests(source.folder)), f"{self.device} {self.precision}"
        open_fast = None if is_api(bench.backend) else lambda: engine(True)
        model = _Model(source.ref, digest, name, precision, lambda: engine(fast), open_fast)
        return self._collect(key, model, self._protocols())

    def ask_resident(self, key: str, name: str, digest: str, model: LoadedModel) -> AnswersByTask:
        """Answers of a candidate that is written into a resident model.

        By the fast scorer, whose protocol is lm-eval's (decision 5); generated answers come from lm-eval here too.

        Args:
            key: the candidate's name in this run.
            name: as it is shown.
            digest: of what the candidate is made of.
            model: whose weights are the candidate's now.

        Returns:
            Task -> answers in the order of the items.
        """
        return self.ask_made(key, name, digest, lambda: model)

    def ask_made(self, key: str, name: str, digest: str, make: Callable[[], LoadedModel]) -> AnswersByTask:
        """As ``ask_resident``, of a candidate that is made only when some answer is missing.

        Args:
            key: the candidate's name in this run.
            name: as it is shown.
            digest: of what the candidate is made of.
            make: gives the model in memory; called once at most.

        Returns:
            Task -> answers in the order of the items.
        """
        made = cache(make)

        @cache
        def engine(fast: bool) -> Engine:
            return self._engine(made().model, made().tokenizer, fast)

        fast = self.bench.protocol != "generate"
        engine_name = FastEngine.name if fast else HarnessEngine.IN_MEMORY
        asked = _Model(name, digest, engine_name, "", lambda: engine(fast), lambda: engine(True))
        return self._collect(key, asked, self._protocols())

    def ask_served(self, key: str, served: Served) -> tuple[str, AnswersByTask]:
        """(name, answers) of a model behind an endpoint: by the generative protocol, all that the interface offers."""
        engine = EndpointEngine(
            served.url, served.model, timeout=served.timeout, retries=served.retries, concurrency=served.concurrency
        )
        name = engine.model.rstrip("/").rpartition("/")[2] if engine.model.startswith("/") else engine.model
        name = " ".join(name.split())
        protocols = self._chat_protocols()
        # The place by hash only; names such as "default" say little, so another place is another model.
        digest = hashlib.sha256(json.dumps([engine.url, engine.model]).encode()).hexdigest()
        return name, self._collect(key, _Model(name, digest, engine.name, "", lambda: engine), protocols)

    def protocols(self) -> list[Protocol]:
        """Every protocol that some model may have been asked under."""
        protocols = list(self._protocols().values())
        if self.bench.endpoint is not None:
            protocols += self._chat_protocols().values()
        return list({protocol.hash: protocol for protocol in protocols}.values())

    def _protocols(self) -> dict[str, Protocol]:
        return {task: task_protocol(self.bench, task, self.own) for task in self.items}

    def _chat_protocols(self) -> dict[str, Protocol]:
        benchmarks = {task: get_benchmark(task, self.own) for task in self.items}
        return {task: one.chat_protocol(self.bench.generation) for task, one in benchmarks.items() if one.choices}

    def _engine(self, model: Any, tokenizer: Any, fast: bool) -> Engine:
        beyond = self.bench.long_items == "beyond"
        if fast:
            return FastEngine(Scorer(model, tokenizer, beyond_context=beyond))
        return HarnessEngine.in_memory(model, tokenizer, beyond_context=beyond)

    def _collect(self, key: str, model: _Model, protocols: Mapping[str, Protocol]) -> AnswersByTask:
        answers: AnswersByTask = {}
        verb = {"darwin_mri": "score", "endpoint": "ask"}.get(model.engine_name.partition(" ")[0], "lm-eval")
        title, total = f"{verb} {model.name}", sum(len(self.items[task]) for task in protocols)
        with self.store.progress.stage(title, total) as advance, explain_out_of_memory(title, ADVICE):
            for task, protocol in protocols.items():
                items, own = self.items[task], not get_benchmark(task, self.own).choices
                if own and model.open_fast is None:
                    raise ConfigError(f"{task} is scored in memory: use --backend hf, or leave the task out")
                identity = AnswerSet(
                    model=model.name,
                    digest=model.digest,
                    benchmark=task,
                    protocol=protocol.label,
                    protocol_hash=protocol.hash,
                    engine=FastEngine.name if own else model.engine_name,
                    precision=model.precision,
                )
                engine = (own and model.open_fast) or model.open_engine
                answers[task] = self.store.collect(key, identity, engine, items, protocol, advance)
        return answers


def is_api(backend: str) -> bool:
    """Whether a backend of lm-eval asks a server: its models are names, not folders."""
    return "completions" in backend


def model_key(number: int, source: ModelSource) -> str:
    """Folder name of a model's answers in a bench: its place and its name."""
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(source.ref).name)
    return f"{number}-{plain}"
