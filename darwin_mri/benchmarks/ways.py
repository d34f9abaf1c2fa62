"""The ways to read a batch, their batches, and a count of their arithmetic.

``rows``: every row whole. ``branch``: a cache of the rows' beginnings, then the rows' ends (``prefill``). ``tree``: all
distinct tokens in one forward under a mask (``trees``). ``split``: the same in two, where what predicts nothing is read
only as far as the last write into a cache.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import nn

from darwin_mri.batch_sizes import mask_values
from darwin_mri.benchmarks.batching import (
    FAMILY_SHARE,
    by_family_and_length,
    common,
    cut_lengths,
    distinct_tails,
    lay_out,
)
from darwin_mri.benchmarks.encoding import Prepared
from darwin_mri.benchmarks.trees import pack
from darwin_mri.checkpoints.devices import is_out_of_memory

Way = Literal["rows", "branch", "tree", "split"]
TREES: tuple[Way, ...] = ("tree", "split")

WASTE = {"cpu": 64}  # tokens of padding that cost as much as another forward
LONG_WASTE = 2048  # on other devices
GAIN = 0.1  # share of the arithmetic that another way must save: a count is worth no more
TIMED, NEAR = 2, 1.1  # rounds of a way; times that are as good as the least


class WayChoice:
    """Which of the ways that a model allows is taken.

    On a CPU the least arithmetic decides, for each set of items; it depends on nothing but the items and the model's
    shapes, so that the same run reads the same way again. On another device time decides, once for the model
    (``kept_ways``).

    Args:
        way: that is taken where the model allows it; None chooses.
    """

    def __init__(self, way: Way | None) -> None:
        self.way = way
        self._counted: dict[int, tuple[weakref.ref[Prepared], Way]] = {}  # by id, as long as the items live
        self._fitting: dict[tuple[int, int], tuple[weakref.ref[Prepared], bool]] = {}  # by id and bound

    def allows_masks(self, prepared: Prepared, costs: Costs) -> bool:
        """Whether a mask may be as large as the longest item wants it."""
        known = self._fitting.get((id(prepared), costs.mask))
        if known is None or known[0]() is not prepared:
            longest = max(tree_tokens(prepared, index) for index in range(len(prepared)))
            known = self._fitting[id(prepared), costs.mask] = weakref.ref(prepared), longest**2 <= costs.mask
        return known[1]

    def count(self, prepared: Prepared, ways: Sequence[Way], work: Callable[[Way], float]) -> Way:
        """The way of the least work.

        Args:
            prepared: tokenised items; for the same ones nothing is counted again.
            ways: that may be taken.
            work: of reading all the items in a way.

        Returns:
            The first, unless another saves a share of ``GAIN``.
        """
        known = self._counted.get(id(prepared))
        if known is not None and known[0]() is prepared and known[1] in ways:
            return known[1]
        best: Way = min(ways, key=lambda way: work(way) * (1.0 if way == ways[0] else 1 + GAIN))
        self._counted[id(prepared)] = weakref.ref(prepared), best
        return best


def fastest(ways: Sequence[Way], read: Callable[[Way], object]) -> Way:
    """Time the ways and take the fastest; near ties go to the last, and one that does not fit is none.

    Args:
        ways: that may be taken.
        read: reads a batch in a way and waits until it is done.

    Returns:
        The way.
    """
    seconds: dict[Way, float] = {}
    for way in ways:
        try:
            read(way)  # warm
            seconds[way] = min(_seconds(lambda way=way: read(way)) for _ in range(TIMED))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
    least = min(seconds.values(), default=0.0)
    near: list[Way] = [way for way in ways if way in seconds and seconds[way] <= NEAR * least]
    return near[-1] if near else ways[0]


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@dataclass(frozen=True)
class Costs:
    """What a token costs in one model on one device, in the arithmetic of its matrix products.

    Attributes:
        pairs_per_token: how many pairs of a query and a key cost as much as the matrix products of a token.
        filled_share: share of a token's products that filling a cache takes.
        forward: tokens that cost as much as a forward more.
        mask: most values of a mask.
        piece: tokens of a row that fill a cache at a time.
    """

    pairs_per_token: float
    filled_share: float
    forward: int
    mask: int
    piece: int


def token_costs(model: Any, decoder: Any, filled_share: float, piece: int) -> Costs:
    """The costs of a model where it is.

    Args:
        model: the whole of it.
        decoder: its text decoder.
        filled_share: as in ``Costs``, as the next.
        piece: tokens.

    Returns:
        The costs.
    """
    tables = {id(module.weight) for module in decoder.modules() if isinstance(module, nn.Embedding)}
    config, device = decoder.config, str(model.device.type)
    weights = sum(p.numel() for p in decoder.parameters() if p.dim() == 2 and id(p) not in tables)
    chosen = getattr(config, "num_experts_per_tok", None) or 1
    weights += sum(p[0].numel() * chosen for p in decoder.parameters() if p.dim() == 3)  # (experts, rows, columns)
    pairs = 2 * weights / (4 * config.num_hidden_layers * config.hidden_size)  # all heads are about as wide
    mask = mask_values(device)
    if config._attn_implementation == "eager":  # keeps the scores of every head
        mask //= int(config.num_attention_heads)
    return Costs(max(1.0, pairs), filled_share, WASTE.get(device, LONG_WASTE), mask, piece)


def plan_trees(prepared: Prepared, indices: Sequence[int], budget: int, costs: Costs) -> Iterator[list[int]]:
    """Batches for trees, of items that leave little padding.

    Args:
        prepared: tokenised items.
        indices: those to score, in any order; repeated ones count once.
        budget: most tokens of a batch, padding included; an item above it is a batch by itself.
        costs: of the model.

    Yields:
        Indices of a batch's items.
    """
    batch: list[int] = []
    sizes: list[int] = []  # tokens of the trees of the batch
    last: tuple[int, ...] = ()
    for index in by_family_and_length(prepared, indices):
        context = prepared.contexts[index]
        own = tree_tokens(prepared, index)
        shared = common(last, context)
        joined = [*sizes[:-1], sizes[-1] + own - shared] if sizes else []
        if not joined or shared < FAMILY_SHARE * max(len(last), len(context)):
            joined = [*sizes, own]
        rectangle = len(joined) * max(joined)
        if batch and (
            rectangle > budget or rectangle - sum(joined) > costs.forward or len(joined) * max(joined) ** 2 > costs.mask
        ):
            yield batch
            batch, joined = [], [own]
        batch.append(index)
        sizes, last = joined, context
    if batch:
        yield batch


def tree_tokens(prepared: Prepared, index: int) -> int:
    """Most nodes that an item's tree has."""
    tails = distinct_tails([ids[:-1] for ids in prepared.continuations[index]])[0]
    return len(prepared.contexts[index]) + sum(map(len, tails))


def work(prepared: Prepared, batches: Sequence[Sequence[int]], way: Way, costs: Costs) -> float:
    """The arithmetic of reading batches, in tokens that go through all of the model.

    Args:
        prepared: tokenised items.
        batches: their indices.
        way: how they are read.
        costs: of the model.

    Returns:
        The tokens.
    """
    total = 0.0
    for batch in batches:
        for part in _parts(prepared, batch, way, costs):
            total += part.rows * part.tokens * (part.share + part.keys / costs.pairs_per_token)
            total += part.forwards * costs.forward
    return total


class _Part(NamedTuple):
    """Forwards over so many tokens of so many rows, each of which sees so many keys in the mean."""

    rows: int
    tokens: int
    keys: float
    share: float
    forwards: int


def _parts(prepared: Prepared, batch: Sequence[int], way: Way, costs: Costs) -> Iterator[_Part]:
    def fill(rows: int, before: int, end: int) -> _Part:
        forwards = -(-(end - before) // costs.piece)
        keys = before + (end - before) * (1 + 1 / forwards) / 2  # a piece sees itself and what was read before it
        return _Part(rows, end - before, keys, costs.filled_share, forwards)

    layout = lay_out(prepared, batch)
    if way in TREES:
        trees = pack(layout, costs.pairs_per_token, split=way == "split")
        rows, columns = trees.ids.shape
        if trees.filled:
            yield fill(rows, 0, trees.filled)
        yield _Part(rows, columns - trees.filled, columns, 1.0, 1)
        return
    before = 0
    for cut in cut_lengths([prepared.contexts[index] for index in batch]) if way == "branch" else []:
        yield fill(len({row[:cut] for row in layout.rows}), before, cut)
        before = cut
    longest = max(map(len, layout.rows))
    yield _Part(len(layout.rows), longest - before, longest, 1.0, 1)
