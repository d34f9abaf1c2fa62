"""Measurements are kept one by one, and read again only where they are of the same thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from darwin_mri.run import MeasurementCache


def filled(path: Path) -> Path:
    cache = MeasurementCache(path, "models", keep=False)
    cache.put(("fitness", 3, 0.5), np.array([1.25, 1 / 3]))
    cache.put(("harm",), np.array([2.0]))
    return path


def test_kept_values_come_back_to_the_bit(tmp_path: Path) -> None:
    cache = MeasurementCache(filled(tmp_path / "c.jsonl"), "models", keep=True)
    values = cache.get(("fitness", 3, 0.5))
    assert values is not None and values.tolist() == [1.25, 1 / 3]
    assert cache.get(("fitness", 4, 0.5)) is None


def test_another_key_or_a_new_run_begins_anew(tmp_path: Path) -> None:
    assert MeasurementCache(filled(tmp_path / "a.jsonl"), "other models", keep=True).get(("harm",)) is None
    assert MeasurementCache(filled(tmp_path / "b.jsonl"), "models", keep=False).get(("harm",)) is None
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1


def test_a_line_cut_short_costs_that_line_alone(tmp_path: Path) -> None:
    path = filled(tmp_path / "c.jsonl")
    path.write_text(path.read_text()[:-5])
    cache = MeasurementCache(path, "models", keep=True)
    assert cache.get(("fitness", 3, 0.5)) is not None and cache.get(("harm",)) is None
    cache.put(("harm",), np.array([2.0]))
    assert set(MeasurementCache(path, "models", keep=True).known) == {("fitness", 3, 0.5), ("harm",)}
