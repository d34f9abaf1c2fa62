"""The pre-flight in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from darwin_mri.records import Plan, PlanNeed
from darwin_mri.records.roles import PARENTS


def print_plan(console: Console, plan: Plan) -> None:
    """Parents, what is possible between them, what a run needs, how long it takes, and the verdict."""
    parents = _table("role", "model", "family", "layers", "hidden", "FFN", "weights", "dtype", "size", title="Parents")
    for p in plan.parents:
        cells = (
            p.role,
            p.ref,
            p.family,
            p.layers,
            p.hidden_size,
            p.ffn_size,
            f"{p.parameters / 1e6:,.1f} M",
            p.dtype,
            in_bytes(p.size),
        )
        parents.add_row(*(escape(str(cell)) for cell in cells))
    console.print(parents)
    for p in plan.parents:
        if p.note:
            console.print(f"{p.role}: {p.note}", markup=False, highlight=False)
    console.print(
        f"siblings: {'yes' if plan.siblings else 'no: ' + plan.sibling_reason}", markup=False, highlight=False
    )
    for note in plan.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    allowed = "What this pair allows" if _others(plan) < 2 else "What these parents allow"
    methods = _table("method", "kind", "", "why not", title=allowed)
    for m in plan.methods:
        name = f"{m.name} (chosen)" if m.name == plan.method else m.name
        methods.add_row(
            escape(name), m.kind, "[green]possible[/]" if m.possible else "[red]not possible[/]", escape(m.reason)
        )
    console.print(methods)
    needs = _table("resource", "needed", "available", "", "for", title="What it needs")
    for need in plan.needs:
        available = "unknown" if need.available is None else in_bytes(need.available)
        needs.add_row(need.name, in_bytes(need.needed), available, _fits(need), escape(need.note))
    console.print(needs)
    stages = _table(
        "stage", "expected", "counted", title=f"{plan.evaluations} evaluations, about {duration(plan.seconds)}"
    )
    for stage in plan.stages:
        stages.add_row(stage.name, duration(stage.seconds), escape(stage.note))
    console.print(stages)
    console.print(f"Estimates, resting on {plan.speed}.", markup=False, highlight=False, style="dim")
    _print_verdict(console, plan)


def print_plan_summary(console: Console, plan: Plan) -> None:
    """What a run needs and how long it takes, in a few lines, and the verdict."""
    for note in plan.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for need in plan.needs:
        available = "unknown" if need.available is None else in_bytes(need.available)
        console.print(f"{need.name}: {in_bytes(need.needed)} of {available}", markup=False, highlight=False)
    stages = ", ".join(f"{stage.name} {duration(stage.seconds)}" for stage in plan.stages)
    total = f"{plan.evaluations} evaluations, about {duration(plan.seconds)} ({stages})"
    console.print(total, markup=False, highlight=False)
    _print_verdict(console, plan)


def _print_verdict(console: Console, plan: Plan) -> None:
    for problem in plan.problems:
        console.print(f"[bold red]will not work:[/] {escape(problem)}", highlight=False)
    if plan.fits:
        console.print("[bold green]This run fits.[/]")


def _others(plan: Plan) -> int:
    """Number of parents beside the father."""
    return sum(parent.role in PARENTS[1:] for parent in plan.parents)


def _table(*columns: str, title: str) -> Table:
    """A table whose cells fold on a narrow terminal: a model's name cut short names nothing."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def in_bytes(count: int) -> str:
    """Bytes with a binary unit: 1.5 GiB."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds in words a person reads: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _fits(need: PlanNeed) -> str:
    return {True: "[green]fits[/]", False: "[red]too little[/]", None: "not known"}[need.fits]
