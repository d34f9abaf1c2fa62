"""Where the run comes from and what it cannot show: genealogy, provenance and limits as sections."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

import yaml

from darwin_mri.records import ChildFiles, Comparison, Health, Inputs, Manifest, Scan
from darwin_mri.records.genealogy import Birth, read_birth
from darwin_mri.records.roles import role_label
from darwin_mri.records.score import COMPOSITE
from darwin_mri.report import formats
from darwin_mri.report.charts import Pedigree
from darwin_mri.report.model.elements import Block, Bullets, Code, Figure, Row, Section, Table, Tree, table
from darwin_mri.report.model.metadata import gather
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.report.record_words import status_label
from darwin_mri.translation import labels, say, say_count, say_in

MOST_ANCESTORS = 50  # generations the family tree goes back


def genealogy_section(run: RunRecords) -> Section:
    """Section 'genealogy': every generation that led to the child, drawn and in words."""
    key, title = "genealogy", say("Genealogy")
    tree = genealogy(run)
    if tree is None:
        return Section(key, title, missing=say("inputs.json and genome.json are missing: the parents are not known."))
    known = births(run)
    if not known:
        return Section(key, title, (tree,))
    line = chain(known)
    chart = Pedigree(
        "fig-genealogy",
        say_count(
            "{count} generation down to {child}", "{count} generations down to {child}", len(line), child=run.name
        ),
        say("Each child stands after the parents it was bred from; its method stands above the line."),
        tuple(line),
    )
    shown = births_table(say("Generations"), known, folded=True, marked=True)
    return Section(key, title, (Figure(chart, (shown,)), tree))


def births_table(caption: str, known: Sequence[Birth], *, folded: bool, marked: bool = False) -> Table:
    """One line per birth.

    Args:
        caption: name of the table.
        known: the births, eldest first.
        folded: whether only the caption shows at first.
        marked: whether the last birth stands out.

    Returns:
        the table.
    """
    several = any(len(birth.parents) > 2 for birth in known)
    rows = [
        Row(
            (birth.child, birth.father, ", ".join(birth.parents[1:]), birth.method),
            strong=marked and number == len(known) - 1,
        )
        for number, birth in enumerate(known)
    ]
    columns = (
        *labels("child", "father"),
        say("other parents") if several else say("mother"),
        say("method"),
    )
    return table(caption, columns, rows, text=range(4), folded=folded)


def births(run: RunRecords) -> list[Birth]:
    """Every birth that the child and its parents declare, eldest first; lines in another form are left out."""
    lines, own = list(run.child.genealogy) if run.child else [], None
    if lines:
        own = read_birth(lines.pop())  # under the name of the child's folder
    elif run.inputs:
        lines = [line for parent in run.inputs.parents for line in parent.genealogy]
    known = [birth for line in dict.fromkeys(lines) if (birth := read_birth(line))]
    if own is not None:
        known.append(replace(own, child=run.name))
    elif run.genome is not None:
        known.append(Birth(run.name, tuple(run.genome.roles.values()), run.genome.method))
    return known


def chain(known: list[Birth]) -> list[Birth]:
    """The last birth and, going back, the birth of each father; the mothers' own ancestors stand in the table."""
    line = [known[-1]]
    for birth in reversed(known[:-1]):
        if _same(birth.child, line[0].father):
            line.insert(0, birth)
    return line[-MOST_ANCESTORS:]


def _same(name: str, other: str) -> bool:
    """Whether two names mean one model: a child's folder is its run's folder and ``child``."""
    return (
        name.rstrip("/").removesuffix("/child").rpartition("/")[2]
        == other.rstrip("/").removesuffix("/child").rpartition("/")[2]
    )


def genealogy(run: RunRecords) -> Tree | None:
    """The family tree from the child back; None when no parent is known."""
    parents: list[Tree] = []
    if run.inputs is not None:
        for parent in run.inputs.parents:
            parents.append(_ancestors(parent.ref, parent.role, parent.genealogy))
    elif run.genome is not None:
        known = {**run.genome.roles, "base": run.genome.base}
        parents = [Tree(ref, role) for role, ref in known.items() if ref]
    return Tree(run.name, "child", tuple(parents)) if parents else None


def _ancestors(label: str, role: str, eldest_first: tuple[str, ...]) -> Tree:
    """A parent with its ancestors nested behind it, the youngest nearest."""
    node: Tree | None = None
    for name in eldest_first[-MOST_ANCESTORS:]:
        node = Tree(name, "ancestor", (node,) if node else ())
    return Tree(label, role, (node,) if node else ())


def parents_section(run: RunRecords) -> Section:
    """Section 'parents': who is who, and what is to be known of them; for runs of several parents."""
    refs = {kin.role: kin.ref for kin in gather(run).kin}
    known = {parent.role: parent for parent in run.inputs.parents} if run.inputs else {}
    rows = []
    for role in dict.fromkeys((*run.parents, *refs)):
        parent, scan = known.get(role), run.scans.get(role)
        cells = (
            role_label(role),
            refs.get(role, scan.model.ref if scan else formats.ABSENT),
            parent.family if parent and parent.family else scan.model.family if scan else formats.ABSENT,
            parent.license if parent and parent.license else formats.ABSENT,
        )
        rows.append(Row(cells, role))
    shown = table(say("Parents of the child"), labels("role", "model", "family", "licence"), rows, text=range(4))
    notes = run.inputs.notes if run.inputs else ()
    return Section("parents", say("Parents"), (shown, *([Bullets(notes)] if notes else [])))


def provenance_section(run: RunRecords) -> Section:
    """Section 'provenance': the command, versions, inputs, what was written, and the health check."""
    key, title = "provenance", say("Provenance")
    blocks: list[Block] = []
    if run.manifest is not None:
        blocks += _manifest_blocks(run.manifest)
    if run.inputs is not None:
        blocks.append(inputs_table(run.inputs))
        if run.inputs.notes and len(run.parents) < 3:  # of several parents they stand with the parents
            blocks.append(Bullets(run.inputs.notes))
    if run.child is not None:
        blocks += _child_blocks(run.child)
    if run.health is not None:
        blocks.append(health_table(run.health))
    missing = (
        say("manifest.json is missing: the command, versions and seed of this run are not known.")
        if run.manifest is None
        else ""
    )
    return Section(key, title, tuple(blocks), missing)


def command(manifest: Manifest) -> str:
    """The command that repeats the run."""
    return " ".join(shlex.quote(part) for part in manifest.argv) or say("(no command was recorded)")


def _manifest_blocks(manifest: Manifest) -> list[Block]:
    commit = (
        say("not recorded")
        if manifest.commit is None
        else say("{commit} with local changes", commit=manifest.commit)
        if manifest.dirty
        else manifest.commit
    )
    facts = [
        (say("started"), manifest.created),
        (say("status"), status_label(manifest.status)),
        (say("commit"), commit),
        (say("seed"), str(manifest.seed)),
        (say("device"), manifest.device),
        (
            say("versions"),
            ", ".join(f"{name} {version}" for name, version in manifest.versions.items()) or say("not recorded"),
        ),
    ]
    config = yaml.safe_dump(manifest.config, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    blocks: list[Block] = [
        Code(say("Command to reproduce"), command(manifest)),
        table(say("Run"), labels("what", "value"), [Row(fact) for fact in facts], text=(0, 1)),
        Code(say("Resolved configuration"), config.rstrip("\n"), folded=True),
    ]
    # without this page's own time
    seconds = {stage: spent for stage, spent in manifest.seconds.items() if stage != "report"}
    if seconds:
        rows = [Row((stage, formats.fixed(spent, 1))) for stage, spent in seconds.items()]
        rows.append(Row((say("total"), formats.fixed(sum(seconds.values()), 1)), strong=True))
        blocks.append(table(say("Seconds per stage"), labels("stage", "seconds"), rows, folded=True))
    return blocks


def inputs_table(inputs: Inputs) -> Table:
    """Each parent with its revision, licence and digest."""
    rows = [
        Row(
            (
                role_label(p.role),
                p.ref,
                p.revision or formats.ABSENT,
                p.family or formats.ABSENT,
                p.license or formats.ABSENT,
                p.digest[:16],
                str(len(p.files)),
                formats.size(sum(f.size for f in p.files)),
            ),
            p.role,
        )
        for p in inputs.parents
    ]
    columns = labels("role", "model", "revision", "family", "licence", "sha256", "files", "size")
    return table(
        say("Parents"), columns, rows, text=(0, 1, 2, 3, 4, 5), note=say("Every file's own sha256 is in inputs.json.")
    )


def _child_blocks(child: ChildFiles) -> list[Block]:
    rows = [Row((name, digest)) for name, digest in child.shards.items()]
    text = say_count(
        "{changed} of {count} tensor differ from the father's.",
        "{changed} of {count} tensors differ from the father's.",
        child.tensors,
        changed=len(child.changed),
    )
    return [table(say("Child"), labels("shard", "sha256"), rows, text=(0, 1), note=text)]


def health_table(health: Health) -> Table:
    """Each gate of the health check with its value and limit."""
    rows = [
        Row(
            (
                g.name,
                say("passed") if g.passed else say("FAILED"),
                g.value if isinstance(g.value, str) else formats.compact(g.value),
                g.limit,
                g.note,
            ),
            strong=not g.passed,
        )
        for g in health.gates
    ]
    state = say("passed") if health.passed else say("FAILED")
    return table(
        say("Health check of the child: {state}", state=state),
        (*labels("gate", "result", "value", "limit"), say_in("column", "note")),
        rows,
        text=(0, 1, 3, 4),
    )


def limits_section(run: RunRecords) -> Section:
    """Section 'limits': what a careful reader would object."""
    return Section("limits", say("Limits"), (Bullets(tuple(_limits(run))),))


def _limits(run: RunRecords) -> list[str]:
    limits = [
        say(
            "Intervals cover the choice of items only: not another random seed, another prompt, or other training data"
            " of the parents.",
        )
    ]
    if run.comparison is not None:
        limits += _score_limits(run.comparison)
    if run.genome is not None:
        limits.append(
            say("One search with one random seed ({seed}): another seed finds another genome.", seed=run.genome.seed)
        )
    if run.father is not None:
        probes = run.father.probes
        languages = formats.listing(list(probes.languages)) or say("no language")
        limits.append(
            say(
                "The MRI read {documents} documents ({tokens} tokens) in {languages}; mean ablation measures what a"
                " layer's FFN does alone, not what it would do after a merge.",
                documents=probes.documents,
                tokens=probes.tokens,
                languages=languages,
            )
            + _estimated(run.father)
        )
    limits.append(
        say(
            "What the parents' training data hold is not known: a benchmark may be contaminated in father, mother and"
            " child alike."
        )
        if len(run.parents) < 3
        else say(
            "What the parents' training data hold is not known: a benchmark may be contaminated in all parents and the"
            " child alike."
        )
    )
    return limits


def _estimated(scan: Scan) -> str:
    """That ablation was measured on some documents only, where it was."""
    if scan.ablation is None or scan.ablation.mode == "exact":
        return ""
    return " " + say(
        "It was measured on {documents} texts and estimated on the others; intervals count the error of that, and"
        " layers close to each other may change places (scan.ablation: exact measures all).",
        documents=scan.ablation.documents,
    )


def _score_limits(comparison: Comparison) -> list[str]:
    limits = []
    sizes = {s.benchmark: s.n for s in comparison.scores if s.measured_whole and s.n and s.benchmark != COMPOSITE}
    if sizes:
        items = ", ".join(f"{name} {n}" for name, n in sizes.items())
        least = say("Differences smaller than the 'visible' column prove nothing, in either direction.")
        limits.append(say("Held-out items: {items}.", items=items) + " " + least)
    if any(name.startswith("nursery_") for name in sizes):
        limits.append(
            say(
                "Nursery benchmarks and parents are tiny and made for this project: they show that the method runs and"
                " how it is judged, not how large models behave.",
            )
        )
    if any(s.evidence != "measured" for s in comparison.scores):
        limits.append(
            say(
                "Published and estimated scores were taken by others, under prompts and settings that may differ: they"
                " give orientation and prove nothing.",
            )
        )
    if not any(s.null is not None for s in comparison.scores):
        limits.append(say("No null child was scored: what search and MRI add over a uniform ratio is not known."))
    return limits
