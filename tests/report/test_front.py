"""The section of the front: two objectives as a plane, more as parallel axes, hostile names, missing scores."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest

from darwin_mri.records import FrontBaseline, FrontMember, FrontReference, Genome
from darwin_mri.report.charts import Front, draw
from darwin_mri.report.model.elements import Figure, Section, Text
from darwin_mri.report.sections.front import front_section

HOSTILE = "<img src=x onerror=alert(1)>\"'--></svg>"


def make_genome(objectives: Sequence[str], members: int = 7, held_out: bool = True) -> Genome:
    rng = random.Random(3)

    def scores(place: int) -> dict[str, float]:
        return {
            name: (place if i % 2 else members - place) / 10 + rng.random() / 20 for i, name in enumerate(objectives)
        }

    front = tuple(
        FrontMember(
            number=number,
            evaluation=3 * number,
            genes={"L0.ffn": number / 10},
            ratios=(number / 10,),
            search=scores(number),
            fresh=scores(number),
            held_out=scores(number) if held_out else {},
        )
        for number in range(1, members + 1)
    )
    references = (
        FrontReference(role="father", held_out=scores(0)),
        FrontReference(role="parent3", held_out=scores(members)),
        FrontReference(role="null", null="uniform", held_out=scores(2)),
    )
    return Genome(
        space="ffn",
        method="linear",
        seed=1,
        father="f",
        mother="m",
        genes=front[2].genes,
        ratios=front[2].ratios,
        objectives=tuple(objectives),
        front=front,
        references=references if held_out else (),
        member=3,
        preferred="the knee of the front on fresh search items",
    )


def parts(section: Section) -> tuple[Front, str]:
    figure = next(block for block in section.blocks if isinstance(block, Figure))
    assert isinstance(figure.chart, Front)
    return figure.chart, " ".join(block.text for block in section.blocks if isinstance(block, Text))


@pytest.mark.parametrize("objectives", [("korean", "maths"), ("korean", "maths", HOSTILE), ("a", "b", "c", "d", "e")])
@pytest.mark.parametrize("narrow", [False, True])
def test_every_member_and_model_is_drawn_by_its_name(objectives: tuple[str, ...], narrow: bool) -> None:
    chart, _ = parts(front_section(make_genome(objectives), 60))
    drawn = draw(chart, narrow)
    assert "<img" not in drawn
    root = ElementTree.fromstring(drawn)  # well-formed, whatever the names are
    space = "{http://www.w3.org/2000/svg}"
    words = ["".join(element.itertext()) for element in root.iter(f"{space}text")]
    everyone = {"1", "2", "4", "7", "father", "parent3", "null: uniform"}
    assert len(everyone - set(words)) <= 2 * narrow, words  # a telephone has no room for every name
    assert ("3" if narrow else "3, the child") in words
    marks = {2: 1, 3: 3, 5: 5}[len(chart.axes)]  # a plane has one mark per model, parallel axes one on each
    assert len(re.findall(r'class="mark parent3"', drawn)) == marks
    assert narrow or f"member 1: {chart.axes[0]} " in "".join(root.itertext())


def test_the_text_says_what_was_confirmed_and_what_the_members_are_worth() -> None:
    _, text = parts(front_section(make_genome(("korean", "maths")), 60))
    assert "7 of 60 candidates make the front" in text and "The child is member 3: the knee" in text
    assert "of 7 are still dominated by no other member" in text
    assert "Hypervolume" not in text  # the record has none


def test_searches_without_the_scan_are_drawn_and_named_with_their_hypervolume() -> None:
    genome = make_genome(("korean", "maths"))
    beside = (
        FrontBaseline(search="flat", candidates=60, held_out=({"korean": 0.5, "maths": 0.2},), hypervolume=0.412),
        FrontBaseline(search="random", candidates=60, held_out=({"korean": 0.2, "maths": 0.6},) * 2, hypervolume=0.3),
    )
    section = front_section(genome.model_copy(update={"hypervolume": 0.7, "baselines": beside}), 60)
    chart, text = parts(section)
    assert "0.700 of the rectangle" in text and "0.412 from a flat start and 0.300 by random candidates" in text
    assert "with 60 candidates each" in text
    for narrow in (False, True):
        drawn = draw(chart, narrow)
        assert drawn.count('class="edge"') == 2 and drawn.count('class="edge dotted"') == 2  # a border, and its key
        ElementTree.fromstring(drawn)
    figure = next(block for block in section.blocks if isinstance(block, Figure))
    cells = [row.cells for row in figure.tables[1].rows]
    assert cells[0] == ("this run", "60", "7", "0.700") and cells[1] == ("flat start", "60", "1", "0.412")
    assert cells[2] == ("random candidates", "60", "2", "0.300")
    alone = parts(front_section(genome.model_copy(update={"hypervolume": 0.7}), 60))[1]
    assert "No search without the scan was run" in alone


def test_without_held_out_items_fresh_ones_are_drawn_and_no_model_beside_them() -> None:
    chart, text = parts(front_section(make_genome(("korean", "maths"), held_out=False)))
    assert chart.items == "fresh search items" and {point.role for point in chart.points} == {"child"}
    assert "not confirmed" in text and "parent" not in text


def test_one_member_alone_is_drawn() -> None:
    genome = make_genome(("korean", "maths"), members=3)
    alone = genome.model_copy(update={"front": genome.front[2:], "references": ()})
    chart, text = parts(front_section(alone))
    assert draw(chart) and draw(chart, narrow=True) and text.startswith("1 candidate makes the front")
