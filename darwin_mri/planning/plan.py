"""The pre-flight: from configurations, headers and tokenizers, what fits, what it costs, and what cannot be done.

No weight is read, and torch is loaded only for a parent of which nothing but its configuration is at hand. Times are
estimates that rest on counted tokens and on a speed that is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from darwin_mri.batch_sizes import LARGE_DEVICE
from darwin_mri.checkpoints.find import find_model, split_adapters
from darwin_mri.checkpoints.remote import is_remote, survey_remote
from darwin_mri.checkpoints.skeleton import configuration_alone, survey_configuration
from darwin_mri.checkpoints.source import unpacking_notes
from darwin_mri.checkpoints.survey import Survey, survey
from darwin_mri.config import ARMS, Config
from darwin_mri.errors import CheckpointError, GateError
from darwin_mri.merging.compatibility import all_faults, sibling_fault, sibling_notes
from darwin_mri.merging.vocabulary import align_vocabularies, read_choice
from darwin_mri.planning import machine
from darwin_mri.planning.duration import estimate_seconds
from darwin_mri.planning.lengths import TokenCounts, usual_counts
from darwin_mri.planning.memory import can_wait, ffn_parameters, layer_parameters, moment_bytes, stage_bytes
from darwin_mri.planning.surroundings import surrounding_faults
from darwin_mri.records import Plan, PlanMethod, PlanNeed, PlanParent
from darwin_mri.roles import FATHER

RECORDS = 64 * 2**20  # bytes, generously
RECOMPUTED = "candidates are computed again from the parents' files"
RUNTIME = 1.5 * 2**30  # bytes a process with torch and transformers takes by itself
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def plan_run(
    config: Config,
    out: Path,
    *,
    offline: bool = False,
    rate: float | None = None,
    memory: int | None = None,
    counts: TokenCounts | None = None,
) -> Plan:
    """What a run of this config needs, and what stands in its way.

    Args:
        config: of the run.
        out: where it would be written.
        offline: never ask the hub.
        rate: FLOP/s that a forward pass reaches, as ``python -m speed.rehearsal`` measures it; from this machine when
            None.
        memory: bytes of the device that is planned for; this machine's device when None.
        counts: what the models read, in the father's tokens; estimated when None.

    Returns:
        The plan; ``problems`` names what stands in the way.

    Raises:
        CheckpointError: a parent cannot be found or its files are damaged.
    """
    refs = {**config.roles, **({"base": config.base} if config.base else {})}
    surveys, notes = _surveys(refs, config.tokenizer, offline)
    parents = {role: survey for role, (survey, _) in surveys.items() if role != "base"}
    father, *others = parents.values()
    base = surveys["base"][0] if config.base else None
    unlike = [fault for role in list(parents)[1:] if (fault := sibling_fault(father, parents[role], role))]
    faults = all_faults(father, tuple(others), base)
    present = _device(config)
    if memory:
        present = machine.assumed(memory, present)
    device = present or (machine.ABSENT if config.device == "cuda" else None)
    needs = _needs(config, list(parents.values()), device, out)
    stages, basis = estimate_seconds(config, list(parents.values()), device, rate, counts or usual_counts(config))
    problems = (*_problems(config, faults, needs, present), *surrounding_faults(config, out))
    return Plan(
        method=config.method,
        parents=tuple(_parent(role, _shown(refs[role]), *survey) for role, survey in surveys.items()),
        siblings=not unlike,
        sibling_reason=unlike[0] if unlike else "",
        notes=notes
        + unpacking_notes(survey.folder for survey, _ in surveys.values())
        + (
            ()
            if unlike
            else tuple(note for role in list(parents)[1:] for note in sibling_notes(father, parents[role], role))
        ),
        methods=tuple(
            PlanMethod(
                name=name, kind="arm" if name in ARMS else "operator", possible=reason is None, reason=reason or ""
            )
            for name, reason in faults.items()
        ),
        needs=needs,
        evaluations=config.search.evaluations,
        stages=stages,
        seconds=round(sum(stage.seconds for stage in stages), 1),
        speed=basis,
        problems=problems,
        fits=not problems,
    )


def require_room(config: Config, surveys: Sequence[Survey], out: Path) -> None:
    """Refuse a run that would end half way for want of disk or memory.

    Args:
        config: of the run.
        surveys: of the parents, the father's first.
        out: the run folder.

    Raises:
        GateError: with how much is missing of what.
    """
    short = _shortages(_needs(config, surveys, _device(config), out))
    if short:
        raise GateError(f"no room for this run: {'; '.join(short)}; --force begins it all the same")


def _device(config: Config) -> machine.Device | None:
    return machine.accelerator() if config.device != "cpu" else None


def _survey(ref: str, offline: bool) -> tuple[Survey, str]:
    """A parent as its files say, or else as its configuration alone says, with a word on where that is from."""
    try:
        if is_remote(ref, offline):
            return survey_remote(ref), ""
        return survey(find_model(ref, offline=offline).folder), ""
    except CheckpointError:
        alone = configuration_alone(ref)
        if alone is None:
            raise
        return survey_configuration(alone, ref), alone.note


def _surveys(
    refs: Mapping[str, str], tokenizer: str, offline: bool
) -> tuple[dict[str, tuple[Survey, str]], tuple[str, ...]]:
    """Role -> survey and where it is from; with one vocabulary where that is asked for and weights are here."""
    if tokenizer == FATHER or not all(is_whole_here(ref, offline) for ref in refs.values()):
        return {role: _survey(ref, offline) for role, ref in refs.items()}, ()
    sources = {role: find_model(ref, offline=offline) for role, ref in refs.items()}
    aligned = align_vocabularies(sources, read_choice(tokenizer, sources, offline=offline))
    return {role: (survey(source.folder), "") for role, source in aligned.sources.items()}, aligned.notes


def is_whole_here(ref: str, offline: bool) -> bool:
    """Whether a parent's weights are on this machine, so that a run would read them as they are."""
    return not is_remote(ref, offline) and configuration_alone(ref) is None


def _shown(ref: str) -> str:
    """A reference without this machine's folders."""
    return "+".join(Path(part).name if Path(part).is_absolute() else part for part in split_adapters(ref))


def _parent(role: str, ref: str, survey: Survey, note: str) -> PlanParent:
    sizes = Counter[str]()
    for stored in survey.tensors.values():
        sizes[stored.dtype] += stored.size
    return PlanParent(
        role=role,
        ref=ref,
        family=survey.family,
        layers=len(survey.anatomy.layers),
        hidden_size=survey.anatomy.hidden_size,
        ffn_size=survey.anatomy.ffn_size,
        parameters=survey.parameters,
        dtype=sizes.most_common(1)[0][0] if sizes else "none",
        size=survey.size,
        shards=len(survey.shards),
        vocabulary=len(survey.vocabulary.ids) if survey.vocabulary else None,
        note=note,
    )


def _needs(config: Config, surveys: Sequence[Survey], device: machine.Device | None, out: Path) -> tuple[PlanNeed, ...]:
    father = surveys[0]
    each = DTYPE_BYTES.get(config.dtype) or (2 if device else 4)
    size = device and (device.memory or LARGE_DEVICE)
    stages = stage_bytes(config, surveys, each, size)
    least = stage_bytes(config, surveys, each, size, short=True)
    kept = ffn_parameters(father) * 2 if config.cross else _repaired_bytes(father) if config.repair else 0
    disk = father.size + kept + moment_bytes(config, surveys) + RECORDS
    free = machine.free_disk(out)
    needs = [
        PlanNeed(
            name="disk", needed=disk, available=free, fits=disk <= free, note=f"the child, {_kept_words(config)}records"
        )
    ]
    memory = machine.host_memory()
    if not device:
        host, note = RUNTIME + max(stages.values()), _fullest(stages)
        if memory is not None and host > memory:
            host = RUNTIME + max(least.values())
            note += f"; short of it, {RECOMPUTED}: {_fullest(least)}"
    else:
        waits = device.memory is not None and max(stages.values()) > device.memory
        needs.append(_device_need(config, device, stages, least if waits else None))
        host, note = RUNTIME, "models are read straight to the device"
        if waits and config.repair:
            host, note = RUNTIME + father.size + sum(survey.size for survey in surveys), "all that waits in the repair"
        elif waits or config.search.engine == "vllm":
            host, note = host + father.size, "the parent that waits; what a search can keep there comes on top"
        if config.repair:
            host += int(config.repair.memory_gb * 2**30)
    fits = None if memory is None else host <= memory
    needs.insert(1, PlanNeed(name="host memory", needed=int(host), available=memory, fits=fits, note=note))
    return tuple(needs)


def _repaired_bytes(father: Survey) -> int:
    """On disk: the repaired child, the layers of the best repair so far, and those of the one in progress."""
    return father.size + 2 * layer_parameters(father) * father.size // max(1, father.parameters)


def _kept_words(config: Config) -> str:
    """What a run keeps on disk beside its child."""
    return "kept donors, " if config.cross else "the repaired child and layers of repairs, " if config.repair else ""


def _device_need(
    config: Config, device: machine.Device, stages: Mapping[str, int], least: Mapping[str, int] | None
) -> PlanNeed:
    """What the device must hold; ``least`` is what is left once all that can has given way, where that is needed."""
    note, needed = f"{device.name}: {_fullest(stages)}", max(stages.values())
    if least is not None:
        note, needed = f"{note}; short of it, {_gives_way(config)}: {_fullest(least)}", max(least.values())
    fits = None if device.memory is None else needed <= device.memory
    return PlanNeed(name="device memory", needed=needed, available=device.memory, fits=fits, note=note)


def _fullest(stages: Mapping[str, int]) -> str:
    name = max(stages, key=lambda key: stages[key])
    return (
        f"most in stage {name}, of " + ", ".join(f"{key} {size / 2**30:.1f}" for key, size in stages.items()) + " GiB"
    )


def _gives_way(config: Config) -> str:
    scanned = "the other parent waits in host memory during the scan, " if can_wait(config) else ""
    slopes = "slopes are taken layer by layer, " if config.prior.preset != "flat" else ""
    return (
        f"{scanned}the father while another model is checked or scored, {slopes}and what a search cannot keep on the"
        f" device waits in host memory or is computed again for each candidate"
    )


def _problems(
    config: Config, faults: dict[str, str | None], needs: tuple[PlanNeed, ...], device: machine.Device | None
) -> tuple[str, ...]:
    problems = []
    reason = faults[config.method]
    if reason:
        possible = [name for name, fault in faults.items() if fault is None]
        problems.append(f"method {config.method}: {reason}; possible here: {', '.join(possible) or 'none'}")
    if config.device == "cuda" and device is None:
        problems.append("device cuda: no NVIDIA device answers on this machine: use --device cpu")
    return (*problems, *_shortages(needs))


def _shortages(needs: tuple[PlanNeed, ...]) -> tuple[str, ...]:
    """Of every need that is not met, how much is missing and what to do."""
    advice = {"disk": "free space or choose another --out", "host memory": "close programs or take a larger machine"}
    return tuple(
        f"{need.name}: {need.needed - (need.available or 0):,} of {need.needed:,} bytes are missing:"
        f" {advice.get(need.name, 'take a larger device')}"
        for need in needs
        if need.fits is False
    )
