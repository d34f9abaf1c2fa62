"""The repaired child as a section: what it scores beside the unrepaired one and its nulls, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from darwin_mri.records import Comparison, Health, RepairChoice, RepairRecord, TaughtGroup
from darwin_mri.records.roles import PARENTS
from darwin_mri.report import formats
from darwin_mri.report.model.elements import Block, Bullets, Row, Section, Table, Text, score_label, table
from darwin_mri.report.model.findings import COMPOSITE, READINGS, read_contrast
from darwin_mri.report.sections import accuracy, axes

KEY, TITLE = "repair", "Repaired child"
NAMES = {"child": "repaired child", "baseline": "child, not repaired"}  # the one baseline of its comparison
NULLS = (
    "null repair-father: the father in place of the merged child, repaired toward the same teachers on the same texts;"
    " null repair-shuffled-text: the child, on the same texts with their words shuffled. A gain that they share is not"
    " the merge's, or not the texts'."
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
    return Section(KEY, TITLE, tuple(blocks))


def _chosen(record: RepairRecord) -> str:
    """What was done, and which strength the search items chose."""
    tried = sum(choice.strength is not None for choice in record.choices)
    text = (
        f"After the search the linear maps of the child's layers were solved again in closed form toward the outputs of"
        f" the parent that predicts a text better, on {formats.plural(record.documents, 'text')} without labels"
        f" ({record.tokens} tokens), in {record.seconds:.0f} s."
    )
    judged = f"{formats.plural(record.items, 'search item')}"
    if record.strength is None:
        strengths = "strength that was" if tried == 1 else f"of the {tried} strengths that were"
        return f"{text} On {judged} no {strengths} tried was better than no repair: there is no repaired child."
    return f"{text} Strength {record.strength:g} was chosen on {judged}, {formats.plural(tried, 'strength')} tried."


def _health(health: Health | None) -> str:
    if health is None:
        return ""
    failed = formats.listing([gate.name for gate in health.gates if not gate.passed])
    return f"It fails its health check ({failed}): do not use it." if failed else "It passes its health check."


def _outcome(comparison: Comparison | None) -> str:
    """The repaired child against the unrepaired one on held-out items."""
    own = [c for c in comparison.contrasts if c.other == "baseline"] if comparison else []
    if not own:
        return ""
    contrast = next((c for c in own if c.benchmark == COMPOSITE), own[0])
    reading = {"above": "better than", "below": "worse than", "within noise of": "within noise of"}
    where = "the held-out composite" if contrast.benchmark == COMPOSITE else f"held-out items of {contrast.benchmark}"
    return (
        f"The repaired child is {reading[read_contrast(contrast)]} the unrepaired one on {where}:"
        f" {formats.difference(contrast)}, p {formats.probability(contrast.p_value)}."
    )


def _scored(comparison: Comparison) -> list[Block]:
    """A chart for each unit and the table of every value."""
    charts = accuracy.contrast_charts(comparison, "fig-repair", "Repaired child")
    note = f"Held-out items, paired. {NULLS}"
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
                NAMES.get(s.role) or score_label(s),
                formats.score(s, bare=True),
                *(
                    (
                        formats.difference(contrast, bare=True),
                        READINGS[read_contrast(contrast)],
                        formats.probability(contrast.p_value),
                        f"{contrast.wins}/{contrast.losses}",
                    )
                    if contrast
                    else ("", "", "", "")
                ),
            )
            rows.append(Row(cells, s.family, s.role == "child", index == 0))
    columns = ("benchmark", "model", "score, 95 % interval", "repaired minus it", "reading", "p", "won/lost")
    shown = table("Repaired child against the others", columns, rows, text=(0, 1, 4), note=note)
    return replace(shown, marked=1, spare=(6,))


def _choice_table(record: RepairRecord) -> Table:
    tasks = list(dict.fromkeys(task for choice in record.choices for task in choice.scores))
    broken = any(choice.violation for choice in record.choices)

    def cells(choice: RepairChoice) -> tuple[str, ...]:
        return (
            "no repair" if choice.strength is None else f"{choice.strength:g}",
            formats.fixed(choice.fitness, 4),
            *(formats.fixed(choice.scores.get(task), 4) for task in tasks),
            *((formats.fixed(choice.violation, 4),) if broken else ()),
            f"{choice.seconds:.1f}",
        )

    rows = [Row(cells(choice), strong=choice.strength == record.strength) for choice in record.choices]
    columns = ("strength", "fitness", *tasks, *(("limits broken by",) if broken else ()), "seconds")
    note = (
        "On search items. Strength: how much the merged weights hold a map, as a share of its mean squared input; the"
        " larger, the less is repaired."
    )
    return table("Strengths tried", columns, rows, note=note)


def _teacher_table(groups: Sequence[TaughtGroup]) -> Table:
    roles = [role for role in PARENTS if any(role in group.nll_per_byte for group in groups)]
    rows = [
        Row(
            (
                f"{group.language}, {group.domain}",
                str(group.documents),
                "the father, protected"
                if group.protected
                else ", ".join(f"{role} {group.teachers[role]}" for role in roles if role in group.teachers),
                *(formats.fixed(group.nll_per_byte.get(role), 3) for role in roles),
            )
        )
        for group in groups
    ]
    columns = ("texts", "documents", "taught by", *(f"{role}, nats/byte" for role in roles))
    return table("Who taught which texts", columns, rows, text=(0, 2))


def _layer_table(record: RepairRecord) -> Table:
    rows = []
    for layer in dict.fromkeys(one.layer for one in record.maps):
        own = [one for one in record.maps if one.layer == layer]
        values = [[getattr(one, name) for one in own] for name in ("change", "explained_before", "explained_after")]
        means = [sum(column) / len(column) for column in values]
        cells = (str(layer), str(len(own)), *(formats.percent(mean) for mean in means))
        rows.append(Row(cells))
    columns = ("layer", "maps", "change", "explained before", "explained after")
    note = (
        "Means over the maps of a layer. Change: of the weights, relative to the merged ones. Explained: share of the"
        " teachers' outputs that the merged and the repaired map give on the repaired stream; every map is in"
        " repair.json."
    )
    return table("Maps by layer", columns, rows, note=note, folded=True)


def _left_alone(record: RepairRecord) -> tuple[str, ...]:
    parts = [f"{number} {reason}" for reason, number in record.left_alone.items()]
    return (f"Matrices left as merged: {'; '.join(parts)}.",) if parts else ()
