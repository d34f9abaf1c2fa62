"""Items won and lost as a section: per slice against each parent, and what the child kept of what each parent knew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from darwin_mri.records.roles import FATHER, MOTHER, named, role_label
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
from darwin_mri.translation import labels, say

LISTED = 400  # item hashes printed per list; answers/ has all

Items = dict[str, list[Item]]  # by benchmark
Knowing = Callable[[frozenset[str]], bool]  # of the parents that are right


def _known(parents: Sequence[str]) -> dict[str, Knowing]:
    """What the parents knew of an item, in the order a reader asks about it."""
    kinds: dict[str, Knowing] = {
        say("{parents} right", parents=parent_words(len(parents)).every): lambda knowing: len(knowing) == len(parents)
    }
    if len(parents) > 2:
        kinds[say("several, not all right")] = lambda knowing: 1 < len(knowing) < len(parents)
    for role in parents:
        kinds[_only(role)] = lambda knowing, role=role: knowing == {role}
    kinds[say("no parent right") if len(parents) > 2 else say("neither right")] = lambda knowing: not knowing
    return kinds


def _only(role: str) -> str:
    return say("only {parent} right", parent=named(role))


def items_section(answers: Answers, order: Sequence[str] = (), units: Collection[str] = ()) -> Section:
    """Section 'items': inheritance, wins and losses per parent and slice, items by hash.

    Args:
        answers: of the parents and the child.
        order: benchmarks in the order to show.
        units: benchmarks whose scores are no fractions: an answer there is neither right nor wrong.

    Returns:
        The section.
    """
    key, title = "items", say("Items won and lost")
    answered = answers.get("child", {})
    names = [*(name for name in order if name in answered), *(name for name in answered if name not in order)]
    by_benchmark = {name: items for name in names if (items := pair_items(answers, name))}
    paired = {name: items for name, items in by_benchmark.items() if any(item.parents for item in items)}
    with_parents = {n: items for n, items in paired.items() if n not in units and are_fractions(items)}
    if paired and not with_parents:
        text = say("No task of this run has right and wrong answers, so no item is won or lost.")
        return Section(key, title, (Text(text),))
    if not with_parents:
        return Section(
            key,
            title,
            missing=say("answers/ is missing: which items the child won and lost is not known. Run darwin-mri breed."),
        )
    parents = [role for role in answering_parents(answers) if _has_answers(with_parents, role)]
    # Two parents are asked for always: what only one of them knew cannot be told without the other.
    asked = [*dict.fromkeys((FATHER, MOTHER, *parents))]
    blocks: list[Block] = []
    others = [name for name in paired if name not in with_parents]
    if others:
        blocks.append(
            Text(
                say("Left out, as an answer there is neither right nor wrong: {tasks}.", tasks=formats.listing(others))
            )
        )
    inherited = _inheritance(with_parents, asked)
    if inherited is not None:
        blocks += [
            Text(
                say(
                    "What the child kept of what its parents knew: of the items that only one parent answers rightly,"
                    " how many the child answers rightly too. Half a credit or more counts as right.",
                )
            ),
            inherited,
        ]
    blocks.append(
        Text(
            say(
                "Won: the child has more credit on the item than the parent; lost: less. Counts, not tests: slices are"
                " small.",
            )
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
    known, alone = _known(parents), {_only(role) for role in parents}
    for name, items in by_benchmark.items():
        complete = _complete(items, parents)
        if not complete:
            continue
        bars = []
        for number, (label, test) in enumerate(known.items()):
            chosen = [item for item in complete if test(item.knowing)]
            n, right = len(chosen), sum(item.right for item in chosen)
            if n or len(parents) < 3:  # of many parents, most are rarely the only one that knows
                bars.append(Bar(label, right, 0, n, share(right, n), strong=label in alone))
            cells = (name, label, str(n), str(right), formats.percent(right / n if n else None))
            rows.append(Row(cells, group=number == 0))
        groups.append(BarGroup(name, tuple(bars)))
    if not groups:
        return None
    chart = Bars(
        "fig-inheritance",
        say("What the child kept of what each parent knew"),
        say(
            "For each benchmark four rows by which parent answered rightly: the outline is the number of items, the"
            " filled part those the child answers rightly."
        )
        if len(known) == 4
        else say(
            "For each benchmark a row each, where there are such items, by which parent answered rightly: the outline"
            " is the number of items, the filled part those the child answers rightly."
        ),
        tuple(groups),
        (say("items"), say("the child is right")),
        shares=True,
    )
    columns = labels("benchmark", "parents", "items", "child right", "share")
    return Figure(chart, (table(say("What the child kept"), columns, rows, text=(0, 1), folded=True),))


def _wins_by_parent(by_benchmark: Items, parents: Sequence[str]) -> Figure:
    """Against each of several parents, and against all of them at once."""
    groups, rows = [], []
    for name, items in by_benchmark.items():
        bars = []
        for role in parents:
            won, lost = count_wins_and_losses(items, role)
            n = sum(role in item.parents for item in items)
            rows.append(Row((name, role_label(role), str(won), str(lost), str(n)), role, group=not bars))
            bars.append(
                Bar(
                    say("against {parent}", parent=named(role)),
                    won,
                    lost,
                    n,
                    _won_and_lost(won, lost, n),
                )
            )
        complete = _complete(items, parents)
        alone = sum(item.right and not item.knowing for item in complete)
        missed = sum(not item.right and len(item.knowing) == len(parents) for item in complete)
        n = str(len(complete))
        rows.append(Row((name, say("right although no parent is"), str(alone), formats.ABSENT, n)))
        rows.append(Row((name, say("wrong although every parent is right"), formats.ABSENT, str(missed), n)))
        text = say("{alone} right alone, {missed} wrong alone", alone=alone, missed=missed)
        bars.append(Bar(say("against all parents"), alone, missed, len(complete), text, strong=True))
        groups.append(BarGroup(name, tuple(bars)))
    chart = Bars(
        "fig-wins",
        say("Items won from and lost to each parent"),
        say(
            "Per benchmark and parent: to the right the items on which the child does better, to the left those on"
            " which it does worse.",
        ),
        tuple(groups),
        (say("lost to the parent"), say("won from the parent")),
    )
    columns = labels("benchmark", "parent", "won", "lost", "items")
    shown = replace(table(say("Won from and lost to each parent"), columns, rows, text=(0, 1)), marked=1)
    return Figure(chart, (shown, _wins_by_slice(by_benchmark, parents)))


def _won_and_lost(won: int, lost: int, of: int) -> str:
    """Counts of items beside a bar."""
    return say("{won} won, {lost} lost of {items}", won=won, lost=lost, items=of)


def _wins_by_slice(by_benchmark: Items, parents: Sequence[str]) -> Table:
    """Won and lost per slice, one column per parent."""
    rows = []
    for name, items in by_benchmark.items():
        for number, (part, members) in enumerate(_slices(items)):
            counts = ("/".join(map(str, count_wins_and_losses(members, role))) for role in parents)
            whole = number == 0
            rows.append(Row((name, part, *counts, str(len(members))), strong=whole, group=whole))
    columns = (
        *labels("benchmark", "slice"),
        *map(role_label, parents),
        say("items"),
    )
    return table(say("Won/lost by slice"), columns, rows, text=(0, 1), folded=True)


def _wins(by_benchmark: Items, parent: str) -> Figure:
    groups, rows = [], []
    for name, items in by_benchmark.items():
        bars = []
        for part, members in _slices(items):
            won, lost = count_wins_and_losses(members, parent)
            n = sum(parent in item.parents for item in members)
            whole = not bars
            bars.append(Bar(part, won, lost, n, _won_and_lost(won, lost, n), strong=whole))
            rows.append(Row((name, part, str(won), str(lost), str(n)), strong=whole, group=whole))
        groups.append(BarGroup(name, tuple(bars)))
    chart = Bars(
        f"fig-wins-{parent}",
        say("Items won from and lost to the {parent}, by slice", parent=role_label(parent)),
        say(
            "Per slice: to the right the items on which the child does better than the {parent}, to the left those on"
            " which it does worse.",
            parent=role_label(parent),
        ),
        tuple(groups),
        (
            say("lost to the {parent}", parent=role_label(parent)),
            say("won from the {parent}", parent=role_label(parent)),
        ),
    )
    columns = labels("benchmark", "slice", "won", "lost", "items")
    return Figure(
        chart,
        (
            table(
                say("Won and lost against the {parent}", parent=role_label(parent)),
                columns,
                rows,
                text=(0, 1),
                folded=True,
            ),
        ),
    )


def _slices(items: list[Item]) -> list[tuple[str, list[Item]]]:
    """The whole first, then each slice where there are several."""
    parts: dict[str, list[Item]] = {}
    for item in items:
        parts.setdefault(item.slice, []).append(item)
    return [(say("all items"), items), *(sorted(parts.items()) if len(parts) > 1 else [])]


def _hashes(by_benchmark: Items, parents: Sequence[str]) -> list[Block]:
    """Items to look up: those the child alone knows, and those all parents know and the child does not."""
    every = parent_words(len(parents)).every
    kinds: dict[str, Callable[[Item], bool]] = {
        say("Items the child alone answers rightly"): lambda item: item.right and not item.knowing,
        say("Items {parents} answer rightly and the child does not", parents=every): lambda item: (
            not item.right and len(item.knowing) == len(parents)
        ),
    }
    blocks: list[Block] = []
    for title, test in kinds.items():
        lines = []
        for name, items in by_benchmark.items():
            keys = [item.key for item in _complete(items, parents) if test(item)]
            more = [say("and {count} more", count=len(keys) - LISTED)] if len(keys) > LISTED else []
            if keys:
                lines.append(f"{name} ({len(keys)}): {' '.join([*keys[:LISTED], *more])}")
        if lines:
            blocks.append(Code(say("{title}, by hash", title=title), "\n".join(lines), folded=True))
    return blocks
