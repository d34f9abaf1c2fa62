"""The scan stage: one parent, or both and the pair."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.config import Config
from darwin_mri.mri import Parent, paired_positions, scan_pair, scan_parent, scan_work
from darwin_mri.records import PairScan, Scan
from darwin_mri.stages.parents import Loaded, chosen_probes, parent_for_scan
from darwin_mri.stages.run import Progress, Run


@dataclass(frozen=True)
class PairScans:
    father: Scan
    mother: Scan
    pair: PairScan


def scan_one(run: Run, loaded: Loaded, progress: Progress) -> Scan:
    """Scan one parent into scan/father.json."""
    config = run.config
    parent = parent_for_scan(loaded, chosen_probes(config.scan, config.seed), config.scan)
    return run.record("scan/father.json", Scan, lambda: _scan(parent, [], config, progress)[0])


def _scan(parent: Parent, positions: list[tuple[int, int]], config: Config, progress: Progress):
    with progress.stage(f"scan {parent.info.ref}", scan_work(parent)) as advance:
        return scan_parent(
            parent, positions=positions, resamples=config.scan.bootstrap, seed=config.seed, advance=advance
        )


def scan_both(run: Run, father: Loaded, mother: Loaded, progress: Progress) -> PairScans:
    """Scan both parents on the same probes, then the pair; a resumed run reads what is there."""
    names = ("scan/father.json", "scan/mother.json", "scan/pair.json")
    if run.keep and all(run.path(name).is_file() for name in names):
        paths = [run.path(name) for name in names]
        return PairScans(Scan.load(paths[0]), Scan.load(paths[1]), PairScan.load(paths[2]))
    config = run.config
    probes = chosen_probes(config.scan, config.seed)
    parents = [parent_for_scan(loaded, probes, config.scan) for loaded in (father, mother)]
    left, right, documents = paired_positions(
        parents[0].reading, parents[1].reading, config.scan.positions, config.seed
    )
    father_scan, father_activations = _scan(parents[0], left, config, progress)
    father_scan.save(run.path(names[0]))
    mother_scan, mother_activations = _scan(parents[1], right, config, progress)
    mother_scan.save(run.path(names[1]))
    pair = scan_pair(
        parents[0].info, parents[1].info, father_activations, mother_activations, documents,
        reference_ratio=config.reference_ratio, seed=config.seed,
    )  # fmt: skip
    pair.save(run.path(names[2]))
    return PairScans(father_scan, mother_scan, pair)


def gate_rms(scan: Scan) -> tuple[float, ...]:
    """Per layer the measured rms of the gate's pre-activation."""
    return tuple(layer.activation.get("a", {}).get("all", {}).get("gate_rms", 1.0) for layer in scan.layers)
