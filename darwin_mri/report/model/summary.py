"""Answers to what a reviewer asks in the first minute: how sure, what the MRI saw, what is frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from darwin_mri.records import Comparison, PairScan, Prior, Scan
from darwin_mri.records.roles import named, role_label
from darwin_mri.records.score import COMPOSITE
from darwin_mri.report import formats
from darwin_mri.report.model.findings import fitness_gap, frozen_sentence, mean_similarity, rises
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.report.record_words import split_label
from darwin_mri.translation import say, say_count

Answer = tuple[str, str]  # question, answer


def scan_answers(run: RunRecords) -> Iterator[Answer]:
    """What the MRI saw, and what was frozen for which language or domain."""
    sentences = (_channels(run), _heaviest(run.father, "father"), _similarity(run.pairs))
    if any(sentences):
        yield say("What did the MRI see?"), " ".join(filter(None, sentences))
    if run.prior is not None:
        yield say("What is frozen, and why?"), _frozen(run.prior)


def search_answer(run: RunRecords) -> str:
    """How much of the winner's fitness is luck."""
    genome, gap = run.genome, fitness_gap(run.genome)
    if genome is None or gap is None:
        return ""
    return say(
        "The winner's fitness was {search_score} on the items that chose it and {retest_score} on fresh ones ({gap}).",
        search_score=formats.fixed(genome.search_score, 3),
        retest_score=formats.fixed(genome.retest_score, 3),
        gap=formats.signed(-gap, 3),
    )


def protocol_answer(comparison: Comparison) -> str:
    """How many items carry the headline."""
    child = [s for s in comparison.scores if s.role == "child" and s.measured_whole]
    whole = next((s for s in child if s.benchmark == COMPOSITE and s.split != "search" and s.n), None)
    if whole is None:
        return ""
    n, split = formats.count(whole.n), whole.split
    items = (
        say("{n} held-out items", n=n)
        if split == "held-out"
        else say("{n} items (split: {split})", n=n, split=split_label(split))
    )
    if not whole.clusters or whole.clusters == whole.n:
        return say("Measured on {items}.", items=items)
    return say("Measured on {items} in {clusters} clusters.", items=items, clusters=formats.count(whole.clusters))


def _channels(run: RunRecords) -> str:
    channels = [c for scan in (*run.scans.values(), *run.pairs.values()) for c in scan.channels.values()]
    if not channels:
        return ""
    informative = sum(c.informative for c in channels)
    return say_count(
        "{informative} of {count} channel carry a signal.",
        "{informative} of {count} channels carry a signal.",
        len(channels),
        informative=informative,
    )


def _heaviest(scan: Scan | None, role: str) -> str:
    """The layer whose FFN matters most, by the largest rise over languages and domains."""
    if scan is None:
        return ""
    values = [(rise.value, layer.index, name) for layer in scan.layers for (_, name), rise in rises(layer).items()]
    if not values:
        return ""
    value, index, name = max(values)
    return say(
        "The {role} leans most on the FFN of layer {index}: without it NLL per byte rises by {value} on {name}.",
        role=role_label(role),
        index=index,
        value=formats.percent(value),
        name=name,
    )


def _similarity(pairs: Mapping[str, PairScan]) -> str:
    values = {role: mean_similarity(pair, pair.layer_map) for role, pair in pairs.items() if pair.cka}
    if not values:
        return ""
    if len(values) == 1:
        value = next(iter(values.values()))
        return say("Along the layer map the parents' FFNs have a mean CKA of {value}.", value=formats.fixed(value))
    if len(values) > 3 and None not in values.values():
        order = sorted(values, key=lambda role: values[role] or 0.0)
        least, most = (f"{formats.fixed(values[role])} ({named(role)})" for role in (order[0], order[-1]))
        return say(
            "Along the layer maps the father's FFNs have a mean CKA from {least} to {most} with the other parents'.",
            least=least,
            most=most,
        )
    parts = [
        say("{value} with {role}'s", value=formats.fixed(value), role=named(role)) for role, value in values.items()
    ]
    return say("Along the layer maps the father's FFNs have a mean CKA of {parts}.", parts=formats.listing(parts))


def _frozen(prior: Prior) -> str:
    text = frozen_sentence(prior)
    if not prior.frozen and prior.informative and prior.protect:
        text += " " + say("No blend was shown to harm what is protected by more than that.")
    return text
