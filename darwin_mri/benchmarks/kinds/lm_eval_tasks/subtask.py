"""One task of lm-eval with its documents: requests, and results from replies, by its own filters and metrics."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

from darwin_mri.benchmarks.backend_output import contain_output
from darwin_mri.benchmarks.kinds.lm_eval_tasks.upstream import Tokens, choose_templates
from darwin_mri.benchmarks.template_limits import TemplateLimitError
from darwin_mri.errors import DarwinError, InputError

SEED, OTHER_SEED = 0, 1234  # what ``simple_evaluate`` seeds Python's, and NumPy's, torch's and the few-shot draws with
Results = dict[tuple[str, str], Any]  # (metric, filter) -> a document's value


@dataclass(eq=False)
class Subtask:
    """A task of lm-eval.

    Attributes:
        name: lm-eval's.
        task: lm-eval's object.
        trusted: whether its code may run.
        chat: whether prompts are put into a chat template.
        docs: its documents, by their numbers.
    """

    name: str
    task: Any
    trusted: bool
    chat: bool
    docs: Mapping[int, Any]

    def instances(self, tokens: Tokens | None = None) -> dict[int, list[Any]]:
        """The requests of every document.

        Args:
            tokens: of the model that is asked, whose chat template is used where one is asked for; None: prompts
                without one.

        Returns:
            Document -> requests, in the order in which their results are read.

        Raises:
            InputError: a template fails, or the few-shot examples cannot be drawn.
        """
        render = tokens.render_chat if tokens is not None and self.chat else None
        with self.contained("its prompts"), contain_output(), seeded():
            self.task.set_fewshot_seed(seed=OTHER_SEED)
            self.task.build_all_requests(
                apply_chat_template=render is not None,
                fewshot_as_multiturn=True,
                chat_template=render,
                tokenizer_name="" if tokens is None else str(tokens.tokenizer.name_or_path),
            )
        requests: dict[int, list[Any]] = {number: [] for number in self.docs}
        for instance in self.task.instances:
            requests[instance.doc_id].append(instance)
        for row in requests.values():
            row.sort(key=lambda instance: instance.idx)
        return requests

    def results(self, number: int, instances: Sequence[Any], replies: Sequence[Sequence[Any]]) -> Results:
        """A document's metrics.

        Args:
            number: of the document.
            instances: its requests.
            replies: to each, as many as the task repeats it.

        Returns:
            (metric, filter) -> value.

        Raises:
            InputError: the task's filters or metrics fail.
        """
        for instance, row in zip(instances, replies, strict=True):
            instance.resps, instance.filtered_resps = list(row), {}
        results: Results = {}
        with self.contained("its own scoring"):
            self.task._instances = list(instances)  # its filters read them there
            self.task.apply_filters()
            for key in instances[0].filtered_resps:
                filtered = [instance.filtered_resps[key] for instance in instances]
                for metric, value in self.task.process_results(self.docs[number], filtered).items():
                    results[str(metric), str(key)] = value
        return results

    @contextmanager
    def contained(self, what: str) -> Iterator[None]:
        """While open, whatever fails in the task's own work becomes one line that quotes no document.

        Raises:
            InputError: it has failed.
        """
        metadata = self.task.get_config("metadata")
        source = Path(str((metadata if isinstance(metadata, dict) else {}).get("config_source", ""))).name
        where = f"lm-eval task {self.name}" + (f" ({source})" if source.endswith(".yaml") else "")
        with contained(f"{where}: {what}", trusted=self.trusted):
            yield


@contextmanager
def contained(what: str, *, trusted: bool, fault: Callable[[Exception], str] = lambda _: "") -> Iterator[None]:
    """While open, templates are rendered as it is allowed, and whatever fails becomes one line.

    Args:
        what: fails, for messages.
        trusted: whether code of task files may run.
        fault: says of an error what it is and what to do, where it knows.

    Yields:
        None.

    Raises:
        InputError: something failed.
    """
    choose_templates(trusted=trusted)
    try:
        yield
    except DarwinError:
        raise
    except SecurityError:
        raise InputError(
            f"{what}: a template reaches for Python's own objects: mend it, or read it and give --allow-task-code if"
            " you trust it"
        ) from None
    except TemplateLimitError as error:
        raise InputError(f"{what}: a template {error}: mend it") from None
    except TemplateError as error:
        raise InputError(
            f"{what}: a template cannot be filled ({type(error).__name__}): check the fields it names"
        ) from None
    except Exception as error:
        known = fault(error) or f"fails ({type(error).__name__}): check the task file, or see --debug"
        raise InputError(f"{what}: {known}") from error


@contextmanager
def seeded() -> Iterator[None]:
    """While open, all random draws begin where ``simple_evaluate`` lets them begin; afterwards they go on as before."""
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            random.seed(SEED)
            np.random.seed(OTHER_SEED)
            torch.manual_seed(OTHER_SEED)
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
