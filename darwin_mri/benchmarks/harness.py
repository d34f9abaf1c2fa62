"""lm-evaluation-harness: what reports quote, and what the fast scorer is tested against. Only this file imports it.

Items become an in-memory task (zero-shot, no response cache: its key ignores the model), asked in chunks, so that what was answered is
safe when a later chunk fails. Nothing is written to disk and nothing is logged.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.benchmarks.answers import to_answers
from darwin_mri.benchmarks.generation import END_OF_THINKING, chat_message, to_voted_answer
from darwin_mri.benchmarks.items import Item
from darwin_mri.benchmarks.lengths import computable_context, stated_context
from darwin_mri.benchmarks.scorer import is_out_of_memory
from darwin_mri.config import Generation
from darwin_mri.errors import ConfigError, DarwinError, InputError
from darwin_mri.records import Answer, Protocol

CHUNK = 64  # items asked at a time
MOST_ROWS = 32
BATCH_TOKENS = {"cpu": 1024}  # rows x tokens of a batch: on a CPU longer ones only leave its caches
LONG_BATCH_TOKENS = 65536
LOGITS_BYTES = 2e9  # HFLM keeps rows x tokens x vocabulary in float32, twice


class HarnessEngine:
    """A language model of lm-eval, asked our items.

    Args:
        lm: any model class of lm-eval.
        name: what the answers are said to come from, such as "lm-eval hf".
        vocabulary: size of the logits, for an in-memory model whose batches are ours to choose; None leaves them to ``lm``.
    """

    def __init__(self, lm: Any, name: str, vocabulary: int | None = None) -> None:
        self.lm, self.name, self.vocabulary = lm, name, vocabulary
        self.most_rows = MOST_ROWS
        self.fixed_rows: int | None = None  # a batch size of the caller's own

    @classmethod
    def in_memory(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        beyond_context: bool = False,
        generation: Generation | None = None,
    ) -> HarnessEngine:
        """HFLM on a resident model as it is now; ``beyond_context`` as in ``Scorer``.

        Raises:
            InputError: lm-eval is not installed.
        """
        limit = (computable_context if beyond_context else stated_context)(model.config)
        tokenizer = copy.deepcopy(tokenizer)  # HFLM may add a padding token
        hflm: Any = _lm_class("hf")
        with _quiet():
            lm = hflm(
                pretrained=model,
                tokenizer=tokenizer,
                batch_size=1,
                max_length=limit or 2**31,
                softmax_dtype=torch.float32,
                **_thinking(tokenizer, generation),
            )
        vocabulary = model.config.get_text_config().vocab_size
        return cls(lm, "lm-eval hf", vocabulary)

    @classmethod
    def named(cls, backend: str, arguments: str, *, model: str = "") -> HarnessEngine:
        """A backend of lm-eval by its own name: vllm, sglang, local-completions, ...; names and arguments are passed through.

        Args:
            backend: as lm-eval's ``--model``.
            arguments: as lm-eval's ``--model_args``, "a=1,b=2".
            model: folder or id, given as ``pretrained`` (``model`` for API backends) where the arguments do not.

        Raises:
            ConfigError: lm-eval has no such backend.
            InputError: it cannot be started (the package is missing, the model is not found, ...).
        """
        kind: Any = _lm_class(backend)
        key = "model" if "completions" in backend else "pretrained"
        given = {part.partition("=")[0].strip() for part in arguments.split(",")}
        extra = {key: model} if model and key not in given else {}
        try:
            with _quiet():
                lm = kind.create_from_arg_string(arguments, extra)
        except Exception as error:
            missing = f", package {error.name} is missing" if isinstance(error, ImportError) and error.name else ""
            raise InputError(
                f"lm-eval's backend {backend} does not start ({type(error).__name__}{missing}): check --backend-args, or see"
                " --debug"
            ) from error
        return cls(lm, f"lm-eval {backend}")

    def answers(self, items: Sequence[Item], protocol: Protocol) -> Iterator[Answer]:
        order = sorted(items, key=lambda item: -max(len(item.context), len(item.message)))  # memory fails at the start
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            self._refuse_long(chunk, protocol)
            if protocol.kind == "generate":
                texts = self._ask(_chat_task(chunk, protocol), chunk, "resps", chat=True)
                yield from (to_voted_answer(item, t[0], protocol) for item, t in zip(chunk, texts, strict=True))
            else:
                pairs = self._ask(_choice_task(chunk), chunk, "filtered_resps", chat=False)
                yield from to_answers(chunk, [np.array([float(p[0]) for p in row]) for row in pairs], protocol.hash)

    def _refuse_long(self, chunk: Sequence[Item], protocol: Protocol) -> None:
        """lm-eval would cut such an item from the left and say so in its log only. No tokenizer makes more tokens than bytes."""
        most = getattr(self.lm, "max_length", None)
        room = protocol.generation.max_new_tokens if protocol.generation else 0
        for item in chunk:
            if most is None or len((item.context + item.message).encode()) + 512 + room <= most:
                continue
            if protocol.kind == "generate":
                chat = [{"role": "user", "content": chat_message(item, protocol)}]
                tokens = self._tokens(self.lm.apply_chat_template(chat)) + room
            else:
                tokens = max(self._tokens(f"{item.context} {choice}") for choice in item.choices)
            if tokens > most:
                raise InputError(
                    f"{item.name} has {tokens} tokens, more than the model's {most} positions: leave it"
                    " out or use a model with a longer context"
                )

    def _ask(self, task: Any, chunk: Sequence[Item], field: str, *, chat: bool) -> list[Any]:
        """The field of each item's logged sample, in the order of ``chunk``; out of memory halves the batch."""
        benchmark = chunk[0].benchmark
        rows = 0
        if self.vocabulary is not None:
            longest = max(self._tokens(item.message or item.context) for item in chunk[:4]) + 64
            tokens = BATCH_TOKENS.get(self.lm.device.type, LONG_BATCH_TOKENS)
            rows = int(max(1, min(self.most_rows, tokens // longest, LOGITS_BYTES // (longest * self.vocabulary * 8))))
            rows = self.fixed_rows or rows
            self.lm.batch_size_per_gpu = rows
        try:
            with _quiet(), torch.random.fork_rng():
                torch.manual_seed(zlib.crc32("".join(item.key for item in chunk).encode()))
                from lm_eval.evaluator import evaluate

                results: Any = evaluate(
                    lm=self.lm,
                    task_dict={benchmark: task},
                    bootstrap_iters=0,
                    log_samples=True,
                    apply_chat_template=chat,
                )
        except DarwinError:
            raise
        except Exception as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error) and rows > 1:
                self.most_rows = rows // 2
            else:
                # Never the error's own words: they may quote a prompt.
                raise DarwinError(
                    f"{self.name} failed on {benchmark} ({type(error).__name__}) in the {len(chunk)} items from"
                    f" {chunk[0].key}: answers so far are kept, the same command goes on; --debug shows more"
                ) from error
        else:
            samples = results["samples"][benchmark] if results else []
            found = {sample["doc_id"]: sample[field] for sample in samples}
            if sorted(found) != list(range(len(chunk))):
                raise DarwinError(
                    f"lm-eval returned {len(found)} results for {len(chunk)} items of {benchmark}: check its version"
                )
            return [found[number] for number in range(len(chunk))]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._ask(task, chunk, field, chat=chat)

    def _tokens(self, text: str) -> int:
        return len(self.lm.tok_encode(text)) if hasattr(self.lm, "tok_encode") else 0


def upstream_click() -> Callable[[Mapping[str, Any]], tuple[str, list[str]]]:
    """Prompt and choices that the installed lm-eval's own CLIcK task makes of a row of the data set.

    Raises:
        InputError: lm-eval is not installed, or has no such task any more.
    """
    _lm_class("hf")
    import lm_eval

    path = Path(lm_eval.__file__).parent / "tasks" / "click" / "click_cul" / "utils.py"
    spec = importlib.util.spec_from_file_location("lm_eval_click_utils", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError("the installed lm-eval has no CLIcK task where 0.4.13 has it: use task click")
    utils: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    return lambda row: (utils.get_context(row), utils.get_choices(row))


def _lm_class(backend: str) -> Any:
    with _quiet():
        try:
            import lm_eval.models  # noqa: F401  # takes seconds, and only these functions need it
            from lm_eval.api.registry import get_model, model_registry
        except ImportError as error:
            if importlib.util.find_spec("lm_eval") is None:
                raise InputError("this needs lm-eval: pip install 'darwin-mri[bench]', or use --fast") from None
            raise InputError(f"lm-eval cannot be loaded ({error}): install what it needs, or use --fast") from error
        if backend not in model_registry:
            raise ConfigError(f"lm-eval has no backend '{backend}': it has {', '.join(sorted(model_registry))}")
        try:
            return get_model(backend)
        except ImportError as error:
            raise InputError(
                f"lm-eval's backend {backend} cannot be loaded ({error}): install what it needs"
            ) from error


def _thinking(tokenizer: PreTrainedTokenizerBase, generation: Generation | None) -> dict[str, Any]:
    """HFLM's words for thinking: the switch of the chat template, and the token that ends it."""
    if generation is None:
        return {}
    words: dict[str, Any] = {"chat_template_args": {"enable_thinking": generation.thinking}}
    vocabulary = tokenizer.get_vocab()
    ends = [vocabulary[marker] for marker in END_OF_THINKING if marker in vocabulary]
    if ends:  # a special token would vanish when the text is decoded, and with it the end of the thoughts
        words["think_end_token"] = ends[0]
    return words


def _choice_task(items: Sequence[Item]) -> Any:
    """The items as a multiple-choice task; lm-eval's default delimiter, one space, is the one of ``Item``."""
    rows = [{"context": item.context, "choices": list(item.choices), "gold": item.gold} for item in items]
    return _task(
        items[0].benchmark,
        rows,
        output_type="multiple_choice",
        doc_to_text=lambda doc: doc["context"],
        doc_to_choice=lambda doc: doc["choices"],
        doc_to_target=lambda doc: doc["gold"],
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )


def _chat_task(items: Sequence[Item], protocol: Protocol) -> Any:
    """The items as a generation task; letters are read from the answers here, not by its filters."""
    generation = protocol.generation or Generation()
    sampling = {"do_sample": True, "temperature": generation.temperature} if generation.temperature else {}
    return _task(
        items[0].benchmark,
        [{"message": chat_message(item, protocol)} for item in items],
        output_type="generate_until",
        doc_to_text=lambda doc: doc["message"],
        doc_to_target=lambda doc: "",
        generation_kwargs={"until": [], "max_gen_toks": generation.max_new_tokens, **({"do_sample": False} | sampling)},
        repeats=generation.samples,
        metric_list=[{"metric": "bypass"}],
    )


def _task(name: str, rows: list[dict[str, Any]], **config: Any) -> Any:
    with _quiet():
        from datasets import Dataset, DatasetDict
        from lm_eval.api.task import ConfigurableTask

        return ConfigurableTask(
            config={
                "task": name,
                "custom_dataset": lambda **_: DatasetDict({"test": Dataset.from_list(rows)}),
                "test_split": "test",
                "num_fewshot": 0,
                "metadata": {"version": 1.0},
                **config,
            }
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log lines, progress bars and warnings of lm-eval and its backends away from the user's terminal."""
    disabled = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
