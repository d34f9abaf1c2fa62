"""Charts as text: each is a pure function from data to SVG, drawn by hand, with no script and nothing to download.

Every chart is drawn twice: wide, with its values on hover, and narrow, for telephones; the style sheet shows one of
them.
"""

from __future__ import annotations

from darwin_mri.report.charts.bars import Bar, BarGroup, Bars, bars
from darwin_mri.report.charts.courses import Course, Courses, courses
from darwin_mri.report.charts.evolution import Evolution, Generation, evolution
from darwin_mri.report.charts.forest import Forest, ForestPanel, ForestRow, forest
from darwin_mri.report.charts.front import Front, FrontBorder, FrontPoint, front
from darwin_mri.report.charts.heat import ROOMY, HeatMap, HeatPanel, heat_map
from darwin_mri.report.charts.lollipop import Gene, Lollipop, lollipop
from darwin_mri.report.charts.pedigree import Pedigree, pedigree
from darwin_mri.report.charts.similarity_map import SimilarityMap, similarity_map

Chart = Forest | HeatMap | SimilarityMap | Lollipop | Evolution | Bars | Pedigree | Courses | Front

__all__ = [
    "ROOMY",
    "Bar",
    "BarGroup",
    "Bars",
    "Chart",
    "Course",
    "Courses",
    "Evolution",
    "Forest",
    "ForestPanel",
    "ForestRow",
    "Front",
    "FrontBorder",
    "FrontPoint",
    "Gene",
    "Generation",
    "HeatMap",
    "HeatPanel",
    "Lollipop",
    "Pedigree",
    "SimilarityMap",
    "draw",
]


def draw(chart: Chart, narrow: bool = False) -> str:
    """The chart as one ``<svg>`` element; ``narrow`` for screens that are no wider than a telephone."""
    match chart:
        case Forest():
            return forest(chart, narrow)
        case HeatMap():
            return heat_map(chart, narrow)
        case SimilarityMap():
            return similarity_map(chart, narrow)
        case Lollipop():
            return lollipop(chart, narrow)
        case Evolution():
            return evolution(chart, narrow)
        case Bars():
            return bars(chart, narrow)
        case Pedigree():
            return pedigree(chart, narrow)
        case Courses():
            return courses(chart, narrow)
        case Front():
            return front(chart, narrow)
