"""Which operators and arms some parents allow, and why not the rest: from names, shapes and configurations alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from darwin_mri.checkpoints.naming import EMBEDDINGS, TIED_HEADS, disk_names
from darwin_mri.checkpoints.survey import Survey, is_foreign
from darwin_mri.config import ARMS, OPERATORS
from darwin_mri.errors import CheckpointError, InputError
from darwin_mri.merging.settings import NEEDS_BASE
from darwin_mri.records import Anatomy

FLOATING = ("F64", "F32", "F16", "BF16")
BUFFERS = (
    "BOOL",
    "I64",
)  # masks and positions that older checkpoints store beside their weights; the child has the father's
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
    """Why a folder cannot be merged with the father tensor by tensor, in one sentence.

    Args:
        father: the father's survey.
        other: that of another parent or the base.
        ref: what the sentence calls it.

    Returns:
        The first reason, None where there is none.
    """
    father_config, other_config = father.text_config, other.text_config
    for key in COMPARED:
        if key in father_config and key in other_config and father_config[key] != other_config[key]:
            return f"{ref} has {key} {other_config[key]}, the father {father_config[key]}"
    try:
        names = counterparts(father, other)
    except CheckpointError as error:
        return f"{ref} lacks tensors of the father: {error}"
    extra = sorted(set(other.text_names) - set(names.values()))
    if extra:
        return f"{ref} has {len(extra)} tensors the father lacks (first: {extra[0]})"
    for name, counterpart in names.items():
        father_tensor, other_tensor = father.tensors[name], other.tensors[counterpart]
        if father_tensor.shape != other_tensor.shape:
            return f"{ref}: {counterpart} has shape {other_tensor.shape}, the father's {father_tensor.shape}"
        if father_tensor.dtype == other_tensor.dtype and father_tensor.dtype in BUFFERS:
            continue
        for owner, stored in (("the father's", father_tensor), (f"{ref}'s", other_tensor)):
            if stored.dtype not in FLOATING:
                return f"{owner} {name} is {stored.dtype}: only unquantized floating weights are merged"
    return token_fault(father, other, ref)


def token_fault(father: Survey, other: Survey, ref: str) -> str | None:
    """Why the rows of two embeddings do not mean the same tokens, in one sentence.

    Args:
        father: the father's survey.
        other: that of another parent or the base.
        ref: what the sentence calls it.

    Returns:
        The first reason; None where they mean the same, or where one folder has no tokenizer.json.
    """
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
    """The father's tensor names -> the other folder's, whose prefixes may differ.

    Towers keep their own names, where both folders have them. A head that the other folder ties to its embedding is
    that embedding, so two names may lead to one tensor.

    Args:
        father: the father's survey.
        other: that of another parent or the base.
        names: tensors of the father to find there; all when None.

    Returns:
        Name on the father's disk -> name on the other's.

    Raises:
        CheckpointError: a tensor of the father's text model is missing in the other folder.
    """
    chosen = set(father.tensors if names is None else names)
    text = [name for name in father.text_names if name in chosen]
    matches = disk_names(text, other.text_names)
    embedding = next((name for name in other.text_names if name.endswith(EMBEDDINGS)), None)
    if embedding is not None:
        matches |= {head: embedding for head in text if head.endswith(TIED_HEADS) and head not in matches}
    rest = sorted(chosen - set(father.text_names))
    return matches | {name: name for name in rest if name in other.tensors and is_foreign(name)}


def require_siblings(father: Survey, other: Survey, ref: str) -> None:
    """Refuse a folder that cannot be merged with the father tensor by tensor.

    Args:
        father: the father's survey.
        other: that of another parent or the base.
        ref: what the message calls it.

    Raises:
        InputError: says the first reason.
    """
    fault = sibling_fault(father, other, ref)
    if fault:
        raise InputError(f"not siblings: {fault}; for another architecture use an arm ({', '.join(ARMS)})")


def operator_fault(method: str, father: Survey, others: Sequence[Survey], base: Survey | None) -> str | None:
    """Why an operator cannot merge these parents, in one sentence.

    Args:
        method: one of ``config.OPERATORS``.
        father: the father's survey.
        others: those of the other parents.
        base: that of the base, or None.

    Returns:
        The first reason, None where there is none.
    """
    if len(others) != 1:
        return f"merges the father with one other parent, not with {len(others)}"
    fault = sibling_fault(father, others[0], "mother")
    if fault is None and base is not None:
        fault = sibling_fault(father, base, "base")
    if fault is None and base is None and method in NEEDS_BASE:
        return "needs a base model: give one"
    return fault


def arm_fault(arm: str, father: Anatomy, mother: Anatomy) -> str | None:
    """Why an arm cannot cross a pair, in one sentence.

    Args:
        arm: one of ``config.ARMS``.
        father: the father's anatomy.
        mother: the other parent's.

    Returns:
        The first reason, None where there is none.
    """
    if not any(layer.ffn for layer in father.layers):
        return "the father has no plain FFN in any layer"
    if arm == "competence":
        return None
    if not any(layer.ffn for layer in mother.layers):
        return "the mother has no plain FFN in any layer (competence needs none)"
    for role, anatomy in (("father", father), ("mother", mother)):
        if any(layer.ffn and layer.ffn.gate is None for layer in anatomy.layers):
            return f"the {role}'s FFN has no gate (competence needs none)"
    if arm in ("raw", "folded") and father.hidden_size != mother.hidden_size:
        return f"needs equal hidden sizes: father {father.hidden_size}, mother {mother.hidden_size}"
    return None


def all_faults(father: Survey, others: Sequence[Survey], base: Survey | None) -> dict[str, str | None]:
    """Why each operator and each arm is not possible.

    Args:
        father: the father's survey.
        others: those of the other parents.
        base: that of the base, or None.

    Returns:
        Operator or arm -> the first reason in one sentence, None where it is possible.
    """
    faults = {method: operator_fault(method, father, others, base) for method in OPERATORS}
    if len(others) != 1:
        return faults | dict.fromkeys(ARMS, f"crosses the father with one mother, not with {len(others)}")
    return faults | {arm: arm_fault(arm, father.anatomy, others[0].anatomy) for arm in ARMS}
