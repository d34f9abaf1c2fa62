"""Trees: the layout by its definition, and every family's scores against plain rows."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.benchmarks import ChoiceItem, Scorer
from darwin_mri.benchmarks.batching import Layout, common, lay_out
from darwin_mri.benchmarks.kept_ways import kept_way, shape_key
from darwin_mri.benchmarks.trees import Trees, pack
from darwin_mri.benchmarks.ways import TREES, Way, fastest, plan_trees, tree_tokens
from darwin_mri.checkpoints.anatomy import decoder_of
from tests.toys import FAMILIES, pico

# Layers that carry a state, or a convolution's, from token to token.
STATEFUL = ("qwen3_5_text", "granitemoehybrid", "jamba", "falcon_h1", "bamba", "lfm2", "recurrent_gemma", "mamba2")
WINDOWED = ("gemma2", "gemma3_text", "gemma4_text", "cohere2", "olmo3", "exaone4", "mistral", "llama4_text", "gpt_oss")
ROW = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Rows over few tokens, so that beginnings agree, each with places from somewhere on to its end."""
    trunk = draw(ROW)
    rows = [trunk[: draw(st.integers(0, len(trunk)))] + row for row in draw(st.lists(ROW, min_size=1, max_size=10))]
    places = [
        (number, position)
        for number, row in enumerate(rows)
        for position in range(draw(st.integers(0, len(row) - 1)), len(row))
    ]
    return Layout(rows, places, [], [], [])


def texts_of(trees: Trees) -> list[dict[int, tuple[int, ...]]]:
    """The text that each node stands for, by row and column: its ancestors' tokens in order of depth, and its own."""
    texts: list[dict[int, tuple[int, ...]]] = []
    for ids, depths, starts, ends in zip(trees.ids, trees.depths, trees.starts, trees.ends, strict=True):
        texts.append({})
        for column, start in enumerate(starts):
            seen = [other for other in range(len(ids)) if starts[other] <= start < ends[other]]
            by_depth = sorted(seen, key=lambda other: depths[other])
            assert [int(depths[other]) for other in by_depth] == list(range(len(seen))), "a depth twice, or none"
            assert by_depth[-1] == column
            texts[-1][column] = tuple(int(ids[other]) for other in by_depth)
    return texts


@given(layout=layouts(), split=st.booleans(), pairs=st.sampled_from([1.0, 30.0, 1e9]))
def test_a_node_sees_the_beginning_of_its_rows_and_nothing_else(layout: Layout, split: bool, pairs: float) -> None:
    trees = pack(layout, pairs, split=split)
    texts = texts_of(trees)
    for (row, position), node in zip(layout.places, trees.node_of, strict=True):
        where, column = trees.nodes[:, node]
        assert texts[where][column] == layout.rows[row][: position + 1]
        assert column >= trees.filled
    assert len({tuple(node) for node in trees.nodes.T}) == trees.nodes.shape[1]
    real = trees.starts < 2**30
    assert not trees.ids[~real].any()
    # What is filled before is an ancestor of what comes after, never the other way round.
    for starts, ends in zip(trees.starts, trees.ends, strict=True):
        late = starts[trees.filled :]
        assert not any(((start < ends[trees.filled :]) & (late < start)).any() for start in starts[: trees.filled])


@given(layout=layouts())
def test_every_distinct_beginning_is_one_node_where_attention_costs_nothing(layout: Layout) -> None:
    trees = pack(layout, 1e12)
    distinct = {row[: end + 1] for row in layout.rows for end in range(len(row))}
    assert int((trees.starts < 2**30).sum()) == len(distinct)


@given(left=ROW, right=ROW)
def test_common_is_the_length_of_what_agrees(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    agrees = [end for end in range(min(len(left), len(right)) + 1) if left[:end] == right[:end]]
    assert common(left, right) == agrees[-1]


def test_shared_contexts_are_read_once_and_small_trees_stand_side_by_side() -> None:
    story = tuple(range(100, 140))
    rows = [(*story, 1, 2), (*story, 1, 3, 4), (5, 6, 7), (8, 9, 10)]
    places = [(0, 40), (0, 41), (1, 40), (1, 41), (1, 42), (2, 2), (3, 2)]
    trees = pack(Layout(rows, places, [], [], []), 500.0)
    assert trees.ids.shape == (2, 48)  # 44 nodes of two rows; the other two trees side by side
    assert trees.nodes.shape[1] == len(places) - 1, "the place that two rows share is one node"
    split = pack(Layout(rows, places, [], [], []), 500.0, split=True)
    assert (split.filled, split.ids.shape[1]) == (40, 48)
    assert split.ids.shape[0] == 2


def items(contexts: int = 6) -> list[ChoiceItem]:
    """Items about one story in unequal lengths, two that share nothing, and choices of unequal lengths."""
    story = "The red ball is in the box, said Anna. "
    choices = ("red", "red gold", "a much longer choice 가나", "B")
    texts = [f"{story * (1 + n // 2)}Question {n}: where? Answer:" for n in range(contexts)]
    texts += ["Who has it?", "바구니에는 무엇이 있나?"]
    return [
        ChoiceItem(key=str(n), context=text, choices=choices, gold=0, cluster="c", slice="s", benchmark="toy")
        for n, text in enumerate(texts)
    ]


@cache
def load(folder: Path, dtype: str = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


def scores(folder: Path, way: Way | None, dtype: str = "float32") -> tuple[Scorer, np.ndarray]:
    """A scorer that is told its way, and all its scores."""
    model, tokenizer = load(folder, dtype)
    scorer = Scorer(model, tokenizer, way=way)
    return scorer, np.concatenate(scorer.log_probabilities(scorer.prepare(items())))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in STATEFUL])
def test_every_family_with_attention_alone_reads_trees_as_it_reads_rows(family: str, folders: Path) -> None:
    folder = pico(family, folders / family)
    _, expected = scores(folder, "rows")
    for way in TREES:
        scorer, found = scores(folder, way)
        assert scorer.use_trees
        assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("family", STATEFUL)
def test_a_family_whose_layers_carry_a_state_keeps_the_way_it_had(family: str, folders: Path) -> None:
    model, tokenizer = load(pico(family, folders / family))
    asked, kept = (Scorer(model, tokenizer, way=way) for way in ("tree", None))
    few = asked.prepare(items()[6:])
    for one, other in zip(asked.log_probabilities(few), kept.log_probabilities(few), strict=True):
        assert (one == other).all()
    assert not asked.use_trees


@pytest.mark.parametrize("window", [1, 7, 2000])
@pytest.mark.parametrize("family", WINDOWED)
def test_windows_shorter_and_longer_than_the_items(family: str, window: int, folders: Path) -> None:
    field = "attention_chunk_size" if family == "llama4_text" else "sliding_window"
    changes: dict[str, Any] = {field: max(2, window)}
    folder = pico(family, folders / f"{family}-{window}", **changes)
    _, expected = scores(folder, "rows")
    for way in TREES:
        scorer, found = scores(folder, way)
        assert scorer.use_trees
        assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("family", ["llama", "gemma4_text", "gemma2"])
def test_half_precision(family: str, folders: Path) -> None:
    folder = pico(family, folders / f"{family}-bf16", dtype="bfloat16")
    _, expected = scores(folder, "rows", "bfloat16")
    _, exact = scores(folder, "rows")
    noise = np.abs(expected - exact).max()
    for way in TREES:
        scorer, found = scores(folder, way, "bfloat16")
        assert scorer.use_trees
        assert np.abs(found - exact).max() < 2 * noise + 0.02, "as far from fp32 as plain rows in bf16 are"


def passages(count: int, questions: int) -> list[ChoiceItem]:
    """Several questions of unequal lengths about each of some stories, with choices of one to three words."""
    return [
        ChoiceItem(
            key=f"{story}-{question}",
            context=f"Story {story}: "
            + f"Anna {story} put the ball into box {story}. " * 4
            + "and then " * question
            + "Where?",
            choices=("red", "red gold", f"the {question} box"),
            gold=0,
            cluster="c",
            slice="s",
            benchmark="toy",
        )
        for story in range(count)
        for question in range(questions)
    ]


def test_a_resumed_search_reads_the_same_way_on_whichever_items_it_goes_on_with(folders: Path) -> None:
    """What is counted depends on all items of a task; the items that a call happens to ask are not looked at."""
    model, tokenizer = load(pico("llama", folders / "resumed"))
    whole = Scorer(model, tokenizer)
    prepared = whole.prepare([*passages(4, 5), *items()])
    expected = whole.log_probabilities(prepared)
    for first in ([0, 1], [len(prepared) - 1], [7, 3, 12]):
        resumed = Scorer(model, tokenizer)
        part = resumed.log_probabilities(prepared, first)
        assert resumed.way(prepared, first) == whole.way(prepared) == "split"
        again = resumed.log_probabilities(prepared)
        assert all((one == other).all() for one, other in zip(again, expected, strict=True)), "to the bit"
        assert max(np.abs(part[n] - expected[i]).max() for n, i in enumerate(first)) < 1e-3


def test_the_count_takes_trees_for_shared_stories_and_leaves_single_letters_alone(folders: Path) -> None:
    model, tokenizer = load(pico("llama", folders / "counted"))
    scorer = Scorer(model, tokenizer)
    stories = scorer.prepare(passages(4, 5))
    letters = scorer.prepare([replace(item, choices=("A", "B", "C")) for item in passages(6, 1)])
    assert scorer.way(stories) == "split"
    assert scorer.way(letters) == "branch"


def test_a_measured_way_is_kept_for_the_next_process(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARWIN_MRI_CACHE", str(tmp_path / "cache"))
    model, tokenizer = load(pico("llama", folders / "measured"))
    scorer = Scorer(model, tokenizer)
    prepared = scorer.prepare(items())
    scorer.log_probabilities(prepared)
    ways: tuple[Way, ...] = ("branch", *TREES)
    read: list[Way] = []

    def measure() -> Way:
        def read_all(way: Way) -> None:
            read.append(way)
            scorer._read_all(prepared, range(len(prepared)), way)

        return fastest(ways, read_all)

    key = shape_key(model, decoder_of(model))
    first = kept_way(key, ways, measure)
    assert set(read) == set(ways)
    count = len(read)
    assert kept_way(key, ways, measure) == first
    assert len(read) == count, "nothing is timed again"
    other, _ = load(pico("qwen3", folders / "other"))
    assert key != shape_key(other, decoder_of(other))
    (tmp_path / "cache" / "ways" / key).write_text("no such way")
    assert kept_way(key, ways, measure) in ways
    assert len(read) > count


def test_the_slower_way_is_not_taken_and_one_without_memory_neither() -> None:
    def read(way: Way) -> None:
        if way == "tree":
            raise torch.OutOfMemoryError("the device is full")
        time.sleep(0.02 if way == "branch" else 0.001)

    assert fastest(("branch", "tree", "split"), read) == "split"
    assert fastest(("tree",), read) == "tree"
    assert fastest(("split", "branch"), read) == "split"


def test_an_item_whose_mask_would_be_too_large_is_read_without_one(folders: Path) -> None:
    model, tokenizer = load(pico("llama", folders / "large"))
    scorer = Scorer(model, tokenizer, way="tree")
    prepared = scorer.prepare(passages(2, 2))
    scorer.log_probabilities(prepared)
    assert scorer.way(prepared) == "tree"
    longest = max(map(prepared.longest, range(len(prepared))))
    scorer.reader.costs = replace(scorer.reader.costs, mask=longest**2 // 2)
    assert scorer.way(prepared) == "branch"


def test_batches_hold_every_item_once_within_their_bounds(folders: Path) -> None:
    model, tokenizer = load(pico("llama", folders / "bounds"))
    scorer = Scorer(model, tokenizer)
    prepared = scorer.prepare([*passages(5, 6), *items()])
    largest = max(tree_tokens(prepared, index) for index in range(len(prepared)))
    for budget in (1, largest, 1000, 100_000):
        costs = replace(scorer.reader.costs, mask=4 * largest**2)
        batches = list(plan_trees(prepared, range(len(prepared)), budget, costs))
        assert sorted(index for batch in batches for index in batch) == list(range(len(prepared)))
        for batch in batches:
            trees = pack(lay_out(prepared, batch), costs.pairs_per_token)
            if len(batch) > 1:
                assert trees.ids.size <= 1.1 * budget + 8 * trees.ids.shape[0]
                assert trees.ids.shape[0] * largest**2 <= costs.mask * 1.2
