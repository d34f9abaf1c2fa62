"""The pre-flight: reads configurations, headers and tokenizers of the parents, and says what fits, what it costs, and what cannot be.

No weight is read and torch is not loaded. Times are estimates that rest on counted tokens and on a speed that is named.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from darwin_mri.checkpoints.find import find_model
from darwin_mri.checkpoints.remote import is_remote, survey_remote
from darwin_mri.checkpoints.survey import LAYER, Survey, survey
from darwin_mri.config import ARMS, Config
from darwin_mri.merging.fits import all_faults, sibling_fault, token_fault
from darwin_mri.records import Plan, PlanMethod, PlanNeed, PlanParent, PlanStage
from darwin_mri.stages import machine

CHOICES = 4
TOKENS = {"nursery_click": 20, "nursery_gpqa": 20, "nursery_musr": 50, "click": 250, "musr": 1100, "gpqa": 350}
OTHER_TOKENS = 300  # per item of a benchmark not listed
PROBE_GROUPS = 9  # language and domain groups of the built-in probes, where the languages are not chosen
FILLED = 0.7  # of max_tokens, in the mean
LAYER_SECONDS = 8e-6  # per token and layer on a processor, whatever the width
NULLS = 4
RECORDS = 64 * 2**20  # bytes, generously
RUNTIME = 1.5 * 2**30  # bytes a process with torch and transformers takes by itself
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def plan_run(config: Config, out: Path, *, offline: bool = False) -> Plan:
    """What a run of this config needs, and what stands in its way.

    Raises:
        CheckpointError: a parent cannot be found or its files are damaged.
    """
    refs = {role: ref for role in ("father", "mother", "base") if (ref := getattr(config, role))}
    surveys = {role: _survey(ref, offline) for role, ref in refs.items()}
    father, mother, base = surveys["father"], surveys["mother"], surveys.get("base")
    fault = sibling_fault(father, mother, "mother")
    faults = all_faults(father, mother, base)
    device = machine.accelerator() if config.device != "cpu" else None
    needs = _needs(config, surveys, device, out)
    stages, basis = _stages(config, father, mother, device)
    problems = _problems(config, faults, needs, device)
    return Plan(
        method=config.method,
        parents=tuple(_parent(role, _shown(refs[role]), found) for role, found in surveys.items()),
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


def _survey(ref: str, offline: bool) -> Survey:
    return survey_remote(ref) if is_remote(ref, offline) else survey(find_model(ref, offline=offline).folder)


def _shown(ref: str) -> str:
    """A reference without this machine's folders."""
    return Path(ref).name if Path(ref).is_absolute() else ref


def _parent(role: str, ref: str, found: Survey) -> PlanParent:
    sizes = Counter[str]()
    for stored in found.tensors.values():
        sizes[stored.dtype] += stored.size
    return PlanParent(
        role=role, ref=ref, family=found.family, layers=len(found.anatomy.layers), hidden_size=found.anatomy.hidden_size,
        ffn_size=found.anatomy.ffn_size, parameters=found.parameters, dtype=sizes.most_common(1)[0][0] if sizes else "none",
        size=found.size, shards=len(found.shards), vocabulary=found.vocabulary,
    )  # fmt: skip


def _tokenizers(father: Survey, mother: Survey) -> str:
    if father.tokens is None or mother.tokens is None:
        who = "father" if father.tokens is None else "mother"
        return f"not compared: the {who} has no tokenizer.json"
    return token_fault(father, mother, "mother") or "the same special tokens and vocabulary size"


def _needs(
    config: Config, surveys: dict[str, Survey], device: machine.Device | None, out: Path
) -> tuple[PlanNeed, ...]:
    father, mother = surveys["father"], surveys["mother"]
    wide = DTYPE_BYTES.get(config.dtype)
    loaded = [_loaded(found, wide or (2 if device else 4)) for found in (father, mother)]
    moved = _ffn_parameters(father) if config.cross else father.parameters
    vectors = moved * (
        4 if config.cross or config.method in ("linear", "slerp", "task_arithmetic", "dare_linear") else 8
    )
    kept = vectors + moved * 2
    donors = moved * 2 if config.cross else 0
    arm = int(config.arm.memory_gb * 2**30) if config.method in ("aligned", "transplant", "refit", "competence") else 0
    disk = father.size + donors + RECORDS
    models = max(sum(loaded) + arm, loaded[0] + kept)
    free = machine.free_disk(out)
    needs = [
        PlanNeed(name="disk", needed=disk, available=free, fits=disk <= free, note="the child, kept donors, records")
    ]
    host = RUNTIME + (father.size if device else models)
    memory = machine.host_memory()
    note = (
        "one parent at a time on its way to the device"
        if device
        else "both parents, then the father with what the search keeps"
    )
    needs.append(
        PlanNeed(
            name="host memory",
            needed=int(host),
            available=memory,
            fits=None if memory is None else host <= memory,
            note=note,
        )
    )
    if device:
        needs.append(
            PlanNeed(
                name="device memory",
                needed=int(models),
                available=device.memory,
                fits=models <= device.memory,
                note=device.name,
            )
        )
    return tuple(needs)


def _loaded(found: Survey, bytes_each: int) -> int:
    return found.parameters * bytes_each


def _ffn_parameters(found: Survey) -> int:
    total = 0
    for layer in found.anatomy.layers:
        if layer.ffn:
            total += (3 if layer.ffn.gate else 2) * layer.ffn.width * found.anatomy.hidden_size
    return total


def _layer_parameters(found: Survey) -> int:
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
    config: Config, father: Survey, mother: Survey, device: machine.Device | None
) -> tuple[tuple[PlanStage, ...], str]:
    speed = device.speed if device else machine.processor_speed()
    basis = (
        f"{device.name}: {device.basis}"
        if device
        else f"this processor: {speed / 1e9:.0f} GFLOP/s in a forward pass, measured"
    )

    def seconds(found: Survey, tokens: float) -> float:
        layers = len(found.anatomy.layers)
        return tokens * (2 * _layer_parameters(found) / speed + (0 if device else layers * LAYER_SECONDS))

    groups = len(config.scan.languages) + 2 if config.scan.languages else PROBE_GROUPS
    read = config.scan.documents * groups * config.scan.max_tokens * FILLED
    scan = sum(seconds(found, read * (1 + len(found.anatomy.layers))) for found in (father, mother))
    per_item = {name: TOKENS.get(name, OTHER_TOKENS) for name in config.bench.tasks}
    fitness = sum(per_item[name] for name in config.fitness)
    stages = [
        PlanStage(name="scan", seconds=scan, note=f"{2 * read:,.0f} tokens, and once more per ablated layer"),
    ]
    if config.prior.preset == "response":
        tokens = 2 * 3 * (config.prior.items * fitness * CHOICES + len(config.prior.protect) * read / groups)
        stages.append(PlanStage(name="prior", seconds=seconds(father, tokens), note="two passes with gradients"))
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
    for need in needs:
        if need.fits is False:
            missing = need.needed - (need.available or 0)
            advice = {
                "disk": "free space or choose another --out",
                "host memory": "close programs or take a larger machine",
            }
            problems.append(
                f"{need.name}: {missing:,} of {need.needed:,} bytes are missing: {advice.get(need.name, 'take a larger device')}"
            )
    return tuple(problems)
