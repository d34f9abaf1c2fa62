"""What layers write, in tokens of the vocabulary."""

from __future__ import annotations

from darwin_mri.records.base import Part
from darwin_mri.records.estimate import Estimate


class Word(Part):
    """A token of the vocabulary, and what a difference of activations does to its logit.

    Attributes:
        token: readable: a space is shown as U+2423, what prints as nothing is escaped.
        shift: change of its logit less the mean change over the vocabulary, by the final norm's gain at its mean scale.
    """

    token: str
    shift: Estimate


class Words(Part):
    """What a mean difference of activations writes through the output head.

    Attributes:
        strength: standard deviation over the vocabulary of the change of logits.
        reliability: 1 - (mean bootstrap variance) / (variance over the vocabulary), in [0, 1].
        p_value: of the hypothesis that documents have no difference in common.
        promoted: the tokens whose logits rise most, the first one most.
        suppressed: those whose logits fall most.
    """

    strength: Estimate
    reliability: float
    p_value: float
    promoted: tuple[Word, ...] = ()
    suppressed: tuple[Word, ...] = ()


class PairWords(Part):
    """What a layer of the other parent writes that the father's does not, on the same tokens.

    Attributes:
        index: number of the layer.
        f: group -> words of the difference of the FFNs' increments; groups without signal are left out.
        h_out: group -> words of the difference of the streams after the layer.
        end: group -> the same at the last token of each text, where a prompt's answer would follow.
    """

    index: int
    f: dict[str, Words] = {}
    h_out: dict[str, Words] = {}
    end: dict[str, Words] = {}
