"""Named random streams: the same for the same names, others for others, and the first values pinned."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from darwin_mri import seeds

NAMES = st.lists(st.text(max_size=8).filter(lambda text: "\0" not in text), min_size=1, max_size=3)


@given(seed=st.integers(0, 2**40), names=NAMES, other=NAMES)
def test_a_stream_depends_on_its_seed_and_names(seed: int, names: list[str], other: list[str]) -> None:
    values = seeds.named(seed, *names).random(4)
    assert np.array_equal(values, seeds.named(seed, *names).random(4))
    assert not np.array_equal(values, seeds.named(seed + 1, *names).random(4))
    assert (names == other) == np.array_equal(values, seeds.named(seed, *other).random(4))
    assert 0 <= seeds.integer(seed, *names) < 2**63
    assert (names == other) == (seeds.integer(seed, *names) == seeds.integer(seed, *other))


def test_the_streams_stay_what_they_are() -> None:
    """Masks, splits and bytes of children rest on these."""
    assert seeds.named(1, "anchors").integers(2**32) == 2340774881
    assert seeds.integer(1, "anchors") == 4691380581727346516


def test_anagrams_and_numbers_are_told_apart() -> None:
    assert seeds.integer(1, "mask") != seeds.integer(1, "skam")
    assert seeds.integer(1, "layer", 3) == seeds.integer(1, "layer", "3")
