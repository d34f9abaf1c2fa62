"""Items won and lost as a section: per slice against each parent, and what the child kept of what each parent knew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from darwin_mri.records.roles import FATHER, MOTHER, named
from darwin_mri.report import formats
from darwin_mri.report.charts import Bar, BarGroup, Bars
from darwin_mri.report.charts.bars import share
from darwin_mri.report.model.elements import Block, Code, Figure, Row, Section, Table, Text, table
from darwin_mri.report.model.item_answers import (
    Answers,
    Item,
    answering_parents,
    are_fractions,
    count_wins_and_losses,
    pair_items,
)
from darwin_mri.stats.vigor import parent_words

LISTED = 400  # item hashes printed per list; answers/ has all

Items = dict[str, list[Item]]  # by benchmark
Knowing = Callable[[frozenset[str]], bool]  # of the parents that are right


def _known(parents: Sequence[str]) -> dict[str, Knowing]:
    """What the parents knew of an item, in the order a reader asks about it."""
    kinds: dict[str, Knowing] = {
        f"{parent_words(len(parents)).every} right": lambda knowing: len(knowing) == len(parents)
    }
    if len(parents) > 2:
        kinds["several, not all right"] = lambda knowing: 1 < len(knowing) < len(parents)
    for role in parents:
        kinds[f"only {named(role)} right"] = lambda knowing, role=role: knowing == {role}
    kinds["no parent right" if len(parents) > 2 else "neither right"] = lambda knowing: not knowing
    return kinds


def items_section(answers: Answers, order: Sequence[str] = (), units: Collection[str] = ()) -> Section:
    """Section 'items': inheritance, wins and losses per parent and slice, items by hash.

    Args:
        answers: of the parents and the child.
        order: benchmarks in the order to show.
        units: benchmarks whose scores are no fractions: an answer there is neither right nor wrong.

    Returns:
        The section.
    """
    key, title = "items", "Items won and lost"
    answered = answers.get("child", {})
    names = [*(name for name in order if name in answered), *(name for name in answered if name not in order)]
    by_benchmark = {name: items for name in names if (items := pair_items(answers, name))}
    paired = {name: items for name, items in by_benchmark.items() if any(item.parents for item in items)}
    with_parents = {n: items for n, items in paired.items() if n not in units and are_fractions(items)}
    if paired and not with_parents:
        text = "No task of this run has right and wrong answers, so no item is won or lost."
        return Section(key, title, (Text(text),))
    if not with_parents:
        return Section(
            key,
            title,
            missing="answers/ is missing: which items the child won and lost is not known. Run darwin-mri breed.",
        )
    parents = [role for role in answering_parents(answers) if _has_answers(with_parents, role)]
    # Two parents are asked for always: what only one of them knew cannot be told without the other.
    asked = [*dict.fromkeys((FATHER, MOTHER, *parents))]
    blocks: list[Block] = []
    others = [name for name in paired if name not in with_parents]
    if others:
        blocks.append(Text(f"Left out, as an answer there is neither right nor wrong: {formats.listing(others)}."))
    inherited = _inheritance(with_parents, asked)
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
    if len(asked) > 2:
        blocks.append(_wins_by_parent(with_parents, asked))
    else:
        blocks += [_wins(with_parents, parent) for parent in parents]
    blocks += _hashes(with_parents, asked)
    return Section(key, title, tuple(blocks))


def _has_answers(by_benchmark: Items, parent: str) -> bool:
    return any(parent in item.parents for items in by_benchmark.values() for item in items)


def _complete(items: list[Item], parents: Sequence[str]) -> list[Item]:
    """Items that all parents answered."""
    return [item for item in items if all(role in item.parents for role in parents)]


def _inheritance(by_benchmark: Items, parents: Sequence[str]) -> Figure | None:
    """Of the items all, some, one or no parent knew, the share the child knows."""
    groups, rows = [], []
    known = _known(parents)
    for name, items in by_benchmark.items():
        complete = _complete(items, parents)
        if not complete:
            continue
        bars = []
        for number, (label, test) in enumerate(known.items()):
            chosen = [item for item in complete if test(item.knowing)]
            n, right = len(chosen), sum(item.right for item in chosen)
            if n or len(parents) < 3:  # of many parents, most are rarely the only one that knows
                bars.append(Bar(label, right, 0, n, share(right, n), strong=label.startswith("only ")))
            cells = (name, label, str(n), str(right), formats.percent(right / n if n else None))
            rows.append(Row(cells, group=number == 0))
        groups.append(BarGroup(name, tuple(bars)))
    if not groups:
        return None
    count = "four rows" if len(known) == 4 else "a row each, where there are such items,"
    chart = Bars(
        "fig-inheritance",
        "What the child kept of what each parent knew",
        f"For each benchmark {count} by which parent answered rightly: the outline is the number of items, the filled"
        " part those the child answers rightly.",
        tuple(groups),
        ("items", "the child is right"),
        shares=True,
    )
    columns = ("benchmark", "parents", "items", "child right", "share")
    return Figure(chart, (table("What the child kept", columns, rows, text=(0, 1), folded=True),))


def _wins_by_parent(by_benchmark: Items, parents: Sequence[str]) -> Figure:
    """Against each of several parents, and against all of them at once."""
    groups, rows = [], []
    for name, items in by_benchmark.items():
        bars = []
        for role in parents:
            won, lost = count_wins_and_losses(items, role)
            n = sum(role in item.parents for item in items)
            rows.append(Row((name, role, str(won), str(lost), str(n)), role, group=not bars))
            bars.append(Bar(f"against {named(role)}", won, lost, n, f"{won} won, {lost} lost of {n}"))
        complete = _complete(items, parents)
        alone = sum(item.right and not item.knowing for item in complete)
        missed = sum(not item.right and len(item.knowing) == len(parents) for item in complete)
        n = str(len(complete))
        rows.append(Row((name, "right although no parent is", str(alone), formats.ABSENT, n)))
        rows.append(Row((name, "wrong although every parent is right", formats.ABSENT, str(missed), n)))
        text = f"{alone} right alone, {missed} wrong alone"
        bars.append(Bar("against all parents", alone, missed, len(complete), text, strong=True))
        groups.append(BarGroup(name, tuple(bars)))
    chart = Bars(
        "fig-wins",
        "Items won from and lost to each parent",
        "Per benchmark and parent: to the right the items on which the child does better, to the left those on which it"
        " does worse.",
        tuple(groups),
        ("lost to the parent", "won from the parent"),
    )
    columns = ("benchmark", "parent", "won", "lost", "items")
    shown = replace(table("Won from and lost to each parent", columns, rows, text=(0, 1)), marked=1)
    return Figure(chart, (shown, _wins_by_slice(by_benchmark, parents)))


def _wins_by_slice(by_benchmark: Items, parents: Sequence[str]) -> Table:
    """Won and lost per slice, one column per parent."""
    rows = []
    for name, items in by_benchmark.items():
        for number, (part, members) in enumerate(_slices(items)):
            counts = ("/".join(map(str, count_wins_and_losses(members, role))) for role in parents)
            whole = number == 0
            rows.append(Row((name, part, *counts, str(len(members))), strong=whole, group=whole))
    columns = ("benchmark", "slice", *parents, "items")
    return table("Won/lost by slice", columns, rows, text=(0, 1), folded=True)


def _wins(by_benchmark: Items, parent: str) -> Figure:
    groups, rows = [], []
    for name, items in by_benchmark.items():
        bars = []
        for part, members in _slices(items):
            won, lost = count_wins_and_losses(members, parent)
            n = sum(parent in item.parents for item in members)
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


def _hashes(by_benchmark: Items, parents: Sequence[str]) -> list[Block]:
    """Items to look up: those the child alone knows, and those all parents know and the child does not."""
    every = parent_words(len(parents)).every
    kinds: dict[str, Callable[[Item], bool]] = {
        "Items the child alone answers rightly": lambda item: item.right and not item.knowing,
        f"Items {every} answer rightly and the child does not": lambda item: (
            not item.right and len(item.knowing) == len(parents)
        ),
    }
    blocks: list[Block] = []
    for title, test in kinds.items():
        lines = []
        for name, items in by_benchmark.items():
            keys = [item.key for item in _complete(items, parents) if test(item)]
            more = [f"and {len(keys) - LISTED} more"] if len(keys) > LISTED else []
            if keys:
                lines.append(f"{name} ({len(keys)}): {' '.join([*keys[:LISTED], *more])}")
        if lines:
            blocks.append(Code(f"{title}, by hash", "\n".join(lines), folded=True))
    return blocks
