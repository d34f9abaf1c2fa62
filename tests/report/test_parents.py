"""Runs of three to eight parents: each parent in each rendering, genome matrix, wins and losses by parent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from darwin_mri.records import Comparison, Genome, Prior
from darwin_mri.records.roles import FAMILIES, PARENTS, USUAL, pair_file
from darwin_mri.report import (
    View,
    build_runs_view,
    build_view,
    formats,
    load_run,
    render_card,
    render_html,
    render_text,
)
from darwin_mri.report.charts import Bars, HeatMap, Lollipop, Pedigree, SimilarityMap, colours
from darwin_mri.report.charts.svg import SHAPES
from darwin_mri.report.model.elements import GLYPHS, Figure, Table
from darwin_mri.report.model.item_answers import Mark
from darwin_mri.report.renderers.terminal import STYLES
from darwin_mri.report.sections.item_wins import items_section
from darwin_mri.report.sections.layer_map import similarity_section
from tests.report.sample import write_sample
from tests.report.sample_siblings import BASE, COMPONENTS, FROZEN, NOTE, refs, write_siblings
from tests.report.test_html import Page


@pytest.fixture(scope="module", params=[4, 8])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    return request.param, write_siblings(tmp_path_factory.mktemp("siblings") / "run", request.param)


def flat(text: str) -> str:
    """Terminal text without line breaks and frames."""
    return " ".join(text.replace("│", " ").split())


def figures(view: View, section: str) -> dict[str, Figure]:
    return {block.chart.key: block for block in view.section(section).blocks if isinstance(block, Figure)}


def chart_of(view: View, section: str, key: str) -> HeatMap:
    chart = figures(view, section)[key].chart
    assert isinstance(chart, HeatMap)
    return chart


def test_every_rendering_names_every_parent(run: tuple[int, Path]) -> None:
    count, folder = run
    view = build_view(load_run(folder))
    assert view.missing == ()
    html = render_html(view)
    page = Page(html)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"https?://[^\s\"'<>)]+", html)) == {"http://www.w3.org/2000/svg"}
    card, text = render_card(view), render_text(view)
    for rendered in (page.text, card, flat(text)):
        for role, ref in refs(count).items():
            assert ref in rendered and role in rendered
        assert NOTE in rendered and "the child beats all parents" in rendered and "best parent" in rendered
        assert "both parents" not in rendered and "better parent" not in rendered
    for role in PARENTS[count:]:
        assert role not in html.partition("</style>")[2]
    for score in Comparison.load(folder / "comparison.json").scores:
        if score.role in PARENTS and score.slice == "all":
            assert formats.score_interval(score) in page.text


def test_the_card_lists_all_parents_as_base_models(run: tuple[int, Path]) -> None:
    count, folder = run
    records = load_run(folder)
    assert records.inputs is not None
    hub = tuple(parent.model_copy(update={"ref": f"someone/{parent.role}"}) for parent in records.inputs.parents)
    view = build_view(load_run(folder).__class__(name="it", inputs=records.inputs.model_copy(update={"parents": hub})))
    matter = yaml.safe_load(render_card(view).split("---\n", 2)[1])
    assert matter["base_model"] == [f"someone/{role}" for role in (*PARENTS[:count], "base")]


def test_the_genome_is_a_matrix_of_parents_by_layers(run: tuple[int, Path]) -> None:
    count, folder = run
    view, genome = build_view(load_run(folder)), Genome.load(folder / "genome.json")
    (panel,) = chart_of(view, "genome", "fig-genome").panels
    assert panel.rows == PARENTS[1:count]
    assert {place for place in panel.hatched if place[1] == FROZEN} == {(row, FROZEN) for row in range(count - 1)}
    assert panel.texts[0][0] == formats.fixed(genome.genes["L0.ffn.mother"])
    (shown,) = figures(view, "genome")["fig-genome"].tables
    assert [row.cells[-1] for row in shown.rows] == [formats.fixed(ratio, 3) for ratio in genome.ratios]
    prior = Prior.load(folder / "prior.json")
    means, trusts = chart_of(view, "genome", "fig-prior").panels
    third = next(gene for gene in prior.genes if gene.name == "L1.ffn.parent3")
    assert (means.texts[1][1], trusts.texts[1][1]) == (formats.fixed(third.mean), formats.fixed(third.trust))
    assert "slopes" in chart_of(view, "genome", "fig-response").panels[0].details[0][0]
    assert "one ratio for each parent" in render_text(view)
    assert "Layers frozen for single parents: parent3 (4)" in flat(render_text(view))


def test_components_have_panels_of_their_own(tmp_path: Path) -> None:
    view = build_view(load_run(write_siblings(tmp_path / "run", 3, components=COMPONENTS)))
    titles = [panel.title for panel in chart_of(view, "genome", "fig-genome").panels]
    assert [title.split()[0].split(".")[-1] for title in titles] == list(COMPONENTS)


def test_one_panel_per_parent_in_every_map(run: tuple[int, Path]) -> None:
    count, folder = run
    view = build_view(load_run(folder))
    for section, key in (("mri", "fig-rise"), ("mri", "fig-activation"), ("language", "fig-language")):
        chart = chart_of(view, section, key)
        assert [panel.title.split(":")[0] for panel in chart.panels] == list(PARENTS[:count])
        assert chart.links == ()
    assert len(view.layers) == count


def test_layer_maps_that_are_identities_take_a_line(tmp_path: Path) -> None:
    view = build_view(load_run(write_siblings(tmp_path / "same", 4)))
    assert list(figures(view, "similarity")) == ["fig-alike"]
    assert "with the mother, parent3 and parent4 are identities" in flat(render_text(view))
    view = build_view(load_run(write_siblings(tmp_path / "other", 4, identity=False)))
    assert list(figures(view, "similarity")) == ["fig-alike", "fig-similarity-parent4"]
    chart = figures(view, "similarity")["fig-similarity-parent4"].chart
    assert isinstance(chart, SimilarityMap) and chart.other == "parent4"


def test_a_birth_of_many_parents_is_drawn(run: tuple[int, Path]) -> None:
    count, folder = run
    chart = figures(build_view(load_run(folder)), "genealogy")["fig-genealogy"].chart
    assert isinstance(chart, Pedigree)
    first, last = chart.births
    assert first.parents == (BASE, "nursery:gemma4-older")
    assert last.parents == tuple(refs(count).values()) and last.method == "task_arithmetic"


def test_wins_and_losses_by_parent() -> None:
    credits = {  # child, father, mother, parent3
        "a": (1, 0, 0, 0),
        "b": (0, 1, 1, 1),
        "c": (1, 1, 0, 0),
        "d": (1, 0, 1, 1),
        "e": (0, 0, 0, 1),
    }
    answers = {
        role: {"quiz": [Mark(key, "all", float(row[number])) for key, row in credits.items()]}
        for number, role in enumerate(("child", *PARENTS[:3]))
    }
    kept, won = (block for block in items_section(answers).blocks if isinstance(block, Figure))
    assert isinstance(kept.chart, Bars)
    assert {bar.label: (bar.right, bar.of) for bar in kept.chart.groups[0].bars} == {
        "all parents right": (0, 1),
        "several, not all right": (1, 1),
        "only the father right": (1, 1),
        "only parent3 right": (0, 1),
        "no parent right": (1, 1),
    }
    shown = won.tables[0]
    assert isinstance(shown, Table)
    assert {row.cells[1]: row.cells[2:] for row in shown.rows} == {
        "father": ("2", "1", "5"),
        "mother": ("2", "1", "5"),
        "parent3": ("2", "2", "5"),
        "right although no parent is": ("1", "–", "5"),
        "wrong although every parent is right": ("–", "1", "5"),
    }


def test_the_head_of_a_page_of_many_parents_is_short(run: tuple[int, Path]) -> None:
    count, folder = run
    view = build_view(load_run(folder))
    for tile in view.tiles:
        scores = Comparison.load(folder / "comparison.json").scores
        values = {
            s.role: s.value for s in scores if s.role in PARENTS and (s.benchmark, s.slice) == (tile.benchmark, "all")
        }
        best = max(values, key=lambda role: values[role])
        others = sorted(value for role, value in values.items() if role != best)
        ends = dict.fromkeys(formats.percent(value) for value in (others[0], others[-1]))
        assert tile.lines == (
            f"best: {best} {formats.percent(values[best])}",
            f"others {' to '.join(ends)}",
        )
    answers = dict(view.verdict.answers)
    assert "within noise of the father and above all others" in answers["On which benchmark?"]
    (silent,) = [alert.text for alert in view.alerts if alert.kind == "no-signal"]
    assert silent.count("language:de") == 1 and f"{'parent4' if count == 4 else 'parent8'}: language:de" in silent


def test_tables_of_many_parents_are_one_fold(run: tuple[int, Path]) -> None:
    count, folder = run
    html = render_html(build_view(load_run(folder)))
    assert f"<summary>Values: {count} tables</summary>" in html and Page(html).open == []


def test_a_missing_pair_is_named(tmp_path: Path) -> None:
    folder = write_siblings(tmp_path / "run", 3)
    (folder / pair_file("parent3")).unlink()
    (folder / "scan/parent3.json").unlink()
    view = build_view(load_run(folder))
    assert [part.file for part in view.missing] == ["scan/parent3.json", "scan/pair-parent3.json"]
    assert view.section("mri").missing.startswith("scan/parent3.json is missing: only father and mother are shown")


def test_runs_of_two_and_four_parents_on_one_page(tmp_path: Path) -> None:
    folders = [write_sample(tmp_path / "two"), write_siblings(tmp_path / "four", 4)]
    view = build_runs_view([load_run(folder) for folder in folders])
    html = render_html(view)
    assert " × ".join(refs(4).values()) in Page(html).text and Page(html).open == []
    assert "Each child against its best parent" in render_text(view)
    assert view.roles == FAMILIES[:4] + FAMILIES[8:]


def test_marks_differ_by_shape_and_are_seen_on_the_paper() -> None:
    assert len(set(GLYPHS.values())) == len(GLYPHS) == len(FAMILIES) == len(STYLES)
    assert set(PARENTS[1:]) < set(SHAPES) and len({tuple(shape) for shape in SHAPES.values()}) == len(SHAPES)
    folder = Path(formats.__file__).parent / "templates"
    report, parents = ((folder / name).read_text(encoding="utf-8") for name in ("report.css", "parents.css"))
    for number in (0, 1):  # light, then dark
        paper = re.findall(r"--paper: (#[0-9a-f]{6})", report)[number]
        palette = [match for role in PARENTS[2:] if (match := re.findall(rf"--{role}: (#[0-9a-f]{{6}})", parents))]
        assert len(palette) == len(PARENTS) - 2
        assert all(colours.contrast(shades[number], paper) >= 3 for shades in palette)


def test_two_parents_get_no_further_marks(tmp_path: Path) -> None:
    view = build_view(load_run(write_sample(tmp_path / "two", 3, 2, evaluations=10)))
    assert view.roles == USUAL and "parent3" not in render_html(view)


def test_a_single_pair_is_named_by_its_own_parent(tmp_path: Path) -> None:
    pair = load_run(write_siblings(tmp_path / "run", 4)).pairs["parent4"]
    (figure,) = (block for block in similarity_section({"parent4": pair}).blocks if isinstance(block, Figure))
    assert isinstance(figure.chart, SimilarityMap) and figure.chart.other == "parent4"
    assert pair_file("parent4") in figure.tables[0].note


def test_one_ratio_toward_all_parents_is_not_called_the_mothers(tmp_path: Path) -> None:
    folder = write_siblings(tmp_path / "run", 4)
    genome, prior = Genome.load(folder / "genome.json"), Prior.load(folder / "prior.json")
    own = {gene.name: gene for gene in prior.genes if gene.parent == "mother"}
    joint = {"method": "model_stock", "genes": {name: genome.genes.get(name, 0.0) for name in own}, "gene_parents": {}}
    genome.model_copy(update=joint).save(folder / "genome.json")
    layers = tuple(layer for layer in prior.layers if layer.parent == "mother")
    prior.model_copy(update={"genes": tuple(own.values()), "layers": layers}).save(folder / "prior.json")
    view = build_view(load_run(folder))
    (chart,) = (figure.chart for figure in figures(view, "genome").values())
    assert isinstance(chart, Lollipop) and "Share of the other parents together" in chart.title
    glance = render_card(view).partition("## Genome at a glance")[2].partition("##")[0]
    assert "Share of the other parents together" in glance
    assert not any(role in glance for role in PARENTS[1:])
