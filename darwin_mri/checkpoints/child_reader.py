"""A father's folder in the dtypes that its child has: those on disk, but for an unpacked father's."""

from __future__ import annotations

from pathlib import Path

import torch

from darwin_mri.checkpoints.reader import DTYPES, CheckpointReader
from darwin_mri.checkpoints.source import read_parent_note


class ChildReader(CheckpointReader):
    """Reads as ``CheckpointReader``, with each tensor rounded once to the dtype a child has.

    Args:
        folder: the father's.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        note = read_parent_note(self.folder)
        words = {dtype: word for word, dtype in DTYPES.items()}
        stored = {name: super(ChildReader, self).dtype(name) for name in self.names()}
        wanted = {name: DTYPES[note.in_child(name, words[dtype])] for name, dtype in stored.items()} if note else {}
        self.rounded = {name: dtype for name, dtype in wanted.items() if dtype != stored[name]}

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of tensor ``name`` in a child."""
        return self.rounded.get(name) or super().dtype(name)

    def tensor(self, name: str) -> torch.Tensor:
        """Tensor ``name`` as a child has it that takes nothing from other parents."""
        return super().tensor(name).to(self.dtype(name))
