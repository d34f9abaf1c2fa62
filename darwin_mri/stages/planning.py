"""The pre-flight: reads configurations, headers and tokenizers of the parents, and says what fits, what it costs, and what cannot be.

No weight is read, and torch is loaded only for a parent of which nothing but its configuration is at hand. Times are estimates that
rest on counted tokens and on a speed that is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from darwin_mri.checkpoints.find import find_model
from darwin_mri.checkpoints.remote import is_remote, survey_remote
from darwin_mri.checkpoints.skeleton import configuration_alone, survey_configuration
from darwin_mri.checkpoints.survey import LAYER, Survey, survey
from darwin_mri.config import ARMS, Config
from darwin_mri.errors import CheckpointError, GateError
from darwin_mri.merging.fits import all_faults, sibling_fault, token_fault
from darwin_mri.records import Plan, PlanMethod, PlanNeed, PlanParent, PlanStage
from darwin_mri.stages import machine
from darwin_mri.stages.memory import CHOICES, can_wait, ffn_parameters, item_tokens, stage_bytes

PROBE_GROUPS = 9  # language and domain groups of the built-in probes, where the languages are not chosen
FILLED = 0.7  # of max_tokens, in the mean
LAYER_SECONDS = 8e-6  # per token and layer on a processor, whatever the width
NULLS = 4
RECORDS = 64 * 2**20  # bytes, generously
ANEW = "candidates are made anew from the parents' files"
RUNTIME = 1.5 * 2**30  # bytes a process with torch and transformers takes by itself
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def plan_run(config: Config, out: Path, *, offline: bool = False, rate: float | None = None) -> Plan:
    """What a run of this config needs, and what stands in its way.

    Args:
        rate: FLOP/s that a forward pass reaches, as ``python -m speed.rehearsal`` measures it; from this machine when None.

    Raises:
        CheckpointError: a parent cannot be found or its files are damaged.
    """
    refs = {role: ref for role in ("father", "mother", "base") if (ref := getattr(config, role))}
    looked = {role: _survey(ref, offline) for role, ref in refs.items()}
    surveys = {role: found for role, (found, _) in looked.items()}
    father, mother, base = surveys["father"], surveys["mother"], surveys.get("base")
    fault = sibling_fault(father, mother, "mother")
    faults = all_faults(father, mother, base)
    here = _device(config)
    device = here or (machine.ABSENT if config.device == "cuda" else None)
    needs = _needs(config, surveys, device, out)
    stages, basis = _stages(config, father, mother, device, rate)
    problems = _problems(config, faults, needs, here)
    return Plan(
        method=config.method,
        parents=tuple(_parent(role, _shown(refs[role]), *found) for role, found in looked.items()),
        siblings=fault is None,
        sibling_reason=fault or "",
        tokenizers=_tokenizers(father, mother),
        methods=tuple(
            PlanMethod(
                name=name, kind="arm" if name in ARMS else "operator", possible=reason is None, reason=reason or ""
            )
            for name, reason in faults.items()
        ),
        needs=needs,
        evaluations=config.search.budget + config.search.finalists,
        stages=stages,
        seconds=round(sum(stage.seconds for stage in stages), 1),
        speed=basis,
        problems=problems,
        fits=not problems,
    )


def require_room(config: Config, surveys: Mapping[str, Survey], out: Path) -> None:
    """Refuse a run that would end half way for want of disk or memory.

    Args:
        surveys: of father and mother, by role.

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


def _shown(ref: str) -> str:
    """A reference without this machine's folders."""
    return Path(ref).name if Path(ref).is_absolute() else ref


def _parent(role: str, ref: str, found: Survey, note: str) -> PlanParent:
    sizes = Counter[str]()
    for stored in found.tensors.values():
        sizes[stored.dtype] += stored.size
    return PlanParent(
        role=role, ref=ref, family=found.family, layers=len(found.anatomy.layers), hidden_size=found.anatomy.hidden_size,
        ffn_size=found.anatomy.ffn_size, parameters=found.parameters, dtype=sizes.most_common(1)[0][0] if sizes else "none",
        size=found.size, shards=len(found.shards), vocabulary=found.vocabulary, note=note,
    )  # fmt: skip


def _tokenizers(father: Survey, mother: Survey) -> str:
    if father.tokens is None or mother.tokens is None:
        who = "father" if father.tokens is None else "mother"
        return f"not compared: the {who} has no tokenizer.json"
    return token_fault(father, mother, "mother") or "the same special tokens and vocabulary size"


def _needs(
    config: Config, surveys: Mapping[str, Survey], device: machine.Device | None, out: Path
) -> tuple[PlanNeed, ...]:
    father, mother = surveys["father"], surveys["mother"]
    each = DTYPE_BYTES.get(config.dtype) or (2 if device else 4)
    stages = stage_bytes(config, father, mother, each, accelerator=device is not None)
    disk = father.size + (ffn_parameters(father) * 2 if config.cross else 0) + RECORDS
    free = machine.free_disk(out)
    needs = [
        PlanNeed(name="disk", needed=disk, available=free, fits=disk <= free, note="the child, kept donors, records")
    ]
    memory = machine.host_memory()
    least = stage_bytes(config, father, mother, each, accelerator=device is not None, short=True)
    if not device:
        host, note = RUNTIME + max(stages.values()), _fullest(stages)
        if memory is not None and host > memory:
            host = RUNTIME + max(least.values())
            note += f"; short of it, {ANEW}: {_fullest(least)}"
    else:
        waits = device.memory is not None and max(stages.values()) > device.memory
        note = f"{device.name}: {_fullest(stages)}"
        if waits:
            note += f"; short of it, {_gives_way(config)}: {_fullest(least)}"
        needed = max((least if waits else stages).values())
        fits = None if device.memory is None else needed <= device.memory
        needs.append(PlanNeed(name="device memory", needed=needed, available=device.memory, fits=fits, note=note))
        both = waits and can_wait(config)
        host = RUNTIME + (father.size + mother.size if both else max(father.size, mother.size))
        note = "the parent that waits, and one on its way" if both else "one parent at a time on its way to the device"
    fits = None if memory is None else host <= memory
    needs.insert(1, PlanNeed(name="host memory", needed=int(host), available=memory, fits=fits, note=note))
    return tuple(needs)


def _fullest(stages: Mapping[str, int]) -> str:
    name = max(stages, key=lambda key: stages[key])
    return (
        f"most in stage {name}, of " + ", ".join(f"{key} {size / 2**30:.1f}" for key, size in stages.items()) + " GiB"
    )


def _gives_way(config: Config) -> str:
    waits = "the second parent waits in host memory during the scan and " if can_wait(config) else ""
    return waits + ANEW


def layer_parameters(found: Survey) -> int:
    """Parameters that every token is multiplied with."""
    total = 0
    for name in found.text_names:
        if LAYER.match(name) and len(found.tensors[name].shape) >= 2:
            size = 1
            for side in found.tensors[name].shape:
                size *= side
            total += size
    return total


def _stages(
    config: Config, father: Survey, mother: Survey, device: machine.Device | None, rate: float | None
) -> tuple[tuple[PlanStage, ...], str]:
    speed = rate or (device.speed if device else machine.processor_speed())
    if rate:
        basis = f"{rate / 1e12:g} TFLOP/s in a forward pass, as given"
    elif device:
        basis = f"{device.name}: {device.basis}"
    else:
        basis = f"this processor: {speed / 1e9:.0f} GFLOP/s in a forward pass, measured"

    def seconds(found: Survey, tokens: float) -> float:
        layers = len(found.anatomy.layers)
        return tokens * (2 * layer_parameters(found) / speed + (0 if device else layers * LAYER_SECONDS))

    groups = len(config.scan.languages) + 2 if config.scan.languages else PROBE_GROUPS
    read = config.scan.documents * groups * config.scan.max_tokens * FILLED
    kinds = 2 if config.scan.mixers else 1
    # An ablated forward begins at its layer: half of the layers in the mean.
    scan = sum(seconds(found, read * (1 + kinds * len(found.anatomy.layers) / 2)) for found in (father, mother))
    per_item = {name: item_tokens(name) for name in config.bench.tasks}
    fitness = sum(per_item[name] for name in config.fitness)
    stages = [
        PlanStage(name="scan", seconds=scan, note=f"{2 * read:,.0f} tokens, and once more from each ablated layer on"),
    ]
    if config.prior.preset != "flat":
        tokens = 2 * len(config.prior.protect) * read / groups
        note = f"texts in {len(config.prior.protect)} protected languages or domains, twice"
        if config.prior.preset == "response":
            tokens += (2 + config.prior.steps) * config.prior.items * fitness * CHOICES
            note += f"; {config.prior.items} items per benchmark, {2 + config.prior.steps} times"
        stages.append(PlanStage(name="prior", seconds=seconds(father, 3 * tokens), note=f"with gradients: {note}"))
    if config.cross and config.method not in ("raw", "folded"):
        tokens = config.arm.documents * groups * config.arm.max_tokens * FILLED
        passes = len(father.anatomy.layers) * config.arm.depth if config.method == "competence" else 2
        stages.append(
            PlanStage(
                name="donors",
                seconds=(seconds(father, tokens) + seconds(mother, tokens)) * passes,
                note=f"{passes:g} passes over {tokens:,.0f} tokens",
            )
        )
    evaluations = config.search.budget + config.search.finalists
    tokens = evaluations * config.search.items * fitness
    stages.append(
        PlanStage(
            name="search",
            seconds=seconds(father, tokens),
            note=f"{evaluations} evaluations of {config.search.items} items per benchmark",
        )
    )
    held_out = config.bench.items or 400
    whole = sum(per_item.values()) * held_out
    lm_eval = whole * CHOICES if config.bench.harness else whole
    bench = seconds(father, 2 * lm_eval + NULLS * whole) + seconds(mother, lm_eval)
    stages.append(
        PlanStage(
            name="bench", seconds=bench, note=f"{held_out} items per benchmark, three models and {NULLS} null children"
        )
    )
    return tuple(stage.model_copy(update={"seconds": round(stage.seconds, 1)}) for stage in stages), basis


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
