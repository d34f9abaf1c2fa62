"""Every field of a config, from its models."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from darwin_mri.arena.settings import ArenaConfig
from darwin_mri.config import Config
from darwin_mri.config_tasks import KINDS
from site_tools.markdown import plain, table
from site_tools.types import default, limits, models_in, words

HEAD = """# Config fields

Made from the models that read the YAML. A field that is left out has its default; an unknown one is refused with the
nearest known name. `darwin-mri init` writes a config with reasons; `configs/` has examples.
"""


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Path in the YAML and model of each section, the outermost first (its path is empty).

    Of a mapping whose names the user chooses, the name is NAME; of a task it is KIND, which each of its models has.
    """
    yield path, model
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            own = next((f".{kind}" for kind, task in KINDS.items() if task is inner), ".NAME")
            below = f"{path}.{name}".strip(".") + (own if "dict" in str(field.annotation) else "")
            yield from sections(inner, below)


def explanation(model: type[BaseModel], name: str) -> str:
    """What a field is for: its description, else that of the section it holds."""
    field = model.model_fields[name]
    inner = models_in(field.annotation)
    said = field.description or (inner[0].__doc__ if inner else None) or ""
    return said.partition("\n")[0].rstrip(".")


def page() -> str:
    """The reference of the configs of ``breed`` and ``arena``."""
    run = [*sections(Config)]
    text = HEAD + "\n## A run { #run }\n\nThe YAML of `breed`, `scan` and `plan`.\n\n" + _fields(Config, "", "")
    text += "".join(_section(path, model, "") for path, model in run[1:])
    text += "\n## An arena { #arena }\n\nThe YAML of `darwin-mri arena`.\n\n" + _fields(ArenaConfig, "", "arena.")
    known = {model for _, model in run}
    own = [(path, model) for path, model in sections(ArenaConfig) if path and model not in known]
    return text + "".join(_section(path, model, "arena.") for path, model in own)


def _section(path: str, model: type[BaseModel], place: str) -> str:
    said = plain((model.__doc__ or "").partition("\n")[0])
    shown = f"tasks.NAME with {path.removeprefix('tasks.')}" if path.startswith("tasks.") else path
    return f"\n### {shown} {{ #{place}{path} }}\n\n{said}\n\n" + _fields(model, path, place)


def _fields(model: type[BaseModel], path: str, place: str) -> str:
    prefix = f"{path}." if path else ""
    rows = []
    for name, field in model.model_fields.items():
        shown = field.alias or name
        inner = bool(models_in(field.annotation))
        anchor = "" if inner else f' id="{place}{prefix}{shown}"'
        kind = (
            f"section [`{prefix}{shown}`](#{_anchor(model, name, path, place)})" if inner else words(field.annotation)
        )
        said = plain(explanation(model, name))
        ranged = ", ".join(filter(None, (kind, limits(field))))
        rows.append((f"<span{anchor}>`{shown}`</span>", said, ranged, default(field)))
    return table(("field", "meaning", "type and range", "default"), rows)


def _anchor(model: type[BaseModel], name: str, path: str, place: str) -> str:
    """Of the section that a field holds, the first of several; a run's sections are listed once, with the run."""
    inner = models_in(model.model_fields[name].annotation)[0]
    of_run = {section: where for where, section in reversed([*sections(Config)])}
    below = next(below for below, section in sections(model, path) if section is inner)
    return of_run.get(inner, place + below)
