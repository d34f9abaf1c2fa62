"""The child's Hugging Face model card: front matter that the hub reads, and the same words as the report."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from darwin_mri.report import elements as el
from darwin_mri.report import words
from darwin_mri.report.view import View

_MARKDOWN = re.compile(r"([\\`*\[\]#|~$]|(?<!\w)_|_(?!\w))")
_LINE_START = re.compile(r"^(\d*)([-+.)](?=\s|$)|-(?=-)|=)")


class Markdown(str):
    """Text that is Markdown already and must not be escaped again."""


def escape(text: str) -> Markdown:
    """Outside text for a line or a table cell of Markdown: nothing in it is read as markup, HTML or a new line."""
    flat = " ".join(words.clean(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = _MARKDOWN.sub(r"\\\1", flat)
    return Markdown(_LINE_START.sub(r"\1\\\2", flat))


def render_card(view: View) -> str:
    """The card as Markdown with YAML front matter.

    Args:
        view: from ``build_view``.

    Returns:
        the text of card.md; only measured held-out scores of the child enter its model-index.
    """
    front = yaml.safe_dump(_front_matter(view), sort_keys=False, allow_unicode=True, width=100)
    return _environment().get_template("card.md.j2").render(view=view, front=Markdown(front))


def _front_matter(view: View) -> dict[str, Any]:
    parents = list(dict.fromkeys(_hub_name(ref) for role, ref in view.parents if role in ("father", "mother", "base")))
    matter: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if view.languages:
        matter["language"] = [words.clean(name) for name in view.languages]
    if parents:
        matter |= {"base_model": parents, "base_model_relation": "merge"}
    matter["tags"] = [
        "merge",
        "evolutionary-merge",
        "model-mri",
        "darwin-mri",
        *([words.clean(view.method)] if view.method else []),
    ]
    if view.results:
        results = [
            {
                "task": {"type": "text-generation"},
                "dataset": {
                    "name": words.clean(result.benchmark),
                    "type": words.clean(result.benchmark),
                    "split": "held-out",
                },
                "metrics": [{"type": "accuracy", "name": f"accuracy {result.text}", "value": round(result.value, 4)}],
            }
            for result in view.results
        ]
        matter["model-index"] = [{"name": words.clean(view.name), "results": results}]
    return matter


def _hub_name(ref: str) -> str:
    """A hub id without its revision; other references as they are."""
    return words.clean(ref).partition("@")[0]


def table_markdown(table: el.Table) -> Markdown:
    """A table as Markdown, without its caption."""
    marks = ["---:" if i in table.numeric else "---" for i in range(len(table.columns))]
    lines = [[escape(name) for name in table.columns], marks]
    for row in table.rows:
        cells = [escape(cell) or Markdown(" ") for cell in row.cells]
        lines.append([f"**{cell}**" if row.strong and cell.strip() else cell for cell in cells])
    return Markdown("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


def block_markdown(block: el.Block) -> Markdown:
    """A block as Markdown; figures as their tables, folded provenance left to the report."""
    match block:
        case el.Text():
            return escape(block.text)
        case el.Bullets():
            return Markdown("\n".join(f"- {escape(item)}" for item in block.items))
        case el.Tree():
            return Markdown("\n".join(_tree_lines(block, 0)))
        case el.Code(folded=False):
            return Markdown(f"{escape(block.caption)}:\n\n{fenced(block.text)}")
        case el.Table(folded=False):
            return Markdown(f"{table_markdown(block)}\n\n{escape(block.note)}".rstrip())
        case el.Figure():
            return table_markdown(block.table)
        case _:
            return Markdown("")


def _tree_lines(node: el.Tree, depth: int) -> list[str]:
    lines = [f"{'  ' * depth}- {node.role}: {escape(node.label)}"]
    for parent in node.parents:
        lines += _tree_lines(parent, depth + 1)
    return lines


def fenced(text: str, language: str = "") -> Markdown:
    """A code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{language}\n{words.clean(text)}\n{fence}")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("darwin_mri.report", "templates"),
        undefined=StrictUndefined,
        finalize=_finalize,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["block"] = block_markdown
    return environment


def _finalize(value: Any) -> Any:
    return escape(value) if isinstance(value, str) and not isinstance(value, Markdown) else value
