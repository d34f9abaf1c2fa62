"""Answers to what a reviewer asks in the first minute: how sure, what the MRI saw, what is frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from darwin_mri.records import Comparison, PairScan, Prior, Scan
from darwin_mri.records.roles import named
from darwin_mri.report import formats
from darwin_mri.report.model.findings import COMPOSITE, fitness_gap, frozen_sentence, mean_similarity, rises
from darwin_mri.report.model.run_records import RunRecords

Answer = tuple[str, str]  # question, answer


def scan_answers(run: RunRecords) -> Iterator[Answer]:
    """What the MRI saw, and what was frozen for which language or domain."""
    sentences = (_channels(run), _heaviest(run.father, "father"), _similarity(run.pairs))
    if any(sentences):
        yield "What did the MRI see?", " ".join(filter(None, sentences))
    if run.prior is not None:
        yield "What is frozen, and why?", _frozen(run.prior)


def search_answer(run: RunRecords) -> str:
    """How much of the winner's fitness is luck."""
    genome, gap = run.genome, fitness_gap(run.genome)
    if genome is None or gap is None:
        return ""
    return (
        f"The winner's fitness was {formats.fixed(genome.search_score, 3)} on the items that chose it and"
        f" {formats.fixed(genome.retest_score, 3)} on fresh ones ({formats.signed(-gap, 3)})."
    )


def protocol_answer(comparison: Comparison) -> str:
    """How many items carry the headline."""
    child = [s for s in comparison.scores if s.role == "child" and s.measured_whole]
    whole = next((s for s in child if s.benchmark == COMPOSITE and s.split != "search" and s.n), None)
    if whole is None:
        return ""
    clusters = f" in {formats.count(whole.clusters)} clusters" if whole.clusters and whole.clusters != whole.n else ""
    items = "held-out items" if whole.split == "held-out" else f"items (split: {whole.split})"
    return f"Measured on {formats.count(whole.n)} {items}{clusters}."


def _channels(run: RunRecords) -> str:
    channels = [c for scan in (*run.scans.values(), *run.pairs.values()) for c in scan.channels.values()]
    if not channels:
        return ""
    informative = sum(c.informative for c in channels)
    return f"{informative} of {formats.plural(len(channels), 'channel')} carry a signal."


def _heaviest(scan: Scan | None, role: str) -> str:
    """The layer whose FFN matters most, by the largest rise over languages and domains."""
    if scan is None:
        return ""
    values = [(rise.value, layer.index, name) for layer in scan.layers for (_, name), rise in rises(layer).items()]
    if not values:
        return ""
    value, index, name = max(values)
    return (
        f"The {role} leans most on the FFN of layer {index}: without it NLL per byte rises by {formats.percent(value)}"
        f" on {name}."
    )


def _similarity(pairs: Mapping[str, PairScan]) -> str:
    values = {role: mean_similarity(pair, pair.layer_map) for role, pair in pairs.items() if pair.cka}
    if not values:
        return ""
    if len(values) == 1:
        value = next(iter(values.values()))
        return f"Along the layer map the parents' FFNs have a mean CKA of {formats.fixed(value)}."
    if len(values) > 3 and None not in values.values():
        order = sorted(values, key=lambda role: values[role] or 0.0)
        least, most = (f"{formats.fixed(values[role])} ({named(role)})" for role in (order[0], order[-1]))
        return f"Along the layer maps the father's FFNs have a mean CKA from {least} to {most} with the other parents'."
    parts = [f"{formats.fixed(value)} with {named(role)}'s" for role, value in values.items()]
    return f"Along the layer maps the father's FFNs have a mean CKA of {formats.listing(parts)}."


def _frozen(prior: Prior) -> str:
    text = frozen_sentence(prior)
    if not prior.frozen and prior.informative and prior.protect:
        text += " No blend was shown to harm what is protected by more than that."
    return text
