"""What lm-eval's models read and write: the tokens of ``encode``, and texts that still tell how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.encoding import encode
from darwin_mri.benchmarks.generation import BEGIN_OF_THINKING, END_OF_THINKING, Reply

CUT_OFF = "\ue000cut off\ue000"  # closes a text that its model did not end: lm-eval passes on texts alone


def share_tokens(lm: Any) -> PreTrainedTokenizerBase | None:
    """Let a model of lm-eval tokenise as ``encode`` does.

    Returns:
        Its tokenizer; None where a server tokenises.
    """
    given = getattr(lm, "tokenizer", None)
    if not isinstance(given, PreTrainedTokenizerBase) or not getattr(lm, "tokenized_requests", True):
        return None
    tokenizer: PreTrainedTokenizerBase = given

    def tok_encode(text: str | Sequence[str], *_: Any, left_truncate_len: int | None = None, **__: Any) -> list[Any]:
        rows = encode([text] if isinstance(text, str) else text, tokenizer)
        rows = [ids[-left_truncate_len:] if left_truncate_len else ids for ids in rows]
        return rows[0] if isinstance(text, str) else rows

    def tok_batch_encode(
        texts: Sequence[str], padding_side: str = "left", left_truncate_len: int | None = None, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = tok_encode(texts, left_truncate_len=left_truncate_len)
        padded = tokenizer.pad({"input_ids": rows}, padding_side=padding_side, return_tensors="pt")
        return padded["input_ids"], padded["attention_mask"]

    lm.tok_encode = tok_encode
    if hasattr(lm, "tok_batch_encode"):
        lm.tok_batch_encode = tok_batch_encode
    return tokenizer


def keep_endings(lm: Any) -> bool:
    """Let a model of lm-eval pass on the marks of thinking, and HFLM also whether a text was cut off.

    lm-eval takes thoughts away by one mark at most, and nobody can see afterwards whether there was an end to them.

    Returns:
        Whether its texts tell how they ended.
    """
    from lm_eval.models.huggingface import HFLM

    if getattr(lm, "think_end_token", None) in END_OF_THINKING:
        lm.think_end_token = None
    hflm: Any = HFLM  # its registering decorator hides the class from type checkers
    if not isinstance(lm, hflm):
        return False
    decode, model, vocabulary = lm.tok_decode, lm.model, lm.tokenizer.get_vocab()
    marks = {vocabulary[mark]: mark for mark in (*BEGIN_OF_THINKING, *END_OF_THINKING) if mark in vocabulary}
    stated = getattr(model.generation_config, "eos_token_id", None)
    ends = {lm.tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])}

    def tok_decode(tokens: Any, skip_special_tokens: bool = True) -> str:
        if not isinstance(tokens, list) or not skip_special_tokens:
            return decode(tokens, skip_special_tokens)
        end = next((place for place, token in enumerate(tokens) if token in ends), None)
        text, start = "", 0
        for place, token in enumerate(tokens[:end]):
            if token in marks:  # often special tokens, which decoding drops
                text, start = text + decode(tokens[start:place]) + marks[token], place + 1
        text += decode(tokens[start:end])
        return text if end is not None else text + CUT_OFF

    lm.tok_decode = tok_decode
    return True


def to_reply(text: str, *, tells_ending: bool, thinks: bool) -> Reply:
    """A text of lm-eval's as a reply.

    Args:
        text: as lm-eval passes it on.
        tells_ending: whether it would tell that it was cut off.
        thinks: whether its prompt opened a thought.

    Returns:
        The reply.
    """
    known = ("length" if text.endswith(CUT_OFF) else "stop") if tells_ending else ""
    return Reply(text.removesuffix(CUT_OFF), known, thinks)
