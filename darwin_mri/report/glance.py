"""What a reviewer asks in the first minute, each with its answer: better, how sure, by benchmark, what the MRI saw, what is frozen."""

from __future__ import annotations

from collections.abc import Iterator

from darwin_mri.records import Comparison, PairScan, Prior, Scan
from darwin_mri.report import words
from darwin_mri.report.languages import frozen_sentence
from darwin_mri.report.layers import rises
from darwin_mri.report.run import Run
from darwin_mri.report.similarity import mean_similarity

Answer = tuple[str, str]


def scan_answers(run: Run) -> Iterator[Answer]:
    """What the MRI saw, and what was frozen for whom."""
    seen = " ".join(filter(None, (_channels(run), _heaviest(run.father, "father"), _similarity(run.pair))))
    if seen:
        yield "What did the MRI see?", seen
    if run.prior is not None:
        yield "What is frozen, and why?", _frozen(run.prior)


def search_answer(run: Run) -> str:
    """How much of the winner's fitness is luck."""
    genome = run.genome
    if genome is None or genome.search_score is None or genome.retest_score is None:
        return ""
    gap = genome.search_score - genome.retest_score
    return (
        f"The winner's fitness was {words.fixed(genome.search_score, 3)} on the items that chose it and"
        f" {words.fixed(genome.retest_score, 3)} on fresh ones ({words.signed(-gap, 3)})."
    )


def protocol_answer(comparison: Comparison) -> str:
    """How many items carry the headline."""
    child = [s for s in comparison.scores if s.role == "child" and s.slice == "all" and s.evidence == "measured"]
    whole = next((s for s in child if s.benchmark == "composite" and s.split != "search" and s.n), None)
    if whole is None:
        return ""
    clusters = f" in {words.times(whole.clusters)} clusters" if whole.clusters and whole.clusters != whole.n else ""
    where = "held-out items" if whole.split == "held-out" else f"items (split: {whole.split})"
    return f"Measured on {words.times(whole.n)} {where}{clusters}."


def _channels(run: Run) -> str:
    channels = [c for scan in (run.father, run.mother, run.pair) if scan is not None for c in scan.channels.values()]
    if not channels:
        return ""
    loud = sum(c.informative for c in channels)
    return f"{loud} of {words.plural(len(channels), 'channel')} carry a signal."


def _heaviest(scan: Scan | None, role: str) -> str:
    """The layer whose FFN matters most, by the largest rise over languages and domains."""
    if scan is None:
        return ""
    found = [(e.value, layer.index, name) for layer in scan.layers for (_, name), e in rises(layer).items()]
    if not found:
        return ""
    value, index, name = max(found)
    return f"The {role} leans most on the FFN of layer {index}: without it NLL per byte rises by {words.percent(value)} on {name}."


def _similarity(pair: PairScan | None) -> str:
    if pair is None or not pair.cka:
        return ""
    value = mean_similarity(pair, pair.layer_map)
    return f"Along the layer map the parents' FFNs have a mean CKA of {words.fixed(value)}."


def _frozen(prior: Prior) -> str:
    text = frozen_sentence(prior)
    if not prior.frozen and prior.informative and prior.protect:
        text += " No blend was shown to harm what is protected by more than that."
    return text
