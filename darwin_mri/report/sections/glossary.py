"""The words a report uses, each explained in a sentence or two: the one text for every renderer."""

from __future__ import annotations

from darwin_mri.report.model.elements import Definitions, Section
from darwin_mri.translation import later, say

TERMS = {
    later("father, mother, child"): (
        later(
            "The father is the model whose architecture and tokenizer the child keeps. The mother is the model whose"
            " weights are blended in. The child is the result.",
        )
    ),
    later("genome"): (
        later(
            "The numbers (genes) that make a child. A ratio of 0 keeps a layer the father's; a larger one blends in"
            " more of the mother.",
        )
    ),
    later("MRI"): later(
        "The scan of a model: how its layers behave on probe texts, and what is lost without each of them."
    ),
    later("channel"): later("One kind of figure of the MRI, such as the importance of layers for one language."),
    later("FFN"): later("Feed-forward network: the part of a layer that treats each token alone."),
    later("NLL per byte"): (
        later(
            "Negative log-likelihood of a text divided by its bytes, in nats: how badly a model predicts the text."
            " Lower is better; a task's score is this number negated, so that higher is better for every score.",
        )
    ),
    later("KL divergence, agreement"): (
        later(
            "How far one model's predictions of the next token are from another's, in nats per token; 0 where they are"
            " the same. An agreement task scores the divergence from a parent on texts without labels, negated as NLL"
            " is.",
        )
    ),
    later("CKA"): later("Centred kernel alignment: how alike two layers represent the same texts, 0 to 1."),
    later("layer map"): later("Which of the mother's layers each of the father's layers is paired with."),
    later("reliability"): (
        later(
            "How much of a channel's variation over layers is signal, 0 to 1: one minus the variance over bootstrap"
            " resamples divided by the variance over layers.",
        )
    ),
    later("prior"): later(
        "Where the search starts and how far it may stray: a mean and a sigma for every gene, drawn from the MRI."
    ),
    later("trust"): later(
        "How reliable the evidence for a gene is, 0 to 1. The less trust, the wider the search looks."
    ),
    later("protected, frozen"): (
        later(
            "A protected language or domain must not get worse. A layer is frozen, kept as the father's, when blending"
            " it would harm a protected text by more than the tolerance.",
        )
    ),
    later("fitness"): later("What the search raises: the child's score on search items."),
    later("held-out"): later("Items that the search never used. Scores are taken on these unless they say otherwise."),
    later("composite"): (
        later(
            "The weighted mean of the benchmarks' scores. Where they have different units the mean has none:"
            " read differences between models from it, not its value.",
        )
    ),
    later("limit"): (
        later(
            "A task on which the child must not fall below a parent by more than is allowed. The search ranks"
            " candidates that do so behind all others; whether the child keeps it is judged on held-out items.",
        )
    ),
    later("protocol"): (
        later(
            "How answers are taken: prompt, scoring rule and metric. Scores of different protocols must not be"
            " subtracted."
        )
    ),
    later("chance"): later("The accuracy of guessing, for tasks whose items have choices."),
    later("base, baseline"): (
        later(
            "The base is the model that both parents were trained from. A baseline is any other model that is scored."
        )
    ),
    later("null child"): (
        later(
            "A child made without the step under test, such as one ratio everywhere or donor layers in another order. A"
            " child that does not beat its null children owes nothing to that step.",
        )
    ),
    later("hybrid vigor"): later("The child beats both parents on the composite, by more than chance explains."),
    later("interval"): (
        later(
            "95 % interval from the spread of whole clusters of items (stories or facts). A difference whose interval"
            " holds zero is no result.",
        )
    ),
    later("Holm"): later("Correction of p-values for testing several contrasts at once."),
}


# What changes where a child has more than two parents: its place in the list, then the term and its explanation.
SEVERAL = {
    later("father, mother, child"): (
        later("father, mother, parent3, ..., child"),
        later(
            "The father is the model whose architecture and tokenizer the child keeps. The others, in the order of the"
            " config, are the models whose weights are blended in. The child is the result.",
        ),
    ),
    later("genome"): (
        later("genome"),
        later(
            "The numbers (genes) that make a child. A ratio of 0 takes nothing from a parent in that layer; a larger"
            " one blends in more of it.",
        ),
    ),
    later("layer map"): (
        later("layer map"),
        later("Which of another parent's layers each of the father's layers is paired with."),
    ),
    later("base, baseline"): (
        later("base, baseline"),
        later(
            "The base is the model that all parents were trained from. A baseline is any other model that is scored."
        ),
    ),
    later("hybrid vigor"): (
        later("hybrid vigor"),
        later("The child beats all parents on the composite, by more than chance explains."),
    ),
}


def glossary_section(parents: int = 2) -> Section:
    """Section 'glossary': the terms of a page about children of that many parents, explained."""
    replaced = SEVERAL if parents > 2 else {}
    chosen = (replaced.get(term, (term, text)) for term, text in TERMS.items())
    terms = tuple((say(term), say(text)) for term, text in chosen)
    return Section("glossary", say("Glossary"), (Definitions(terms),))
