"""The story: inputs -> scan -> prior -> search -> child -> health -> bench -> compare -> report.

Each step is a function of records and models that leaves its record in the run folder; a resumed run reads what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from darwin_mri.benchmarks import base_url, sample_items
from darwin_mri.checkpoints import ModelSource, resolve_device
from darwin_mri.checkpoints.find import NURSERY
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import BenchConfig, Config
from darwin_mri.errors import ConfigError, GateError, InputError
from darwin_mri.records import ChildFiles, Comparison, Genome, Health, Inputs, Prior, Scan
from darwin_mri.report import write_report
from darwin_mri.stages import (
    anchoring,
    benching,
    merging,
    parents,
    priors,
    recipes,
    scanning,
    searching,
    validating,
    writing,
)
from darwin_mri.stages.answering import AnswerStore
from darwin_mri.stages.items import Items, choose_items, load_items, store_splits
from darwin_mri.stages.items import gpqa_password as environment_password
from darwin_mri.stages.planning import require_room
from darwin_mri.stages.run import Progress, Run, Silent, open_run

__all__ = ["BreedResult", "bench", "breed", "check", "merge", "scan"]


@dataclass(frozen=True)
class BreedResult:
    """Where the run is and what came out of it."""

    folder: Path
    genome: Genome
    health: Health
    comparison: Comparison


def _say_what_is_asked(config: Config, progress: Progress) -> None:
    strangers = not any(ref.startswith(NURSERY) for ref in (config.father, config.mother))
    if strangers and all(name.startswith("nursery_") for name in config.fitness):
        progress.say("the search goes by the nursery's questions, about a world that only its models know: give --data")


@contextmanager
def _running(run: Run) -> Iterator[None]:
    """Leave an honest status in the manifest whatever happens."""
    try:
        yield
    except KeyboardInterrupt:
        run.save_manifest(status="interrupted")
        raise
    except BaseException as error:
        run.save_manifest(status="failed", note=str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise
    run.save_manifest(status="done")


def scan(
    config: Config,
    out: Path,
    *,
    pair: bool,
    argv: tuple[str, ...] = (),
    offline: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> tuple[Scan, scanning.PairScans | None, Prior | None]:
    """Scan one parent, or both with the pair and the prior.

    Returns:
        (father's scan, both scans and the pair, prior); the last two None for a single model.
    """  # fmt: skip
    progress = progress or Silent()
    device = resolve_device(config.device)
    sources = _find(config, offline, roles=("father", "mother", "base") if pair else ("father",))
    loaded = _load_parents(sources, config, device)
    parents.chosen_probes(config.scan, config.seed)  # a broken file is told before anything is written
    run = open_run(out, config, argv, device, resume=resume, overwrite=overwrite)
    with _running(run):
        _inputs(run, sources)
        if not pair:
            with run.timed("scan"):
                return scanning.scan_one(run, loaded["father"], progress), None, None
        with run.timed("scan"):
            scans = scanning.scan_both(run, loaded["father"], loaded["mother"], progress)
        with run.timed("prior"):
            items = choose_items(config, _parents(sources), offline=offline)
            breed_ = _breed(run, sources, loaded, scans, items, progress)
            prior, measured = priors.measure_prior(run, loaded["father"], breed_, scans, items, progress)
        scans = scanning.PairScans(scans.father, scans.mother, measured)
        if config.scan.validation:
            with run.timed("validation"):
                scans = validating.validate(run, loaded["father"], breed_, scans, prior, items, progress)
        return scans.father, scans, prior


def breed(
    config: Config,
    out: Path,
    *,
    argv: tuple[str, ...] = (),
    offline: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> BreedResult:
    """The whole pipeline.

    Raises:
        GateError: disk or memory cannot hold the run, and nothing is begun; or the child fails its health check (everything is
            written all the same). ``force`` goes on in both cases.
    """  # fmt: skip
    progress = progress or Silent()
    device = resolve_device(config.device)
    sources = _find(config, offline)
    if not force:
        require_room(config, {role: survey(source.folder) for role, source in sources.items()}, out)
    parents.chosen_probes(config.scan, config.seed)  # a broken file is told before anything is written
    _say_what_is_asked(config, progress)
    run = open_run(out, config, argv, device, resume=resume, overwrite=overwrite)
    with _running(run):
        with run.timed("inputs"):
            inputs = _inputs(run, sources)
            loaded = _load_parents(sources, config, device)
            items = choose_items(config, _parents(sources), offline=offline)
            store_splits(run, items.splits)
        with run.timed("scan"):
            scans = scanning.scan_both(run, loaded["father"], loaded["mother"], progress)
        with run.timed("donors"):
            breed_ = _breed(run, sources, loaded, scans, items, progress)
            mother = loaded.pop("mother")  # the search needs her tensors, not her model
            logged = anchoring.log_mother(run, mother, items.search, progress)
            del mother
        father = loaded["father"]
        with run.timed("prior"):
            prior, pair = priors.measure_prior(run, father, breed_, scans, items, progress)
        if config.scan.validation:
            with run.timed("validation"):
                scans = scanning.PairScans(scans.father, scans.mother, pair)
                pair = validating.validate(run, father, breed_, scans, prior, items, progress).pair
        breed_ = breed_.searching(config, prior, len(father.anatomy.layers))
        with run.timed("search"):
            genome = run.record(
                "genome.json",
                Genome,
                lambda: searching.find_winner(
                    run,
                    father,
                    sources["mother"].ref,
                    config.base and sources["base"].ref,
                    breed_,
                    prior,
                    pair,
                    items,
                    logged,
                    progress,
                    offline=offline,
                ),
            )
        with run.timed("child"):
            ancestry = tuple(dict.fromkeys(line for parent in inputs.parents for line in parent.genealogy))
            child = writing.write_genome(
                genome, breed_.merge, breed_.tensors(), sources["father"], out / "child", ancestry, progress
            )
            child.save(run.path("child.json"))
            expect_change = any(value != 0.0 for value in genome.genes.values())
            health = writing.child_health(
                out / "child",
                sources["father"],
                config.scan,
                config.seed,
                device,
                config.dtype,
                expect_change=expect_change,
                mother=sources["mother"],
            )
            health.save(run.path("health.json"))
        with run.timed("bench"):
            comparison = _bench_run(run, sources, breed_, father, genome, items, device, offline, progress)
    with run.timed("report"):
        write_report(out)
    if not health.passed and not force:
        failed = ", ".join(gate.name for gate in health.gates if not gate.passed)
        raise GateError(
            f"the child fails its health check ({failed}): see {out.name}/health.json, or pass --force to accept it"
        )
    return BreedResult(out, genome, health, comparison)


def merge(
    config: Config,
    genome: Genome,
    out: Path,
    *,
    donors: Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> ChildFiles:
    """Write the child of a given genome, no search; see ``stages.recipes.merge_genome``."""
    return recipes.merge_genome(config, genome, out, donors=donors, offline=offline, progress=progress)


def check(
    child: str, father: str, *, mother: str | None = None, device: str = "auto", dtype: str = "auto", seed: int = 1,
    offline: bool = False,
) -> Health:  # fmt: skip
    """The health check of any child against its father, and where she is given against its mother."""
    sources = [parents.find(ref, offline) for ref in (child, father, *([mother] if mother else []))]
    return writing.child_health(
        sources[0].folder, sources[1], Config(father=father, mother=father).scan, seed, resolve_device(device), dtype,
        expect_change=True, mother=sources[2] if mother else None,
    )  # fmt: skip


def bench(
    refs: list[str],
    config: BenchConfig,
    out: Path,
    *,
    data: str | None = None,
    gpqa_password: str | None = None,
    seed: int = 1,
    device: str = "auto",
    dtype: str = "auto",
    offline: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Score models on benchmarks and write answers and comparison.json into ``out``; the first model is the child.

    Answers that an earlier run into the same folder has are taken over, so the same command goes on where one was interrupted.

    Args:
        refs: local models or hub ids; may be empty when ``config.endpoint`` is given.
        config: tasks (all items, or a seeded sample of ``config.items``), protocol, engine, baseline and endpoint.
        out: folder.
        data: folder with the benchmark files; the hub when None.
        gpqa_password: of GPQA's zip; the environment variable DARWIN_MRI_GPQA_PASSWORD when None.
    """  # fmt: skip
    progress = progress or Silent()
    if not (refs or config.endpoint) or not config.tasks:
        raise ConfigError("bench needs at least one model (or an endpoint) and one task")
    if seed < 0:
        raise ConfigError(f"seed {seed} is below 0: give 0 or more")
    if config.endpoint:
        base_url(config.endpoint.url)  # refused before anything is scored
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} exists and is not a folder: choose another --out")
    device = resolve_device(device)
    wanted = [*refs, *([config.baseline] if config.baseline else [])]
    served = benching.is_api(config.backend)  # then models are names, and nothing of them is here
    sources = [ModelSource(ref, Path(ref), None) if served else parents.find(ref, offline) for ref in wanted]
    loaded = load_items(
        config,
        [] if served else sources,
        data=data,
        password=gpqa_password or environment_password(),
        offline=offline,
        sample=lambda found: sample_items(found, config.items, seed) if config.items else found,
    )
    items = {task: found for task, (found, _) in loaded.items()}
    store = AnswerStore(out, progress)
    answers: dict[str, benching.AnswersByTask] = {}
    names: dict[str, tuple[str, str]] = {}
    compared = bool(refs) and len(sources) + (config.endpoint is not None) > 1
    for number, source in enumerate(sources):
        key = benching.model_key(number, source)
        answers[key] = benching.bench_model(store, key, source, items, config, device=device, dtype=dtype)
        names[key] = (_unlike(names, source.ref), "child" if number == 0 and compared else "baseline")
    if config.endpoint:
        name, answers["served"] = benching.bench_served(store, "served", config.endpoint, items, config)
        names["served"] = (_unlike(names, name), "baseline")
    weights = {task: 1 / len(items) for task in items}
    benchmarks = tuple(info for _, info in loaded.values())
    comparison = benching.make_comparison(answers, names, items, benchmarks, config, weights, seed, split="all")
    comparison.save(out / "comparison.json")
    return comparison


def _unlike(names: dict[str, tuple[str, str]], name: str) -> str:
    """The name, numbered where another model has it: two folders of one name, or a model and its served copy."""
    taken = sum(other == name or other.startswith(f"{name} (") for other, _ in names.values())
    return f"{name} ({taken + 1})" if taken else name


def _find(
    config: Config, offline: bool, roles: tuple[str, ...] = ("father", "mother", "base")
) -> dict[str, ModelSource]:
    return {role: parents.find(ref, offline) for role in roles if (ref := getattr(config, role))}


def _load_parents(sources: dict[str, ModelSource], config: Config, device: str) -> dict[str, parents.Loaded]:
    """Father and, where there is one, mother; she waits in host memory where both do not fit on the device."""
    place = device
    if "mother" in sources:
        place = parents.waiting_place(config, sources["father"], sources["mother"], device)
    # The one that waits comes first: its anatomy is found on the device, while there is room.
    places = {"mother": place, "father": device} if place != device else {"father": device, "mother": place}
    return {
        role: parents.load(
            sources[role], parents.digest(sources[role]), device=places[role], dtype=config.dtype, computes_on=device
        )
        for role in places
        if role in sources
    }


def _inputs(run: Run, sources: dict[str, ModelSource]) -> Inputs:
    made = Inputs(parents=tuple(parents.describe(role, source) for role, source in sources.items()))
    if run.keep and run.path("inputs.json").is_file():
        before = Inputs.load(run.path("inputs.json"))
        if [p.digest for p in before.parents] != [p.digest for p in made.parents]:
            raise InputError(f"{run.folder.name} was started with other parents (weights differ): start a new run")
    made.save(run.path("inputs.json"))
    return made


def _breed(
    run: Run, sources: dict[str, ModelSource], loaded: dict[str, parents.Loaded], scans: scanning.PairScans, items: Items,
    progress: Progress,
) -> merging.Breed:  # fmt: skip
    if not run.config.cross:
        return merging.breed_siblings(run.config, loaded["father"], sources["mother"], sources.get("base"))
    gate_rms = scanning.gate_rms(scans.mother)
    return merging.breed_cross(
        run, loaded["father"], loaded["mother"], scans.pair.layer_map, gate_rms, items.search, progress
    )


def _parents(sources: dict[str, ModelSource]) -> dict[str, ModelSource]:
    return {role: source for role, source in sources.items() if role != "base"}


def _bench_run(
    run: Run, sources: dict[str, ModelSource], breed_: merging.Breed, father: parents.Loaded, genome: Genome,
    items: Items, device: str, offline: bool, progress: Progress,
) -> Comparison:  # fmt: skip
    config, held_out, store = run.config, items.held_out, AnswerStore(run.folder, progress)
    child = ModelSource("child", run.path("child"), None)
    models = {"father": sources["father"], "mother": sources["mother"], "child": child}
    names = {key: (config.name if key == "child" else source.ref, key) for key, source in models.items()}
    if config.bench.baseline:
        models["baseline"] = parents.find(config.bench.baseline, offline)
        names["baseline"] = (models["baseline"].ref, "baseline")
    answers = {
        key: benching.bench_model(store, key, source, held_out, config.bench, device=device, dtype=config.dtype)
        for key, source in models.items()
    }
    for name, found in benching.bench_nulls(store, father, breed_, genome, held_out, config.bench).items():
        answers[f"null:{name}"], names[f"null:{name}"] = found, (name, f"null:{name}")
    if config.bench.endpoint:
        name, answers["served"] = benching.bench_served(store, "served", config.bench.endpoint, held_out, config.bench)
        names["served"] = (name, "baseline")
    comparison = benching.make_comparison(
        answers, names, held_out, items.benchmarks, config.bench, config.weights, config.seed
    )
    comparison.save(run.path("comparison.json"))
    return comparison
