"""What a father's neurons can tell apart: ``python -m experiments.fact_readout``.

Competence teaches by new down projections: a linear readout of the neurons he has. So, layer by layer, a ridge readout of the neurons at the place where an
answer follows is fitted to the right answers of all 300 facts in three training wordings (labels an arm never sees), and asked in the wordings that are tested.
What it gets wrong there no down projection of that layer alone can put right: his neurons do not tell the facts apart from one wording to another. By hand,
not by pytest.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

import torch

from darwin_mri.checkpoints import find_anatomy, find_model, load_model, load_tokenizer
from darwin_mri.merging.arms.context import LoadedModel, forward, capture
from darwin_mri.merging.arms.moments import ridge
from darwin_mri.nursery.prompts import fact_stems
from darwin_mri.nursery.world import Fact, World
from darwin_mri.probes import Probe, tokenize_probes

PAIRS = (("gemma4-korean", "science"), ("gemma4-reasoning", "science"), ("qwen35-mother", "korean"))
FORMS = 3  # wordings of each fact, as in configs/arena/
PENALTY = 1e-3  # the arms' own (arm.ridge)


@torch.inference_mode()
def neurons(side: LoadedModel, layer: int, texts: Sequence[str]) -> torch.Tensor:
    """Neurons of a layer at each text's last token, shape (texts, width)."""
    probes = [Probe(text=text, language="xx", domain="prose", doc=str(i)) for i, text in enumerate(texts)]
    reading = tokenize_probes(probes, side.tokenizer, max_tokens=128, device="cpu")
    out: dict[int, torch.Tensor] = {}
    for batch in reading.batches:
        with capture(side, {layer: ("a",)}) as seen:
            forward(side, batch)
        for row, document in enumerate(batch.documents.tolist()):
            out[document] = seen[layer, "a"][row, int(batch.text[row].nonzero()[-1])].float()
    return torch.stack([out[i] for i in range(len(texts))])


def readout(side: LoadedModel, layer: int, facts: Sequence[Fact], seed: int) -> tuple[float, float]:
    """Accuracy among an item's choices: in the wordings it was fitted on, and in those that are tested."""
    values = sorted({value for fact in facts for value in (fact.value, *fact.wrong)})
    dice = random.Random(seed)
    taught = [(fact, text) for fact in facts for text in dice.sample(fact_stems(fact), FORMS)]
    tested = [(fact, text) for fact in facts for text in fact.wordings(test=True)]
    a = neurons(side, layer, [text for _, text in taught])
    wanted = torch.nn.functional.one_hot(
        torch.tensor([values.index(fact.value) for fact, _ in taught]), len(values)
    ).float()
    weights = ridge(a.T.double() @ a.double(), a.T.double() @ wanted.double(), PENALTY).float()
    accuracies = []
    for asked in (taught, tested):
        scores = neurons(side, layer, [text for _, text in asked]) @ weights.T
        right = [
            max((fact.value, *fact.wrong), key=lambda value, row=row: float(row[values.index(value)])) == fact.value
            for (fact, _), row in zip(asked, scores, strict=True)
        ]
        accuracies.append(sum(right) / len(right))
    return accuracies[0], accuracies[1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.fact_readout", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    world = World()
    for name, subject in PAIRS:
        source = find_model(f"nursery:{name}", offline=True)
        model = load_model(source, device="cpu", dtype="float32")
        side = LoadedModel(model, load_tokenizer(source), find_anatomy(model))
        facts = world.korean_facts if subject == "korean" else world.science_facts
        print(f"{name}, {subject}: accuracy of a readout in taught / tested wordings, by layer")
        for info in side.anatomy.layers:
            if info.ffn is not None:
                taught, tested = readout(side, info.index, facts, options.seed)
                print(f"  layer {info.index}: {taught:.3f} / {tested:.3f}", flush=True)


if __name__ == "__main__":
    main()
