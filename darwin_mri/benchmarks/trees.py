"""A batch as trees: every distinct beginning of its rows is one node, and nodes are read once.

Rows of an item share its context, items may share a story. A tree's nodes are numbered in depth-first order, so the
descendants of a node are the numbers from its own up to its ``end``, and node i sees node j where j <= i < end of j:
its ancestors and itself. Its position is its depth. Several trees may stand in a row of the tensor; none sees another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.benchmarks.batching import Ids, Layout, common

ALIGNMENT = 8  # columns: what attention kernels with a mask want on a device


@dataclass(frozen=True)
class Trees:
    """Trees side by side in the rows of a tensor, padded to a rectangle.

    Attributes:
        ids: token ids (rows, columns).
        depths: position of each token in its text (rows, columns).
        starts: number of each node, unique in its row (rows, columns).
        ends: number after the node's last descendant (rows, columns); padding has none.
        filled: the first columns, whose nodes predict nothing and no node after them is an ancestor of.
        nodes: (row, column) of each distinct node that predicts something (2, nodes).
        node_of: which of ``nodes`` each place of the layout is (places,).
    """

    ids: np.ndarray
    depths: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    filled: int
    nodes: np.ndarray
    node_of: np.ndarray


@dataclass(frozen=True)
class _Tree:
    """One tree; nodes in depth-first order.

    Attributes:
        ids: (nodes,), as the next two.
        depths: of each node.
        ends: number after each node's last descendant.
        paths: row of the layout -> its nodes, by position.
    """

    ids: np.ndarray
    depths: np.ndarray
    ends: np.ndarray
    paths: dict[int, np.ndarray]

    def predicting(self, first_places: Sequence[int]) -> np.ndarray:
        """Which nodes predict something or descend from one that does (nodes,), bool.

        Args:
            first_places: of each row of the layout, the first position that predicts something.
        """
        inside = np.zeros(len(self.ids), dtype=bool)
        for row, path in self.paths.items():
            node = path[first_places[row]]
            inside[node : self.ends[node]] = True
        return inside


def pack(layout: Layout, pairs_per_token: float, *, split: bool = False) -> Trees:
    """The rows of a batch as trees.

    Args:
        layout: of the batch.
        pairs_per_token: how many pairs of query and key cost as much arithmetic as the matrix products of one token.
        split: set apart what predicts nothing, to be read before the rest.

    Returns:
        The trees, one to a row of the tensor or several where they fit beside the largest.
    """
    first_places = [len(row) for row in layout.rows]
    for row, position in layout.places:
        first_places[row] = min(first_places[row], position)
    trees = _grow(layout.rows, pairs_per_token)
    late = [tree.predicting(first_places) if split else np.ones(len(tree.ids), dtype=bool) for tree in trees]
    sizes = [(int((~part).sum()), int(part.sum())) for part in late]
    columns = [max(size[part] for size in sizes) for part in (0, 1)]
    columns = [-(-count // ALIGNMENT) * ALIGNMENT for count in columns]
    rows = _assign(sizes, columns)
    shape = (max(rows) + 1, sum(columns))
    padding = 2**30 + np.arange(shape[1])  # a number of its own, and no descendants: it sees itself alone
    ids, depths = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    starts = np.tile(padding, (shape[0], 1))
    ends = starts + 1
    taken = np.zeros((shape[0], 2), dtype=int)  # columns taken of either part
    at = np.zeros(len(layout.rows), dtype=object)  # row of the layout -> columns of its nodes, by position
    row_of = np.zeros(len(layout.rows), dtype=np.int64)
    for tree, part, row in zip(trees, late, rows, strict=True):
        column = np.empty(len(part), dtype=np.int64)
        numbered = int(taken[row].sum())
        for side in (0, 1):
            chosen = part == bool(side)
            count = int(chosen.sum())
            column[chosen] = side * columns[0] + taken[row, side] + np.arange(count)
            taken[row, side] += count
        ids[row, column], depths[row, column] = tree.ids, tree.depths
        starts[row, column], ends[row, column] = numbered + np.arange(len(part)), numbered + tree.ends
        for number, path in tree.paths.items():
            at[number], row_of[number] = column[path], row
    places = np.array([row_of[row] * shape[1] + at[row][position] for row, position in layout.places])
    nodes, node_of = np.unique(places, return_inverse=True)
    return Trees(ids, depths, starts, ends, columns[0], np.stack(np.divmod(nodes, shape[1])), node_of)


def _grow(rows: Sequence[Ids], pairs_per_token: float) -> list[_Tree]:
    """Trees over rows: a row joins the tree of its neighbour in order where that costs less than reading it apart."""
    arrays = [np.array(row, dtype=np.int64) for row in rows]
    trees: list[_Tree] = []
    members: list[tuple[int, int]] = []  # (row, how many tokens it shares with the one before it in the tree)
    nodes, before = 0, ()

    def cost(count: int) -> float:
        return count + count**2 / pairs_per_token

    for row in sorted(range(len(rows)), key=rows.__getitem__):
        shared, length = common(before, rows[row]), len(rows[row])
        if members and cost(nodes + length - shared) >= cost(nodes) + cost(length):
            trees.append(_tree(arrays, members, nodes))
            members, nodes = [], 0
        shared = shared if members else 0
        members.append((row, shared))
        nodes, before = nodes + length - shared, rows[row]
    return [*trees, _tree(arrays, members, nodes)]


def _tree(arrays: Sequence[np.ndarray], members: Sequence[tuple[int, int]], nodes: int) -> _Tree:
    """The tree of rows in order, each with the length it shares with the one before it."""
    ids, depths = np.empty(nodes, dtype=np.int64), np.empty(nodes, dtype=np.int64)
    ends = np.full(nodes, nodes)
    paths: dict[int, np.ndarray] = {}
    path, count = np.empty(0, dtype=np.int64), 0
    for row, shared in members:
        ends[path[shared:]] = count  # this row leaves the one before here: these nodes get no more descendants
        new = np.arange(count, count + len(arrays[row]) - shared)
        ids[new], depths[new] = arrays[row][shared:], np.arange(shared, len(arrays[row]))
        path = paths[row] = np.concatenate([path[:shared], new])
        count += len(new)
    return _Tree(ids, depths, ends, paths)


def _assign(sizes: Sequence[tuple[int, int]], columns: Sequence[int]) -> list[int]:
    """Row of each tree: the largest first, each in the first row that has room for both its parts."""
    free: list[list[int]] = []
    rows = [0] * len(sizes)
    for tree in sorted(range(len(sizes)), key=lambda i: -sum(sizes[i])):
        fits = (row for row, room in enumerate(free) if all(s <= r for s, r in zip(sizes[tree], room, strict=True)))
        row = next(fits, len(free))
        if row == len(free):
            free.append(list(columns))
        free[row] = [room - size for room, size in zip(free[row], sizes[tree], strict=True)]
        rows[tree] = row
    return rows
