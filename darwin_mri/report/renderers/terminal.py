"""The report and the scan in a terminal: the same view, laid out by Rich."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text as RichText
from rich.tree import Tree as RichTree

from darwin_mri.records import ArenaResult, Channel, Comparison, PairScan, Prior, Scan
from darwin_mri.records.roles import FATHER, Family, family_of, role_label
from darwin_mri.report import formats
from darwin_mri.report.model import elements as el
from darwin_mri.report.model.retold import retold_arena
from darwin_mri.report.model.view import View
from darwin_mri.report.pages import arena_page
from darwin_mri.report.record_words import level_label
from darwin_mri.report.sections import accuracy, layer_tables, prior_check
from darwin_mri.report.sections.experts import expert_tables
from darwin_mri.report.sections.reading import reading_tables
from darwin_mri.report.sections.words import word_tables
from darwin_mri.translation import say, say_count

STYLES: dict[Family, str] = {
    "father": "blue",
    "mother": "dark_orange3",
    "parent3": "deep_pink3",
    "parent4": "gold3",
    "parent5": "cyan",
    "parent6": "light_salmon3",
    "parent7": "slate_blue1",
    "parent8": "bold",
    "child": "green",
    "base": "magenta",
    "null": "dim",
    "baseline": "dim",
}
LEVEL_STYLES = {"serious": "bold red", "warning": "yellow", "note": "dim"}
TONES = {"gain": "green", "level": "yellow", "loss": "red", "none": "dim"}
MOST_ROWS = 100
WORD = 14  # cells of a console that folded text needs: longer words, such as a hub's ids, are broken
PAGE = "report.html"  # what a terminal leaves to the page
# Sections whose figures a terminal shows as their tables; maps of layers are left to the page.
TABLED = ("scores", "contrasts", "repair", "genome", "front", "evolution", "fresh", "items", "runs")


class Fitted:
    """A table that keeps its numbers on one line.

    Where the console is too narrow it goes without its spare columns and says so; what is still too wide is folded.
    """

    def __init__(self, table: el.Table, caption: bool = True) -> None:
        self.table, self.caption = table, caption

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table, left_out = self.table, []
        while table.spare and _least_width(table) > options.max_width:
            left_out.append(table.columns[table.spare[0]])
            table = table.without(table.spare[0])
        yield _table(table, self.caption, whole=_least_width(table) <= options.max_width)
        if left_out:
            yield _text(say("No room for: {columns}.", columns=", ".join(left_out)), "dim")


def scores_table(comparison: Comparison) -> Fitted:
    """Every score on a whole benchmark, ready to print."""
    return Fitted(accuracy.score_table(comparison))


def contrasts_table(comparison: Comparison) -> Fitted:
    """Every contrast with its tests, ready to print."""
    return Fitted(accuracy.contrast_table(comparison))


def print_arena(console: Console, result: ArenaResult) -> None:
    """Print the verdict and one line per arm and null."""
    console.print(RichText(retold_arena(result), style=TONES["gain" if result.vigor else "level"]))
    console.print(Fitted(arena_page.arena_table(result)))


def print_scan(
    console: Console, scans: Mapping[str, Scan], pairs: Mapping[str, PairScan] | None = None, prior: Prior | None = None
) -> None:
    """Print one line per layer, the legend, channels without signal and where the rest is.

    Args:
        console: where to.
        scans: role -> scan of that parent, the father's first.
        pairs: role of another parent -> the father beside it; adds the layer maps.
        prior: adds trust and frozen layers.
    """
    for role, scan in scans.items():
        told = (pairs, prior) if role == FATHER else (None, None)
        _print_layers(console, scan, layer_tables.layer_table(scan, *told))
    for table in (*expert_tables(*scans.values()), *reading_tables(pairs or {}), *word_tables(scans.values(), pairs)):
        if not table.folded or table.caption.startswith("Experts"):
            _print_table(console, table)
    for pair in (pairs or {}).values():
        if pair.validation is None:
            continue
        for block in prior_check.validation_section(pair).blocks:
            _print_block(console, block, "validation", PAGE)
        console.print()
    if prior is not None:
        state = "informative" if prior.informative else f"not informative ({prior.note})"
        frozen = formats.ranges(list(prior.frozen)) or "none"
        protected = ", ".join(prior.protect) or "nothing"
        text = f"prior {prior.preset}: {state}; frozen layers: {frozen} (protected: {protected})"
        console.print(_text(text))
    text = "All channels, languages and intervals are in scan/*.json; darwin-mri report RUN draws them."
    console.print(_text(text, "dim"))


def _print_layers(console: Console, scan: Scan, table: el.Table) -> None:
    """One model: what it is, on which probes it was scanned, its layers, and channels without signal."""
    model, probes = scan.model, scan.probes
    layers = say_count("{count} layer", "{count} layers", model.layers)
    sizes = f"{layers}, hidden {model.hidden_size}, FFN {model.ffn_size}"
    console.print(_text(f"{model.ref}  {model.family}, {sizes}", "bold"), soft_wrap=True)
    texts = f"{', '.join(probes.languages)}; {', '.join(probes.domains)}"
    counts = f"{probes.documents} documents, {probes.tokens} tokens"
    console.print(_text(f"probes: {counts}; {texts}", "dim"), soft_wrap=True)
    console.print(Fitted(table, caption=False))
    console.print(_text(table.note, "dim"))
    silent: dict[str, list[str]] = {}
    for name, channel in scan.channels.items():
        if not channel.informative:
            silent.setdefault(_reason(channel), []).append(name)
    for reason, names in silent.items():
        console.print(_text(f"{reason}: {', '.join(names)}", "yellow"))
    console.print()


def _reason(channel: Channel) -> str:
    """Why a channel carries no signal; p is 1 where it could not be tested, and the note tells why."""
    return channel.note if channel.note and channel.p_value == 1 else "no signal"


def print_report(console: Console, view: View, page: str = PAGE) -> None:
    """Print the report: verdict, alerts, then each section's text and tables.

    Args:
        console: where to print.
        view: the report.
        page: file that has what a terminal leaves out: maps, folded tables, rows beyond a screen.
    """
    verdict = view.verdict
    parts: list[RenderableType] = [_text(verdict.headline, "bold")]
    for question, answer in verdict.answers:
        parts += [_text(""), RichText.assemble(_text(question, "bold dim"), " ", _text(answer))]
    console.print(_text(view.name, "bold"), _text(view.subtitle, "dim"), sep="  ")
    console.print(Panel(Group(*parts), border_style=TONES[verdict.tone], padding=(0, 1)))
    console.print(
        _text(say("Terms such as hybrid vigor, null child and frozen are explained at the end, under Glossary."), "dim")
    )
    for alert in view.alerts:
        grid = RichTable.grid(padding=(0, 1))
        grid.add_column(width=8)
        grid.add_column()
        grid.add_row(_text(level_label(alert.level), LEVEL_STYLES[alert.level]), _text(alert.text))
        console.print(grid)
    for section in view.sections:
        console.print()
        console.rule(_text(section.title, "bold"), align="left", style="dim")
        if section.missing:
            console.print(_text(section.missing, "yellow"))
        if section.key == "mri":
            for table in view.layers:
                _print_table(console, table, page)
                console.print()
            continue
        for block, following in zip_longest(section.blocks, section.blocks[1:]):
            if isinstance(block, el.Text) and isinstance(following, el.Figure) and section.key not in TABLED:
                continue  # introduces a map
            _print_block(console, block, section.key, page)
    console.print()
    console.print(
        _text(say("Heat maps, similarity, layer tables and all data: {page} in the same folder.", page=page), "dim")
    )


def _print_block(console: Console, block: el.Block, section: str, page: str) -> None:
    match block:
        case el.Text():
            console.print(_text(block.text))
        case el.Bullets():
            for item in block.items:
                console.print(Padding(_text(f"- {item}"), (0, 0, 0, 1)))
        case el.Code(folded=False):
            console.print(_text(block.caption, "dim"))
            console.print(Padding(_text(block.text), (0, 0, 0, 2)))
        case el.Tree():
            console.print(_tree(block))
        case el.Definitions():
            for term, text in block.terms:
                console.print(RichText.assemble(_text(f"{term}: ", "bold"), _text(text)))
        case el.Table(folded=False):
            _print_table(console, block, page)
        case el.Figure() if section in TABLED:
            for table in block.tables:
                _print_table(console, table, page)
        case _:
            pass  # maps and folded tables: the page has them


def _print_table(console: Console, table: el.Table, page: str = PAGE) -> None:
    """A table; one that would scroll everything else away is cut, and says so."""
    console.print(Fitted(replace(table, rows=table.rows[:MOST_ROWS])))
    if len(table.rows) > MOST_ROWS:
        more = say("... and {count} more rows in {page}", count=len(table.rows) - MOST_ROWS, page=page)
        console.print(_text(more, "dim"))
    if table.note:
        console.print(_text(table.note, "dim"))


def _table(table: el.Table, caption: bool, whole: bool) -> RichTable:
    """A Rich table; groups get a line of their own in place of a first column that repeats their name."""
    drawn = RichTable(
        title=_text(table.caption, "bold") if caption else None,
        title_justify="left",
        box=None,
        header_style="dim",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    first = 1 if table.grouped else 0
    for index, name in enumerate(table.columns[first:], first):
        numeric = index in table.numeric
        keep = whole and (numeric or index == table.marked)
        drawn.add_column(_text(name), justify="right" if numeric else "left", overflow="fold", no_wrap=keep)
    for row in table.rows:
        if first and row.group:
            if drawn.row_count:
                drawn.add_row()
            drawn.add_row(_text(row.cells[0], "bold"))
        drawn.add_row(*(_cell(row, index, table.marked) for index in range(first, len(row.cells))))
    return drawn


def _least_width(table: el.Table) -> int:
    """Columns of the console that the table needs with numbers and marked cells on one line, other text folded."""
    width = 0
    for index in range(1 if table.grouped else 0, len(table.columns)):
        cells = [table.columns[index], *(row.cells[index] for row in table.rows)]
        if index in table.numeric or index == table.marked:
            width += max(map(cell_len, cells)) + 1 + (2 if index == table.marked else 0)
        else:
            width += min(WORD, max(cell_len(word) for cell in cells for word in cell.split() or [""])) + 1
    return width


def _cell(row: el.Row, index: int, marked: int) -> RichText:
    text = _text(row.cells[index], "bold" if row.strong else "")
    if not row.role or index != marked:
        return text
    family = family_of(row.role)
    return RichText.assemble(_text(f"{el.GLYPHS[family]} ", STYLES[family]), text)


def _tree(node: el.Tree) -> RichTree:
    drawn = RichTree(_ancestor(node), guide_style="dim")
    _grow(drawn, node)
    return drawn


def _grow(drawn: RichTree, node: el.Tree) -> None:
    for parent in node.parents:
        _grow(drawn.add(_ancestor(parent)), parent)


def _ancestor(node: el.Tree) -> RichText:
    return RichText.assemble(_text(f"{role_label(node.role)} ", "dim"), _text(node.label))


def _text(text: str, style: str = "") -> RichText:
    """Outside text as Rich text: never read as markup, never able to move the cursor."""
    return RichText(formats.clean(text), style=style)
