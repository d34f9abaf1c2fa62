"""mergekit's YAML as typed documents: the models each one names, and where every parameter stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from darwin_mri.errors import ConfigError
from darwin_mri.files import read_text
from darwin_mri.merging.mergekit.refs import model_ref
from darwin_mri.merging.mergekit.rules import KNOWN, RULES

PARTS = {"models", "slices", "modules"}
TOP = {"merge_method", "base_model", "parameters", "name", "out_path", "dtype", "out_dtype", *PARTS}
TOP |= {"tokenizer_source", "tokenizer", "chat_template"}
DTYPES = ("bfloat16", "float16", "float32", "float64")
Data = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """One model's part in a slice.

    Attributes:
        model: as the recipe names it.
        layers: [first, after last); None for all.
        parameters: its own.
    """

    model: str
    layers: tuple[int, int] | None
    parameters: Data = field(default_factory=dict[str, Any])

    @property
    def count(self) -> int:
        """How many layers it gives; 0 where it gives all."""
        return 0 if self.layers is None else self.layers[1] - self.layers[0]


@dataclass(frozen=True)
class Slice:
    """Consecutive layers of the child.

    Attributes:
        sources: what is merged into them.
        base: the base as this slice names it, else the document's.
        parameters: for all of its sources.
    """

    sources: tuple[Source, ...]
    base: str | None
    parameters: Data


@dataclass(frozen=True)
class Document:
    """One merge.

    Attributes:
        where: the file's name, with the document's where the file has several, for messages.
        name: what other documents call it.
        method: mergekit's name.
        base: the base as the recipe names it, or None.
        slices: the child's layers from the first to the last; one without ranges where whole models are listed.
        parameters: for all.
        dtype: of the child, or None.
        tokenizer: what ``tokenizer`` or ``tokenizer_source`` asks for, as mergekit's ``tokenizer`` block; or None.
        chat_template: auto, a name or a template; or None.
        towers: whether what lies beside the text model is merged too.
    """

    where: str
    name: str | None
    method: str
    base: str | None
    slices: tuple[Slice, ...]
    parameters: Data
    dtype: str | None
    tokenizer: Data | None
    chat_template: str | None
    towers: bool

    @property
    def whole(self) -> bool:
        """Whether it lists whole models."""
        return self.slices[0].sources[0].layers is None

    @property
    def refs(self) -> tuple[str, ...]:
        """Every model it names, once, in the order it names them."""
        named = [source.model for part in self.slices for source in part.sources]
        named += [part.base for part in self.slices if part.base]
        named += token_refs(self.tokenizer or {}, self.where)
        return tuple(dict.fromkeys([*named, *([self.base] if self.base else [])]))


def read_documents(path: Path) -> tuple[Document, ...]:
    """Read the documents of a mergekit file.

    Args:
        path: of the YAML; several documents stand apart by ``---``.

    Returns:
        The documents as they stand.

    Raises:
        ConfigError: not YAML, or a method or option that is not supported.
    """
    try:
        loaded = [data for data in yaml.safe_load_all(read_text(path)) if data is not None]
    except FileNotFoundError:
        raise ConfigError(f"mergekit recipe {path} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"mergekit recipe {path} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not loaded or not all(isinstance(data, dict) for data in loaded):
        raise ConfigError(f"mergekit recipe {path} must hold a mapping with merge_method and models")
    documents: list[Document] = []
    for number, data in enumerate(cast("list[dict[Any, Any]]", loaded), start=1):
        name = data.get("name") or data.get("out_path")
        several = f" ({name or f'document {number}'})" if len(loaded) > 1 else ""
        documents.append(_document(data, path.name + several, None if name is None else str(name)))
    return tuple(documents)


def token_refs(tokenizer: Data, where: str) -> list[str]:
    """The models that a ``tokenizer`` block names."""
    rules = (tokenizer.get("tokens") or {}).values()
    sources = [tokenizer.get("source"), *(rule.get("source") for rule in rules)]
    sources = [part.get("model") if isinstance(part, Mapping) and "kind" in part else part for part in sources]
    return [model_ref(part, where) for part in sources if part not in (None, "union", "base")]


def _document(data: Mapping[Any, Any], where: str, name: str | None) -> Document:
    method = str(data.get("merge_method"))
    if method not in RULES:
        raise ConfigError(f"{where}: merge_method {method} is not known here: choose one of {', '.join(RULES)}")
    if unknown := sorted(map(str, set(data) - TOP)):
        raise ConfigError(f"{where}: '{unknown[0]}' is not supported here: leave it out")
    data, towers = _without_modules(data, where)
    if bool(data.get("models")) == bool(data.get("slices")):
        raise ConfigError(f"{where}: give either models or slices")
    base = None if data.get("base_model") is None else model_ref(data["base_model"], where)
    try:
        slices = _models(data["models"], base, where) if data.get("models") else _slices(data["slices"], base, where)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise ConfigError(
            f"{where}: models and slices must name their model (and layer_range) as mergekit does"
        ) from None
    dtype = data.get("out_dtype") or data.get("dtype")
    if dtype is not None and (dtype := str(dtype).removeprefix("torch.")) not in DTYPES:
        raise ConfigError(f"{where}: dtype {dtype} is not known: choose one of {', '.join(DTYPES)}")
    template = data.get("chat_template")
    return Document(
        where,
        name,
        method,
        base,
        slices,
        _parameters(data, where),
        dtype,
        _tokenizer(data, where),
        None if template is None else str(template),
        towers,
    )


def _without_modules(data: Mapping[Any, Any], where: str) -> tuple[Mapping[Any, Any], bool]:
    """The document with what its modules say at the top, and whether that is for all of the model.

    A recipe by modules is read where the text decoder has it alone, or all modules have the same.
    """
    modules = data.get("modules")
    if not modules:
        return data, True
    if not isinstance(modules, Mapping) or data.get("models") or data.get("slices"):
        raise ConfigError(f"{where}: give either models, slices or modules")
    parts = cast("Mapping[Any, Any]", modules)
    first = next(iter(parts.values()))
    if not isinstance(first, Mapping) or any(part != first for part in parts.values()):
        raise ConfigError(f"{where}: modules with recipes of their own are not built here: give all of them the same")
    if len(parts) == 1 and "text_decoder" not in parts and "default" not in parts:
        raise ConfigError(f"{where}: module '{next(iter(parts))}' alone is not merged here: name text_decoder, or all")
    own = cast("Mapping[str, Any]", first)
    if unknown := sorted(map(str, set(own) - {"models", "slices", "parameters"})):
        raise ConfigError(f"{where}: '{unknown[0]}' of a module is not supported here: leave it out")
    shared = {**_parameters(data, where), **_parameters(own, where)}
    top = {key: value for key, value in data.items() if key != "modules"}
    return {**top, **own, "parameters": shared}, len(parts) > 1


def _parameters(part: Mapping[Any, Any], where: str) -> dict[str, Any]:
    parameters = part.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ConfigError(f"{where}: parameters must be a mapping")
    own = cast("dict[str, Any]", parameters)
    if unknown := sorted(map(str, set(own) - KNOWN)):
        raise ConfigError(
            f"{where}: parameter '{unknown[0]}' is not supported here (known: {', '.join(sorted(KNOWN))})"
        )
    return own


def _models(models: Sequence[Any], base: str | None, where: str) -> tuple[Slice, ...]:
    sources: list[Source] = []
    for entry in models:
        model = model_ref(entry["model"], where)
        _refuse_unknown(entry, {"model", "parameters"}, "model", where)
        sources.append(Source(model, None, _parameters(entry, where)))
    return (Slice(tuple(sources), base, {}),)


def _slices(slices: Sequence[Any], base: str | None, where: str) -> tuple[Slice, ...]:
    return tuple(_slice(part, number, base, where) for number, part in enumerate(slices))


def _slice(part: Mapping[Any, Any], number: int, base: str | None, where: str) -> Slice:
    _refuse_unknown(part, {"sources", "base_model", "parameters"}, "slice", where)
    own = None if part.get("base_model") is None else model_ref(part["base_model"], where)
    sources: list[Source] = []
    for entry in part["sources"]:
        _refuse_unknown(entry, {"model", "layer_range", "parameters"}, "slice's model", where)
        first, last = entry["layer_range"]
        if type(first) is not int or type(last) is not int:
            raise ConfigError(f"{where}: layer_range {entry['layer_range']!r} must be two whole numbers")
        if not 0 <= first < last:
            raise ConfigError(f"{where}: layer_range [{first}, {last}] of slice {number} has no layers")
        sources.append(Source(model_ref(entry["model"], where), (first, last), _parameters(entry, where)))
    if len({source.count for source in sources}) != 1:
        raise ConfigError(f"{where}: the sources of slice {number} must have equally many layers")
    return Slice(tuple(sources), own or base, _parameters(part, where))


def _refuse_unknown(part: Mapping[Any, Any], known: set[str], what: str, where: str) -> None:
    """Raise ConfigError for what a part of a recipe says in vain, as a weight that stands beside its parameters."""
    if unknown := sorted(map(str, set(part) - known)):
        raise ConfigError(
            f"{where}: '{unknown[0]}' of a {what} is not supported here: leave it out, or set it under parameters"
        )


def _tokenizer(data: Mapping[Any, Any], where: str) -> Data | None:
    block, source = data.get("tokenizer"), data.get("tokenizer_source")
    if block and source:
        raise ConfigError(f"{where}: give either tokenizer or tokenizer_source")
    if source:
        block = {"source": source}
    if not block:
        return None
    known = {"source", "tokens", "pad_to_multiple_of"}
    if not isinstance(block, Mapping) or set(map(str, cast("Data", block))) - known:
        raise ConfigError(f"{where}: tokenizer has source, tokens and pad_to_multiple_of")
    given = {"source": "union", **cast("Data", block)}
    tokens = given.get("tokens") or {}
    if not isinstance(tokens, Mapping) or not all(isinstance(rule, Mapping) for rule in cast("Data", tokens).values()):
        raise ConfigError(f"{where}: tokenizer's tokens must give each token a mapping with source and force")
    for token, rule in cast("Mapping[Any, Mapping[Any, Any]]", tokens).items():
        if set(rule) - {"source", "force"} or not isinstance(rule.get("force", False), bool):
            raise ConfigError(f"{where}: the rule of token {token!r} has a source, and force as true or false")
    token_refs(given, where)
    return given
