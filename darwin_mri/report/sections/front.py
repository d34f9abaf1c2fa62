"""The front of a search with several objectives, as a section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darwin_mri.records import FrontBaseline, FrontMember, Genome
from darwin_mri.report import formats
from darwin_mri.report.charts import Front, FrontBorder, FrontPoint
from darwin_mri.report.model.elements import Figure, Row, Section, Table, Text, table

SPLITS = ("held_out", "fresh", "search")  # what is drawn: the first one that every member has
WITHOUT_SCAN = {"flat": "from a flat start", "random": "by random candidates"}  # where a baseline's border is from
SEARCHES = {"flat": "flat start", "random": "random candidates"}
WORDS = {"held_out": "held-out items", "fresh": "fresh search items", "search": "search items"}


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
        f"The front: {formats.listing(list(names))}",
        "Every member of the front by its number, with the parents and null children; higher is better on every axis."
        + (
            " Filled diamonds: held-out items; hollow ones, joined to them: the search items that put the member into"
            " the front. Dashed: the border of what the members reach together."
            + (" Thin and dotted: that of searches without the scan." if genome.baselines else "")
            if len(names) == 2
            else " One axis per objective, each with its own scale; a line is one model."
        ),
        tuple(_with_unit(name, units or {}) for name in names),
        tuple(others + members),
        WORDS[split],
        tuple(_border(other, names) for other in genome.baselines if split == "held_out" and other.held_out),
    )
    text = " ".join(
        filter(None, (_found(genome, ledger), _kept(genome, split, reached), _against(genome, points), _areas(genome)))
    )
    tables = (_table(genome), _searches(genome)) if genome.baselines else (_table(genome),)
    how = (
        "darwin-mri merge --genome RUN/genome.json --member K --out FOLDER writes the child of another member. Values"
        f" are in the unit the search used{_used_units(names, units or {})}, higher is better; those on search items"
        " flatter the members, which were chosen by them."
    )
    return Section("front", "Front of several objectives", (Text(text), Figure(chart, tables, note=how)))


def _border(other: FrontBaseline, names: Sequence[str]) -> FrontBorder:
    points = [_values(scores, names) for scores in other.held_out]
    reached = _undominated(points)
    return FrontBorder(
        f"reached {WITHOUT_SCAN[other.search]}",
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
    return role if null is None else f"null: {null}"


def _found(genome: Genome, ledger: int) -> str:
    size = formats.plural(len(genome.front), "candidate")
    tried = f"{len(genome.front)} of {formats.plural(ledger, 'candidate')}" if ledger else size
    verb = "makes" if len(genome.front) == 1 else "make"
    text = (
        f"{tried} {verb} the front: on search items no other candidate within the limits was at least as good on every"
        " objective and better on one."
    )
    if genome.member is not None:
        text += f" The child is member {genome.member}"
        text += f": {genome.preferred}." if genome.preferred else "."
    return text


def _kept(genome: Genome, split: str, reached: Sequence[bool]) -> str:
    if split != "held_out":
        return "There are no held-out items for all objectives, so the front is not confirmed."
    return f"On held-out items {sum(reached)} of {len(genome.front)} are still dominated by no other member."


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
    text = (
        f"As good as the best parent on every objective: {'member' if len(above) == 1 else 'members'} {numbers}."
        if above
        else "No member is as good as the best parent on every objective at once."
    )
    return text


def _areas(genome: Genome) -> str:
    """The front's hypervolume beside that of the searches without the scan."""
    if genome.hypervolume is None:
        return ""
    text = (
        f"Hypervolume on held-out items: {formats.fixed(genome.hypervolume, 3)} of the"
        f" {'rectangle' if len(genome.objectives) == 2 else 'box'} from the worst to the best parent of each objective"
    )
    beside = [
        f"{formats.fixed(other.hypervolume, 3)} {WITHOUT_SCAN[other.search]}"
        for other in genome.baselines
        if other.hypervolume is not None
    ]
    if not beside:
        return f"{text}. No search without the scan was run beside it (search.baselines)."
    candidates = formats.plural(genome.baselines[0].candidates, "candidate")
    return f"{text}; {formats.listing(beside)}, with {candidates} each. One run is one draw: a small lead says little."


def _table(genome: Genome) -> Table:
    columns = ["model", "evaluation"]
    for name in genome.objectives:
        columns += [f"{name}: search", "fresh", "held-out"]
    rows: list[Row] = []
    for member in genome.front:
        cells = [f"member {member.number}", str(member.evaluation)]
        for name in genome.objectives:
            cells += [formats.fixed(scores.get(name), 3) for scores in (member.search, member.fresh, member.held_out)]
        rows.append(Row(tuple(cells), "child", strong=member.number == genome.member))
    for other in genome.references:
        cells = [_name(other.role, other.null), formats.ABSENT]
        for name in genome.objectives:
            cells += [formats.ABSENT, formats.ABSENT, formats.fixed(other.held_out.get(name), 3)]
        rows.append(Row(tuple(cells), other.role))
    return table("Members of the front, parents and null children", columns, rows, note="Bold: the child.")


def _searches(genome: Genome) -> Table:
    """The run's own search and those without the scan."""
    candidates = genome.baselines[0].candidates
    own = ("this run", str(candidates), str(len(genome.front)), formats.fixed(genome.hypervolume, 3))
    rows = [Row(own, "child", strong=True)]
    for other in genome.baselines:
        cells = (SEARCHES[other.search], str(other.candidates), str(len(other.held_out)))
        rows.append(Row((*cells, formats.fixed(other.hypervolume, 3)), "null"))
    return table("Searches", ("search", "candidates", "members", "hypervolume, held-out"), rows)
