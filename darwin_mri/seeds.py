"""Named random streams: what is drawn depends on a seed and on names, never on the order of work, device or threads."""

from __future__ import annotations

import hashlib

import numpy as np


def named(seed: int, *names: str | int) -> np.random.Generator:
    """The random generator of a seed and names; other names give an independent stream.

    numpy promises the same stream of SFC64 in all versions, and SFC64 mixes in the whole SHA-256 of the names.

    Args:
        seed: of the run.
        *names: what is drawn, such as ``"anchors"``, or a tensor's name and a parent's.
    """
    return np.random.Generator(np.random.SFC64(int.from_bytes(_digest(seed, names), "big")))


def integer(seed: int, *names: str | int) -> int:
    """A seed in [0, 2**63) for a generator that is not numpy's, such as torch's; arguments as ``named``."""
    return int.from_bytes(_digest(seed, names)[:8], "little") >> 1


def _digest(seed: int, names: tuple[str | int, ...]) -> bytes:
    return hashlib.sha256("\0".join(map(str, (seed, *names))).encode()).digest()
