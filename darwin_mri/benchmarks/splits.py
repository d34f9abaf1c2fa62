"""Search and held-out parts of a benchmark, and seeded samples; both by cluster, whatever the order of the items."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from darwin_mri.benchmarks.items import Item
from darwin_mri.errors import InputError


@dataclass(frozen=True)
class Split:
    """Two parts of a benchmark that share no cluster.

    Attributes:
        search: items that feed the fitness.
        held_out: items that are reported.
    """

    search: tuple[Item, ...]
    held_out: tuple[Item, ...]


def split_items(
    items: Iterable[Item], seed: int, search_share: float = 0.4, held_out_share: float | None = None
) -> Split:
    """Split by cluster, with the same share of clusters in every slice.

    Args:
        items: the benchmark's items, in any order.
        seed: with the cluster's name it decides, through sha256, on which side a cluster falls.
        search_share: share of each slice's clusters that goes to the search part, in (0, 1).
        held_out_share: share that is reported; all the rest when None, else what is left over is not used at all.

    Returns:
        The two parts, each sorted by key.

    Raises:
        InputError: a share is out of range, or one part would be empty.
    """
    if not 0.0 < search_share < 1.0:
        raise InputError(f"search share {search_share} is not between 0 and 1: use for example 0.4")
    rest = 1.0 - search_share if held_out_share is None else held_out_share
    if not 0.0 < rest <= 1.0 - search_share + 1e-9:
        raise InputError(
            f"held-out share {rest} does not fit beside search share {search_share}: both must be above 0 and sum to at"
            " most 1"
        )
    by_cluster = group_by_cluster(items)
    strata: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for cluster, members in by_cluster.items():
        strata[tuple(sorted({item.slice for item in members}))].append(cluster)
    search: list[Item] = []
    held_out: list[Item] = []
    for clusters in strata.values():
        clusters.sort(key=lambda cluster: _draw(seed, cluster))
        cut = int(search_share * len(clusters) + 0.5)
        last = cut + int(rest * len(clusters) + 0.5)
        for cluster in clusters[:cut]:
            search.extend(by_cluster[cluster])
        for cluster in clusters[cut:] if held_out_share is None else clusters[cut:last]:
            held_out.extend(by_cluster[cluster])
    if not search or not held_out:
        empty = "search" if not search else "held-out"
        name = next((member.benchmark for members in by_cluster.values() for member in members), "the benchmark")
        raise InputError(
            f"{name}: splitting {len(by_cluster)} clusters at {search_share:g} and {rest:g} leaves the {empty} part"
            " empty: give more items or other shares"
        )
    return Split(tuple(sorted(search, key=_key)), tuple(sorted(held_out, key=_key)))


def sample_items(items: Iterable[Item], n: int, seed: int) -> tuple[Item, ...]:
    """A seeded sample from as many clusters as possible: one item of each, then a second of each, and so on.

    Items of one cluster share a fact or a story, so more clusters tell more than more items. A smaller sample is the
    beginning of a larger one with the same seed.

    Args:
        items: in any order.
        n: size of the sample; all items where there are no more.
        seed: of the order of clusters and of items within them.

    Returns:
        The sample, in the order drawn.

    Raises:
        InputError: ``n`` is below 1 or there are no items.
    """
    by_cluster = group_by_cluster(items)
    if n < 1 or not by_cluster:
        raise InputError(
            f"cannot sample {n} items from {len(by_cluster)} clusters: ask for at least one of at least one"
        )
    drawn: list[Item] = []
    clusters = sorted(by_cluster, key=lambda cluster: _draw(seed, cluster))
    for members in by_cluster.values():
        members.sort(key=lambda item: _draw(seed, item.key))
    for turn in range(max(len(members) for members in by_cluster.values())):
        drawn += [by_cluster[cluster][turn] for cluster in clusters if turn < len(by_cluster[cluster])]
    return tuple(drawn[:n])


def group_by_cluster(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Items by cluster, each cluster's in the order of their keys."""
    groups: defaultdict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=_key):
        groups[item.cluster].append(item)
    return groups


def _key(item: Item) -> str:
    return item.key


def _draw(seed: int, cluster: str) -> str:
    return hashlib.sha256(f"{seed}:{cluster}".encode()).hexdigest()
