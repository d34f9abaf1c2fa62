"""Mixtures of experts in words: how each layer's tokens spread over its experts."""

from __future__ import annotations

from darwin_mri.records import ExpertLoad, Scan
from darwin_mri.report import formats
from darwin_mri.report.model.elements import Row, Table, table
from darwin_mri.translation import labels, later, say

BUSY, IDLE = later("busiest"), later("idle")


def expert_tables(*scans: Scan | None) -> tuple[Table, ...]:
    """One table for every model that has mixtures of experts.

    Args:
        *scans: of the models, None where there is none.

    Returns:
        The tables.
    """
    tables = (expert_table(scan) for scan in scans if scan is not None)
    return tuple(one for one in tables if one is not None)


def expert_table(scan: Scan) -> Table | None:
    """One line per layer with a mixture of experts; None where the model has no such layer."""
    loads = [(layer.index, layer.experts) for layer in scan.layers if layer.experts is not None]
    if not loads:
        return None
    groups = {_short(group): group for _, load in loads for group in load.difference}  # code is a domain too
    rows = [
        Row((str(index), *_figures(load), *(_difference(load, group) for group in groups.values())))
        for index, load in loads
    ]
    columns = (*labels("layer", "experts", "per token", BUSY, "max / mean", "entropy", IDLE), *groups)
    note = say(
        "{busy}: the expert that most tokens pass, and their share. max / mean: load of that expert over the mean."
        " entropy: of the load, 1 where all experts carry the same. {idle}: experts that no probe token passes.",
        busy=say(BUSY),
        idle=say(IDLE),
    )
    if groups:
        note += " " + say(
            "{groups}: distance of the group's load from that of all probes, 0 to 1.", groups=", ".join(groups)
        )
    return table(say("Experts of {ref}", ref=scan.model.ref), columns, rows, text=(3,), note=note, folded=True)


def _figures(load: ExpertLoad) -> tuple[str, ...]:
    shares = load.share.get("all", ())
    if not shares:
        return (str(load.experts), *[formats.ABSENT] * 5)
    top = max(range(len(shares)), key=lambda expert: shares[expert])
    return (
        str(load.experts),
        f"{sum(shares):.3g}",
        f"{top} ({formats.percent(shares[top])})",
        formats.fixed(load.imbalance.get("all")),
        formats.fixed(load.entropy.get("all"), 3),
        str(sum(share == 0 for share in shares)),
    )


def _difference(load: ExpertLoad, group: str) -> str:
    return formats.fixed(load.difference.get(group))


def _short(group: str) -> str:
    return group.partition(":")[2] or group
