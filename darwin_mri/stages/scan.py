"""Stage ``scan``: every parent layer by layer, and the father beside every other parent."""

from __future__ import annotations

from darwin_mri.batch_sizes import scan_tokens
from darwin_mri.checkpoints import LoadedModel, device_memory
from darwin_mri.checkpoints.devices import retry_smaller
from darwin_mri.merging.arms.reading import choose_wordings, plain_layers
from darwin_mri.mri import (
    AblationPlan,
    Activations,
    ScanOptions,
    common_positions,
    measure_reading,
    paired_positions,
    scan_pair,
    scan_parent,
    scan_work,
    sibling_words,
)
from darwin_mri.probes import TokenizedProbes, describe_probes, require_tokens, select_tokenized
from darwin_mri.problem.donors import arm_prompts
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.scans import Scans
from darwin_mri.records import PairScan, PairWords, Scan
from darwin_mri.records.roles import FATHER, pair_file, scan_file
from darwin_mri.run import MeasurementCache, Run

Positions = list[tuple[int, int]]
"""(probe index, token index)."""


def scan_parents(run: Run, parents: Parents) -> Scans:
    """Scan every parent on the same probes, then the pairs; a resumed run reads what is there.

    Args:
        run: gets scan/ROLE.json of every parent, scan/pair.json and, of further parents, scan/pair-ROLE.json.
        parents: one or more.

    Returns:
        The scans.
    """
    if not parents.others:
        tokenized = parents.tokenized(FATHER)
        scan = run.record("scan/father.json", Scan, lambda: _scan(run, parents.father, FATHER, tokenized, [])[0])
        return Scans(scan)
    names = (scan_file(FATHER), *(file(role) for role in parents.others for file in (scan_file, pair_file)))
    if run.has(*names):
        return Scans(
            Scan.load(run.path(scan_file(FATHER))),
            tuple(Scan.load(run.path(scan_file(role))) for role in parents.others),
            tuple(PairScan.load(run.path(pair_file(role))) for role in parents.others),
        )
    father, config = parents.father, run.config
    father_probes, tokenized = parents.tokenized(FATHER), {role: parents.tokenized(role) for role in parents.others}
    pairings = common_positions(
        [paired_positions(father_probes, own, config.scan.positions, config.seed) for own in tokenized.values()]
    )
    father_scan, father_activations = _scan(run, father, FATHER, father_probes, pairings[0][0])
    others: list[Scan] = []
    pairs: list[PairScan] = []
    for (role, probes), (_, right, documents) in zip(tokenized.items(), pairings, strict=True):
        with parents.on_device(role) as other:
            scan, activations = _scan(run, other, role, probes, right)
        pair = scan_pair(
            father,
            other,
            father_activations,
            activations,
            documents,
            reference_ratio=config.reference_ratio,
            seed=config.seed,
        )
        found, verdicts = sibling_words(father, father_activations, activations, config.scan.bootstrap, config.seed)
        layers = enumerate(zip(*found.values(), strict=True))  # none where the parents are no siblings
        words = tuple(PairWords(index=i, **dict(zip(found, own, strict=True))) for i, own in layers)
        pair = pair.model_copy(update={"parent": role, "words": words, "channels": pair.channels | verdicts})
        pair = _with_reading(run, parents, pair)
        pair.save(run.path(pair_file(role)))
        others.append(scan)
        pairs.append(pair)
        del other, activations
        parents.release(role)
    return Scans(father_scan, tuple(others), tuple(pairs))


def _with_reading(run: Run, parents: Parents, pair: PairScan) -> PairScan:
    """The pair with where the father could be taught answers; as it is where no question comes in two wordings."""
    config, father = run.config, parents.father
    if not config.cross or not config.arm.prompts:  # questions of items come in one wording each
        return pair
    wordings = choose_wordings(arm_prompts(parents), config.seed, config.prior.protect)
    if not wordings:
        return pair
    with run.progress.stage("reading test", len(plain_layers(father))) as advance:
        reading, channels = measure_reading(father, wordings, config.scan.bootstrap, config.seed, advance)
    return pair.model_copy(update={"reading": reading, "channels": pair.channels | channels})


def _scan(
    run: Run, parent: LoadedModel, role: str, tokenized: TokenizedProbes, positions: Positions
) -> tuple[Scan, Activations]:
    """One parent's scan, in smaller batches where one does not fit in memory."""
    require_tokens(parent.model, (*tokenized.ids, tokenized.prefix))
    config, budget, keep = run.config.scan, scan_tokens(device_memory(run.manifest.device)), run.keep
    probes = describe_probes(tokenized.probes, tokenized.tokens)
    key = f"{parent.digest} {probes.digest} {probes.tokens} {parent.model.dtype} {parent.model.device.type}"
    options = ScanOptions(config.bootstrap, run.config.seed, config.mixers, config.ablation)
    if config.ablation == "fast":
        key += f" fast {run.config.seed}"  # which documents are measured depends on it

    def attempt() -> tuple[Scan, Activations]:
        losses = MeasurementCache(run.path(f"state/scan-{role}.jsonl"), key, keep)
        plan = AblationPlan(parent, tokenized, options.parts, options.ablation, options.seed)
        with run.progress.stage(f"scan {parent.source.ref}", scan_work(plan)) as advance:
            scan, sums = scan_parent(parent, tokenized, positions, options, plan=plan, cache=losses, advance=advance)
        if plan.mode == "fast" and scan.ablation is not None and scan.ablation.mode == "exact":
            run.progress.say(f"{parent.source.ref}: ablation on every document: {scan.ablation.note}")
        return scan, sums

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
    return scan, activations.for_pair()
