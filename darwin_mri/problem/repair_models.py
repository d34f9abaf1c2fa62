"""The child in memory beside the parents that teach it, on the device together or one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from darwin_mri.checkpoints import LoadedModel, device_memory, free_memory, load
from darwin_mri.checkpoints.model import explain_out_of_memory
from darwin_mri.merging import Candidate
from darwin_mri.merging.repair import write_maps
from darwin_mri.merging.repair_maps import RepairMaps
from darwin_mri.planning import stage_bytes
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Genome
from darwin_mri.records.roles import FATHER

CHILD = "child"
ADVICE = "free memory on the device or use a larger one; layers so far are kept, breed --resume goes on"


class RepairModels:
    """A model of its own for the child; ``on_device`` says which of all is where it computes.

    Where all fit they stay on the device; else each waits in host memory while another computes.

    Args:
        parents: the father is resident.
        space: with the genome that was searched.
        genome: of the child.
    """

    def __init__(self, parents: Parents, space: MergeSpace, genome: Genome) -> None:
        self.parents, self.space, self.genome = parents, space, genome
        self.together = parents.device == "cpu" or self._fit()
        self._computing: LoadedModel = parents.father
        self._child: LoadedModel | None = None
        self._candidate: Candidate | None = None

    @contextmanager
    def on_device(self, role: str) -> Iterator[LoadedModel]:
        """While open, a parent, or the ``child``, is where it computes."""
        with explain_out_of_memory("the repair", ADVICE):
            yield self._bring(role)

    def become(self, maps: RepairMaps, *, merged: bool = True) -> None:
        """Undo every repair: the child is the genome's again, or where ``merged`` is false the father."""
        with self.on_device(CHILD) as child:
            candidate = self._candidate_of(child)
            candidate.restore()
            father = self.space.merge.father
            for name in (name for layer in maps.layers for name in maps.tensors(layer)):
                write_maps(child, {name: father.in_child(name)})
            if merged:
                candidate.apply(self.genome.genes, self.genome.exceptions)

    def close(self) -> None:
        """Let go of the child and of the other parents; the father is on the device again."""
        self._child = self._candidate = None
        if self._computing is not self.parents.father:
            if not self.together:
                self._computing.model.to("cpu")
            self._computing = self.parents.father
            self.parents.father.model.to(self.parents.device)
        self.parents.release_others()

    def _bring(self, role: str) -> LoadedModel:
        """The model of a role, on the device."""
        known = self._child if role == CHILD else self.parents.father if role == FATHER else None
        if not self.together and (known is None or known is not self._computing):
            self._computing.model.to("cpu")
        if role == CHILD:
            self._child = model = self._child or self._load_child()
        else:
            model = self.parents.model(role)
        if str(model.device) != self.parents.device and not self.together:
            model.model.to(self.parents.device)
        self._computing = model
        return model

    def _load_child(self) -> LoadedModel:
        """A second copy of the father."""
        father, config = self.parents.father, self.parents.config
        return load(father.source, father.digest, device=self.parents.device, dtype=config.dtype)

    def _candidate_of(self, child: LoadedModel) -> Candidate:
        if self._candidate is None:
            self._candidate = Candidate(child.model, self.space.tensors(), self.space.merge, keep_bytes=0, wait_bytes=0)
        return self._candidate

    def _fit(self) -> bool:
        """Whether the child and all parents are on the device at once."""
        config, surveys = self.parents.config, self.parents.surveys()
        each = 4 if config.dtype == "float32" else 2
        needed = stage_bytes(config, surveys, each, device_memory(self.parents.device))["repair"]
        return needed - surveys[0].parameters * each <= free_memory(self.parents.device)
