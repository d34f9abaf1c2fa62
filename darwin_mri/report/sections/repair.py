"""The repaired child as a section: what it scores beside the unrepaired one and its nulls, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from darwin_mri.records import Comparison, Health, RepairChoice, RepairRecord, TaughtGroup
from darwin_mri.records.roles import PARENTS, role_label
from darwin_mri.records.score import COMPOSITE
from darwin_mri.report import formats
from darwin_mri.report.model.elements import Block, Bullets, Row, Section, Table, Text, score_label, table
from darwin_mri.report.model.findings import Reading, read_contrast, reading_label
from darwin_mri.report.sections import accuracy, axes
from darwin_mri.translation import labels, later, say, say_count

KEY, TITLE = "repair", later("Repaired child")
NAMES = {
    "child": later("repaired child"),
    "baseline": later("child, not repaired"),
}  # the one baseline of its comparison
OUTCOMES: dict[Reading, str] = {
    "above": later("The repaired child is better than the unrepaired one on {where}: {difference}, p {p_value}."),
    "below": later("The repaired child is worse than the unrepaired one on {where}: {difference}, p {p_value}."),
    "within noise of": later(
        "The repaired child is within noise of the unrepaired one on {where}: {difference}, p {p_value}."
    ),
}
NULLS = later(
    "null repair-father: the father in place of the merged child, repaired toward the same teachers on the same texts;"
    " null repair-shuffled-text: the child, on the same texts with their words shuffled. A gain that they share is not"
    " the merge's, or not the texts'.",
)


def repair_section(record: RepairRecord, comparison: Comparison | None, health: Health | None = None) -> Section:
    """Section 'repair', in runs that repair their child.

    Args:
        record: of the repair.
        comparison: of the repaired child, which is the ``child`` in it; None where none was chosen or scored.
        health: of the repaired child.

    Returns:
        The section.
    """
    blocks: list[Block] = [Text(" ".join(filter(None, (_chosen(record), _outcome(comparison), _health(health)))))]
    if comparison is not None:
        blocks += _scored(comparison)
    blocks += [_choice_table(record), _teacher_table(record.groups)]
    if record.maps:
        blocks.append(_layer_table(record))
    if notes := (*record.notes, *_left_alone(record)):
        blocks.append(Bullets(notes))
    return Section(KEY, say(TITLE), tuple(blocks))


def _chosen(record: RepairRecord) -> str:
    """What was done, and which strength the search items chose."""
    tried = sum(choice.strength is not None for choice in record.choices)
    text = say_count(
        "After the search the linear maps of the child's layers were solved again in closed form toward the outputs of"
        " the parent that predicts a text better, on {count} text without labels ({tokens} tokens), in {seconds} s.",
        "After the search the linear maps of the child's layers were solved again in closed form toward the outputs of"
        " the parent that predicts a text better, on {count} texts without labels ({tokens} tokens), in {seconds} s.",
        record.documents,
        tokens=record.tokens,
        seconds=f"{record.seconds:.0f}",
    )
    judged = say_count("{count} search item", "{count} search items", record.items)
    if record.strength is None:
        outcome = say_count(
            "On {items} no strength that was tried was better than no repair: there is no repaired child.",
            "On {items} no of the {count} strengths that were tried was better than no repair: there is no repaired"
            " child.",
            tried,
            items=judged,
        )
    else:
        outcome = say_count(
            "Strength {strength} was chosen on {items}, {count} strength tried.",
            "Strength {strength} was chosen on {items}, {count} strengths tried.",
            tried,
            strength=f"{record.strength:g}",
            items=judged,
        )
    return f"{text} {outcome}"


def _health(health: Health | None) -> str:
    if health is None:
        return ""
    failed = formats.listing([gate.name for gate in health.gates if not gate.passed])
    return (
        say("It fails its health check ({failed}): do not use it.", failed=failed)
        if failed
        else say("It passes its health check.")
    )


def _outcome(comparison: Comparison | None) -> str:
    """The repaired child against the unrepaired one on held-out items."""
    own = [c for c in comparison.contrasts if c.other == "baseline"] if comparison else []
    if not own:
        return ""
    contrast = next((c for c in own if c.benchmark == COMPOSITE), own[0])
    where = (
        say("the held-out composite")
        if contrast.benchmark == COMPOSITE
        else say("held-out items of {benchmark}", benchmark=contrast.benchmark)
    )
    return say(
        OUTCOMES[read_contrast(contrast)],
        where=where,
        difference=formats.difference(contrast),
        p_value=formats.probability(contrast.p_value),
    )


def _scored(comparison: Comparison) -> list[Block]:
    """A chart for each unit and the table of every value."""
    charts = accuracy.contrast_charts(comparison, "fig-repair", TITLE)
    note = f"{say('Held-out items, paired.')} {say(NULLS)}"
    if not charts:
        return [_score_table(comparison, note)]
    return list(accuracy.figures(charts, _score_table(comparison, note)))


def _score_table(comparison: Comparison, note: str) -> Table:
    """Each model's score, and the repaired child minus it."""
    rows = []
    for benchmark in accuracy.benchmark_order(comparison):
        scores = accuracy.sorted_scores(comparison, benchmark)
        scores.sort(key=lambda s: s.family in ("null", "base"))  # the unrepaired child stands beside the repaired one
        for index, s in enumerate(scores):
            if s.evidence != "measured":
                continue
            contrast = next((c for c in comparison.contrasts if c.against(s)), None)
            cells = (
                axes.task(benchmark, s.unit),
                say(NAMES[s.role]) if s.role in NAMES else score_label(s),
                formats.score(s, bare=True),
                *(
                    (
                        formats.difference(contrast, bare=True),
                        reading_label(contrast),
                        formats.probability(contrast.p_value),
                        f"{contrast.wins}/{contrast.losses}",
                    )
                    if contrast
                    else ("", "", "", "")
                ),
            )
            rows.append(Row(cells, s.family, s.role == "child", index == 0))
    columns = labels("benchmark", "model", "score, 95 % interval", "repaired minus it", "reading", "p", "won/lost")
    shown = table(say("Repaired child against the others"), columns, rows, text=(0, 1, 4), note=note)
    return replace(shown, marked=1, spare=(6,))


def _choice_table(record: RepairRecord) -> Table:
    tasks = list(dict.fromkeys(task for choice in record.choices for task in choice.scores))
    broken = any(choice.violation for choice in record.choices)

    def cells(choice: RepairChoice) -> tuple[str, ...]:
        return (
            say("no repair") if choice.strength is None else f"{choice.strength:g}",
            formats.fixed(choice.fitness, 4),
            *(formats.fixed(choice.scores.get(task), 4) for task in tasks),
            *((formats.fixed(choice.violation, 4),) if broken else ()),
            f"{choice.seconds:.1f}",
        )

    rows = [Row(cells(choice), strong=choice.strength == record.strength) for choice in record.choices]
    columns = (
        *labels("strength", "fitness"),
        *tasks,
        *(labels("limits broken by") if broken else ()),
        say("seconds"),
    )
    note = say(
        "On search items. Strength: how much the merged weights hold a map, as a share of its mean squared input; the"
        " larger, the less is repaired.",
    )
    return table(say("Strengths tried"), columns, rows, note=note)


def _teacher_table(groups: Sequence[TaughtGroup]) -> Table:
    roles = [role for role in PARENTS if any(role in group.nll_per_byte for group in groups)]
    rows = [
        Row(
            (
                f"{group.language}, {group.domain}",
                str(group.documents),
                say("the father, protected")
                if group.protected
                else ", ".join(
                    f"{role_label(role)} {group.teachers[role]}" for role in roles if role in group.teachers
                ),
                *(formats.fixed(group.nll_per_byte.get(role), 3) for role in roles),
            )
        )
        for group in groups
    ]
    columns = (
        *labels("texts", "documents", "taught by"),
        *(f"{role_label(role)}, nats/byte" for role in roles),
    )
    return table(say("Who taught which texts"), columns, rows, text=(0, 2))


def _layer_table(record: RepairRecord) -> Table:
    rows = []
    for layer in dict.fromkeys(one.layer for one in record.maps):
        own = [one for one in record.maps if one.layer == layer]
        values = [[getattr(one, name) for one in own] for name in ("change", "explained_before", "explained_after")]
        means = [sum(column) / len(column) for column in values]
        cells = (str(layer), str(len(own)), *(formats.percent(mean) for mean in means))
        rows.append(Row(cells))
    columns = labels("layer", "maps", "change", "explained before", "explained after")
    note = say(
        "Means over the maps of a layer. Change: of the weights, relative to the merged ones. Explained: share of the"
        " teachers' outputs that the merged and the repaired map give on the repaired stream; every map is in"
        " repair.json.",
    )
    return table(say("Maps by layer"), columns, rows, note=note, folded=True)


def _left_alone(record: RepairRecord) -> tuple[str, ...]:
    parts = [f"{number} {reason}" for reason, number in record.left_alone.items()]
    return (say("Matrices left as merged: {parts}.", parts="; ".join(parts)),) if parts else ()
