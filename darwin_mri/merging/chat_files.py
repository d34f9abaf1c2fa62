"""What a child takes over from the father's folder that decides how it is spoken to and where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from darwin_mri.checkpoints.survey import Survey
from darwin_mri.checkpoints.verify import read_json_object

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


def chat_notes(father: Survey, other: Survey, ref: str) -> tuple[str, ...]:
    """A sentence on whose chat template and end tokens the child has, where the parents' differ.

    Args:
        father: the father's survey.
        other: that of another parent.
        ref: what the sentence calls it.

    Returns:
        One sentence; none where both have the same.

    Raises:
        CheckpointError: a JSON file of a folder is damaged.
    """
    own, theirs = chat_template(father.folder), chat_template(other.folder)
    own_end, their_end = end_tokens(father), end_tokens(other)
    parts = []
    if own != theirs:
        if own and theirs:
            parts.append(f"the father's chat template, which is not {ref}'s")
        else:
            parts.append(f"the father's chat template ({ref} has none)" if own else f"no chat template ({ref} has one)")
    if own_end != their_end:
        names = (_named(own_end, father), _named(their_end, other))
        parts.append(f"the father's end token {names[0]}, where {ref} ends at {names[1]}")
    return (f"the child keeps the father's files: it has {' and '.join(parts)}",) if parts else ()


def chat_template(folder: Path) -> str | None:
    """The text of a folder's chat template, None where it has none."""
    for name in TEMPLATE_FILES:
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8", errors="replace")
    if not (folder / "tokenizer_config.json").is_file():
        return None
    template = read_json_object(folder, "tokenizer_config.json").get("chat_template")
    return None if template is None else str(template)


def end_tokens(survey: Survey) -> tuple[int, ...]:
    """Ids at which a model stops to write, sorted: generation_config.json's, else config.json's."""
    stated = None
    if (survey.folder / "generation_config.json").is_file():
        stated = read_json_object(survey.folder, "generation_config.json").get("eos_token_id")
    if stated is None:
        stated = getattr(survey.text_config, "eos_token_id", None)
    ids = stated if isinstance(stated, list) else [stated]
    return tuple(sorted(number for number in ids if isinstance(number, int)))


def _named(ids: Sequence[int], survey: Survey) -> str:
    """End tokens by their text, where the tokenizer knows them."""
    known = {number: token for token, number in survey.vocabulary.ids.items()} if survey.vocabulary else {}
    return ", ".join(f"{known[number]} ({number})" if number in known else str(number) for number in ids) or "none"
