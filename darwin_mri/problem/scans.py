"""The scan records of a run, together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from darwin_mri.records import PairScan, Scan


@dataclass(frozen=True)
class Scans:
    """Every parent's scan, and the father's comparison with every other parent.

    Attributes:
        father: the father's scan.
        others: of the other parents, in their order; empty where one model was scanned alone.
        pairs: the father with each of the others, in the same order.
    """

    father: Scan
    others: tuple[Scan, ...] = ()
    pairs: tuple[PairScan, ...] = ()

    @property
    def pair(self) -> PairScan:
        """The father with the mother, the first of the others."""
        return self.pairs[0]

    def with_pair(self, pair: PairScan) -> Scans:
        """The same scans with another record of the pair of that parent."""
        return replace(self, pairs=tuple(pair if own.parent == pair.parent else own for own in self.pairs))

    @property
    def by_parent(self) -> dict[str, tuple[Scan, PairScan]]:
        """Role of each other parent -> its scan, and its pair with the father."""
        return {pair.parent: (scan, pair) for scan, pair in zip(self.others, self.pairs, strict=True)}

    @property
    def layer_maps(self) -> dict[str, tuple[int, ...]]:
        """Role of each other parent -> its layer beside each father layer."""
        return {pair.parent: pair.layer_map for pair in self.pairs}
