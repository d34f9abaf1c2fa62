"""What the commands ``check`` and ``bench`` print beside the report's own tables."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from darwin_mri.records import Comparison, Health
from darwin_mri.report import formats


def health_table(health: Health) -> Table:
    """Every gate, what was measured, and its limit."""
    table = Table("gate", "", "measured", "limit")
    table.add_column("note", overflow="fold")
    for gate in health.gates:
        value = gate.value if isinstance(gate.value, str) else f"{gate.value:g}"
        cells = (gate.name, "ok" if gate.passed else "FAILED", value, gate.limit, gate.note)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def bench_notes(comparison: Comparison) -> list[str]:
    """Lines below the tables of ``bench``: what each benchmark's name means, protocols, other metrics, alerts."""
    lines = [f"{info.name}: {info.title}" for info in comparison.benchmarks]
    lines += [f"protocol {p.hash}: {p.label}; headline {p.metric}" for p in comparison.protocols]
    for score in comparison.secondary:
        lines.append(f"{score.benchmark} by {score.metric}: {score.model} {formats.score_interval(score)}")
    return lines + [f"{alert.level}: {alert.text}" for alert in comparison.alerts]
