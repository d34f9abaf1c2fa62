"""Which kind is read in which batch, and what comes of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from tests.fuzz.hunt import Hunt
from tests.fuzz.kinds import KINDS

SIZE = 40  # inputs of one kind that a worker reads at a time


def deal(kinds: Sequence[str], inputs: int) -> list[tuple[str, int, int]]:
    """(kind, number of the batch, inputs) so that kinds take turns and each has its share of all inputs."""
    shares = sum(KINDS[kind].share for kind in kinds)
    each = {kind: max(1, round(inputs * KINDS[kind].share / shares)) for kind in kinds}
    columns = [list(_batches(kind, count)) for kind, count in each.items()]
    return [batch for row in zip_longest(*columns) for batch in row if batch is not None]


def _batches(kind: str, count: int) -> Iterator[tuple[str, int, int]]:
    for number, begin in enumerate(range(0, count, SIZE)):
        yield kind, number, min(SIZE, count - begin)


def summarise(hunts: Sequence[Hunt], seconds: float) -> str:
    """A table: of each kind inputs, exit codes, the slowest and findings; then every finding once."""
    lines = [f"{'kind':<10} {'inputs':>6} {'exit 0':>6} {'1':>6} {'2':>6} {'3':>6} {'slowest':>8} {'findings':>8}"]
    for kind in sorted({hunt.kind for hunt in hunts}):
        own = [hunt for hunt in hunts if hunt.kind == kind]
        codes = sum((hunt.codes for hunt in own), Counter[int]())
        lines.append(
            f"{kind:<10} {sum(h.inputs for h in own):>6} {codes[0]:>6} {codes[1]:>6} {codes[2]:>6} {codes[3]:>6}"
            f" {max(h.slowest for h in own):>7.1f}s {sum(len(h.findings) for h in own):>8}"
        )
    findings = [finding for hunt in hunts for finding in hunt.findings]
    lines.append(
        f"{sum(hunt.inputs for hunt in hunts)} inputs in {seconds / 60:.1f} minutes: {len(findings)} findings,"
        f" {sum('traceback' in what for what, _, _ in findings)} of them tracebacks,"
        f" {sum('hang' in what for what, _, _ in findings)} hangs"
    )
    return "\n".join(lines)
