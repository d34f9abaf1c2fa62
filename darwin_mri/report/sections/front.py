"""The front of a search with several objectives, as a section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darwin_mri.records import FrontBaseline, FrontMember, Genome
from darwin_mri.records.roles import NULL_PREFIX, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import Front, FrontBorder, FrontPoint
from darwin_mri.report.model.elements import Figure, Row, Section, Table, Text, table
from darwin_mri.translation import labels, later, say, say_count, say_stored

SPLITS = ("held_out", "fresh", "search")  # what is drawn: the first one that every member has
WITHOUT_SCAN = {
    "flat": later("from a flat start"),
    "random": later("by random candidates"),
}  # where a baseline's border is from
SEARCHES = {"flat": later("flat start"), "random": later("random candidates")}
WORDS = {"held_out": later("held-out items"), "fresh": later("fresh search items"), "search": later("search items")}


def front_section(genome: Genome, ledger: int = 0, units: Mapping[str, str] | None = None) -> Section:
    """Section 'front': every member with its scores, beside parents and null children.

    Args:
        genome: with a front.
        ledger: number of candidates that the search tried; 0 where it is not known.
        units: objective -> unit of its scores; those that are fractions have none.

    Returns:
        The section.
    """
    names, split = genome.objectives, _drawn_split(genome.front)
    points = [_values(_scores(member, split), names) for member in genome.front]
    reached = _undominated(points)
    beside = genome.references if split == "held_out" else ()
    others = [FrontPoint(_name(other.role, other.null), other.role, _values(other.held_out, names)) for other in beside]
    members = [
        FrontPoint(
            str(member.number),
            "child",
            _values(_scores(member, split), names),
            _values(member.search, names) if split != "search" else (),
            member.number == genome.member,
            ahead,
        )
        for member, ahead in zip(genome.front, reached, strict=True)
    ]
    chart = Front(
        "fig-front",
        say("The front: {names}", names=formats.listing(list(names))),
        say(
            "Every member of the front by its number, with the parents and null children; higher is better on every"
            " axis."
        )
        + (
            " "
            + say(
                "Filled diamonds: held-out items; hollow ones, joined to them: the search items that put the member"
                " into the front. Dashed: the border of what the members reach together.",
            )
            + (" " + say("Thin and dotted: that of searches without the scan.") if genome.baselines else "")
            if len(names) == 2
            else " " + say("One axis per objective, each with its own scale; a line is one model.")
        ),
        tuple(_with_unit(name, units or {}) for name in names),
        tuple(others + members),
        say(WORDS[split]),
        tuple(_border(other, names) for other in genome.baselines if split == "held_out" and other.held_out),
    )
    text = " ".join(
        filter(None, (_found(genome, ledger), _kept(genome, split, reached), _against(genome, points), _areas(genome)))
    )
    tables = (_table(genome), _searches(genome)) if genome.baselines else (_table(genome),)
    how = say(
        "darwin-mri merge --genome RUN/genome.json --member K --out FOLDER writes the child of another member. Values"
        " are in the unit the search used{units}, higher is better; those on search items flatter the members, which"
        " were chosen by them.",
        units=_used_units(names, units or {}),
    )
    return Section("front", say("Front of several objectives"), (Text(text), Figure(chart, tables, note=how)))


def _border(other: FrontBaseline, names: Sequence[str]) -> FrontBorder:
    points = [_values(scores, names) for scores in other.held_out]
    reached = _undominated(points)
    return FrontBorder(
        say("reached {how}", how=say(WITHOUT_SCAN[other.search])),
        other.search,
        tuple(point for point, ahead in zip(points, reached, strict=True) if ahead),
    )


def _with_unit(name: str, units: Mapping[str, str]) -> str:
    return f"{name}, {units[name]}" if units.get(name) else name


def _used_units(names: Sequence[str], units: Mapping[str, str]) -> str:
    known = [_with_unit(name, units) for name in names if units.get(name)]
    return f" ({'; '.join(known)})" if known else ""


def _undominated(points: Sequence[tuple[float, ...]]) -> list[bool]:
    import numpy as np

    from darwin_mri.stats.domination import non_dominated  # numpy is loaded for a front alone

    return non_dominated(np.array(points)).tolist()


def _scores(member: FrontMember, split: str) -> dict[str, float]:
    return {"search": member.search, "fresh": member.fresh, "held_out": member.held_out}[split]


def _drawn_split(front: Sequence[FrontMember]) -> str:
    return next((split for split in SPLITS if all(_scores(member, split) for member in front)), "search")


def _values(scores: Mapping[str, float], names: Sequence[str]) -> tuple[float, ...]:
    return tuple(scores[name] for name in names)


def _name(role: str, null: str | None) -> str:
    return role_label(role if null is None else f"{NULL_PREFIX}{null}")


def _found(genome: Genome, ledger: int) -> str:
    members = len(genome.front)
    if ledger:
        tried = say_count("{members} of {count} candidate", "{members} of {count} candidates", ledger, members=members)
    else:
        tried = say_count("{count} candidate", "{count} candidates", members)
    text = say_count(
        "{tried} makes the front: on search items no other candidate within the limits was at least as good on every"
        " objective and better on one.",
        "{tried} make the front: on search items no other candidate within the limits was at least as good on every"
        " objective and better on one.",
        members,
        tried=tried,
    )
    if genome.member is not None:
        text += " " + say("The child is member {member}", member=genome.member)
        text += f": {say_stored(genome.preferred)}." if genome.preferred else "."
    return text


def _kept(genome: Genome, split: str, reached: Sequence[bool]) -> str:
    if split != "held_out":
        return say("There are no held-out items for all objectives, so the front is not confirmed.")
    return say(
        "On held-out items {reached} of {members} are still dominated by no other member.",
        reached=sum(reached),
        members=len(genome.front),
    )


def _against(genome: Genome, points: Sequence[tuple[float, ...]]) -> str:
    """How the members compare with the parents on held-out items."""
    parents = [_values(other.held_out, genome.objectives) for other in genome.references if other.null is None]
    if not parents:
        return ""
    best = [max(values) for values in zip(*parents, strict=True)]  # by objective
    above = [
        member.number
        for member, own in zip(genome.front, points, strict=True)
        if all(mine >= theirs for mine, theirs in zip(own, best, strict=True))
    ]
    numbers = formats.listing([str(number) for number in above])
    if not above:
        return say("No member is as good as the best parent on every objective at once.")
    return say_count(
        "As good as the best parent on every objective: member {numbers}.",
        "As good as the best parent on every objective: members {numbers}.",
        len(above),
        numbers=numbers,
    )


def _areas(genome: Genome) -> str:
    """The front's hypervolume beside that of the searches without the scan."""
    if genome.hypervolume is None:
        return ""
    size = formats.fixed(genome.hypervolume, 3)
    text = (
        say(
            "Hypervolume on held-out items: {size} of the rectangle from the worst to the best parent of each"
            " objective",
            size=size,
        )
        if len(genome.objectives) == 2
        else say(
            "Hypervolume on held-out items: {size} of the box from the worst to the best parent of each objective",
            size=size,
        )
    )
    beside = [
        say("{size} {how}", size=formats.fixed(other.hypervolume, 3), how=say(WITHOUT_SCAN[other.search]))
        for other in genome.baselines
        if other.hypervolume is not None
    ]
    if not beside:
        return say("{text}. No search without the scan was run beside it (search.baselines).", text=text)
    candidates = say_count("{count} candidate", "{count} candidates", genome.baselines[0].candidates)
    return say(
        "{text}; {beside}, with {candidates} each. One run is one draw: a small lead says little.",
        text=text,
        beside=formats.listing(beside),
        candidates=candidates,
    )


def _table(genome: Genome) -> Table:
    columns = [*labels("model", "evaluation")]
    for name in genome.objectives:
        columns += [say("{name}: search", name=name), *labels("fresh", "held-out")]
    rows: list[Row] = []
    for member in genome.front:
        cells = [say("member {number}", number=member.number), str(member.evaluation)]
        for name in genome.objectives:
            cells += [formats.fixed(scores.get(name), 3) for scores in (member.search, member.fresh, member.held_out)]
        rows.append(Row(tuple(cells), "child", strong=member.number == genome.member))
    for other in genome.references:
        cells = [_name(other.role, other.null), formats.ABSENT]
        for name in genome.objectives:
            cells += [formats.ABSENT, formats.ABSENT, formats.fixed(other.held_out.get(name), 3)]
        rows.append(Row(tuple(cells), other.role))
    return table(say("Members of the front, parents and null children"), columns, rows, note=say("Bold: the child."))


def _searches(genome: Genome) -> Table:
    """The run's own search and those without the scan."""
    candidates = genome.baselines[0].candidates
    own = (say("this run"), str(candidates), str(len(genome.front)), formats.fixed(genome.hypervolume, 3))
    rows = [Row(own, "child", strong=True)]
    for other in genome.baselines:
        cells = (say(SEARCHES[other.search]), str(other.candidates), str(len(other.held_out)))
        rows.append(Row((*cells, formats.fixed(other.hypervolume, 3)), "null"))
    return table(say("Searches"), labels("search", "candidates", "members", "hypervolume, held-out"), rows)
