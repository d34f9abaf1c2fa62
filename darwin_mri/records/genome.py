"""The search vector: the winner with its null children, and the ledger of every evaluation."""

from __future__ import annotations

from typing import Any

from darwin_mri.errors import InputError
from darwin_mri.records.base import Part, Record
from darwin_mri.records.front import FrontBaseline, FrontMember, FrontReference
from darwin_mri.records.roles import MOTHER, PARENTS

TOWER = "tower"  # gene of the tensors beside the text model, which follows the text's genes


class Genome(Record):
    """A child's recipe.

    Attributes:
        space: the genome space: ``ffn``, ``layers``, ``darwin14`` or ``darwin-v6``.
        method: an operator (dare_ties, task_arithmetic, ...) or a cross-architecture arm (raw, folded, ...).
        seed: of the run.
        father: reference of the father.
        mother: reference of the second parent.
        parents: references of all parents, the father first; empty in records of two parents from before this field.
        base: reference of the common ancestor; None where the method needs none.
        tokenizer: whose tokens the child has, as the config said.
        genes: gene -> value of the winner.
        gene_parents: gene -> role of the parent whose share it is; the mother's where it is not named.
        ratios: FFN ratio per father layer that the genes lead to; with several other parents the sum of theirs.
        nulls: name -> genes of a child that shows what no search, or no other parent, would have given.
        layer_map: the mother layer beside each father layer.
        gate_rms: the mother's measured gate spread by layer, that a cross-architecture donor was built with; None for
            a layer without an FFN.
        settings: the method's parameters outside the genome, such as density and rescale.
        exceptions: tensor on disk, or pattern -> its own ratio, density and so on.
        tensors: gene -> tensors on the father's disk: what a merge needs beside the parents.
        donors: file in ``state/donors`` -> sha256, of a cross-architecture child.
        moments: role -> sha256 of the file of moments that the child was merged with.
        arm: settings that those donors were built with, to build them again.
        search_score: the winner's fitness on the search items that chose it.
        retest_score: its fitness on fresh search items.
        held_out_score: its fitness on held-out items, looked at after the winner was named.
        account: item evaluations spent and saved, by purpose.
        stopped: why the search ended.
        objectives: tasks of a search with several objectives, each its own; empty for one fitness.
        front: what no other candidate dominates, of a search with several objectives.
        references: parents and null children beside the front.
        hypervolume: what the front dominates on held-out items above the worst parent of every objective, as a share of
            the box up to the best parent of each; None where it cannot be said.
        baselines: fronts of searches without the scan.
        member: number of the front's member whose genes these are; None without a front.
        preferred: how it was chosen, in words.
    """

    space: str
    method: str
    seed: int
    father: str
    mother: str
    base: str | None = None
    parents: tuple[str, ...] = ()
    tokenizer: str = "father"
    genes: dict[str, float]
    gene_parents: dict[str, str] = {}
    ratios: tuple[float, ...]
    nulls: dict[str, dict[str, float]] = {}
    layer_map: tuple[int, ...] = ()
    gate_rms: tuple[float | None, ...] = ()
    settings: dict[str, float | str] = {}
    exceptions: dict[str, dict[str, float | str]] = {}
    tensors: dict[str, tuple[str, ...]] = {}
    donors: dict[str, str] = {}
    moments: dict[str, str] = {}
    arm: dict[str, Any] = {}
    search_score: float | None = None
    retest_score: float | None = None
    held_out_score: float | None = None
    account: dict[str, int] = {}
    stopped: str = ""
    objectives: tuple[str, ...] = ()
    front: tuple[FrontMember, ...] = ()
    references: tuple[FrontReference, ...] = ()
    hypervolume: float | None = None
    baselines: tuple[FrontBaseline, ...] = ()
    member: int | None = None
    preferred: str = ""

    def of_member(self, number: int) -> Genome:
        """The genome of another member of the front, to be merged.

        Raises:
            InputError: there is no front, or no such member.
        """
        if not self.front:
            raise InputError("the genome has no front: its search had one objective, so leave --member out")
        found = {member.number: member for member in self.front}.get(number)
        if found is None:
            raise InputError(f"the front has no member {number}: choose one from 1 to {len(self.front)}")
        fields: dict[str, object] = {"genes": found.genes, "ratios": found.ratios, "member": number}
        if number != self.member:  # what the record says of the chosen one
            fields |= {"nulls": {}, "search_score": None, "retest_score": None, "held_out_score": None, "preferred": ""}
        return self.model_copy(update={**fields, "exceptions": found.exceptions or self.exceptions})

    @property
    def roles(self) -> dict[str, str]:
        """Role -> reference of every parent, the father first."""
        return dict(zip(PARENTS, self.parents or (self.father, self.mother), strict=False))

    @property
    def moves_tower(self) -> bool:
        """Whether the child's vision or audio tower is merged too."""
        return any(gene.partition(".")[0] == TOWER for gene in self.genes)

    def parent_of(self, gene: str) -> str:
        """Role of the parent whose share a gene is."""
        return self.gene_parents.get(gene, MOTHER)


class AnchorItems(Part):
    """The items of one benchmark that candidates are scored on, and the scores they were chosen by.

    Attributes:
        benchmark: its name.
        logged: model -> its score on every item of the pool.
        anchors: indices into the pool, in the order candidates are scored on them.
        weights: share of the pool that each anchor stands for.
    """

    benchmark: str
    logged: dict[str, tuple[float, ...]]
    anchors: tuple[int, ...]
    weights: tuple[float, ...]


class AnchorRecord(Record):
    """The anchors of a search.

    Attributes:
        benchmarks: one entry per benchmark of the fitness.
    """

    benchmarks: tuple[AnchorItems, ...]


class LedgerLine(Part):
    """One candidate's evaluation.

    Attributes:
        evaluation: number within the search.
        generation: the candidate's generation; 0 is the opening.
        candidate: number within the generation.
        genes: gene -> value.
        fitness: weighted sum of the scores; None where the candidate failed.
        scores: benchmark or task -> score on the items it was scored on, or its estimate over the pool.
        items: number of items it was scored on.
        seconds: the evaluation took.
        status: "ok", "failed", or "raced" (stopped early).
        reason: why it failed or was stopped; empty for "ok".
        sigma: the strategy's step size when it was drawn; None where there was none.
        violation: by how much it breaks the run's limits, summed over them; 0 where all are kept or there are none.
    """

    evaluation: int
    generation: int
    candidate: int
    genes: dict[str, float]
    fitness: float | None
    scores: dict[str, float]
    items: int
    seconds: float
    status: str
    reason: str = ""
    sigma: float | None = None
    violation: float = 0.0
