"""The scan stage: one parent, or both and the pair."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from darwin_mri.benchmarks.scorer import is_out_of_memory
from darwin_mri.errors import DarwinError
from darwin_mri.mri import Activations, Parent, paired_positions, scan_pair, scan_parent, scan_work
from darwin_mri.probes import describe_probes, select_reading
from darwin_mri.records import PairScan, Scan
from darwin_mri.stages.memory import scan_tokens
from darwin_mri.stages.parents import Loaded, chosen_probes, exchanged, parent_for_scan
from darwin_mri.stages.run import Progress, Run
from darwin_mri.stages.saved import Saved


@dataclass(frozen=True)
class PairScans:
    father: Scan
    mother: Scan
    pair: PairScan


def scan_one(run: Run, loaded: Loaded, progress: Progress) -> Scan:
    """Scan one parent into scan/father.json."""
    config = run.config
    parent = parent_for_scan(loaded, chosen_probes(config.scan, config.seed), config.scan)
    return run.record("scan/father.json", Scan, lambda: _scan(run, "father", parent, [], progress)[0])


def _scan(
    run: Run, role: str, parent: Parent, positions: list[tuple[int, int]], progress: Progress
) -> tuple[Scan, Activations]:
    config = run.config
    probes = describe_probes(parent.reading.probes, parent.reading.tokens)
    key = f"{parent.info.digest} {probes.digest} {probes.tokens} {parent.model.dtype} {parent.model.device.type}"
    path, keep, budget = run.path(f"state/scan-{role}.jsonl"), run.keep, scan_tokens(run.manifest.device)
    while True:
        losses = Saved(path, key, keep)
        with progress.stage(f"scan {parent.info.ref}", scan_work(parent, config.scan.mixers)) as advance:
            try:
                scan, activations = scan_parent(
                    parent,
                    positions=positions,
                    resamples=config.scan.bootstrap,
                    seed=config.seed,
                    mixers=config.scan.mixers,
                    cache=losses,
                    advance=advance,
                )
                scan.save(run.path(f"scan/{role}.json"))
                return scan, activations
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
        budget, keep = budget // 2, True  # layers already measured are kept
        parent = _smaller(parent, budget)
        progress.say(f"a batch did not fit in memory: going on with {budget} tokens at a time")


def _smaller(parent: Parent, budget: int) -> Parent:
    """The same parent and texts in batches of at most ``budget`` tokens.

    Raises:
        DarwinError: one text is longer than that, so a smaller batch is no smaller.
    """
    if budget < max(map(len, parent.reading.ids)):
        raise DarwinError(
            f"{parent.info.ref}: one probe text alone does not fit in memory: lower scan.max_tokens or use a larger device"
        )
    device = parent.reading.batches[0].ids.device
    if device.type == "cuda":
        torch.cuda.empty_cache()
    everything = range(len(parent.reading.probes))
    return replace(parent, reading=select_reading(parent.reading, everything, device=str(device), token_budget=budget))


def scan_both(run: Run, father: Loaded, mother: Loaded, progress: Progress) -> PairScans:
    """Scan both parents on the same probes, then the pair; a resumed run reads what is there."""
    names = ("scan/father.json", "scan/mother.json", "scan/pair.json")
    if run.keep and all(run.path(name).is_file() for name in names):
        paths = [run.path(name) for name in names]
        return PairScans(Scan.load(paths[0]), Scan.load(paths[1]), PairScan.load(paths[2]))
    config = run.config
    probes = chosen_probes(config.scan, config.seed)
    device = str(next(father.model.parameters()).device)
    ours, theirs = (parent_for_scan(loaded, probes, config.scan, device) for loaded in (father, mother))
    left, right, documents = paired_positions(ours.reading, theirs.reading, config.scan.positions, config.seed)
    father_scan, father_activations = _scan(run, "father", ours, left, progress)
    with exchanged(father.model, mother.model, device):
        mother_scan, mother_activations = _scan(run, "mother", theirs, right, progress)
    pair = scan_pair(
        ours, theirs, father_activations, mother_activations, documents,
        reference_ratio=config.reference_ratio, seed=config.seed,
    )  # fmt: skip
    pair.save(run.path(names[2]))
    return PairScans(father_scan, mother_scan, pair)


def gate_rms(scan: Scan) -> tuple[float, ...]:
    """Per layer the measured rms of the gate's pre-activation."""
    return tuple(layer.activation.get("a", {}).get("all", {}).get("gate_rms", 1.0) for layer in scan.layers)
