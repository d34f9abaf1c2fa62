"""The genome: where the prior put each layer, how far it let the search stray, and what the search found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from darwin_mri.report import words
from darwin_mri.report.charts import svg

WIDTH, LEFT, RIGHT, TOP, PLOT = 880.0, 52.0, 868.0, 34.0, 210.0


@dataclass(frozen=True)
class Gene:
    """One layer's gene. Ratios are shares of the mother; None is not known."""

    label: str
    mean: float | None
    sigma: float | None
    found: float | None
    trust: float | None
    frozen: bool = False


@dataclass(frozen=True)
class Lollipop:
    """Genes in the order of the layers; ``upper`` is the largest ratio the search could use."""

    key: str
    title: str
    description: str
    genes: tuple[Gene, ...]
    upper: float


def lollipop(data: Lollipop) -> str:
    """Draw found ratios as lollipops over the prior's band; frozen layers are hatched, trust is the strip below."""
    step = (RIGHT - LEFT) / max(len(data.genes), 1)
    top_value = max([data.upper, *(g.found for g in data.genes if g.found is not None)], default=1.0) or 1.0

    def height(value: float) -> float:
        return TOP + PLOT * (1 - min(max(value, 0.0), top_value) / top_value)

    body = _legend(data)
    for tick in svg.ticks(0.0, top_value, 5):
        y = height(tick)
        body += [svg.line(LEFT, y, RIGHT, y, "grid"), svg.text(LEFT - 8, y + 4, words.fixed(tick, 2), "axis", "end")]
    body.append(svg.text(12, TOP + PLOT / 2, "share of the mother", "axis", "middle", -90))
    strip = TOP + PLOT + 30
    every = 1 if step >= 17 else 2
    for index, gene in enumerate(data.genes):
        middle = LEFT + (index + 0.5) * step
        body += _gene(gene, middle, min(step * 0.62, 34.0), height)
        if index % every == 0:
            body.append(svg.text(middle, TOP + PLOT + 16, gene.label, "axis", "middle"))
        if gene.trust is not None:
            width = min(step * 0.62, 34.0)
            body.append(svg.box(middle - width / 2, strip, width, 22, "slot", title=f"trust {words.fixed(gene.trust)}"))
            body.append(svg.box(middle - width / 2, strip + 22 * (1 - gene.trust), width, 22 * gene.trust, "trust"))
    body += [
        svg.text(LEFT - 8, strip + 15, "trust", "axis", "end"),
        svg.text((LEFT + RIGHT) / 2, strip + 40, "father layer", "axis", "middle"),
    ]
    return svg.drawing(data.key, WIDTH, strip + 50, data.title, data.description, body)


def _gene(gene: Gene, x: float, width: float, height: Callable[[float], float]) -> list[str]:
    if gene.frozen:
        title = f"layer {gene.label}: frozen, all of it the father's"
        return [svg.hatch(x - width / 2, TOP, width, PLOT, title)]
    body = []
    if gene.mean is not None and gene.sigma is not None:
        top, bottom = height(gene.mean + gene.sigma), height(gene.mean - gene.sigma)
        body.append(
            svg.box(
                x - width / 2,
                top,
                width,
                bottom - top,
                "sigma",
                title=f"prior {words.fixed(gene.mean)} ± {words.fixed(gene.sigma)}",
            )
        )
    if gene.mean is not None:
        body.append(svg.line(x - width / 2, height(gene.mean), x + width / 2, height(gene.mean), "mean"))
    if gene.found is not None:
        y = height(gene.found)
        body.append(svg.line(x, TOP + PLOT, x, y, "stick child"))
        body.append(svg.mark("child", x, y, 4.2, title=f"layer {gene.label}: found {words.fixed(gene.found, 3)}"))
    return body


def _legend(data: Lollipop) -> list[str]:
    body = [svg.mark("child", LEFT + 6, 12, 4.2), svg.text(LEFT + 18, 16, "found", "axis")]
    body += [svg.box(LEFT + 72, 5, 22, 14, "sigma"), svg.line(LEFT + 72, 12, LEFT + 94, 12, "mean")]
    body.append(svg.text(LEFT + 101, 16, "prior: mean ± sigma", "axis"))
    if any(gene.frozen for gene in data.genes):
        body += [svg.hatch(LEFT + 238, 5, 22, 14), svg.text(LEFT + 267, 16, "frozen: the father's", "axis")]
    return body
