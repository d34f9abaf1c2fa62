"""What a user would do instead of changing weights: the texts that the parents wrote, put before each question.

The nearest by the cosine of TF-IDF over pieces of three to five characters, which needs no word boundaries of a
language and no model. It costs nothing to build, and longer prompts in every use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from darwin_mri.benchmarks import ChoiceItem, Item
from darwin_mri.errors import InputError

PIECES = (3, 5)  # characters
BLOCK = 256  # questions compared at once


def show_texts(items: Sequence[Item], texts: Sequence[str], shown: int) -> tuple[Item, ...]:
    """The items with the nearest texts before their context, the nearest last.

    Args:
        items: questions with choices; items of other kinds stay as they are.
        texts: to choose from; equal ones count once.
        shown: texts before a question at most.

    Returns:
        The items in their order, with their keys.

    Raises:
        InputError: scikit-learn is not installed, or there is no text.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise InputError("retrieval needs scikit-learn: pip install scikit-learn") from None
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        raise InputError("retrieval has no text to show: the parents completed no prompt")
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=PIECES, sublinear_tf=True)
    table = vectorizer.fit_transform(distinct)
    out: list[Item] = list(items)
    asked = [number for number, item in enumerate(items) if isinstance(item, ChoiceItem)]
    for start in range(0, len(asked), BLOCK):
        part = asked[start : start + BLOCK]
        near = (vectorizer.transform([_context(items[number]) for number in part]) @ table.T).toarray()
        for number, row in zip(part, near, strict=True):
            best = np.argsort(-row, kind="stable")[:shown][::-1]
            lines = "\n".join(distinct[i] for i in best)
            out[number] = replace(items[number], context=f"{lines}\n\n{_context(items[number])}")
    return tuple(out)


def _context(item: Item) -> str:
    assert isinstance(item, ChoiceItem)
    return item.context
