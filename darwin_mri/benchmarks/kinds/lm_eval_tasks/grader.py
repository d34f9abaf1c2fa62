"""lm-eval tasks under the fast scorer and the decoder: an item's credit is the task's own metric of the document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.item_scorer import ItemScorer
from darwin_mri.benchmarks.kinds.grader import Grade, plain_answer
from darwin_mri.benchmarks.kinds.lm_eval_tasks.encoding import encode_items
from darwin_mri.benchmarks.kinds.lm_eval_tasks.items import LmEvalItem
from darwin_mri.benchmarks.kinds.lm_eval_tasks.metrics import (
    choice_values,
    gold_share,
    named_scores,
    per_token,
    scores_of,
)
from darwin_mri.benchmarks.kinds.lm_eval_tasks.subtask import Results
from darwin_mri.benchmarks.kinds.lm_eval_tasks.upstream import Tokens, model_length
from darwin_mri.errors import InputError


class LmEvalGrader:
    """Credit is the headline metric; smooth is the right choice's or the target's probability where there is one.

    Args:
        items: documents of lm-eval tasks.
        scorer: of the model.

    Raises:
        InputError: a request cannot be tokenised, or has tokens that the model does not know.
    """

    def __init__(self, items: Sequence[LmEvalItem], scorer: ItemScorer) -> None:
        self.items, self.scorer = items, scorer
        self.decoder = scorer.decoder()
        longest = model_length(scorer.config, scorer.tokenizer)
        self.encoded = encode_items(items, Tokens(scorer.tokenizer), longest)
        self.prepared = scorer.require_known(self.encoded.prepared(items))

    def grades(self, indices: Sequence[int], protocol: str = "") -> Iterator[tuple[int, Grade]]:
        """As ``Grader``.

        Raises:
            InputError: a document lacks the headline metric.
        """
        for index, replies, results in self._replies_and_results(indices):
            yield index, self._grade(index, replies, results, protocol)

    def results(self, indices: Sequence[int]) -> Iterator[tuple[int, Results]]:
        """All metrics of some documents, as the task gives them.

        Args:
            indices: which items.

        Yields:
            (index, (metric, filter) -> value).
        """
        for index, _, results in self._replies_and_results(indices):
            yield index, results

    def _replies_and_results(self, indices: Sequence[int]) -> Iterator[tuple[int, list[list], Results]]:
        for index, replies in self._replies(indices):
            item, instances = self.items[index], self.encoded.instances[index]
            # What does not depend on chance is computed once, however often the task repeats it.
            repeated = [row * ((one.repeats or 1) // len(row)) for one, row in zip(instances, replies, strict=True)]
            yield index, replies, item.subtask.results(item.number, instances, repeated)

    def _replies(self, indices: Sequence[int]) -> Iterator[tuple[int, list[list]]]:
        """Replies to each request of an item, as soon as it has all of them."""
        encoded, wanted = self.encoded, set(indices)
        scorings = [number for number, part in enumerate(encoded.scorings) if part.item in wanted]
        writings = [number for number, part in enumerate(encoded.writings) if part.item in wanted]
        open_parts = dict.fromkeys(indices, 0)
        for part in (*(encoded.scorings[n] for n in scorings), *(encoded.writings[n] for n in writings)):
            open_parts[part.item] += 1
        replies: dict[int, list[list]] = {index: [[] for _ in encoded.instances[index]] for index in indices}

        def close(item: int) -> Iterator[tuple[int, list[list]]]:
            open_parts[item] -= 1
            if not open_parts[item]:
                yield item, replies.pop(item)

        for number, scores in self.scorer.stream_greedy(self.prepared, scorings):
            part = encoded.scorings[number]
            for request, (score, greedy) in zip(part.requests, scores, strict=True):
                row = replies[part.item][request]
                if encoded.instances[part.item][request].request_type == "loglikelihood":
                    row.append((score, greedy))
                else:
                    row[:] = [sum(row) + score]
            yield from close(part.item)
        prompts = [part.prompt for part in encoded.writings]
        for sampling in dict.fromkeys(encoded.writings[number].sampling for number in writings):
            alike = [number for number in writings if encoded.writings[number].sampling == sampling]
            for number, texts in self.decoder.stream(prompts, alike, sampling):
                part = encoded.writings[number]
                replies[part.item][part.request].extend(reply.text for reply in texts)
                yield from close(part.item)

    def _grade(self, index: int, replies: list[list], results: Results, protocol: str) -> Grade:
        item = self.items[index]
        scores = scores_of(item.subtask, results)
        if item.metric not in scores:
            raise InputError(f"{item.name}: its task gives no {','.join(item.metric)}: choose another metric")
        credit = scores[item.metric]
        answer = plain_answer(item, credit, protocol, **named_scores(item.subtask, scores, item.unit))
        if not item.choices:
            return Grade(answer, self._smooth(index, replies, credit))
        log_probabilities = [row[0][0] for row in replies]
        values = choice_values(item.metric, item.choices, log_probabilities)
        update = {
            "choice": int(values.argmax()),
            "choices": len(item.choices),
            "log_probabilities": tuple(log_probabilities[: len(item.choices)]),
        }
        return Grade(answer.model_copy(update=update), gold_share(values, item.golds))

    def _smooth(self, index: int, replies: list[list], credit: float) -> float:
        """The target's probability per token, where whether it is the greedy text is the credit."""
        item, row = self.items[index], replies[0][0]
        if len(replies) > 1 or not isinstance(row, tuple) or item.unit or item.metric[0] != "acc":
            return credit
        (part,) = (part for part in self.encoded.scorings if part.item == index)
        return per_token(row[0], len(part.continuations[0]))


def lm_eval_lengths(items: Sequence[LmEvalItem], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of each document's longest request; 1 for texts, which are cut into windows that fit."""
    encoded = encode_items(items, Tokens(tokenizer), None)
    lengths = [1] * len(items)
    for part in encoded.scorings:
        lengths[part.item] = max(lengths[part.item], len(part.context) + max(map(len, part.continuations)))
    for part in encoded.writings:
        lengths[part.item] = max(lengths[part.item], len(part.prompt) + part.sampling.max_new_tokens)
    return lengths
