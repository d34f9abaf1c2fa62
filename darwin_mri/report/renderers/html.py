"""The report as one HTML file: no script, no request to any host, light and dark, for paper and telephones."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from darwin_mri.records.roles import USUAL, family_of, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import Chart, draw
from darwin_mri.report.model.elements import GLYPHS, Table
from darwin_mri.report.model.view import View
from darwin_mri.report.record_words import level_label
from darwin_mri.report.renderers.templating import make_environment
from darwin_mri.translation import ENGLISH, later, say, spoken

TONES = {"gain": later("vigor"), "level": later("no vigor"), "loss": later("below"), "none": later("no verdict")}


def render_html(view: View) -> str:
    """The whole page.

    Args:
        view: from ``build_view``.

    Returns:
        HTML text; the same view gives the same text.
    """
    css = style_sheet("report.css")
    if len(view.roles) > len(USUAL):
        css += "\n" + style_sheet("parents.css")
    if spoken() != ENGLISH:
        css += "\n" + style_sheet("translated.css")
    page = environment().get_template("report.html.j2")
    tone = view.chip or say(TONES[view.verdict.tone])
    return page.render(view=view, css=Markup(css), policy=content_policy(css), tone=tone, roles=view.roles).lstrip()


def content_policy(css: str) -> str:
    """What the browser may do with the page: apply this very style sheet, and nothing else.

    No script, no font, no image, no request, no form, and no other style.
    """
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def render_tables(tables: tuple[Table, ...], heading: str = "") -> str:
    """Tables as a fragment for a notebook: scoped styles, no ids, everything from outside escaped."""
    page = environment().get_template("fragment.html.j2")
    return page.render(tables=tables, heading=heading, css=Markup(style_sheet("fragment.css"))).strip()


@cache
def style_sheet(name: str) -> str:
    """A style sheet of the templates folder, without its comments and indentation."""
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
    sentence = escape(say("Terms such as hybrid vigor, null child and frozen are explained under {words}.", words="{}"))
    return Markup(sentence).format(Markup('<a href="#words">{}</a>').format(say("Words")))


def _finalize(value: Any) -> Any:
    """Outside text loses its invisible characters before Jinja escapes it; what is already markup stays."""
    return formats.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _draw(chart: Chart, narrow: bool = False) -> Markup:
    return Markup(draw(chart, narrow))
