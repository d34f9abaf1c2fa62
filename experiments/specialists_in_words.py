"""Does the lens name a specialist's subject? ``python -m experiments.specialists_in_words --out FOLDER``.

Eight specialists of SmolLM2 135M (``proving/adapters``) and their base read the same texts. The mean difference of what
they leave at a layer, specialist - base, is read through the final norm's gain and the output head; ten tokens it
promotes most are what the lens says. Written down before any of it was looked at:

*Naming.* ``proving/topic_words.py``: at least two of the ten tokens are in the subject's own list, and more than in the
list of every other subject. The other subjects' lists are the null: a lens that says the same of every specialist names
at most one of eight.

*Primary reading.* The packaged English probes and code (generic text, no specialist's subject), the residual stream
after the last layer, the mean over all tokens, raw logits.

*Prediction.* The primary reading names 5 of 8. It misses sums and stories (adapters of attention alone: what they write
hangs on the prompt) and one of the three invented worlds, whose answers are everyday words. Specialists were trained on
answers alone, and read the base's own text beside; the paper below found that such a mixture weakens the trace. On the
specialist's own kind of text 7 of 8 are named. A middle layer names fewer than the last one.

*Other readings*, all reported: ``h`` or ``f`` (the FFNs' increments, of one layer or summed over all); the median
layer, the last quarter's mean, every layer's mean at equal norm; all tokens or the first five (Minder et al. 2025,
"Narrow finetuning leaves clearly readable traces in activation differences", arXiv 2510.13900); tokens ranked by
logit, by logit over its standard error over documents (``t``), or by cosine (``cos``); and the specialist's own
statements in place of generic text.

*Added after the first look*, which named none of eight on generic text: ``contrast``, the difference less the mean of
the other seven specialists' (they share most of what they write); ``prompts``, the last token of the specialist's own
prompts, where its answer follows, with the stream divided by its rms before the difference is taken; and ``steered``,
the change of the base's mean log-probabilities after ordinary openings when the difference on the first five tokens of
generic text is added to the stream after the median layer, at a multiple of the stream's own norm. ``plausible`` leaves
out tokens whose mean probability by the base on the same texts is below 1e-7: rows of the head that no text asks for
are held by nothing. ``along`` takes the part along the base's mean last state away, which the final norm ignores; that
is what the scan's channel reads, with the plausible tokens alone.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darwin_mri.checkpoints import LoadedModel, effective_gain, find_model, load
from darwin_mri.mri.readout import PLAUSIBLE
from darwin_mri.probes import Probe, document_nll, load_probes, observe, select_probes, tokenize_probes
from proving.recipes import RECIPES
from proving.specialists import ADAPTERS, DRAWN, base_file
from proving.subjects import SUBJECTS
from proving.topic_words import count_hits, is_named, topic_lists

DOCUMENTS = 16  # of each domain
FIRST = 5
OPENINGS = ("The", "In the", "It was", "When", "A", "She", "They", "One of the", "There", "If you", "Many", "He")
STRENGTHS = (0.25, 0.5, 1.0)  # of a steering vector, in norms of the stream
OWN = 16  # statements of each subject


@torch.inference_mode()
def read(model: LoadedModel, probes: Sequence[Probe]) -> dict[str, torch.Tensor]:
    """Means of each text: site -> (layers, texts, hidden), ``h`` and ``f`` over all tokens, ``h5`` and ``f5`` over
    the first ones.
    """
    tokenized = tokenize_probes(probes, model.tokenizer, max_tokens=128, device="cpu", token_budget=2048)
    layers, width = len(model.layers), model.anatomy.hidden_size
    out = {site: torch.zeros(layers, len(tokenized.probes), width) for site in ("h", "f", "h5", "f5")}
    for batch in tokenized.batches:

        def take(index: int, site: str, value: torch.Tensor, batch: Any = batch) -> None:
            if site not in ("h_out", "f"):
                return
            place = batch.text.cumsum(1) * batch.text  # (rows, length): 1 at a text's first token
            for name, most in (("", 1 << 30), (str(FIRST), FIRST)):
                keep = ((place > 0) & (place <= most)).to(value.dtype)[..., None]
                out[site[0] + name][index, batch.documents] = ((value * keep).sum(1) / keep.sum(1)).float()

        with observe(model, take):
            document_nll(model.model, batch)
    return out


def own_texts(name: str) -> tuple[Probe, ...]:
    """Statements of a subject."""
    statements = islice(SUBJECTS[name].statements(random.Random(f"words:{name}")), OWN)
    return tuple(Probe("".join(pair), "en", "knowledge", f"{name}-{i}") for i, pair in enumerate(statements))


def own_prompts(name: str) -> tuple[Probe, ...]:
    """Prompts of a subject, without the answers."""
    drawn = islice(SUBJECTS[name].statements(random.Random(f"words:{name}")), 2 * OWN)
    return tuple(Probe(prompt, "en", "knowledge", f"{name}-{i}") for i, (prompt, _) in enumerate(drawn))


@torch.inference_mode()
def read_ends(model: LoadedModel, probes: Sequence[Probe]) -> torch.Tensor:
    """(texts, hidden): the stream after the last layer at each text's last token, divided by its rms."""
    rows: list[torch.Tensor] = []
    for probe in probes:
        ids = torch.tensor([model.tokenizer.encode(probe.text)])
        kept: dict[str, torch.Tensor] = {}
        with observe(model, lambda index, site, value, kept=kept: kept.update({site: value})):
            model.model.model(input_ids=ids, use_cache=False)
        rows.append(kept["h_out"][0, -1])
    states = torch.stack(rows)
    return states / states.square().mean(-1, keepdim=True).sqrt()


@torch.inference_mode()
def steer(base: LoadedModel, direction: torch.Tensor, strength: float) -> torch.Tensor:
    """(vocabulary,) change of the base's mean log-probabilities after ordinary openings.

    Args:
        base: the model that is steered.
        direction: (hidden,) added after the median layer at every token.
        strength: of it, in norms of the stream there.
    """
    layer, total = base.layers[len(base.layers) // 2], torch.zeros(0)

    def add(_module: Any, _args: Any, output: Any) -> Any:
        state = output[0] if isinstance(output, tuple) else output
        moved = state + strength * state[:, 1:].norm(dim=-1).mean() * direction / direction.norm()
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    for opening in OPENINGS:
        ids = torch.tensor([base.tokenizer.encode(opening + " most")])
        plain = base.model(input_ids=ids).logits[0, -1].log_softmax(-1)
        handle = layer.register_forward_hook(add)
        try:
            steered = base.model(input_ids=ids).logits[0, -1].log_softmax(-1)
        finally:
            handle.remove()
        total = steered - plain if not len(total) else total + steered - plain
    return total / len(OPENINGS)


def collect_more(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Reading -> specialist -> scores of the vocabulary, of what was added after the first look."""
    base = load(find_model(base_file(), offline=True), "", device="cpu", dtype="float32")
    ends = {name: read_ends(base, own_prompts(name)) for name in DRAWN}
    out: dict[str, dict[str, torch.Tensor]] = {}
    own, kept = torch.load(folder / "head"), torch.load(folder / "base.pt")["generic"]
    head = own["head"] * own["gain"]
    delta = {name: torch.load(folder / f"{name}.pt")["generic"] for name in DRAWN}
    unit = kept["h"][-1] / kept["h"][-1].norm(dim=-1, keepdim=True)
    moves = {name: delta[name]["h"][-1] - kept["h"][-1] for name in DRAWN}
    last = {name: (move - (move * unit).sum(-1, keepdim=True) * unit).mean(0) for name, move in moves.items()}
    likely = ((unit * head.shape[1] ** 0.5) @ head.T).softmax(-1).mean(0) >= PLAUSIBLE
    head = head - head.mean(0)
    for name in DRAWN:
        model = load(find_model(f"{base_file()}+{ADAPTERS / name}", offline=True), "", device="cpu", dtype="float32")
        moved = (read_ends(model, own_prompts(name)) - ends[name]).mean(0)
        others = sum(last[other] for other in DRAWN if other != name) / (len(DRAWN) - 1)
        seen = (ends[name] @ (own["head"] * own["gain"]).T).softmax(-1).mean(0) >= PLAUSIBLE
        for reading, scores, keep in (
            ("own | prompts", head @ moved, seen),
            ("generic | h | last | along", head @ last[name], likely),
            ("generic | h | last | contrast", head @ (last[name] - others), likely),
        ):
            out.setdefault(reading, {})[name] = scores
            out.setdefault(f"{reading} | plausible", {})[name] = scores.where(keep, torch.tensor(float("-inf")))
        for other in DRAWN:
            if other != name:
                pair = head @ (last[name] - last[other])
                out.setdefault(f"pairs | {other}", {})[name] = pair.where(likely, torch.tensor(float("-inf")))
        middle = len(base.layers) // 2
        direction = (delta[name]["h5"][middle] - kept["h5"][middle]).mean(0)
        for strength in STRENGTHS:
            out.setdefault(f"generic | steered {strength}", {})[name] = steer(base, direction, strength)
    return out


def collect(folder: Path) -> None:
    """Read all texts by every model; what is there already stays."""
    generic = select_probes(load_probes(), ("en",), DOCUMENTS, 1)
    for name in ("base", *DRAWN):
        path = folder / f"{name}.pt"
        if path.is_file():
            continue
        ref = base_file() if name == "base" else f"{base_file()}+{ADAPTERS / name}"
        model = load(find_model(ref, offline=True), "", device="cpu", dtype="float32")
        names = DRAWN if name == "base" else (name,)
        texts = {"generic": read(model, generic)} | {own: read(model, own_texts(own)) for own in names}
        if name == "base":
            head = model.model.get_output_embeddings().weight.detach().float()
            torch.save(
                {"head": head, "gain": effective_gain(model.model.model.norm, head.shape[1])[0]}, folder / "head"
            )
        torch.save(texts, path)
        print(name, flush=True)


def layers_of(delta: torch.Tensor) -> dict[str, torch.Tensor]:
    """Which layers are read together: name -> (texts, hidden), of (layers, texts, hidden)."""
    count = len(delta)
    scale = delta.mean(1).norm(dim=-1).clamp_min(1e-9)[:, None, None]
    return {
        "last": delta[-1],
        "median": delta[count // 2],
        "last quarter": (delta / scale)[-(count // 4) :].mean(0),
        "all, equal norm": (delta / scale).mean(0),
        "sum": delta.sum(0),
    }


def rank(delta: torch.Tensor, head: torch.Tensor) -> dict[str, torch.Tensor]:
    """Scores of the vocabulary by way of ranking, of (texts, hidden)."""
    logits = delta.mean(0) @ head.T
    centred = delta - delta.mean(0)
    error = ((centred @ head.T).square().mean(0) / max(len(delta) - 1, 1)).sqrt()
    return {"logit": logits, "t": logits / error.clamp_min(1e-9), "cos": logits / head.norm(dim=1).clamp_min(1e-9)}


def main() -> None:
    """Collect, judge every reading, write words.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    collect(folder)
    tokenizer: Any = load(find_model(base_file(), offline=True), "", device="cpu", dtype="float32").tokenizer
    lists = topic_lists([SUBJECTS[RECIPES[name].subject] for name in DRAWN], tokenizer)
    base, out = torch.load(folder / "base.pt"), torch.load(folder / "head")
    head = out["head"] * out["gain"]  # (vocabulary, hidden)
    head = head - head.mean(0)
    results: dict[str, Any] = {"lists": {name: sorted(own) for name, own in lists.items()}, "readings": {}}
    for name in DRAWN:
        own = torch.load(folder / f"{name}.pt")
        for texts, other in (("generic", "generic"), ("own", name)):
            for site in ("h", "f", "h5", "f5"):
                for layers, delta in layers_of(own[other][site] - base[other][site]).items():
                    for how, scores in rank(delta, head).items():
                        top = [tokenizer.decode([i]) for i in scores.topk(10).indices.tolist()]
                        hits = count_hits(top, lists)
                        key = f"{texts} | {site} | {layers} | {how}"
                        row = {"top": top, "hits": hits, "named": is_named(name, hits)}
                        results["readings"].setdefault(key, {})[name] = row
    for key, scores in collect_more(folder).items():
        for name, own in scores.items():
            top = [tokenizer.decode([i]) for i in own.topk(10).indices.tolist()]
            hits = count_hits(top, lists)
            row = {"top": top, "hits": hits, "named": is_named(name, hits)}
            results["readings"].setdefault(key, {})[name] = row
    (folder / "words.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for key, rows in results["readings"].items():
        named = [name for name, row in rows.items() if row["named"]]
        own_hits = np.mean([row["hits"][name] for name, row in rows.items()])
        others = np.mean([np.mean([n for k, n in row["hits"].items() if k != name]) for name, row in rows.items()])
        print(f"{key:44} {len(named)} of {len(rows)}  hits {own_hits:.1f}, in others' {others:.1f}  {' '.join(named)}")


if __name__ == "__main__":
    main()
