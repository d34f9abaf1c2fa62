"""A parent's licence, as its own model card states it."""

from __future__ import annotations

from pathlib import Path

import pytest

from darwin_mri.checkpoints.origin import stated_license


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# Model", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: gemma\n---\n", "gemma"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\ntags: [a]\n---\n", ""),
        ("# no front matter\n---\nlicense: mit\n---", ""),
        ("---\n: : broken\n  - [\n---\n", ""),
        ("---", ""),
        (None, ""),
    ],
)
def test_the_licence_of_a_model_card(tmp_path: Path, card: str | None, licence: str) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert stated_license(tmp_path) == licence
