"""lm-evaluation-harness: what reports quote, and what the fast scorer is tested against. Only this file imports it.

Items become an in-memory task (zero-shot, no response cache: its key ignores the model), asked in chunks, so that what
was answered is safe when a later chunk fails. Nothing is written to disk. What lm-eval prints does not reach the
terminal: its warnings pass, and the rest goes with the error when a call fails.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri import seeds
from darwin_mri.benchmarks.answers import to_answers
from darwin_mri.benchmarks.backend_output import contain_output
from darwin_mri.benchmarks.chat import Prompt, render_chat
from darwin_mri.benchmarks.context_limits import computable_context, stated_context
from darwin_mri.benchmarks.encoding import choice_texts
from darwin_mri.benchmarks.generation import chat_message, to_voted_answer
from darwin_mri.benchmarks.items import ChoiceItem, Item, with_choices
from darwin_mri.benchmarks.lm_texts import keep_endings, share_tokens, to_reply
from darwin_mri.checkpoints.devices import retry_smaller
from darwin_mri.config import Generation
from darwin_mri.errors import ConfigError, DarwinError, InputError
from darwin_mri.records import Answer, Protocol

CHUNK = 64  # items asked at a time
MOST_ROWS = 32
BATCH_TOKENS = {"cpu": 1024}  # rows x tokens of a batch: on a CPU longer ones only leave its caches
LONG_BATCH_TOKENS = 65536
LOGITS_BYTES = 2e9  # HFLM keeps rows x tokens x vocabulary in float32, twice
FAST = "the fast scorer (--fast of bench, bench: {harness: false} in a config)"


class HarnessEngine:
    """A language model of lm-eval that answers a benchmark's items.

    Wherever texts are rendered and tokenised here and not by a server, it is done as for every other engine.

    Args:
        lm: any model class of lm-eval; its ways of tokenising and decoding are replaced.
        name: engine that answers are recorded as coming from, such as "lm-eval hf".
        vocabulary: size of the logits, where the batch size is chosen here (a model in memory); None: ``lm`` chooses.

    Attributes:
        most_rows: largest batch; halved when memory runs out.
        fixed_rows: a batch size of the caller's own, used as long as it fits; None lets lengths and vocabulary decide.
    """

    IN_MEMORY = "lm-eval hf"  # the name of the engine of a model in memory

    def __init__(self, lm: Any, name: str, vocabulary: int | None = None) -> None:
        self.lm, self.name, self.vocabulary = lm, name, vocabulary
        self.tokenizer, self.tells_endings = share_tokens(lm), keep_endings(lm)
        self.most_rows = MOST_ROWS
        self.fixed_rows: int | None = None

    @classmethod
    def in_memory(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        beyond_context: bool = False,
    ) -> HarnessEngine:
        """HFLM on a resident model as it is now.

        Args:
            model: a causal language model.
            tokenizer: the model's tokenizer; it is copied, since HFLM may add a padding token.
            beyond_context: as in ``Scorer``.

        Returns:
            The engine.

        Raises:
            InputError: lm-eval is not installed.
        """
        limit = (computable_context if beyond_context else stated_context)(model.config)
        tokenizer = copy.deepcopy(tokenizer)
        hflm: Any = _lm_class("hf")
        with contain_output():
            lm = hflm(
                pretrained=model,
                tokenizer=tokenizer,
                batch_size=1,
                max_length=limit or 2**31,
                softmax_dtype=torch.float32,
            )
        vocabulary = model.config.get_text_config().vocab_size
        return cls(lm, cls.IN_MEMORY, vocabulary)

    @classmethod
    def named(cls, backend: str, arguments: str, *, model: str = "") -> HarnessEngine:
        """A backend of lm-eval by its own name: vllm, sglang, local-completions, ...

        Name and arguments are passed through.

        Args:
            backend: as lm-eval's ``--model``.
            arguments: as lm-eval's ``--model_args``, "a=1,b=2".
            model: folder or id, passed as ``pretrained`` (``model`` for API backends) where the arguments name none.

        Returns:
            The engine.

        Raises:
            ConfigError: lm-eval has no such backend.
            InputError: it cannot be started (the package is missing, the model is not found, ...).
        """
        kind: Any = _lm_class(backend)
        key = "model" if "completions" in backend else "pretrained"
        given = {part.partition("=")[0].strip() for part in arguments.split(",")}
        extra = {key: model} if model and key not in given else {}
        try:
            with contain_output():
                lm = kind.create_from_arg_string(arguments, extra)
        except Exception as error:
            missing = f", package {error.name} is missing" if isinstance(error, ImportError) and error.name else ""
            raise InputError(
                f"lm-eval's backend {backend} does not start ({type(error).__name__}{missing}): check --backend-args,"
                " or see --debug"
            ) from error
        return cls(lm, f"lm-eval {backend}")

    def answers(self, items: Sequence[Item], protocol: Protocol) -> Iterator[Answer]:
        """As ``Engine``, longest items first.

        Raises:
            InputError: an item is longer than the model's context, or the chat template leaves its question out.
            DarwinError: lm-eval fails; the message never quotes a prompt.
        """
        asked = with_choices(items)
        order = sorted(asked, key=lambda item: -max(len(item.context), len(item.message)))  # memory fails at the start
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            if protocol.generation is not None:
                yield from self._generated(chunk, protocol, protocol.generation)
            else:
                yield from self._scored(chunk, protocol)

    def _scored(self, chunk: Sequence[ChoiceItem], protocol: Protocol) -> list[Answer]:
        texts = [choice_texts(item, self.tokenizer) for item in chunk]
        self._refuse_long(chunk, [[context + end for end in ends] for context, ends in texts])
        pairs = self._ask(_choice_task(chunk, texts), chunk, "filtered_resps", chat=False)
        scores = [np.array([float(pair[0]) for pair in row]) for row in pairs]  # (choices,) of each item
        return to_answers(chunk, scores, protocol.hash)

    def _generated(self, chunk: Sequence[ChoiceItem], protocol: Protocol, generation: Generation) -> Iterator[Answer]:
        prompts = [self._prompt(item, chat_message(item, protocol), generation.thinking) for item in chunk]
        self._refuse_long(chunk, [[prompt.text] for prompt in prompts], generation.max_new_tokens)
        texts = self._ask(_chat_task(chunk, prompts, generation), chunk, "resps", chat=self.tokenizer is None)
        for item, prompt, row in zip(chunk, prompts, texts, strict=True):
            replies = [to_reply(text, tells_ending=self.tells_endings, thinks=prompt.opens_thought) for text in row[0]]
            yield to_voted_answer(item, replies, protocol)

    def _prompt(self, item: ChoiceItem, message: str, thinking: bool) -> Prompt:
        """The rendered message; the message alone where a server renders it."""
        if self.tokenizer is None:
            return Prompt(message)
        switches = getattr(self.lm, "chat_template_args", None) or {}
        return render_chat(self.tokenizer, message, item.name, **{**switches, "thinking": thinking})

    def _refuse_long(self, chunk: Sequence[ChoiceItem], texts: Sequence[Sequence[str]], room: int = 0) -> None:
        """Refuse items longer than the context: lm-eval would cut them from the left and say so in its log only."""
        most = getattr(self.lm, "max_length", None)
        for item, read in zip(chunk, texts, strict=True):
            # No tokenizer makes more tokens than bytes.
            if most is None or max(len(text.encode()) for text in read) + 512 + room <= most:
                continue
            tokens = max(map(self._tokens, read)) + room
            if tokens > most:
                raise InputError(
                    f"{item.name} has {tokens} tokens, more than the model's {most} positions: leave it"
                    " out or use a model with a longer context"
                )

    def _ask(self, task: Any, chunk: Sequence[ChoiceItem], field: str, *, chat: bool) -> list[Any]:
        """The field of each item's logged sample, in the order of ``chunk``; out of memory halves the batch."""
        benchmark = chunk[0].benchmark
        rows = 0  # 0: the backend's own

        def attempt() -> dict[str, Any] | None:
            nonlocal rows
            if self.vocabulary is not None:
                rows = self._rows(chunk, self.vocabulary)
                self.lm.batch_size_per_gpu = rows
            return self._evaluate(task, chunk, chat=chat)

        def halve() -> bool:
            if rows <= 1:
                return False
            self.most_rows = rows // 2
            return True

        def advice() -> str:
            remedy = "a larger device" if rows else "a larger device or a smaller batch_size in --backend-args"
            return (
                f"{self.name} runs out of memory on {benchmark} in the {len(chunk)} items from {chunk[0].key}:"
                f" use {remedy}; answers so far are kept"
            )

        try:
            results = retry_smaller(attempt, halve, advice)
        except DarwinError:
            raise
        except Exception as error:
            # Never the error's own words: they may quote a prompt.
            raise DarwinError(
                f"{self.name} failed on {benchmark} ({type(error).__name__}) in the {len(chunk)} items from"
                f" {chunk[0].key}: answers so far are kept, the same command goes on; --debug shows more"
            ) from error
        samples = results["samples"][benchmark] if results else []
        fields = {sample["doc_id"]: sample[field] for sample in samples}
        if sorted(fields) != list(range(len(chunk))):
            raise DarwinError(
                f"lm-eval returned {len(fields)} results for {len(chunk)} items of {benchmark}: check its version"
            )
        return [fields[number] for number in range(len(chunk))]

    def _rows(self, chunk: Sequence[ChoiceItem], vocabulary: int) -> int:
        """Batch size for items of the chunk's length, the longest of which come first."""
        if self.fixed_rows:
            return min(self.fixed_rows, self.most_rows)
        longest = max(self._tokens(item.message or item.context) for item in chunk[:4]) + 64
        tokens = BATCH_TOKENS.get(self.lm.device.type, LONG_BATCH_TOKENS)
        return int(max(1, min(self.most_rows, tokens // longest, LOGITS_BYTES // (longest * vocabulary * 8))))

    def _evaluate(self, task: Any, chunk: Sequence[ChoiceItem], *, chat: bool) -> dict[str, Any] | None:
        with contain_output(), torch.random.fork_rng():
            torch.manual_seed(seeds.integer(0, "sampled answers", *(item.key for item in chunk)))
            from lm_eval.evaluator import evaluate

            results: Any = evaluate(
                lm=self.lm,
                task_dict={chunk[0].benchmark: task},
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=chat,
            )
        return results

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


def require_backend(name: str) -> None:
    """Raise InputError unless lm-eval is installed, ConfigError unless it has this backend."""
    if importlib.util.find_spec("lm_eval") is None or name != "hf":  # its import takes seconds, and hf is always there
        _lm_class(name)


def _lm_class(backend: str) -> Any:
    with contain_output():
        try:
            import lm_eval.models  # noqa: F401  # takes seconds, and only these functions need it
            from lm_eval.api.registry import get_model, model_registry
        except ImportError as error:
            if importlib.util.find_spec("lm_eval") is None:
                raise InputError(f"this needs lm-eval: pip install 'darwin-mri[bench]', or {FAST}") from None
            raise InputError(f"lm-eval cannot be loaded ({error}): install what it needs, or {FAST}") from error
        if backend not in model_registry:
            raise ConfigError(f"lm-eval has no backend '{backend}': it has {', '.join(sorted(model_registry))}")
        try:
            return get_model(backend)
        except ImportError as error:
            raise InputError(
                f"lm-eval's backend {backend} cannot be loaded ({error}): install what it needs"
            ) from error


def _choice_task(items: Sequence[ChoiceItem], texts: Sequence[tuple[str, Sequence[str]]]) -> Any:
    """The items as a multiple-choice task, from (context, continuations) of each, which hold their own space."""
    rows = [
        {"context": context, "choices": list(ends), "gold": item.gold}
        for item, (context, ends) in zip(items, texts, strict=True)
    ]
    return _task(
        items[0].benchmark,
        rows,
        output_type="multiple_choice",
        target_delimiter="",
        doc_to_text=lambda doc: doc["context"],
        doc_to_choice=lambda doc: doc["choices"],
        doc_to_target=lambda doc: doc["gold"],
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )


def _chat_task(items: Sequence[ChoiceItem], prompts: Sequence[Prompt], generation: Generation) -> Any:
    """The items as a generation task; letters are read from the answers here, not by its filters."""
    sampling = {"do_sample": True, "temperature": generation.temperature} if generation.temperature else {}
    return _task(
        items[0].benchmark,
        [{"prompt": prompt.text} for prompt in prompts],
        output_type="generate_until",
        doc_to_text=lambda doc: doc["prompt"],
        doc_to_target=lambda doc: "",
        generation_kwargs={"until": [], "max_gen_toks": generation.max_new_tokens, **({"do_sample": False} | sampling)},
        repeats=generation.samples,
        metric_list=[{"metric": "bypass"}],
    )


def _task(name: str, rows: list[dict[str, Any]], **config: Any) -> Any:
    with contain_output():
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
