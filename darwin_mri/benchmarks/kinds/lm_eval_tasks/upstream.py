"""All that own tasks take from lm-eval: its task index, templates, ways of tokenising, windows and aggregations.

It is imported when a function is called: that takes seconds, and most runs need none of it.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, StrictUndefined
from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.backend_output import contain_output
from darwin_mri.benchmarks.template_limits import LimitedSandbox, render_within_limits
from darwin_mri.errors import InputError

LONGEST_ANSWER = 256  # tokens, where a task states none
Windows = list[tuple[list[int], list[int]]]


def task_manager(include_path: Path | None, *, defaults: bool) -> Any:
    """lm-eval's index of tasks, groups and tags; nothing that a task names is executed.

    Args:
        include_path: folder of further task files.
        defaults: with lm-eval's own tasks, which takes half a minute.

    Returns:
        A ``TaskManager``.

    Raises:
        InputError: lm-eval is not installed, or does not load.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise InputError("tasks of lm-eval need it installed: pip install 'darwin-mri[bench]'")
    with contain_output():
        try:
            from lm_eval.tasks import TaskManager
        except ImportError as error:
            raise InputError(f"lm-eval cannot be loaded ({error}): install what it needs") from error
        # Some of its warnings quote a document; with a handler of its own they are not printed outside of this.
        logging.getLogger("lm_eval").addHandler(logging.NullHandler())
        return TaskManager(include_path=include_path and str(include_path), include_defaults=defaults)


def choose_templates(*, trusted: bool) -> None:
    """Render the templates of tasks in a sandbox from now on, or where code is allowed in lm-eval's own environment."""
    from lm_eval import utils

    utils.env = _environments()[trusted]


@functools.cache
def _environments() -> tuple[Any, Any]:
    """(a sandbox with lm-eval's settings and filters, lm-eval's own environment)."""
    from lm_eval import utils

    own: Any = utils.env
    sandbox = LimitedSandbox(
        loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=own.keep_trailing_newline
    )
    sandbox.filters.update(own.filters)
    return sandbox, own


def known_metrics() -> tuple[frozenset[str], Mapping[str, Sequence[str]]]:
    """Names of lm-eval's own metrics, and those of a task that names none, by output type."""
    with contain_output():
        import lm_eval.api.metrics  # noqa: F401  # fills the registry
        from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY, metric_registry
    return frozenset(metric_registry), DEFAULT_METRIC_REGISTRY


@functools.cache
def _token_class() -> Any:
    with contain_output():
        from lm_eval.models.huggingface import HFLM

    kind: Any = HFLM  # its registering decorator hides the class from type checkers

    class Tokens(kind):
        """HFLM without a model: its log-likelihood requests end as token ids."""

        def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
            self.tokenizer, self.backend = tokenizer, "causal"
            self.add_bos_token = self.custom_prefix_token_id = self.enable_thinking = None
            self.chat_template_args: dict[str, Any] = {}

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
            return requests

    return Tokens


class Tokens:
    """Texts as ``HFLM(pretrained=model, tokenizer=tokenizer)`` gives them to a model.

    Args:
        tokenizer: of the model.

    Raises:
        InputError: it has neither a first nor a last token, one of which lm-eval begins with.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
            raise InputError("the tokenizer has neither a bos nor an eos token, which lm-eval needs: add one to it")
        self.tokenizer, self.lm = tokenizer, _token_class()(tokenizer)

    def pairs(self, instances: Sequence[Any]) -> Windows:
        """(context, continuation) of log-likelihood requests."""
        return [(list(one), list(two)) for _, one, two in self.lm.loglikelihood(instances, disable_tqdm=True)]

    def windows(self, text: str, longest: int) -> Windows:
        """A text in windows of so many tokens, (context, continuation) each: every token is predicted once."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        ids = self.lm.tok_encode(text)
        rolling = get_rolling_token_windows(ids, self.lm.prefix_token_id, max_seq_len=longest, context_len=1)
        return [make_disjoint_window(window) for window in rolling]

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt that is continued."""
        begun = bool(self.tokenizer.bos_token) and text.startswith(str(self.tokenizer.bos_token))
        return list(self.tokenizer(text, add_special_tokens=not begun)["input_ids"])

    def generation(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Generation settings under their plain names: until, max_gen_toks, do_sample, temperature and others."""
        from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

        with contain_output():
            settings: dict[str, Any] = dict(normalize_gen_kwargs(dict(given), LONGEST_ANSWER))
        end: Any = self.tokenizer.eos_token_id
        word = None if end is None else str(self.tokenizer.decode(end))
        settings["until"] = handle_stop_sequences(settings["until"], eos=word)
        return settings

    def render_chat(self, *given: Any, **options: Any) -> str:
        """Messages by the model's chat template; raises TemplateLimitError."""
        return render_within_limits(self.lm.apply_chat_template, *given, **options)


def model_length(config: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that HFLM lets a model read."""
    from lm_eval.defaults import DEFAULT_MAX_LENGTH
    from lm_eval.models.utils import resolve_max_length

    return resolve_max_length(config, tokenizer, default=DEFAULT_MAX_LENGTH)


def aggregation_kind(task: Any, metric: str) -> str:
    """What a document's value of a metric is.

    Args:
        task: of lm-eval.
        metric: one of its metrics.

    Returns:
        ``log-probability``; ``weighted``, a pair of a log-probability and its weight; or ``value``.
    """
    from lm_eval.api import metrics

    function = task.aggregation().get(metric)
    if function is metrics.perplexity:
        return "log-probability"
    return "weighted" if function in (metrics.weighted_perplexity, metrics.bits_per_byte) else "value"


def aggregate(task: Any, metric: str, values: Sequence[Any]) -> Any:
    """A metric over documents, as lm-eval's ``evaluate`` reports it.

    Args:
        task: of lm-eval.
        metric: one of its metrics.
        values: of the documents.

    Returns:
        Its value.
    """
    from lm_eval.api.metrics import mean

    return task.aggregation().get(metric, mean)(list(values))
