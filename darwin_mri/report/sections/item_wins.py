"""Items won and lost as a section: per slice against each parent, and what the child kept of what each parent knew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from darwin_mri.records.roles import PARENTS
from darwin_mri.report import formats
from darwin_mri.report.charts import Bar, BarGroup, Bars
from darwin_mri.report.charts.bars import share
from darwin_mri.report.model.elements import Block, Code, Figure, Row, Section, Text, table
from darwin_mri.report.model.item_answers import Answers, Item, count_wins_and_losses, pair_items

LISTED = 400  # item hashes printed per list; answers/ has all

# What the parents knew of an item, in the order a reader asks about it.
KNOWN: dict[str, Callable[[bool, bool], bool]] = {
    "both parents right": lambda father, mother: father and mother,
    "only the father right": lambda father, mother: father and not mother,
    "only the mother right": lambda father, mother: mother and not father,
    "neither right": lambda father, mother: not father and not mother,
}


def items_section(answers: Answers, order: Sequence[str] = ()) -> Section:
    """Section 'items': inheritance, wins and losses per slice, items by hash; benchmarks in the given order."""
    key, title = "items", "Items won and lost"
    answered = answers.get("child", {})
    names = [*(name for name in order if name in answered), *(name for name in answered if name not in order)]
    by_benchmark = {name: items for name in names if (items := pair_items(answers, name))}
    with_parents = {
        name: items
        for name, items in by_benchmark.items()
        if any(item.father is not None or item.mother is not None for item in items)
    }
    if not with_parents:
        return Section(
            key,
            title,
            missing="answers/ is missing: which items the child won and lost is not known. Run darwin-mri breed.",
        )
    blocks: list[Block] = []
    inherited = _inheritance(with_parents)
    if inherited is not None:
        blocks += [
            Text(
                "What the child kept of what its parents knew: of the items that only one parent answers rightly, how"
                " many the child answers rightly too. Half a credit or more counts as right."
            ),
            inherited,
        ]
    blocks.append(
        Text(
            "Won: the child has more credit on the item than the parent; lost: less. Counts, not tests: slices are"
            " small."
        )
    )
    blocks += [_wins(with_parents, parent) for parent in PARENTS if _has_answers(with_parents, parent)]
    blocks += _hashes(with_parents)
    return Section(key, title, tuple(blocks))


def _has_answers(by_benchmark: dict[str, list[Item]], parent: str) -> bool:
    return any(getattr(item, parent) is not None for items in by_benchmark.values() for item in items)


def _complete(items: list[Item]) -> list[Item]:
    """Items that both parents answered."""
    return [item for item in items if item.father is not None and item.mother is not None]


def _inheritance(by_benchmark: dict[str, list[Item]]) -> Figure | None:
    """Of the items both, one or neither parent knew, the share the child knows."""
    groups, rows = [], []
    for name, items in by_benchmark.items():
        complete = _complete(items)
        if not complete:
            continue
        bars = []
        for number, (label, test) in enumerate(KNOWN.items()):
            chosen = [item for item in complete if test((item.father or 0.0) >= 0.5, (item.mother or 0.0) >= 0.5)]
            n, right = len(chosen), sum(item.child >= 0.5 for item in chosen)
            bars.append(Bar(label, right, 0, n, share(right, n), strong=number in (1, 2)))
            cells = (name, label, str(n), str(right), formats.percent(right / n if n else None))
            rows.append(Row(cells, group=number == 0))
        groups.append(BarGroup(name, tuple(bars)))
    if not groups:
        return None
    chart = Bars(
        "fig-inheritance",
        "What the child kept of what each parent knew",
        "For each benchmark four rows by which parent answered rightly: the outline is the number of items, the filled"
        " part those the child answers rightly.",
        tuple(groups),
        ("items", "the child is right"),
        shares=True,
    )
    columns = ("benchmark", "parents", "items", "child right", "share")
    return Figure(chart, (table("What the child kept", columns, rows, text=(0, 1), folded=True),))


def _wins(by_benchmark: dict[str, list[Item]], parent: str) -> Figure:
    groups, rows = [], []
    for name, items in by_benchmark.items():
        bars = []
        for part, members in _slices(items):
            won, lost = count_wins_and_losses(members, parent)
            n = sum(getattr(item, parent) is not None for item in members)
            whole = not bars
            bars.append(Bar(part, won, lost, n, f"{won} won, {lost} lost of {n}", strong=whole))
            rows.append(Row((name, part, str(won), str(lost), str(n)), strong=whole, group=whole))
        groups.append(BarGroup(name, tuple(bars)))
    chart = Bars(
        f"fig-wins-{parent}",
        f"Items won from and lost to the {parent}, by slice",
        f"Per slice: to the right the items on which the child does better than the {parent}, to the left those on"
        " which it does worse.",
        tuple(groups),
        (f"lost to the {parent}", f"won from the {parent}"),
    )
    columns = ("benchmark", "slice", "won", "lost", "items")
    return Figure(chart, (table(f"Won and lost against the {parent}", columns, rows, text=(0, 1), folded=True),))


def _slices(items: list[Item]) -> list[tuple[str, list[Item]]]:
    """The whole first, then each slice where there are several."""
    parts: dict[str, list[Item]] = {}
    for item in items:
        parts.setdefault(item.slice, []).append(item)
    return [("all items", items), *(sorted(parts.items()) if len(parts) > 1 else [])]


def _hashes(by_benchmark: dict[str, list[Item]]) -> list[Block]:
    """Items to look up: those the child alone knows, and those both parents know and the child does not."""
    kinds: dict[str, Callable[[Item], bool]] = {
        "Items the child alone answers rightly": lambda item: (
            item.child >= 0.5 and max(item.father or 0.0, item.mother or 0.0) < 0.5
        ),
        "Items both parents answer rightly and the child does not": lambda item: (
            item.child < 0.5 and min(item.father or 0.0, item.mother or 0.0) >= 0.5
        ),
    }
    blocks: list[Block] = []
    for title, test in kinds.items():
        lines = []
        for name, items in by_benchmark.items():
            keys = [item.key for item in _complete(items) if test(item)]
            more = [f"and {len(keys) - LISTED} more"] if len(keys) > LISTED else []
            if keys:
                lines.append(f"{name} ({len(keys)}): {' '.join([*keys[:LISTED], *more])}")
        if lines:
            blocks.append(Code(f"{title}, by hash", "\n".join(lines), folded=True))
    return blocks
