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
from darwin_mri.probes import Probe, document_nll, load_probes, observe, select_probes, tokenize_probes
from proving.recipes import RECIPES
from proving.specialists import ADAPTERS, DRAWN, base_file
from proving.subjects import SUBJECTS
from proving.topic_words import count_hits, is_named, topic_lists

DOCUMENTS = 16  # of each domain
FIRST = 5
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
    (folder / "words.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for key, rows in results["readings"].items():
        named = [name for name, row in rows.items() if row["named"]]
        own_hits = np.mean([row["hits"][name] for name, row in rows.items()])
        others = np.mean([np.mean([n for k, n in row["hits"].items() if k != name]) for name, row in rows.items()])
        print(f"{key:44} {len(named)} of {len(rows)}  hits {own_hits:.1f}, in others' {others:.1f}  {' '.join(named)}")


if __name__ == "__main__":
    main()
