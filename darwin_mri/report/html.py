"""The report as one HTML file: no script, no request to any host, light and dark, readable on paper and on a telephone."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from darwin_mri.report.charts import Chart, draw
from darwin_mri.report.elements import GLYPHS, role_family
from darwin_mri.report.view import View
from darwin_mri.report.words import clean

TONES = {"gain": "vigor", "level": "no vigor", "loss": "below", "none": "no verdict"}


def render_html(view: View) -> str:
    """The whole page.

    Args:
        view: from ``build_view``.

    Returns:
        HTML text; the same view gives the same text.
    """
    css = resources.files("darwin_mri.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    page = _environment().get_template("report.html.j2")
    return page.render(view=view, css=Markup(css), tone=TONES[view.verdict.tone])


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("darwin_mri.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
    environment.filters["draw"] = _draw
    environment.filters["glyph"] = lambda role: GLYPHS.get(role, "")
    environment.filters["family"] = role_family
    return environment


def _finalize(value: Any) -> Any:
    """Outside text loses its invisible characters before Jinja escapes it; what is already markup stays."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _draw(chart: Chart) -> Markup:
    return Markup(draw(chart))
