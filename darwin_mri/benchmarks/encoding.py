"""Items as token ids: every text is tokenised once, and the cut between context and choice is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix

from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.items import Item, continuation
from darwin_mri.errors import InputError
from darwin_mri.probes import prefix_tokens


@dataclass(frozen=True)
class Prepared:
    """Token ids of items; nothing here depends on a model's weights.

    Attributes:
        names: ``Item.name`` of each item, for messages.
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


def prepare(items: Sequence[Item], tokenizer: PreTrainedTokenizerBase) -> Prepared:
    """Tokenise items as ``encode`` does.

    Context plus choice is encoded as one text and cut after the context's tokens. Where a tokenizer merges the end of
    the context with the choice, encode(context) is no prefix of encode(context + choice); the cut then moves left to
    the last token on which the context and all choices agree, the same for all choices so that they stay comparable.

    Args:
        items: items whose contexts end in no white space (``Item`` requires it).
        tokenizer: any tokenizer of transformers.

    Raises:
        InputError: nothing of the context, or no token of a choice, is left after the cut; the message names the key.
    """
    texts = [text for item in items for text in (item.context, *(item.context + continuation(c) for c in item.choices))]
    encoded = iter(encode(texts, tokenizer))
    names, contexts, continuations = [], [], []
    for item in items:
        name = item.name
        context = next(encoded)
        wholes = [next(encoded) for _ in item.choices]
        cut = len(commonprefix([context, *wholes]))
        if cut == 0:
            raise InputError(
                f"{name}: the tokenizer leaves no token of the context before the choices: check the tokenizer"
            )
        if any(len(whole) <= cut for whole in wholes):
            raise InputError(f"{name}: the tokenizer leaves no token for a choice: check the choices and the tokenizer")
        names.append(name)
        contexts.append(tuple(context[:cut]))
        continuations.append(tuple(tuple(whole[cut:]) for whole in wholes))
    return Prepared(tuple(names), tuple(contexts), tuple(continuations))
