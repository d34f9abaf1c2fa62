"""The scan's own words of eight specialists beside their base, at the end of the specialists' own prompts.

``python -m experiments.prompts_in_words``. Naming is that of ``proving/topic_words.py``. Chosen after
``specialists_in_words`` had shown that generic text names none: here it is the specialist's own kind of text, without
the answers, read where the answer follows (``words:end``, the last layer). Also says what two equal parents show.
"""

from __future__ import annotations

from dataclasses import replace

from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.mri.activations import Activations, measure_activations
from darwin_mri.mri.words import sibling_words
from darwin_mri.probes import tokenize_probes
from experiments.specialists_in_words import own_prompts
from proving.recipes import RECIPES
from proving.specialists import ADAPTERS, DRAWN, base_file
from proving.subjects import SUBJECTS
from proving.topic_words import count_hits, is_named, topic_lists

PROMPTS = 16  # of each subject


def open_model(ref: str) -> LoadedModel:
    """A model on the CPU in fp32."""
    return load(find_model(ref, offline=True), ref, device="cpu", dtype="float32")


def read(model: LoadedModel, name: str) -> Activations:
    """One pass over a subject's prompts."""
    probes = [replace(probe, topic=name) for probe in own_prompts(name)[:PROMPTS]]
    return measure_activations(model, tokenize_probes(probes, model.tokenizer, max_tokens=64, device="cpu")).for_pair()


def main() -> None:
    """Print each specialist's ten tokens and whether they name it."""
    base, named = open_model(base_file()), []
    lists = topic_lists([SUBJECTS[RECIPES[name].subject] for name in DRAWN], base.tokenizer)
    for name in DRAWN:
        own, other = read(base, name), read(open_model(f"{base_file()}+{ADAPTERS / name}"), name)
        words, channels = sibling_words(base, own, other, 400, 1)
        channel = channels["words:end:all"]
        top = [word.token for word in words["end"][-1]["all"].promoted] if channel.informative else []
        hits = count_hits([token.replace("␣", " ") for token in top], lists)
        named += [name] if is_named(name, hits) else []
        best = max(count for subject, count in hits.items() if subject != name)
        print(f"{name:10} {hits[name]} of ten, best other {best}  {'  '.join(top) or channel.note}", flush=True)
    own = read(base, DRAWN[0])
    _, channels = sibling_words(base, own, own, 400, 1)
    print(f"equal parents: {sum(channel.informative for channel in channels.values())} of {len(channels)} informative")
    print(f"{len(named)} of {len(DRAWN)} named")


if __name__ == "__main__":
    main()
