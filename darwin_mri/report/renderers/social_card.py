"""A picture of a child for its model card and for slides: what it is, the verdict, its score, its genome.

It is SVG, 1200 by 630 pixels. A raster copy needs a renderer, which this package does not bring: a browser makes one
(docs/report.md has the command).
"""

from __future__ import annotations

from collections.abc import Iterator

from darwin_mri.records.roles import PARENTS, family_of
from darwin_mri.report import formats
from darwin_mri.report.charts import Forest, ForestPanel, ForestRow, colours, svg
from darwin_mri.report.model.metadata import Metadata
from darwin_mri.report.model.verdict import TONES
from darwin_mri.report.model.view import View
from darwin_mri.report.renderers.figures import chart_style, charts_of, standalone
from darwin_mri.report.renderers.html import page_style

WIDTH, HEIGHT = 1200.0, 630.0
LEFT, RIGHT = 56.0, 1144.0
PLOT, VALUES = (500.0, 790.0), 815.0  # edges of the plot, left edge of its numbers
ROWS, STRIP = (268.0, 486.0), (528.0, 596.0)  # heights between which scores and genome stand
SIZES = {"name": 46, "verdict": 27, "label": 20, "fine": 17, "small": 17, "serious": 20}
STYLE = (
    "\n".join(f".chart .{name} {{ font-size: {size}px; }}" for name, size in SIZES.items())
    + """
.chart .name { font-weight: 650; }
.chart .small { fill: #57606a; }
.chart .serious { fill: #b3261e; }"""
)


def render_social_card(view: View) -> str:
    """The picture of a run's child as a whole SVG file; names that are too long are cut."""
    metadata = view.metadata or Metadata()
    lines = _wrap(view.verdict.headline, SIZES["verdict"], 1 if _serious(view) else 2)
    body = [
        svg.text(LEFT, 60, f"darwin_mri  ·  {TONES[view.verdict.tone]}", "small", room=RIGHT - LEFT),
        _cut(LEFT, 116, view.name, "name"),
        *(svg.text(LEFT, 164 + 36 * number, line, "verdict") for number, line in enumerate(lines)),
        *_serious(view),
        *_family(_panel(view), metadata),
        *_genome(metadata),
    ]
    title = formats.brief(view.name, 120)
    drawn = svg.drawing("card", WIDTH, HEIGHT, title, describe_card(view), body)
    return standalone(drawn, f"{chart_style(page_style(view))}\n{STYLE}")


def describe_card(view: View) -> str:
    """What the picture says, for readers who cannot see it."""
    panel = _panel(view)
    shown = [f"{row.role} {row.text}" for row in _rows(panel)]
    serious = [f" Serious: {alert.text}" for alert in view.alerts if alert.level == "serious"][:1]
    scores = f" {panel.title}: {formats.listing(shown)}." if panel and shown else ""
    return f"{formats.brief(view.name, 120)}. {view.verdict.headline}{''.join(serious)}{scores}"


def _serious(view: View) -> list[str]:
    """What must be settled before the verdict is believed; a picture is seen without the page that says so."""
    texts = [alert.text for alert in view.alerts if alert.level == "serious"]
    if not texts:
        return []
    more = f"  ({len(texts) - 1} more)" if len(texts) > 1 else ""
    return [_cut(LEFT, 204, f"Serious{more}: {texts[0]}", "serious")]


def _panel(view: View) -> ForestPanel | None:
    """The first benchmark of the scores, which is the composite where there is one."""
    panels = [panel for chart in charts_of(view, "scores") if isinstance(chart, Forest) for panel in chart.panels]
    return panels[0] if panels else None


def _rows(panel: ForestPanel | None) -> list[ForestRow]:
    return [row for row in panel.rows if row.role in (*PARENTS, "child") and not row.hollow] if panel else []


def _cut(x: float, y: float, words: str, style: str, room: float = RIGHT - LEFT) -> str:
    """A line of text no wider than ``room``; the card has no hover to show the rest."""
    size = SIZES[style.split()[0]] * (1.1 if {"name", "strong"} & set(style.split()) else 1.0)  # bold is set wider
    return svg.text(x, y, svg.fit(words, room, size), style)


def _wrap(words: str, size: float, most: int) -> list[str]:
    """Lines no wider than the card; what does not fit into so many is cut."""
    lines = [""]
    for word in formats.clean(words).split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and len(lines) < most and svg.width_of(longer, size) > RIGHT - LEFT:
            lines.append(word)
        else:
            lines[-1] = longer
    return [svg.fit(line, RIGHT - LEFT, size) for line in lines]


def _family(panel: ForestPanel | None, metadata: Metadata) -> Iterator[str]:
    """Parents and child, each with its score; without scores the parents' names alone."""
    refs = {kin.role: kin.ref for kin in metadata.kin}
    rows = _rows(panel)
    roles = [row.role for row in rows] or [kin.role for kin in metadata.kin]
    if not roles:
        return
    top, bottom = ROWS
    step = min(46.0, (bottom - top) / len(roles))
    style = "label" if step >= 30 else "fine"
    if panel and rows:
        yield _cut(LEFT, top - 24, f"{panel.title}, 95 % intervals", "small")
        yield from _scores(rows, top, step)
    for number, role in enumerate(roles):
        y = top + step * (number + 0.5)
        yield svg.mark(family_of(role), LEFT + 8, y, 7)
        name = role if role not in refs else f"{role}  {refs[role]}"
        yield _cut(LEFT + 26, y + 6, name, f"{style}{' strong' if role == 'child' else ''}", PLOT[0] - LEFT - 40)


def _scores(rows: list[ForestRow], top: float, step: float) -> Iterator[str]:
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    low, high = min(ends), max(ends)
    span = high - low or 1.0

    def place(value: float) -> float:
        return PLOT[0] + (value - low) / span * (PLOT[1] - PLOT[0])

    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        if row.low is not None and row.high is not None:
            yield svg.line(place(row.low), y, place(row.high), y, f"whisker {row.role}")
        yield svg.mark(row.role, place(row.value), y, 8)
        style = "label" if step >= 30 else "fine"
        yield _cut(VALUES, y + 6, row.text, f"{style}{' strong' if row.strong else ''}", RIGHT - VALUES)


def _genome(metadata: Metadata) -> Iterator[str]:
    """The genome as a strip: father layers from left to right, a row for each other parent."""
    strips = [(role, genes) for role, genes in metadata.genes if genes]
    found = [gene.found for _, genes in strips for gene in genes if gene.found is not None]
    if not found:
        return
    highest = max([metadata.upper, *found]) or 1.0
    of = "each other parent" if len(strips) > 1 else "the others together" if metadata.joint else f"the {strips[0][0]}"
    scale = f"dark 0, bright {formats.fixed(highest)}"
    scale += ", hatched frozen" if any(gene.frozen for _, genes in strips for gene in genes) else ""
    yield _cut(LEFT, STRIP[0] - 12, f"Share of {of} in each layer of the father: {scale}", "small")
    step = min(44.0, (STRIP[1] - STRIP[0]) / len(strips))
    for number, (_, genes) in enumerate(strips):
        width = (RIGHT - LEFT) / len(genes)
        for index, gene in enumerate(genes):
            x, y = LEFT + index * width, STRIP[0] + number * step
            if gene.frozen:
                yield svg.hatch(x, y, width - 1, step - 1)
            elif gene.found is not None:
                yield svg.box(x, y, width - 1, step - 1, fill=colours.colour(gene.found / highest))
