"""A mergekit recipe with its models found, stacked and given one vocabulary: ready to be merged as siblings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from darwin_mri.checkpoints.find import ModelSource, find_model
from darwin_mri.checkpoints.survey import Survey, survey
from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError
from darwin_mri.merging.child_form import ChildForm, child_form, same_files
from darwin_mri.merging.compatibility import FLOATING, counterparts, require_siblings, text_counterparts
from darwin_mri.merging.mergekit import (
    Document,
    Input,
    Roles,
    assign_roles,
    genome_fields,
    scale_factors,
    tensor_values,
)
from darwin_mri.merging.mergekit.refs import model_ref, named_part
from darwin_mri.merging.mergekit.roles import PASSTHROUGH
from darwin_mri.merging.mergekit.templates import chosen_template
from darwin_mri.merging.stacks import LayerRange, Stack, build_stack
from darwin_mri.merging.vocabulary import RowOf, TokenRule, VocabularyChoice, align_vocabularies
from darwin_mri.records import Genome
from darwin_mri.records.roles import FATHER, PARENTS
from darwin_mri.roles import BASE


@dataclass(frozen=True)
class Workshop:
    """Where a recipe's models are found.

    Attributes:
        made: name of an earlier document -> the folder it was written to.
        offline: never ask the hub.
    """

    made: Mapping[str, Path] = field(default_factory=dict[str, Path])
    offline: bool = False

    def find(self, ref: str) -> ModelSource:
        """A model as a recipe names it; raises CheckpointError where there is none."""
        name = named_part(ref)
        if name not in self.made:
            return find_model(ref, offline=self.offline)
        source = find_model(str(self.made[name]) + ref.removeprefix(name), offline=self.offline)
        return replace(source, ref=Path(name).name + ref.removeprefix(name))


@dataclass(frozen=True)
class RecipeMerge:
    """A recipe whose models are at hand.

    Attributes:
        sources: role -> model, the father first and the base, where there is one, last.
        genome: ratios and settings tensor by tensor; None where nothing is merged.
        form: of the child, where it is not the father's folder with other values.
        factors: tensor -> what it is multiplied with, where nothing is merged.
        notes: sentences on what the child has from whom.
    """

    sources: Mapping[str, ModelSource]
    genome: Genome | None
    form: ChildForm | None
    factors: Mapping[str, float]
    notes: tuple[str, ...]


def prepare_recipe(document: Document, workshop: Workshop, seed: int) -> RecipeMerge:
    """Find a recipe's models and bring its parameters to them.

    Args:
        document: the recipe.
        workshop: finds models.
        seed: of the masks; a recipe has none.

    Returns:
        The models and the genome.

    Raises:
        ConfigError: the recipe asks for what is not done here; says what.
        CheckpointError: a model is not found.
        InputError: the models are no siblings, or a stack cannot be.
    """
    if document.method not in (*OPERATORS, PASSTHROUGH):
        raise ConfigError(f"{document.where}: recipes of merge_method {document.method} are read, but not merged here")
    roles = assign_roles(document)
    sources = _sources(document, roles, workshop)
    files = _found(document, roles.files, workshop)
    notes: list[str] = []
    if document.tokenizer is not None:
        choice = _vocabulary(document, sources, workshop)
        sources, changes = align_vocabularies(sources, choice)
        notes += changes
        files = sources[FATHER]
    father = survey(sources[FATHER].folder)
    genome = None if len(roles.parents) == 1 else _genome(document, roles, sources, seed)
    files_of = survey(files.folder)
    if not same_files(father, files_of):
        require_siblings(father, files_of, files.ref)
        if _ties(father) != _ties(files_of):
            notes.append(f"{files.ref} ties its embeddings otherwise: the child keeps the father's configuration")
            files_of = father
        else:
            notes.append(f"the child has the configuration, tokenizer and other small files of {files.ref}")
    folders = [workshop.find(ref).folder for ref in document.refs] if document.chat_template == "auto" else []
    template = chosen_template(document.chat_template, folders, document.where)
    form = child_form(father, files_of, document.dtype, template)
    passed = document.method == PASSTHROUGH
    floating = [name for name, stored in father.tensors.items() if stored.dtype in FLOATING]
    factors = scale_factors(document, roles, floating) if passed else {}
    return RecipeMerge(sources, genome, form, factors, tuple(notes))


def _sources(document: Document, roles: Roles, workshop: Workshop) -> dict[str, ModelSource]:
    """Role -> model; raises ConfigError for a whole base beside stacks."""
    parents = [_found(document, one, workshop) for one in roles.parents]
    sources: dict[str, ModelSource] = dict(zip(PARENTS, parents, strict=False))
    moved = any(
        source.folder != workshop.find(one.model).folder for one, source in zip(roles.parents, parents, strict=True)
    )
    apart = [one for one in (*roles.parents, roles.base) if one is not None and one.parts[0].layers is None]
    if moved and apart and document.method != PASSTHROUGH:
        raise ConfigError(
            f"{document.where}: its slices leave out, move or repeat layers: name base_model among the sources of each"
        )
    if roles.base is not None:
        sources[BASE] = sources[FATHER] if roles.father_is_base else _found(document, roles.base, workshop)
    return sources


def _found(document: Document, one: Input, workshop: Workshop) -> ModelSource:
    """A model as it is, or the stack of layers that the recipe makes of it."""
    ranges: list[LayerRange] = []
    for part in one.parts:
        source = workshop.find(part.model)
        if document.method == PASSTHROUGH:
            layers = part.layers or (0, len(survey(source.folder).anatomy.layers))
            ranges.append(LayerRange(source, *layers))
        elif part.layers is None:
            return source
        else:
            ranges.append(LayerRange(source, *part.layers))
    return build_stack(Stack(tuple(ranges)))


def _genome(document: Document, roles: Roles, sources: Mapping[str, ModelSource], seed: int) -> Genome:
    father = survey(sources[FATHER].folder)
    pairs = counterparts if document.towers else text_counterparts
    names = [name for name, stored in father.tensors.items() if stored.dtype in FLOATING]
    for role, source in sources.items():
        if role != FATHER:
            other = survey(source.folder)
            require_siblings(father, other, source.ref)
            shared = pairs(father, other)
            names = [name for name in names if name in shared]
    refs = {role: source.ref for role, source in sources.items()}
    base = refs.pop(BASE, None)
    values = tensor_values(document, roles, names)
    return Genome(
        seed=seed,
        father=refs[FATHER],
        mother=refs[PARENTS[1]],
        base=base,
        parents=tuple(refs.values()),
        ratios=(),
        **genome_fields(document.method, tuple(refs)[1:], values),
    )


def _ties(model: Survey) -> bool:
    return bool(getattr(model.known_config, "tie_word_embeddings", False))


def _vocabulary(document: Document, sources: dict[str, ModelSource], workshop: Workshop) -> VocabularyChoice:
    """What the recipe's tokenizer asks for."""
    asked: Mapping[str, Any] = document.tokenizer or {}
    where = document.where
    by_folder = {source.folder: role for role, source in reversed([*sources.items()])}

    def role_of(value: Any) -> str:
        ref = model_ref(value, where)
        role = by_folder.get(workshop.find(ref).folder)
        if role is None:
            raise ConfigError(f"{where}: tokenizer takes a row from {ref}, which the recipe does not merge")
        return role

    def rule(token: str, given: Mapping[str, Any]) -> TokenRule:
        source, force = given.get("source"), bool(given.get("force", False))
        if source is None:
            return TokenRule(None, force)
        if isinstance(source, Mapping) and source.get("kind") == "zero":  # type: ignore[reportUnknownMemberType]
            return TokenRule("zero", force)
        if isinstance(source, Mapping) and source.get("kind") == "model_token":  # type: ignore[reportUnknownMemberType]
            own: Mapping[str, Any] = source
            return TokenRule(RowOf(role_of(own.get("model")), own.get("token"), own.get("token_id")), force)
        return TokenRule(RowOf(role_of(source), token), force)

    tokens = {str(token): rule(str(token), given) for token, given in (asked.get("tokens") or {}).items()}
    multiple = asked.get("pad_to_multiple_of")
    if multiple is not None and (not isinstance(multiple, int) or multiple < 1):
        raise ConfigError(f"{where}: pad_to_multiple_of {multiple!r} must be a whole number of at least 1")
    source = asked["source"]
    if source == "union":
        return VocabularyChoice("union", tokens, multiple)
    if source == BASE:
        if document.base is None:
            raise ConfigError(f"{where}: the tokenizer of the base needs base_model")
        source = document.base
    return VocabularyChoice(workshop.find(model_ref(source, where)), tokens, multiple)
