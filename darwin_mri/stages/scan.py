"""Stage ``scan``: every parent layer by layer, and the father beside every other parent."""

from __future__ import annotations

from darwin_mri.batch_sizes import scan_tokens
from darwin_mri.checkpoints import LoadedModel, swapped
from darwin_mri.checkpoints.devices import retry_smaller
from darwin_mri.mri import Activations, ScanOptions, paired_positions, scan_pair, scan_parent, scan_work
from darwin_mri.probes import TokenizedProbes, describe_probes, select_tokenized
from darwin_mri.problem.parents import FATHER, MOTHER, Parents
from darwin_mri.problem.scans import Scans
from darwin_mri.records import PairScan, Scan
from darwin_mri.run import MeasurementCache, Run

Positions = list[tuple[int, int]]
"""(probe index, token index)."""


def scan_parents(run: Run, parents: Parents) -> Scans:
    """Scan every parent on the same probes, then the pairs; a resumed run reads what is there.

    Args:
        run: gets scan/ROLE.json and scan/pair.json.
        parents: one or more.

    Returns:
        The scans.
    """
    if not parents.others:
        tokenized = parents.tokenized(FATHER)
        scan = run.record("scan/father.json", Scan, lambda: _scan(run, parents.father, FATHER, tokenized, [])[0])
        return Scans(scan)
    names = ("scan/father.json", "scan/mother.json", "scan/pair.json")
    if run.has(*names):
        father_path, mother_path, pair_path = (run.path(name) for name in names)
        return Scans(Scan.load(father_path), (Scan.load(mother_path),), (PairScan.load(pair_path),))
    father, mother, config = parents.father, parents.model(MOTHER), run.config
    father_probes, mother_probes = parents.tokenized(FATHER), parents.tokenized(MOTHER)
    left, right, documents = paired_positions(father_probes, mother_probes, config.scan.positions, config.seed)
    father_scan, father_activations = _scan(run, father, FATHER, father_probes, left)
    with swapped(father, mother, parents.device):
        mother_scan, mother_activations = _scan(run, mother, MOTHER, mother_probes, right)
    pair = scan_pair(
        father,
        mother,
        father_activations,
        mother_activations,
        documents,
        reference_ratio=config.reference_ratio,
        seed=config.seed,
    )
    pair.save(run.path("scan/pair.json"))
    return Scans(father_scan, (mother_scan,), (pair,))


def _scan(
    run: Run, parent: LoadedModel, role: str, tokenized: TokenizedProbes, positions: Positions
) -> tuple[Scan, Activations]:
    """One parent's scan, in smaller batches where one does not fit in memory."""
    config, budget, keep = run.config.scan, scan_tokens(run.manifest.device), run.keep
    probes = describe_probes(tokenized.probes, tokenized.tokens)
    key = f"{parent.digest} {probes.digest} {probes.tokens} {parent.model.dtype} {parent.model.device.type}"
    options = ScanOptions(config.bootstrap, run.config.seed, config.mixers)

    def attempt() -> tuple[Scan, Activations]:
        losses = MeasurementCache(run.path(f"state/scan-{role}.jsonl"), key, keep)
        work = scan_work(parent, tokenized, config.mixers)
        with run.progress.stage(f"scan {parent.source.ref}", work) as advance:
            return scan_parent(parent, tokenized, positions, options, cache=losses, advance=advance)

    def halve() -> bool:
        nonlocal budget, keep, tokenized
        budget, keep = budget // 2, True  # layers already measured are kept
        if budget < max(map(len, tokenized.ids)):
            return False  # one text is longer than that, so a smaller batch is no smaller
        everything = range(len(tokenized.probes))
        tokenized = select_tokenized(
            tokenized, everything, device=str(tokenized.batches[0].ids.device), token_budget=budget
        )
        run.progress.say(f"a batch did not fit in memory: going on with {budget} tokens at a time")
        return True

    scan, activations = retry_smaller(
        attempt,
        halve,
        lambda: (
            f"{parent.source.ref}: one probe text alone does not fit in memory: lower scan.max_tokens or use a"
            " larger device"
        ),
    )
    scan.save(run.path(f"scan/{role}.json"))
    return scan, activations
