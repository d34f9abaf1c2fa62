"""How long an item is for a model, and what becomes of items longer than a model's context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, PreTrainedTokenizerBase

from darwin_mri.benchmarks.chat import render_chat
from darwin_mri.benchmarks.context_limits import computable_context, stated_context
from darwin_mri.benchmarks.encoding import encode
from darwin_mri.benchmarks.generation import chat_message
from darwin_mri.benchmarks.items import ChoiceItem, Item
from darwin_mri.benchmarks.kinds import read_lengths
from darwin_mri.checkpoints import tokenizer_digest
from darwin_mri.errors import InputError
from darwin_mri.records import Protocol

TRIAL_QUESTION = "Which colour has the sky?\n\nA. blue\nB. red\n\nAnswer with one letter."
LongItems = Literal["error", "skip", "beyond"]
MOST_KNOWN = 16  # lists of lengths that are kept, the latest
_known_lengths: dict[tuple[str, tuple[Item, ...]], list[int]] = {}


@dataclass(frozen=True)
class Reader:
    """What of a model decides how long an item may be.

    Attributes:
        model: its name, for messages.
        tokenizer: its tokenizer.
        config: its configuration.
        digest: what two tokenizers have in common that split all texts alike; "" where that is not known.
    """

    model: str
    tokenizer: PreTrainedTokenizerBase
    config: Any
    digest: str = ""

    @classmethod
    def of_folder(cls, model: str, folder: Path, tokenizer: PreTrainedTokenizerBase) -> Reader:
        """A model folder's reader; nothing in the folder is executed.

        Args:
            model: the model's name, for messages.
            folder: with config.json.
            tokenizer: the model's.

        Returns:
            The reader.

        Raises:
            InputError: the configuration does not load.
        """
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{model}: config.json does not load ({type(error).__name__}): check the folder") from None
        digest = f"{type(tokenizer).__name__} {config.model_type} {tokenizer_digest(folder)}"
        return cls(model, tokenizer, config, digest)

    def lengths(self, items: Sequence[Item], protocol: Protocol) -> list[int]:
        """Tokens of each item: context with its longest choice, or chat message with the longest answer."""
        generation = protocol.generation
        asked = [item for item in items if isinstance(item, ChoiceItem)]
        if generation is None or not asked:
            return self._read_lengths(tuple(items), plain=len(asked) == len(items))
        prompts = [
            render_chat(self.tokenizer, chat_message(item, protocol), item.name, thinking=generation.thinking)
            for item in asked
        ]
        encoded = encode([prompt.text for prompt in prompts], self.tokenizer)
        return [len(ids) + generation.max_new_tokens for ids in encoded]

    def _read_lengths(self, items: tuple[Item, ...], *, plain: bool) -> list[int]:
        """As ``lengths``; siblings share a tokenizer, so plain questions are split into tokens once for all of them."""
        if not (plain and self.digest):
            return read_lengths(items, self.tokenizer)
        key = self.digest, items
        if key not in _known_lengths:
            lengths = read_lengths(items, self.tokenizer)
            while len(_known_lengths) >= MOST_KNOWN:
                del _known_lengths[next(iter(_known_lengths))]
            _known_lengths[key] = lengths
        return _known_lengths[key]


def fit_items(
    items: Sequence[Item], protocol: Protocol, readers: Iterable[Reader], policy: LongItems
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """The items that every model can read whole, so that all models answer the same ones.

    Args:
        items: of one benchmark.
        protocol: of the items.
        readers: one per model to be compared.
        policy: what becomes of an item longer than some model's stated context: ``error`` refuses it by name, ``skip``
            leaves it out for every model, ``beyond`` reads it all the same, as rotary and recurrent models can.

    Returns:
        (items to ask, items that are too long for some model).

    Raises:
        InputError: an item is too long and the policy is error, no item is short enough, or a model cannot compute it.
    """
    over: dict[int, str] = {}
    for reader in readers:
        limit, hard = stated_context(reader.config), computable_context(reader.config)
        if limit is None:
            continue
        for index, length in enumerate(reader.lengths(items, protocol)):
            if length > limit:
                over.setdefault(index, f"{length} tokens, more than the {limit} positions of {reader.model}")
                if policy == "beyond" and hard is not None:
                    raise InputError(
                        f"{items[index].name}: {over[index]}, which it has learned one by one: use --long skip"
                    )
    if not over or policy == "beyond":
        return tuple(items), tuple(items[index] for index in sorted(over))
    first = min(over)
    if policy == "error":
        more = f" ({len(over)} of {len(items)} items are too long)" if len(over) > 1 else ""
        raise InputError(
            f"{items[first].name}: {over[first]}{more}: --long skip leaves such items out for every model and says how"
            " many, --long beyond reads them all the same"
        )
    kept = tuple(item for index, item in enumerate(items) if index not in over)
    if not kept:
        raise InputError(
            f"{items[first].name}: {over[first]}, and no item is shorter: use a model with a longer context, or"
            " --long beyond"
        )
    return kept, tuple(items[index] for index in sorted(over))


def require_chat(readers: Iterable[Reader]) -> tuple[str, ...]:
    """Require of every model a chat template that renders a question: generated answers need one.

    Returns:
        The models whose template takes the question only as a list of parts.

    Raises:
        InputError: a model has none.
    """
    in_parts = []
    for reader in readers:
        if not reader.tokenizer.chat_template:
            raise InputError(
                f"{reader.model} has no chat template, which generated answers need: use --protocol loglikelihood"
            )
        if render_chat(reader.tokenizer, TRIAL_QUESTION, reader.model, thinking=False).in_parts:
            in_parts.append(reader.model)
    return tuple(in_parts)
