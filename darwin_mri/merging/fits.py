"""What a pair allows, and why not the rest: which operators and which arms, from names, shapes and configurations alone."""

from __future__ import annotations

from collections.abc import Iterable

from darwin_mri.checkpoints.naming import EMBEDDINGS, TIED_HEADS, disk_names
from darwin_mri.checkpoints.survey import Survey, is_foreign
from darwin_mri.config import ARMS, OPERATORS
from darwin_mri.errors import CheckpointError, InputError
from darwin_mri.merging.settings import NEEDS_BASE
from darwin_mri.records import Anatomy

FLOATING = ("F64", "F32", "F16", "BF16")
BUFFERS = ("BOOL", "I64")  # masks and positions that older checkpoints store beside their weights: the father's stay
COMPARED = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "vocab_size",
    "num_attention_heads",
    "head_dim",
)


def sibling_fault(father: Survey, other: Survey, ref: str) -> str | None:
    """Why ``other`` cannot be merged with the father tensor by tensor, None where it can: one sentence, the first reason."""
    ours, theirs = father.text_config, other.text_config
    for key in COMPARED:
        if key in ours and key in theirs and ours[key] != theirs[key]:
            return f"{ref} has {key} {theirs[key]}, the father {ours[key]}"
    try:
        names = counterparts(father, other)
    except CheckpointError as error:
        return f"{ref} lacks tensors of the father: {error}"
    extra = sorted(set(other.text_names) - set(names.values()))
    if extra:
        return f"{ref} has {len(extra)} tensors the father lacks (first: {extra[0]})"
    for name, counterpart in names.items():
        one, two = father.tensors[name], other.tensors[counterpart]
        if one.shape != two.shape:
            return f"{ref}: {counterpart} has shape {two.shape}, the father's {one.shape}"
        if one.dtype == two.dtype and one.dtype in BUFFERS:
            continue
        for who, stored in (("the father's", one), (f"{ref}'s", two)):
            if stored.dtype not in FLOATING:
                return f"{who} {name} is {stored.dtype}: only unquantized floating weights are merged"
    return token_fault(father, other, ref)


def token_fault(father: Survey, other: Survey, ref: str) -> str | None:
    """Why rows of both embeddings do not mean the same tokens; None where they do, or where a side has no tokenizer.json."""
    if father.tokens is None or other.tokens is None:
        return None
    for token, number in father.tokens.items():
        if other.tokens.get(token) != number:
            has = f"has it as {other.tokens[token]}" if token in other.tokens else "lacks it"
            return f"{ref}'s tokenizer does not know the father's special token {token!r} as {number} ({has})"
    if father.vocabulary != other.vocabulary:
        return f"{ref}'s tokenizer has {other.vocabulary} tokens, the father's {father.vocabulary}"
    return None


def counterparts(father: Survey, other: Survey, names: Iterable[str] | None = None) -> dict[str, str]:
    """The father's tensor names -> the other folder's, whose prefixes may differ; towers by their own names, where both have them.

    A head that the other folder ties to its embedding is that embedding, so two names may lead to one tensor.

    Raises:
        CheckpointError: a tensor of the father's text model is missing in the other folder.
    """
    wanted = set(father.tensors if names is None else names)
    text = [name for name in father.text_names if name in wanted]
    found = disk_names(text, other.text_names)
    embedding = next((name for name in other.text_names if name.endswith(EMBEDDINGS)), None)
    if embedding is not None:
        found |= {head: embedding for head in text if head.endswith(TIED_HEADS) and head not in found}
    rest = sorted(wanted - set(father.text_names))
    return found | {name: name for name in rest if name in other.tensors and is_foreign(name)}


def require_siblings(father: Survey, other: Survey, ref: str) -> None:
    """Raise InputError with the first reason why two folders are no siblings."""
    fault = sibling_fault(father, other, ref)
    if fault:
        raise InputError(f"not siblings: {fault}; for another architecture use an arm ({', '.join(ARMS)})")


def operator_fault(method: str, father: Survey, mother: Survey, base: Survey | None) -> str | None:
    """Why an operator cannot merge this pair."""
    fault = sibling_fault(father, mother, "mother")
    if fault is None and base is not None:
        fault = sibling_fault(father, base, "base")
    if fault is None and base is None and method in NEEDS_BASE:
        return "needs a base model: give one"
    return fault


def arm_fault(arm: str, father: Anatomy, mother: Anatomy) -> str | None:
    """Why an arm cannot cross this pair."""
    if not any(layer.ffn for layer in father.layers):
        return "the father has no plain FFN in any layer"
    if arm == "competence":
        return None
    if not any(layer.ffn for layer in mother.layers):
        return "the mother has no plain FFN in any layer (competence needs none)"
    for who, anatomy in (("father", father), ("mother", mother)):
        if any(layer.ffn and layer.ffn.gate is None for layer in anatomy.layers):
            return f"the {who}'s FFN has no gate (competence needs none)"
    if arm in ("raw", "folded") and father.hidden_size != mother.hidden_size:
        return f"needs equal hidden sizes: father {father.hidden_size}, mother {mother.hidden_size}"
    return None


def all_faults(father: Survey, mother: Survey, base: Survey | None) -> dict[str, str | None]:
    """Every operator and arm -> why it is not possible, None where it is."""
    operators = {method: operator_fault(method, father, mother, base) for method in OPERATORS}
    return operators | {arm: arm_fault(arm, father.anatomy, mother.anatomy) for arm in ARMS}
