"""Requests of lm-eval tasks as token ids: those of log-likelihoods for the scorer, prompts for the decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from darwin_mri.benchmarks.decoding import Sampling
from darwin_mri.benchmarks.encoding import Prepared
from darwin_mri.benchmarks.kinds.lm_eval_tasks.items import LmEvalItem
from darwin_mri.benchmarks.kinds.lm_eval_tasks.subtask import Subtask
from darwin_mri.benchmarks.kinds.lm_eval_tasks.upstream import Tokens, Windows
from darwin_mri.errors import InputError

TOP_K = 50  # of sampled texts, where a task states none: that of ``generate``
KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p"}


@dataclass(frozen=True)
class Scoring:
    """A context of an item with its continuations.

    Attributes:
        item: number of the item.
        context: token ids.
        continuations: token ids of each.
        requests: the item's request that each belongs to; the log-probabilities of one request add up.
    """

    item: int
    context: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]
    requests: tuple[int, ...]


@dataclass(frozen=True)
class Writing:
    """A prompt of an item.

    Attributes:
        item: number of the item.
        request: number of its request.
        prompt: token ids.
        sampling: how it is continued.
    """

    item: int
    request: int
    prompt: list[int]
    sampling: Sampling


@dataclass
class Encoded:
    """Items as token ids; nothing depends on weights.

    Attributes:
        instances: requests of each item.
        scorings: their contexts with continuations.
        writings: their prompts.
    """

    instances: list[list[Any]] = field(default_factory=list)
    scorings: list[Scoring] = field(default_factory=list)
    writings: list[Writing] = field(default_factory=list)

    def prepared(self, items: Sequence[LmEvalItem]) -> Prepared:
        """The contexts and continuations as the scorer takes them, in the order of ``scorings``."""
        return Prepared(
            tuple(items[part.item].name for part in self.scorings),
            tuple(part.context for part in self.scorings),
            tuple(part.continuations for part in self.scorings),
        )


def encode_items(items: Sequence[LmEvalItem], tokens: Tokens, longest: int | None) -> Encoded:
    """Tokenise the requests of items.

    Args:
        items: documents of lm-eval tasks.
        tokens: of the model.
        longest: tokens that the model reads at most, by which texts are cut into windows; None leaves them out.

    Returns:
        The token ids.

    Raises:
        InputError: a request has no token to score, or is generated with settings that are not supported.
    """
    by_task: dict[Subtask, dict[int, list[Any]]] = {}
    encoded = Encoded()
    for number, item in enumerate(items):
        if item.subtask not in by_task:
            by_task[item.subtask] = item.subtask.instances(tokens)
        instances = by_task[item.subtask][item.number]
        encoded.instances.append(instances)
        encoded.scorings += _scorings(number, item, instances, tokens, longest)
        for place, instance in enumerate(instances):
            if instance.request_type == "generate_until":
                sampling = _sampling(item, tokens.generation(instance.args[1]), instance.repeats or 1)
                encoded.writings.append(Writing(number, place, tokens.prompt(instance.args[0]), sampling))
    return encoded


def _scorings(
    number: int, item: LmEvalItem, instances: Sequence[Any], tokens: Tokens, longest: int | None
) -> Iterator[Scoring]:
    """Continuations of the same context together; each window of a text by itself."""
    scored = [(place, one) for place, one in enumerate(instances) if one.request_type == "loglikelihood"]
    try:
        pairs = tokens.pairs([one for _, one in scored])
    except (IndexError, AssertionError):
        raise InputError(f"{item.name}: an empty text cannot be scored: mend the document or the task") from None
    together: dict[tuple[int, ...], list[tuple[int, tuple[int, ...]]]] = {}
    for (place, _), (context, continuation) in zip(scored, pairs, strict=True):
        if not continuation or not context:
            raise InputError(f"{item.name}: the tokenizer leaves no token to score: check its choices and target")
        together.setdefault(tuple(context), []).append((place, tuple(continuation)))
    for context, ends in together.items():
        yield Scoring(number, context, tuple(ids for _, ids in ends), tuple(place for place, _ in ends))
    for place, one in enumerate(instances):
        if one.request_type == "loglikelihood_rolling" and longest is not None:
            windows: Windows = tokens.windows(one.args[0], longest)
            if not windows:
                raise InputError(f"{item.name}: an empty text cannot be scored: leave the document out")
            for context, continuation in windows:
                yield Scoring(number, tuple(context), (tuple(continuation),), (place,))


def _sampling(item: LmEvalItem, settings: dict[str, Any], samples: int) -> Sampling:
    temperature = float(settings.get("temperature") or 0.0)
    drawn = bool(settings.get("do_sample")) and temperature > 0
    foreign = {key for key, value in settings.items() if key not in KNOWN and value not in (None, False, 1, 1.0)}
    if foreign:
        raise InputError(
            f"tasks.{item.benchmark}: {item.subtask.name} is generated with {', '.join(sorted(foreign))}, which is not"
            f" supported: set {', '.join(sorted(KNOWN))} only"
        )
    return Sampling(
        max_new_tokens=int(settings["max_gen_toks"]),
        temperature=temperature if drawn else 0.0,
        samples=samples if drawn else 1,
        stop=tuple(word for word in settings["until"] if word),
        top_k=int(settings.get("top_k") or TOP_K) if drawn else 0,
        top_p=float(settings.get("top_p") or 1.0) if drawn else 1.0,
        special_tokens=False,
    )
