"""Pair the token positions of two tokenizers at the character boundaries they share."""

from __future__ import annotations

from typing import Any


def encode_with_ends(tokenizer: Any, text: str, max_tokens: int) -> tuple[list[int], list[int]]:
    """Tokenise a text without special tokens.

    Args:
        tokenizer: transformers' tokenizer, a fast one.
        text: any text.
        max_tokens: the text is cut after so many.

    Returns:
        Token ids and, per token, the character offset where it ends in ``text``.
    """
    encoded = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, truncation=True, max_length=max_tokens
    )
    return list(encoded["input_ids"]), [end for _, end in encoded["offset_mapping"]]


def shared_positions(father_ends: list[int], mother_ends: list[int]) -> list[tuple[int, int]]:
    """Index pairs of tokens that end at the same character.

    Where several tokens end at one character (the bytes of one Hangul syllable, say), the last of them has seen it
    whole and stands for it.
    """
    last_father = {end: index for index, end in enumerate(father_ends)}
    last_mother = {end: index for index, end in enumerate(mother_ends)}
    return [(last_father[end], last_mother[end]) for end in sorted(last_father.keys() & last_mother.keys())]
