"""One tokenizer for several models: the tokens of the first under their ids, then what the others add, in order."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from darwin_mri.errors import InputError
from darwin_mri.merging.vocabulary.tokens import SCORED, Tokens, refuse_other_flags

PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}


def unite(models: Sequence[Tokens]) -> dict[str, Any]:
    """The tokenizer.json of all tokens that have a row in some model.

    Tokens of the first model keep their ids; what another model adds gets the next free ones, in that model's order.
    Its merges follow those that are there, so text of known merges is cut as the first model cuts it.

    Args:
        models: the first decides ids and how text is split.

    Returns:
        The new tokenizer.json.

    Raises:
        InputError: two models contradict each other on an added token, or a scored vocabulary would have to grow.
    """
    first, *others = models
    data = _strip(first, models)
    ids = dict(Tokens(first.source, data).ids)
    before = (len(ids), len(data.get("added_tokens") or []))
    free = _free(ids)
    added = {entry["content"]: entry for entry in data.get("added_tokens") or []}
    for place, other in enumerate(others, start=1):
        for earlier in models[:place]:
            refuse_other_flags(earlier, other)
        _add_pieces(data, ids, free, other, first)
        for token, entry in sorted(other.added.items(), key=lambda item: item[1]["id"]):
            if token not in added and other.has(token):
                if token not in ids:
                    ids[token] = next(free)
                added[token] = {**entry, "id": ids[token]}
    if before == (len(ids), len(added)):
        return dict(first.data)  # nothing comes that would need the ids of tokens without a row
    return _numbered(data, added.values())


def with_tokens(data: Mapping[str, Any], known: Mapping[str, int], tokens: Iterable[str]) -> dict[str, Any]:
    """A tokenizer.json with further plain tokens.

    Args:
        data: the tokenizer.json.
        known: its tokens -> ids.
        tokens: those it shall have.

    Returns:
        A new one; tokens that it lacked come last.
    """
    entries, free = list(data.get("added_tokens") or []), _free(known)
    new = [token for token in dict.fromkeys(tokens) if token not in known]
    entries += [{"id": next(free), "content": token, **PLAIN} for token in new]
    return _numbered(data, entries) if new else dict(data)


def _strip(owner: Tokens, models: Sequence[Tokens]) -> dict[str, Any]:
    """An owner's tokenizer.json without the tokens beyond its table that have no row in any model."""
    data: dict[str, Any] = copy.deepcopy(dict(owner.data))
    gone = {token for token in owner.ids if not owner.has(token) and not any(model.has(token) for model in models)}
    if not gone:
        return data
    model = data["model"]
    if gone & owner.own.keys():
        if isinstance(model["vocab"], list):
            raise InputError(
                f"{owner.source.ref}: {len(gone)} tokens of its tokenizer have no row in its embedding: give it the"
                " tokenizer it was made with"
            )
        model["vocab"] = {token: number for token, number in model["vocab"].items() if token not in gone}
        if "merges" in model:
            model["merges"] = [m for m in model["merges"] if not gone & {*_pair(m), "".join(_pair(m))}]
    data["added_tokens"] = [entry for entry in data.get("added_tokens") or [] if entry["content"] not in gone]
    return data


def _add_pieces(data: dict[str, Any], ids: dict[str, int], free: Iterator[int], other: Tokens, first: Tokens) -> None:
    """Add another model's own tokens, and the merges that make them, to a tokenizer.json and its ids."""
    model = data["model"]
    new = sorted((token for token in other.own if token not in ids and other.has(token)), key=lambda t: other.own[t])
    new = [token for token in new if token not in other.added]  # added tokens come with their flags
    if new and model.get("type") == SCORED:
        raise InputError(
            f"{other.source.ref} has {len(new)} scored pieces that {first.source.ref} lacks (first: {new[0]!r}), and"
            f" such vocabularies do not grow: name one of the models as tokenizer"
        )
    for token in new:
        model["vocab"][token] = ids[token] = next(free)
    if not new or "merges" not in model:
        return
    known = {_pair(merge) for merge in model["merges"]}
    as_text = bool(model["merges"]) and isinstance(model["merges"][0], str)
    for merge in other.data["model"].get("merges") or []:
        pair = _pair(merge)
        if pair not in known and all(part in model["vocab"] for part in (*pair, "".join(pair))):
            known.add(pair)
            model["merges"].append(" ".join(pair) if as_text else list(pair))


def _numbered(data: Mapping[str, Any], added: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A tokenizer.json with added tokens under their ids.

    The library asks the tokenizer's model for the id of an added token first, and else gives it the next after all
    others. So those that do not come after all others are told to the model too.
    """
    entries = sorted(added, key=lambda entry: entry["id"])
    model = data["model"]
    if isinstance(model["vocab"], dict):
        vocabulary = dict(model["vocab"])
        new = [entry for entry in entries if entry["content"] not in vocabulary]
        following = range(len(vocabulary), len(vocabulary) + len(new))
        if [entry["id"] for entry in new] != [*following]:
            vocabulary |= {entry["content"]: entry["id"] for entry in new}
            model = {**model, "vocab": vocabulary}
    return {**data, "model": model, "added_tokens": entries}


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def _free(ids: Mapping[str, int]) -> Iterator[int]:
    """Ids above all that are taken."""
    return count(max(ids.values(), default=-1) + 1)
