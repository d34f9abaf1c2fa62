"""How a run is started, whatever it does."""

from __future__ import annotations

from typing import TypedDict

from darwin_mri.run.progress import Progress


class RunOptions(TypedDict, total=False):
    """How a run is started, whatever it does.

    Attributes:
        argv: the command as typed, without absolute paths; published in the manifest.
        offline: never ask the model hub.
        resume: go on with the run in the folder.
        overwrite: replace the run in the folder.
        progress: where long work reports; nowhere when absent.
    """

    argv: tuple[str, ...]
    offline: bool
    resume: bool
    overwrite: bool
    progress: Progress
