"""The genome: where the prior put each layer, how far it let the search stray, and what the search found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from darwin_mri.report import formats
from darwin_mri.report.charts import svg
from darwin_mri.translation import say


@dataclass(frozen=True)
class Gene:
    """One layer's gene; ratios are shares of the mother, None is not known.

    Attributes:
        label: number of the layer.
        mean: the prior's mean ratio.
        sigma: how far the prior let the search stray.
        found: the ratio that the search found.
        trust: how reliable the evidence for the gene is.
        frozen: whether the layer is kept as the father's.
    """

    label: str
    mean: float | None
    sigma: float | None
    found: float | None
    trust: float | None
    frozen: bool = False


@dataclass(frozen=True)
class Lollipop:
    """Genes in the order of the layers.

    Attributes:
        key: id in the page.
        title: the name of the chart.
        description: for readers who cannot see it.
        genes: one per layer.
        upper: the largest ratio the search could use.
    """

    key: str
    title: str
    description: str
    genes: tuple[Gene, ...]
    upper: float


TOP, PLOT, LEFT = 34.0, 200.0, 52.0


def lollipop(data: Lollipop, narrow: bool = False) -> str:
    """Draw found ratios as lollipops over the prior's band; frozen layers are hatched, trust is the strip below."""
    width = 368.0 if narrow else 960.0
    right = width - (6 if narrow else 12)
    step = (right - LEFT) / max(len(data.genes), 1)
    top_value = max([data.upper, *(g.found for g in data.genes if g.found is not None)], default=1.0) or 1.0
    top = TOP + (18 if narrow else 0)

    def height(value: float) -> float:
        return top + PLOT * (1 - min(max(value, 0.0), top_value) / top_value)

    body = _legend(data, narrow)
    for tick in svg.ticks(0.0, top_value, 5):
        y = height(tick)
        body += [svg.line(LEFT, y, right, y, "grid"), svg.text(LEFT - 8, y + 4, formats.fixed(tick, 2), "axis", "end")]
    body.append(svg.text(12, top + PLOT / 2, say("share of the mother"), "axis", "middle", -90))
    strip = top + PLOT + 28
    column = min(step * 0.62, 34.0)
    every = max(1, round(22 / step + 0.3))
    for index, gene in enumerate(data.genes):
        middle = LEFT + (index + 0.5) * step
        body += _gene(gene, middle, column, height, top, narrow)
        if index % every == 0:
            body.append(svg.text(middle, top + PLOT + 16, gene.label, "axis", "middle"))
        if gene.trust is not None:
            title = (
                "" if narrow else say("layer {index}: trust {trust}", index=gene.label, trust=formats.fixed(gene.trust))
            )
            body.append(svg.box(middle - column / 2, strip, column, 22, "slot", title=title))
            body.append(svg.box(middle - column / 2, strip + 22 * (1 - gene.trust), column, 22 * gene.trust, "trust"))
    if any(gene.trust is not None for gene in data.genes):
        body.append(svg.text(LEFT - 8, strip + 15, say("trust"), "axis", "end"))
    body.append(svg.text((LEFT + right) / 2, strip + 40, say("father layer"), "axis", "middle"))
    key = data.key + ("-n" if narrow else "")
    return svg.drawing(key, width, strip + 50, data.title, data.description, body)


def _gene(gene: Gene, x: float, width: float, height: Callable[[float], float], top: float, narrow: bool) -> list[str]:
    left = x - width / 2
    if gene.frozen:
        return [
            svg.hatch(
                left,
                top,
                width,
                PLOT,
                "" if narrow else say("layer {index}: frozen, all of it the father's", index=gene.label),
            )
        ]
    body = []
    if gene.mean is not None and gene.sigma is not None:
        upper, lower = height(gene.mean + gene.sigma), height(gene.mean - gene.sigma)
        title = say(
            "layer {index}: prior {mean} ± {sigma}",
            index=gene.label,
            mean=formats.fixed(gene.mean),
            sigma=formats.fixed(gene.sigma),
        )
        body.append(svg.box(left, upper, width, lower - upper, "sigma", title="" if narrow else title))
    if gene.mean is not None:
        body.append(svg.line(left, height(gene.mean), x + width / 2, height(gene.mean), "mean"))
    if gene.found is not None:
        y = height(gene.found)
        title = (
            "" if narrow else say("layer {index}: found {ratio}", index=gene.label, ratio=formats.fixed(gene.found, 3))
        )
        body.append(svg.line(x, top + PLOT, x, y, "stick child"))
        body.append(svg.mark("child", x, y, min(4.2, max(width / 2.4, 2.0)), title=title))
    return body


def _legend(data: Lollipop, narrow: bool) -> list[str]:
    body = [svg.mark("child", LEFT + 6, 12, 4.2), svg.text(LEFT + 18, 16, say("found"), "axis")]
    body += [svg.box(LEFT + 72, 5, 22, 14, "sigma"), svg.line(LEFT + 72, 12, LEFT + 94, 12, "mean")]
    body.append(svg.text(LEFT + 101, 16, say("prior: mean ± sigma"), "axis"))
    if any(gene.frozen for gene in data.genes):
        x, y = (LEFT, 21.0) if narrow else (LEFT + 250, 5.0)
        body += [svg.hatch(x, y, 22, 14), svg.text(x + 29, y + 11, say("frozen: the father's"), "axis")]
    return body
