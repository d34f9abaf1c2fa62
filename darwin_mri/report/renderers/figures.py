"""The charts of a page as files: each a whole SVG with its own styles, in light colours, for papers and slides.

``figures.js`` makes the same files in the browser from the page itself, which need not hold every chart twice for that.
"""

from __future__ import annotations

import re
from pathlib import Path

from darwin_mri.files import require_output
from darwin_mri.records import write_text
from darwin_mri.report.charts import Chart, draw
from darwin_mri.report.model.elements import Figure
from darwin_mri.report.model.view import View
from darwin_mri.report.renderers.html import file_name, page_style

STANDALONE = "svg { background: #ffffff; font-family: sans-serif; }"


def write_figures(view: View, folder: Path) -> list[str]:
    """Write every chart of a page as a file.

    Args:
        view: the page.
        folder: where to; made where it is missing.

    Returns:
        the names of the files, in the order of the page.

    Raises:
        InputError: the folder or a file in it cannot be written.
    """
    files = {f"{file_name(view.name)}-{name}.svg": svg for name, svg in draw_figures(view).items()}
    require_output(folder, files, "--figures")
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in files.items():
        write_text(folder / name, svg)
    return list(files)


def draw_figures(view: View) -> dict[str, str]:
    """Every chart of a page as the text of an SVG file, by its name, in the order of the page."""
    style = chart_style(page_style(view))
    return {figure_name(chart): standalone(draw(chart), style) for chart in charts_of(view)}


def charts_of(view: View, key: str = "") -> list[Chart]:
    """Every chart of a page, or of the section of that key, in its order."""
    sections = [section for section in view.sections if key in ("", section.key)]
    return [block.chart for section in sections for block in section.blocks if isinstance(block, Figure)]


def figure_name(chart: Chart) -> str:
    """What a chart is called in the name of its file."""
    return chart.key.removeprefix("fig-")


def chart_style(css: str) -> str:
    """The rules for charts in a page's style sheet, with its light colours in place of variables."""
    rules = [(selector.strip(), body.strip()) for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css)]
    colours: dict[str, str] = {}
    for selector, body in rules:  # light ones come before those of dark screens and of paper
        if selector == ":root":
            colours = dict(re.findall(r"(--[\w-]+): ([^;]+);", body)) | colours
    charts = [f"{selector} {{ {body} }}" for selector, body in rules if selector.startswith(".chart")]
    return re.sub(r"var\((--[\w-]+)\)", lambda match: colours[match[1]], "\n".join((*charts, STANDALONE)))


def standalone(svg: str, style: str) -> str:
    """A chart as a file of its own.

    Args:
        svg: from ``draw``.
        style: from ``chart_style``.

    Returns:
        the text of an SVG file that refers to nothing outside of it.
    """
    start = svg.index(">") + 1
    return f"{svg[:start]}<style>{style}</style>{svg[start:]}\n"
