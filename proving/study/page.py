"""The study as one HTML page, offline and without scripts, in the report's style."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import darwin_mri.report
from proving.bases import BASES
from proving.specialists import ADAPTERS, BASE, DRAWN
from proving.study.plan import Plan

HYPOTHESES = {
    "H1": "the MRI's prior, without a search, beats tuned uniform task arithmetic",
    "H2": "CMA-ES from the prior beats CMA-ES from a flat start and random search",
    "H3": "the prior's genes agree with what each gene is worth (rho .7 or more, above V5, V6 and the paper)",
    "H4": "at an equal score, frozen layers keep protected text better than none",
    "H5": "a channel of the MRI foretells which genes matter better than depth alone",
    "H6": "the cross-fitted prior, without a search, beats tuned uniform task arithmetic, on other seeds",
}
CSS = Path(darwin_mri.report.__file__).parent / "templates" / "report.css"


def write_page(plan: Plan, study: Mapping[str, Any]) -> str:
    """The page's HTML.

    Args:
        plan: what was measured.
        study: of ``verdicts.judge``.

    Returns:
        One document; everything from outside is escaped.
    """
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("page.html.j2").render(
        css=Markup(CSS.read_text(encoding="utf-8")),
        plan=plan,
        study=study,
        base=BASES[BASE].file,
        hypotheses=HYPOTHESES,
        specialists=[{"name": name, **_measured(ADAPTERS / name)} for name in DRAWN],
    )


def _measured(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "measured.json").read_text(encoding="utf-8"))
