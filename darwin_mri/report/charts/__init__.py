"""Charts as text: each is a pure function from data to SVG, drawn by hand, with no script and nothing to download."""

from __future__ import annotations

from darwin_mri.report.charts.evolution import Evolution, Generation, evolution
from darwin_mri.report.charts.forest import Forest, ForestPanel, ForestRow, forest
from darwin_mri.report.charts.genome import Gene, Lollipop, lollipop
from darwin_mri.report.charts.heat import ROOMY, HeatMap, SimilarityMap, heat_map, similarity_map

Chart = Forest | HeatMap | SimilarityMap | Lollipop | Evolution

__all__ = [
    "ROOMY",
    "Chart",
    "Evolution",
    "Forest",
    "ForestPanel",
    "ForestRow",
    "Gene",
    "Generation",
    "HeatMap",
    "Lollipop",
    "SimilarityMap",
    "draw",
    "evolution",
    "forest",
    "heat_map",
    "lollipop",
    "similarity_map",
]


def draw(chart: Chart) -> str:
    """The chart as one ``<svg>`` element."""
    match chart:
        case Forest():
            return forest(chart)
        case HeatMap():
            return heat_map(chart)
        case SimilarityMap():
            return similarity_map(chart)
        case Lollipop():
            return lollipop(chart)
        case Evolution():
            return evolution(chart)
