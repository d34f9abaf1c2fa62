"""The story: inputs -> scan -> donors -> references -> prior -> search -> repair -> child -> health -> bench -> report.

Each stage is a function of run, parents and earlier records; a resumed run reads the records that are there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from darwin_mri.checkpoints.find import find_model
from darwin_mri.config import Config, make_config
from darwin_mri.planning import require_room, require_surroundings
from darwin_mri.problem.effect import require_effect, require_opening
from darwin_mri.problem.guard import StageGuard
from darwin_mri.problem.health import examine_child, require_health
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.questions import OF_A_PAIR, OF_ONE, require_answers
from darwin_mri.problem.repair_texts import require_texts
from darwin_mri.problem.requests import MergeRequest
from darwin_mri.problem.results import BreedResult
from darwin_mri.problem.scans import Scans
from darwin_mri.records import ChildFiles, Genome, Health, Prior
from darwin_mri.records.roles import FATHER
from darwin_mri.report import write_report
from darwin_mri.run import Progress, Run, RunOptions, Silent, open_run, require_run_folder
from darwin_mri.stages.bench import bench_run
from darwin_mri.stages.child import write_run_child
from darwin_mri.stages.donors import make_space
from darwin_mri.stages.health import check_run_child
from darwin_mri.stages.inputs import prepare_inputs
from darwin_mri.stages.merge import merge_genome
from darwin_mri.stages.moments import measure_parents
from darwin_mri.stages.plan import plan
from darwin_mri.stages.prior import measure_prior
from darwin_mri.stages.references import measure_references
from darwin_mri.stages.repair import repair_child
from darwin_mri.stages.scan import scan_parents
from darwin_mri.stages.score import ScoreOptions
from darwin_mri.stages.score import score_models as bench
from darwin_mri.stages.search import find_winner
from darwin_mri.stages.validation import validate
from darwin_mri.trackers import final_values

__all__ = ["BreedResult", "RunOptions", "ScoreOptions", "bench", "breed", "check", "merge", "plan", "scan"]


def scan(config: Config, out: Path, *, pair: bool, **options: Unpack[RunOptions]) -> tuple[Scans, Prior | None]:
    """Scan one parent, or all with the pair and the prior.

    Args:
        config: names the parents and says what is read.
        out: the run folder.
        pair: whether all parents are scanned; the father alone when false.
        **options: how the run is started.

    Returns:
        (the scans, the prior); no prior for a single model.
    """
    require_run_folder(out)
    parents = Parents.find(config, roles=None if pair else (FATHER,), offline=options.get("offline", False))
    require_answers(parents, OF_A_PAIR if pair else OF_ONE)
    parents.load()  # a model that cannot be scanned is refused before anything is written
    with _open(out, parents, options) as run:
        run.stage("inputs", prepare_inputs, parents, items=pair)
        scans = run.stage("scan", scan_parents, parents)
        run.stage("moments", measure_parents, parents)
        if not pair:
            return scans, None
        space = run.stage("donors", make_space, parents, scans)
        run.stage("references", measure_references, parents)
        prior, scans = run.stage("prior", measure_prior, parents, space, scans)
        if config.scan.validation:
            scans = run.stage("validation", validate, parents, space, scans, prior)
        return scans, prior


def breed(config: Config, out: Path, *, force: bool = False, **options: Unpack[RunOptions]) -> BreedResult:
    """The whole pipeline.

    Args:
        config: of the run.
        out: the run folder.
        force: begin without room for the run, go on where it cannot win, accept a child that fails its health check.
        **options: how the run is started.

    Returns:
        The run folder and the last records.

    Raises:
        DarwinError: what ``plan`` lists as a problem, before anything is begun.
        GateError: nothing is begun for want of room, or nothing to search; or all is written, the child is unhealthy.
    """
    require_surroundings(config, out)
    parents = Parents.find(config, offline=options.get("offline", False))
    require_answers(parents)
    if not force:
        require_room(config, parents.surveys(), out)
    with _open(out, parents, options) as run:
        run.stage("inputs", prepare_inputs, parents)
        scans = run.stage("scan", scan_parents, parents)
        run.stage("moments", measure_parents, parents)
        space = run.stage("donors", make_space, parents, scans)
        if not force:
            require_effect(config, space)
        scores = run.stage("references", measure_references, parents)
        parents.release_others()
        prior, scans = run.stage("prior", measure_prior, parents, space, scans)
        if config.scan.validation:
            scans = run.stage("validation", validate, parents, space, scans, prior)
        space = space.for_search(config, prior, len(parents.father.layers))
        if not force:
            require_opening(space, prior)
        genome = run.stage("search", find_winner, parents, space, prior, scans, scores)
        run.stage("repair", repair_child, parents, space, genome, scores)
        run.stage("child", write_run_child, parents, space, genome)
        health = run.stage("health", check_run_child, parents, genome)
        comparison = run.stage("bench", bench_run, parents, space, genome)
    run.finish(write_report, final_values(genome, health, comparison))
    if not force:
        require_health(health, out.name)
    return BreedResult(out, genome, health, comparison)


def merge(
    config: Config,
    genome: Genome,
    out: Path,
    *,
    donors: Path | None = None,
    moments: Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> ChildFiles:
    """Write the child of a given genome, without a search.

    Args:
        config: names the parents, and says how donors are built again.
        genome: genes, settings and, as a rule, tensors.
        out: the child's folder.
        donors: folder of kept donors (a run's ``state/donors``), across architectures.
        moments: folder with the parents' moments (a run's), for ``regression``.
        offline: never ask the hub.
        progress: where the work reports; nowhere when None.

    Returns:
        sha256 of every shard, and which tensors differ from the father's.
    """
    parents = Parents.find(config, offline=offline)
    return merge_genome(MergeRequest(genome, config, donors, folder=moments), parents, out, progress=progress)


def check(
    child: str,
    father: str,
    *,
    mother: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 1,
    offline: bool = False,
) -> Health:
    """The health check of any child.

    Args:
        child: its folder or hub id.
        father: the parent it came from.
        mother: the other parent, where the child is to be read on text that both write.
        device: auto, cuda or cpu.
        dtype: auto, float32, bfloat16 or float16.
        seed: of the probes and of the parents' sampled text.
        offline: never ask the hub.

    Returns:
        Every gate with what was measured.
    """
    config = make_config({"father": father, "mother": mother or father, "dtype": dtype, "seed": seed}, "check")
    roles = None if mother else (FATHER,)
    folder = find_model(child, offline=offline).folder
    return examine_child(folder, Parents.find(config, roles=roles, device=device, offline=offline), expect_change=True)


def _open(out: Path, parents: Parents, options: RunOptions) -> Run:
    """Open the run folder; what can be refused is refused before anything is written."""
    _ = parents.probes  # a damaged file is reported here
    require_texts(parents)
    run = open_run(
        out,
        parents.config,
        options.get("argv", ()),
        parents.device,
        resume=options.get("resume", False),
        overwrite=options.get("overwrite", False),
        progress=options.get("progress") or Silent(),
    )
    run.guard = StageGuard(parents)
    return run
