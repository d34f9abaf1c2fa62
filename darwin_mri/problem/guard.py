"""What holds around every stage of a run: a lack of memory is said in one line, and the parents stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from darwin_mri.checkpoints import file_digests, weights_digest
from darwin_mri.checkpoints.model import explain_out_of_memory
from darwin_mri.errors import SpoiledRun
from darwin_mri.problem.parents import Parents

ADVICE = "free memory on the device or use a larger one, and go on with --resume"


class StageGuard:
    """Gives the context that a stage of a run is in.

    Args:
        parents: whose files the stages read.
    """

    def __init__(self, parents: Parents) -> None:
        self.parents, self.known = parents, self._digests(parents)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """The stage runs inside.

        Raises:
            DarwinError: it does not fit in memory.
            SpoiledRun: a parent's weights are not those that the run began with.
        """
        with explain_out_of_memory(f"stage {stage}", ADVICE):
            yield
        now = self._digests(self.parents)
        if changed := [role for role in now if now[role] != self.known[role]]:
            raise SpoiledRun(
                f"the weights of the {changed[0]} were changed on disk before stage {stage} had ended: start a new run,"
                " and leave its parents alone until it has ended"
            )

    @staticmethod
    def _digests(parents: Parents) -> dict[str, str]:
        """Role -> digest of the weights; a file is read again only where it was written since."""
        return {role: weights_digest(file_digests(source.folder)) for role, source in parents.named.items()}
