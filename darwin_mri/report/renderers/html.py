"""The report as one HTML file: no request to any host, light and dark, for paper and telephones.

Everything can be read without scripts. Where they run, tables of runs can be sorted and charts saved.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from darwin_mri.records.roles import USUAL, family_of, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import Chart, draw
from darwin_mri.report.model.elements import GLYPHS, Figure, Table
from darwin_mri.report.model.verdict import TONES
from darwin_mri.report.model.view import View
from darwin_mri.report.record_words import level_label
from darwin_mri.report.renderers.templating import make_environment
from darwin_mri.translation import ENGLISH, say, spoken

LONGEST = 60  # characters of a page's name in the name of a file


def render_html(view: View) -> str:
    """The whole page.

    Args:
        view: from ``build_view``.

    Returns:
        HTML text; the same view gives the same text.
    """
    css = page_style(view)
    page = environment().get_template("report.html.j2")
    scripts = [style_sheet(name) for name in scripts_of(view)]
    return page.render(
        view=view,
        css=Markup(css),
        scripts=list(map(Markup, scripts)),
        policy=content_policy(css, scripts),
        tone=view.chip or say(TONES[view.verdict.tone]),
        roles=view.roles,
    ).lstrip()


def page_style(view: View) -> str:
    """The style sheet of a page."""
    names = ["report.css"] + (["parents.css"] if len(view.roles) > len(USUAL) else [])
    names += ["translated.css"] if spoken() != ENGLISH else []
    return "\n".join(map(style_sheet, names))


def scripts_of(view: View) -> list[str]:
    """Names of the scripts that a page has a use for."""
    blocks = [block for section in view.sections for block in section.blocks]
    sorts = any(isinstance(block, Table) and block.sortable for block in blocks)
    draws = any(isinstance(block, Figure) for block in blocks)
    return [name for name, used in (("sort.js", sorts), ("figures.js", draws)) if used]


def content_policy(css: str, scripts: Sequence[str] = ()) -> str:
    """What the browser may do with the page: apply this very style sheet, run these very scripts, and nothing else.

    No other script, no font, no image, no request, no form, and no other style.
    """
    allowed = " ".join(map(_source, scripts)) or "'none'"
    return f"default-src 'none'; style-src {_source(css)}; script-src {allowed}; base-uri 'none'; form-action 'none'"


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render_tables(tables: tuple[Table, ...], heading: str = "") -> str:
    """Tables as a fragment for a notebook: scoped styles, no ids, everything from outside escaped."""
    page = environment().get_template("fragment.html.j2")
    return page.render(tables=tables, heading=heading, css=Markup(style_sheet("fragment.css"))).strip()


@cache
def style_sheet(name: str) -> str:
    """A style sheet or script of the templates folder, without its comments and indentation."""
    css = resources.files("darwin_mri.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    return "\n".join(line.strip() for line in css.splitlines() if line.strip())


@cache
def environment() -> Environment:
    """Jinja with the report's filters; outside text is always escaped."""
    filters = {
        "kind": lambda block: type(block).__name__.lower(),
        "draw": _draw,
        "glyph": lambda role: GLYPHS[role],
        "family": family_of,
        "lang": mark_languages,
        "level": level_label,
        "role": role_label,
        "file_name": file_name,
    }
    jinja = make_environment(_finalize, filters, autoescape=True)
    jinja.globals |= {"say": say, "spoken": spoken, "words_link": words_link}
    return jinja


_CHARACTERS = {
    "ko": "[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]",
    "ja": "[\u3041-\u30ff\u4e00-\u9fff]",
}


_ENGLISH = re.compile(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}")  # a sentence that a record holds, on a page in another language


def mark_languages(text: str) -> Markup:
    """Text with its Korean and Japanese passages marked: browsers pick fonts by language, screen readers the voice."""
    language = formats.language(text)
    if not isinstance(text, Markup) and not language and spoken() != ENGLISH and _ENGLISH.search(text):
        return Markup('<span lang="en">{}</span>').format(_finalize(text))
    if isinstance(text, Markup) or language in ("", spoken()):
        return escape(_finalize(text))
    run = _CHARACTERS[language]
    passages = re.split(f"({run}+(?:[ ·,()]*{run}+)*)", formats.clean(text))
    return Markup("").join(
        Markup('<span lang="{}">{}</span>').format(language, part) if number % 2 else escape(part)
        for number, part in enumerate(passages)
    )


def words_link() -> Markup:
    """Where a page explains its terms."""
    sentence = escape(
        say("Terms such as hybrid vigor, null child and frozen are explained under {glossary}.", glossary="{}")
    )
    return Markup(sentence).format(Markup('<a href="#glossary">{}</a>').format(say("Glossary")))


def file_name(name: str) -> str:
    """A page's name as the beginning of a file's: letters and digits of any script, the rest as hyphens."""
    return re.sub(r"[^\w]+", "-", formats.clean(name)).strip("-_")[:LONGEST].rstrip("-_") or "report"


def _finalize(value: Any) -> Any:
    """Outside text loses its invisible characters before Jinja escapes it; what is already markup stays."""
    return formats.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _draw(chart: Chart, narrow: bool = False) -> Markup:
    return Markup(draw(chart, narrow))
