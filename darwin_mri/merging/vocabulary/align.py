"""Siblings whose vocabularies differ, written again as siblings of one vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from torch import Tensor

from darwin_mri.checkpoints.find import ModelSource
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import InputError
from darwin_mri.merging.chat_files import chat_notes
from darwin_mri.merging.derived import Contents, Derivation, derive, stored_forms
from darwin_mri.merging.vocabulary.choice import UNION, VocabularyChoice
from darwin_mri.merging.vocabulary.files import vocabulary_files
from darwin_mri.merging.vocabulary.rows import RowPlan, plan_rows
from darwin_mri.merging.vocabulary.tables import table_reader, vocabulary_tables
from darwin_mri.merging.vocabulary.tokens import Tokens, read_tokens, refuse_other_ids, refuse_other_meaning
from darwin_mri.merging.vocabulary.union import unite, with_tokens

KIND = "vocabulary"
SHOWN = 3


class Aligned(NamedTuple):
    """Models of one vocabulary.

    Attributes:
        sources: role -> model; those that need no change are the given ones.
        notes: sentences on what changed.
    """

    sources: dict[str, ModelSource]
    notes: tuple[str, ...]


class _Plan(NamedTuple):
    """The common vocabulary.

    Attributes:
        models: role -> tokens.
        owner: the model whose tokenizer files are taken.
        data: the new tokenizer.json.
        ids: its tokens -> ids.
        rows: role -> rows of the new tables.
    """

    models: dict[str, Tokens]
    owner: Tokens
    data: dict[str, Any]
    ids: dict[str, int]
    rows: dict[str, RowPlan]


def align_vocabularies(sources: Mapping[str, ModelSource], choice: VocabularyChoice | None) -> Aligned:
    """Give models one tokenizer and tables whose rows mean its tokens.

    Args:
        sources: role -> model, the father first; the base's role is ``base``.
        choice: the common vocabulary; None leaves every model as it is.

    Returns:
        The models: plain folders in the cache of unpacked parents, in which only the vocabulary's tensors and files
        are new.

    Raises:
        InputError: the vocabularies contradict each other, or a model has no fast tokenizer.
        CheckpointError: a folder does not load whole.
    """
    if choice is None:
        return Aligned(dict(sources), ())
    plan = _plan(sources, choice)
    if plan is None:
        return Aligned(dict(sources), ("the models have one vocabulary: none is changed",))
    _refuse_other_widths(plan.models)
    father = next(iter(sources))
    notes = list(_notes(plan, choice, father))
    aligned = {role: sources[role] if _fits(plan, role, father) else _write(plan, role, choice) for role in sources}
    return Aligned(aligned, tuple(notes))


def _plan(sources: Mapping[str, ModelSource], choice: VocabularyChoice) -> _Plan | None:
    """The common vocabulary; None where all have it."""
    models = {role: read_tokens(source) for role, source in sources.items()}
    first = next(iter(models.values()))
    asked = first.source if choice.source == UNION else choice.source
    owner = next((model for model in models.values() if model.source == asked), None) or read_tokens(asked)
    alike = all(model.ids == owner.ids and model.rows == owner.rows for model in models.values())
    if alike and not choice.tokens and not choice.pad_to_multiple_of and owner is first:
        return None
    for model in models.values():
        refuse_other_meaning(owner, model)
    data = dict(owner.data) if choice.source != UNION else unite([owner, *(m for m in models.values() if m != owner)])
    ids = Tokens(owner.source, data).ids
    common = Tokens(owner.source, with_tokens(data, ids, choice.tokens))
    refuse_other_ids(common)
    ids, data = common.ids, dict(common.data)
    holders = [*models.values(), owner]
    named = {
        token: number
        for token, number in ids.items()
        if number < owner.rows or token not in owner.ids or any(model.has(token) for model in holders)
    }
    return _Plan(models, owner, data, ids, plan_rows(named, models, owner, choice))


def _fits(plan: _Plan, role: str, father: str) -> bool:
    """Whether a model needs no change. The child has the father's files, so those must be the new ones."""
    model = plan.models[role]
    if not plan.rows[role].unchanged(model.rows):
        return False
    if role == father:
        return model.source == plan.owner.source and plan.data == model.data
    return all(plan.ids.get(token, number) == number for token, number in model.ids.items())


def _refuse_other_widths(models: Mapping[str, Tokens]) -> None:
    """Rows of one token must have one length to stand in for each other."""
    first, *others = models.values()
    own = first.survey.text_config.hidden_size
    for other in others:
        theirs = other.survey.text_config.hidden_size
        if theirs != own:
            raise InputError(
                f"{other.source.ref} has hidden_size {theirs}, {first.source.ref} {own}: only siblings share a"
                " vocabulary"
            )


def _write(plan: _Plan, role: str, choice: VocabularyChoice) -> ModelSource:
    """Write one model with the common vocabulary."""
    model = plan.models[role]
    involved = {role: model, **plan.models}
    surveys = {name: survey(tokens.source.folder) for name, tokens in involved.items()}
    readers = {name: CheckpointReader(tokens.source.folder) for name, tokens in involved.items()}
    tables, read, rows = vocabulary_tables(surveys[role]), table_reader(surveys, readers), plan.rows[role]
    own = readers[role]
    forms = {
        name: (dtype, (len(rows.own), *shape[1:]) if name in tables else shape)
        for name, (dtype, shape) in stored_forms(own).items()
    }

    def compute(name: str) -> Tensor:
        if name not in tables:
            return own.tensor(name)
        return rows.table(lambda other: own.tensor(name) if other == role else read(other, tables[name]))

    sources = [model.source, plan.owner.source, *(tokens.source for tokens in plan.models.values())]
    recipe = {
        "source": "union" if choice.source == UNION else "model",
        "roles": [*plan.models],
        "role": role,
        "tokens": {token: asdict(rule) for token, rule in choice.tokens.items()},
        "multiple": choice.pad_to_multiple_of,
    }
    derivation = Derivation(
        KIND, tuple(sources), recipe, f"{model.source.ref}: with the vocabulary of {_whose(plan, choice)}"
    )
    files, config = vocabulary_files(model, plan.owner, plan.data, plan.ids, len(rows.own))
    origins = {name: (model.source.folder, name) for name in forms}
    return derive(derivation, Contents(forms, origins, compute, files, config))


def _whose(plan: _Plan, choice: VocabularyChoice) -> str:
    if choice.source != UNION:
        return plan.owner.source.ref
    return "all of " + ", ".join(dict.fromkeys(model.source.ref for model in plan.models.values()))


def _notes(plan: _Plan, choice: VocabularyChoice, father: str) -> list[str]:
    """What is done, in sentences."""
    rows = plan.rows[father]
    notes = [
        f"all models get the vocabulary of {_whose(plan, choice)}: {len(plan.ids):,} tokens, {len(rows.own):,} rows"
    ]
    for role, model in plan.models.items():
        lacking = [token for token in plan.ids if token not in model.ids or not model.has(token)]
        lacking = [token for token in lacking if plan.ids[token] in plan.rows[role].made]
        moved = [token for token in plan.ids if model.has(token) and plan.ids[token] != model.ids[token]]
        gone = [token for token in model.ids if model.has(token) and token not in plan.ids]
        parts = [
            f"{len(tokens):,} tokens {what} ({_listed(tokens)})"
            for tokens, what in ((lacking, "get a new row"), (moved, "another id"), (gone, "are dropped"))
            if tokens
        ]
        if model.rows != len(rows.own):
            parts.append(f"{model.rows:,} rows become {len(rows.own):,}")
        if parts:
            notes.append(f"{role}'s vocabulary: {', '.join(parts)}")
        if role != father and plan.owner.source == plan.models[father].source:
            notes += chat_notes(plan.models[father].survey, model.survey, role)
    nowhere = [
        token
        for token in plan.ids
        if not any(m.has(token) for m in plan.models.values()) and token not in choice.tokens
    ]
    if nowhere and any(plan.ids[token] < len(rows.own) for token in nowhere):
        notes.append(f"{len(nowhere):,} tokens have a row in no model and get zeros ({_listed(nowhere)})")
    return notes


def _listed(tokens: list[str]) -> str:
    return ", ".join(map(repr, tokens[:SHOWN])) + (", ..." if len(tokens) > SHOWN else "")
