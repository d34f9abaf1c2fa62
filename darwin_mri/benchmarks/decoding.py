"""Texts that a resident model writes, in batches, under the weights it has at the time of the call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from darwin_mri import seeds
from darwin_mri.benchmarks.generation import Reply
from darwin_mri.checkpoints.devices import retry_smaller
from darwin_mri.checkpoints.generation import contiguous_head
from darwin_mri.probes import require_tokens

MOST_ROWS = {"cpu": 16}
LONG_MOST_ROWS = 64  # on other devices
TOLERANCE = 1e-2  # of the next token's logits, of a padded against an unpadded prompt


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn and where they end.

    Attributes:
        max_new_tokens: longest text.
        temperature: 0 is greedy decoding.
        samples: texts for each prompt.
        stop: texts that end an answer; they are not part of it.
        top_k: so many of the most probable tokens are drawn from; 0 is all.
        top_p: the most probable tokens that hold this share are drawn from.
        special_tokens: whether special tokens are part of the text.
    """

    max_new_tokens: int
    temperature: float = 0.0
    samples: int = 1
    stop: tuple[str, ...] = ()
    top_k: int = 0
    top_p: float = 1.0
    special_tokens: bool = True


class Decoder:
    """Continues prompts.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.most_rows = MOST_ROWS.get(model.device.type, LONG_MOST_ROWS)
        self._pads: bool | None = None  # whether prompts of unequal length may share a batch; measured once

    def stream(
        self, prompts: Sequence[Sequence[int]], indices: Sequence[int], sampling: Sampling
    ) -> Iterator[tuple[int, list[Reply]]]:
        """Continue some prompts.

        Args:
            prompts: token ids of each.
            indices: which of them.
            sampling: how.

        Yields:
            (index, its texts), in the order of the batches.

        Raises:
            DarwinError: one prompt alone does not fit in memory.
        """
        require_tokens(self.model, [prompts[index] for index in indices])
        todo = sorted(indices, key=lambda index: (len(prompts[index]), index))
        while todo:
            batch, replies = self._first_batch(prompts, todo, sampling)
            yield from zip(batch, replies, strict=True)
            todo = todo[len(batch) :]

    def _first_batch(
        self, prompts: Sequence[Sequence[int]], todo: Sequence[int], sampling: Sampling
    ) -> tuple[list[int], list[list[Reply]]]:
        """As many of those to do as fit in memory, and their texts."""

        def attempt() -> tuple[list[int], list[list[Reply]]]:
            batch = self._batch(prompts, todo)
            return batch, self._write([prompts[index] for index in batch], sampling)

        def halve() -> bool:
            self.most_rows //= 2
            return self.most_rows > 0

        return retry_smaller(
            attempt, halve, lambda: "one prompt with its answer does not fit in memory: use a larger device"
        )

    def _batch(self, prompts: Sequence[Sequence[int]], todo: Sequence[int]) -> list[int]:
        """The first of those to do that may be continued together."""
        if self._pads is None:
            self._pads = self._padding_is_unseen(prompts[todo[0]])
        first = len(prompts[todo[0]])
        return [index for index in todo[: self.most_rows] if self._pads or len(prompts[index]) == first]

    @torch.no_grad()
    def _write(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[Reply]]:
        ids, attention = self._padded(prompts)
        ends = self._ends()
        drawn = {"do_sample": True, "temperature": sampling.temperature}
        drawn |= {"top_k": sampling.top_k, "top_p": sampling.top_p}
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=sampling.samples,
            eos_token_id=sorted(ends) or None,
            pad_token_id=self._padding(),
            **(drawn if sampling.temperature else {"do_sample": False}),
        )
        with contiguous_head(self.model), torch.random.fork_rng(enabled=sampling.temperature > 0):
            if sampling.temperature > 0:
                torch.manual_seed(seeds.integer(0, "sampled answers", *(str(list(prompt)) for prompt in prompts)))
            written = self.model.generate(  # type: ignore[operator]  # its mixin is typed for another class
                input_ids=ids,
                attention_mask=attention,
                generation_config=config,
                stopping_criteria=[_Stop(self.tokenizer, sampling.stop, ids.shape[1])] if sampling.stop else None,
            )
        texts = [self._reply(row, ends, sampling) for row in written[:, ids.shape[1] :].tolist()]
        return [texts[first : first + sampling.samples] for first in range(0, len(texts), sampling.samples)]

    def _reply(self, tokens: list[int], ends: set[int], sampling: Sampling) -> Reply:
        end = next((place for place, token in enumerate(tokens) if token in ends), None)
        whole = text = str(self.tokenizer.decode(tokens[:end], skip_special_tokens=not sampling.special_tokens))
        for word in sampling.stop:
            text = text.partition(word)[0]
        return Reply(text, "stop" if end is not None or text != whole else "length")

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention (rows, longest), padded on the left."""
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self._padding())
        attention = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(list(prompt))
            attention[row, longest - len(prompt) :] = 1
        return ids.to(self.model.device), attention.to(self.model.device)

    def _padding(self) -> int:
        return self.tokenizer.pad_token_id if isinstance(self.tokenizer.pad_token_id, int) else 0

    def _ends(self) -> set[int]:
        """Tokens that end a text: the tokenizer's, and those that the checkpoint states for generation."""
        stated = getattr(self.model.generation_config, "eos_token_id", None)
        ends = [self.tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])]
        return {token for token in ends if isinstance(token, int)}

    @torch.no_grad()
    def _padding_is_unseen(self, prompt: Sequence[int]) -> bool:
        """Whether padding on the left leaves the next token's logits as they are, for this family of models."""
        ids, attention = self._padded([prompt, [*prompt, *prompt, prompt[-1]]])
        positions = (attention.cumsum(-1) - 1).clamp(min=0)  # as ``generate`` numbers them
        try:
            options = {"attention_mask": attention, "position_ids": positions, "use_cache": False}
            padded = self.model(input_ids=ids, **options).logits[0, -1]
            alone = self.model(input_ids=ids[:1, -len(prompt) :], use_cache=False).logits[0, -1]
        except (TypeError, RuntimeError):
            return False
        return torch.allclose(padded.float(), alone.float(), rtol=TOLERANCE, atol=TOLERANCE)


class _Stop(StoppingCriteria):
    """A text ends where it holds one of some words; its prompt, which may end as they begin, is not looked at."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str], prompt: int) -> None:
        self.tokenizer, self.stop, self.prompt = tokenizer, stop, prompt
        self.window = max(len(word.encode()) for word in stop) + 2  # a token has a byte at least

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: object) -> torch.BoolTensor:
        tails = self.tokenizer.batch_decode(input_ids[:, self.prompt :][:, -self.window :])
        found = [any(word in tail for word in self.stop) for tail in tails]
        return torch.tensor(found, device=input_ids.device)  # type: ignore[return-value]
