"""What a plan says of moments is what their files take."""

from __future__ import annotations

from pathlib import Path

import pytest

from darwin_mri import pipeline
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import make_config
from darwin_mri.merging.moments import read_header
from darwin_mri.planning import memory
from tests.toys import pico


@pytest.mark.parametrize(("kind", "width"), [("full", None), ("diagonal", None), ("full", 40)])
def test_the_plan_counts_the_bytes_of_moments(kind: str, width: int | None, tmp_path: Path) -> None:
    folder = pico("llama", tmp_path / "model")
    scan = {"documents": 2, "max_tokens": 16, "moments": kind, "moments_width": width, "bootstrap": 50}
    config = make_config({"father": str(folder), "mother": str(folder), "device": "cpu", "scan": scan}, "test")
    pipeline.scan(config, tmp_path / "scan", pair=False)
    file = tmp_path / "scan" / "moments.safetensors"
    groups = len(read_header(file).groups)
    planned = memory.moment_bytes(config, [survey(folder)]) * groups / memory.probe_groups(config)
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    magnitudes = 4 * groups * 4 * (3 * 32 + 48)  # of the inputs of four layers, in fp32
    assert planned == pytest.approx(file.stat().st_size - header - magnitudes)


def test_methods_without_moments_plan_none() -> None:
    common = {"father": "nursery:gemma4-korean", "mother": "nursery:gemma4-reasoning"}
    plain, deltas, merges = (
        make_config({**common, **more}, "test")
        for more in ({}, {"method": "regression", "settings": {"moments": "deltas"}}, {"method": "regression"})
    )
    assert [memory.moment_files(config) for config in (plain, deltas, merges)] == [0, 0, 2]
