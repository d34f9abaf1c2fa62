"""Which operators and arms some parents allow, and why not the rest: from headers and configurations alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darwin_mri.checkpoints import require_ffn
from darwin_mri.checkpoints.survey import Survey
from darwin_mri.config import ARMS, OPERATORS
from darwin_mri.errors import CheckpointError, InputError
from darwin_mri.merging.chat_files import chat_notes
from darwin_mri.merging.differences import computation_notes, structural_fault, token_fault, token_notes
from darwin_mri.merging.settings import NEEDS_BASE, OF_TWO
from darwin_mri.records import Anatomy
from darwin_mri.records.roles import PARENTS

FLOATING = ("F64", "F32", "F16", "BF16")
WHOLE = ("BOOL", "I64")  # masks and positions that some families store; the child has the father's


def sibling_fault(father: Survey, other: Survey, ref: str) -> str | None:
    """Why a folder cannot be merged with the father tensor by tensor, in one sentence.

    Args:
        father: the father's survey.
        other: that of another parent or the base.
        ref: what the sentence calls it.

    Returns:
        The first reason, None where there is none.

    Raises:
        CheckpointError: one of the folders does not load whole.
    """
    fault = structural_fault(father, other, ref)
    if fault:
        return fault
    _ = father.layout, other.layout  # a folder that does not load whole is refused as such
    fault = _expert_fault(father.anatomy, other.anatomy, ref)
    if fault:
        return fault
    try:
        names = text_counterparts(father, other)
    except CheckpointError as error:
        return f"{ref} {error}"
    for name, counterpart in names.items():
        father_tensor, other_tensor = father.tensors[name], other.tensors[counterpart]
        if father_tensor.shape != other_tensor.shape:
            return f"{ref}: {counterpart} has shape {other_tensor.shape}, the father's {father_tensor.shape}"
        if father_tensor.dtype == other_tensor.dtype and father_tensor.dtype in WHOLE:
            continue
        for owner, stored in (("the father's", father_tensor), (f"{ref}'s", other_tensor)):
            if stored.dtype not in FLOATING:
                return f"{owner} {name} is {stored.dtype}: only unquantized floating weights are merged"
    return token_fault(father, other, ref)


def _expert_fault(father: Anatomy, other: Anatomy, ref: str) -> str | None:
    """Where a layer of two models has not the same number of experts, in one sentence; None where all have."""
    for own, theirs in zip(father.layers, other.layers, strict=False):
        counts = [layer.moe.count if layer.moe else 0 for layer in (own, theirs)]
        if counts[0] != counts[1]:
            return f"{ref} has {_experts(counts[1])} in layer {own.index}, the father {_experts(counts[0])}"
    return None


def _experts(count: int) -> str:
    return f"{count} experts" if count else "no experts"


def sibling_notes(father: Survey, other: Survey, ref: str) -> tuple[str, ...]:
    """What a user should know of a merge that is possible, in sentences.

    Args:
        father: the father's survey.
        other: that of another parent.
        ref: what the sentences call it.

    Returns:
        Fields of the configuration that change the computation, tokens, chat template, and tensors that have no part.
    """
    notes = [*computation_notes(father, other, ref), *token_notes(father, other, ref), *chat_notes(father, other, ref)]
    for owner, layout in (("the father", father.layout), (ref, other.layout)):
        if layout.unexpected:
            notes.append(
                f"{len(layout.unexpected)} tensors of {owner} have no part: transformers does not know them"
                f" (first: {layout.unexpected[0]})"
            )
    lost = sorted(set(other.layout.others) - set(father.layout.others))
    if lost:
        notes.append(f"{len(lost)} tensors of {ref} beside its text model are not in the child (first: {lost[0]})")
    return tuple(notes)


def text_counterparts(father: Survey, other: Survey) -> dict[str, str]:
    """The tensors of the father's text model on disk -> the other folder's, whose names may differ.

    A head that the other folder ties to its embedding is that embedding, so two names may lead to one tensor.

    Args:
        father: the father's survey.
        other: that of another parent or the base.

    Returns:
        Name on the father's disk -> name on the other's.

    Raises:
        CheckpointError: one of the two has a tensor that the other lacks.
    """
    own, theirs = father.layout, other.layout
    sources = {
        name: name if name in theirs.text_tensors else theirs.text_ties.get(name, "") for name in own.text_tensors
    }
    lacking = [own.text_tensors[name] for name, source in sources.items() if source not in theirs.text_tensors]
    if lacking:
        raise CheckpointError(f"lacks {len(lacking)} tensors of the father (first: {lacking[0]})")
    for name in sorted(set(theirs.text_tensors) - set(sources.values())):
        extra = theirs.text_tensors[name]
        tied = own.text_ties.get(name)
        if tied is None:
            raise CheckpointError(f"has tensors that the father lacks (first: {extra})")
        if not other.same_values(extra, theirs.text_tensors[sources[tied]]):
            raise CheckpointError(f"has {extra} of its own, which the father ties to {own.text_tensors[tied]}")
    return {own.text_tensors[name]: theirs.text_tensors[source] for name, source in sources.items()}


def counterparts(father: Survey, other: Survey) -> dict[str, str]:
    """As ``text_counterparts``, with the tensors beside the text model that both folders have under one name."""
    beside = sorted(set(father.layout.others) & set(other.layout.others))
    alike = {name: name for name in beside if father.tensors[name].shape == other.tensors[name].shape}
    return text_counterparts(father, other) | alike


def tower_tensors(father: Survey, others: Mapping[str, Survey]) -> tuple[str, ...]:
    """The tensors beside the text model that a child takes from all parents: towers, projectors, drafters.

    Args:
        father: the father's survey.
        others: what a message calls them -> the other parents and the base.

    Returns:
        Names on disk of the floating ones.

    Raises:
        InputError: the father has none, or another model lacks one or has it in another shape.
    """
    names = tuple(name for name in father.layout.others if father.tensors[name].dtype in FLOATING)
    if not names:
        raise InputError("towers: merge: the father has no tensors beside its text model: set towers to father")
    for ref, other in others.items():
        for name in names:
            theirs = other.tensors.get(name)
            if theirs is None or name not in other.layout.others:
                raise InputError(f"towers: merge: {ref} has no {name}, which the father has: set towers to father")
            if theirs.shape != father.tensors[name].shape or theirs.dtype not in FLOATING:
                own = f"{father.tensors[name].dtype} {father.tensors[name].shape}"
                raise InputError(
                    f"towers: merge: {ref} has {name} as {theirs.dtype} {theirs.shape}, the father as {own}:"
                    " set towers to father"
                )
    return names


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


def _operators_fault(father: Survey, others: Sequence[Survey], base: Survey | None) -> str | None:
    """Why no operator can merge these parents, in one sentence; None where some can."""
    named = [*zip(PARENTS[1:], others, strict=False), *([("base", base)] if base else [])]
    return next((fault for role, survey in named if (fault := sibling_fault(father, survey, role))), None)


def _operator_fault(method: str, father: Survey, others: Sequence[Survey], base: Survey | None) -> str | None:
    """Why an operator cannot breed these siblings: for want of a base, or of an FFN that a scan needs."""
    if base is None and method in NEEDS_BASE:
        return "needs a base model: give one"
    if method in OF_TWO and len(others) != 1:
        return f"merges the father with one other parent, not with {len(others)}"
    for role, survey in zip(PARENTS, (father, *others), strict=False):
        layers = survey.anatomy.layers
        if not any(layer.ffn or layer.moe for layer in layers):
            return f"the {role} has no FFN in any layer ({layers[0].note}), so it cannot be scanned"
    return None


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


def require_parts(anatomy: Anatomy, ref: str, method: str, role: str) -> None:
    """Refuse a parent that a method cannot use for want of an FFN: an arm needs a plain one, a scan takes experts too.

    Args:
        anatomy: of the parent.
        ref: what the message calls it.
        method: an operator's or arm's name.
        role: of the parent; ``competence`` needs no FFN of the other one.

    Raises:
        CheckpointError: says why the first layer has none.
    """
    if role == "father" or method != "competence":
        require_ffn(anatomy, ref, or_experts=method not in ARMS)


def method_fault(method: str, father: Survey, others: Sequence[Survey], base: Survey | None) -> str | None:
    """Why an operator or arm cannot merge these parents, in one sentence; None where it can.

    Args:
        method: an operator's or arm's name.
        father: the father's survey.
        others: those of the other parents.
        base: that of the base, or None.

    Returns:
        The first reason.
    """
    if method in OPERATORS:
        return _operators_fault(father, others, base) or _operator_fault(method, father, others, base)
    if len(others) != 1:
        return f"crosses the father with one mother, not with {len(others)}"
    return arm_fault(method, father.anatomy, others[0].anatomy)


def all_faults(father: Survey, others: Sequence[Survey], base: Survey | None) -> dict[str, str | None]:
    """Why each operator and each arm is not possible.

    Args:
        father: the father's survey.
        others: those of the other parents.
        base: that of the base, or None.

    Returns:
        Operator or arm -> the first reason in one sentence, None where it is possible.
    """
    common = _operators_fault(father, others, base)  # vocabularies of real models take a while to compare
    faults = {method: common or _operator_fault(method, father, others, base) for method in OPERATORS}
    return faults | {arm: method_fault(arm, father, others, base) for arm in ARMS}
