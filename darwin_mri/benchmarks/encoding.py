"""Items as token ids: every text is tokenised once, and the cut between what is read and what is scored is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.chat import render_chat
from darwin_mri.benchmarks.items import ChoiceItem, continuation
from darwin_mri.errors import InputError
from darwin_mri.probes import embedding_rows, encode_with_ends, prefix_tokens, require_tokens_below

LONGEST = 2**30  # tokens of a text: none is cut


@dataclass(frozen=True)
class Prepared:
    """Token ids of items; nothing here depends on a model's weights.

    Attributes:
        names: ``ChoiceItem.name`` of each item, for messages.
        contexts: ids of each item's context, at least one.
        continuations: ids of each choice of each item, at least one per choice.
    """

    names: tuple[str, ...]
    contexts: tuple[tuple[int, ...], ...]
    continuations: tuple[tuple[tuple[int, ...], ...], ...]

    def __len__(self) -> int:
        return len(self.names)

    def longest(self, index: int) -> int:
        """Number of tokens of an item's context with its longest choice."""
        return len(self.contexts[index]) + max(len(ids) for ids in self.continuations[index])


def require_known(prepared: Prepared, model: Any) -> Prepared:
    """The items as they are; raises InputError where the tokenizer gives tokens that the model does not have."""
    return require_below(prepared, embedding_rows(model))


def require_below(prepared: Prepared, rows: int) -> Prepared:
    """As ``require_known``, for a model of so many embeddings."""
    for index in range(len(prepared)):
        require_tokens_below(rows, (prepared.contexts[index], *prepared.continuations[index]))
    return prepared


def encode(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of texts as every engine gives them to a model.

    The special tokens that the tokenizer puts before a text come once, also where the text begins with them already, as
    chat templates write it. What the tokenizer appends to a text (<eos>, [SEP]) is left out: here every text goes on.
    """
    if not texts:
        return []
    prefix = list(prefix_tokens(tokenizer))
    bare = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return [ids if ids[:1] == prefix[:1] else prefix + ids for ids in bare]


def choice_texts(item: ChoiceItem, tokenizer: PreTrainedTokenizerBase | None) -> tuple[str, tuple[str, ...]]:
    """What a model reads of an item, and what is scored after it.

    Args:
        item: an item with choices.
        tokenizer: whose chat template renders an item that asks for one; None where a server has it.

    Returns:
        (the context, the continuation of each choice).

    Raises:
        InputError: the item asks for a chat template, and a server has it.
    """
    if item.chat and tokenizer is None:
        raise InputError(f"{item.name}: a server renders chats itself and scores no choices in them: use backend hf")
    if not item.chat or tokenizer is None:
        return item.context, tuple(map(continuation, item.choices))
    return render_chat(tokenizer, item.context, item.name, thinking=False).text, item.choices


def prepare(items: Sequence[ChoiceItem], tokenizer: PreTrainedTokenizerBase) -> Prepared:
    """Tokenise items as ``encode`` does.

    Context plus choice is encoded as one text and cut after the context's tokens. Where a tokenizer merges the end of
    the context with the choice, encode(context) is no prefix of encode(context + choice); the cut then moves left to
    the last token on which the context and all choices agree, the same for all choices so that they stay comparable.

    Args:
        items: items whose contexts end in no white space (``ChoiceItem`` requires it).
        tokenizer: any tokenizer of transformers.

    Raises:
        InputError: nothing of the context, or no token of a choice, is left after the cut; the message names the key.
    """
    pairs = [choice_texts(item, tokenizer) for item in items]
    return prepare_pairs([item.name for item in items], pairs, tokenizer)


def prepare_pairs(
    names: Sequence[str], pairs: Sequence[tuple[str, Sequence[str]]], tokenizer: PreTrainedTokenizerBase
) -> Prepared:
    """Tokenise contexts with their continuations, as ``prepare`` does.

    Args:
        names: of the items, for messages.
        pairs: (context, its continuations) of each item.
        tokenizer: any tokenizer of transformers.

    Returns:
        The token ids.

    Raises:
        InputError: as ``prepare``.
    """
    texts = [text for context, ends in pairs for text in (context, *map(context.__add__, ends))]
    encoded = iter(encode(texts, tokenizer))
    contexts, continuations = [], []
    for name, (_, ends) in zip(names, pairs, strict=True):
        context = next(encoded)
        wholes = [next(encoded) for _ in ends]
        cut = len(commonprefix([context, *wholes]))
        if cut == 0:
            raise InputError(
                f"{name}: the tokenizer leaves no token of the context before the choices: check the tokenizer"
            )
        if any(len(whole) <= cut for whole in wholes):
            raise InputError(f"{name}: the tokenizer leaves no token for a choice: check the choices and the tokenizer")
        contexts.append(tuple(context[:cut]))
        continuations.append(tuple(tuple(whole[cut:]) for whole in wholes))
    return Prepared(tuple(names), tuple(contexts), tuple(continuations))


def prepare_texts(
    texts: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase
) -> tuple[Prepared, tuple[int, ...]]:
    """Tokenise whole texts, each of whose tokens is predicted from those before it.

    The first token is predicted where the tokenizer puts a special token before a text; else it is context only.

    Args:
        texts: (name, text) of each, the name for messages.
        tokenizer: a fast tokenizer of transformers.

    Returns:
        (the token ids, with one continuation each; the UTF-8 bytes behind each text's predicted tokens).

    Raises:
        InputError: a text is too short to predict a token of.
    """
    prefix = prefix_tokens(tokenizer)
    contexts, continuations, sizes = [], [], []
    for name, text in texts:
        ids, ends = encode_with_ends(tokenizer, text, LONGEST)
        context, rest = (prefix, ids) if prefix else (tuple(ids[:1]), ids[1:])
        if not rest:
            raise InputError(f"{name}: the text is too short to predict a token of: leave it out")
        contexts.append(tuple(context))
        continuations.append((tuple(rest),))
        sizes.append(max(1, len(text[0 if prefix else ends[0] :].encode())))
    return Prepared(tuple(name for name, _ in texts), tuple(contexts), tuple(continuations)), tuple(sizes)
