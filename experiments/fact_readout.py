"""What a father's neurons can tell apart: ``python -m experiments.fact_readout``.

The arm competence edits a father by new down projections: a linear readout of the neurons the father has. So, layer by
layer, a ridge readout of the neurons at the place where an answer follows is fitted to the right answers of all 300
facts in three training wordings (labels that an arm never sees). It is then scored on the test wordings. What it gets
wrong there, no down projection of that layer alone can put right: the father's neurons do not tell the facts apart from
one wording to another. Run by hand, not by pytest: a few minutes.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

import torch

from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.merging.arms.moments import ridge
from darwin_mri.nursery.prompts import fact_stems
from darwin_mri.nursery.world import Fact, World
from darwin_mri.probes import Probe, capture, final_states, tokenize_probes

PAIRS = (("gemma4-korean", "science"), ("gemma4-reasoning", "science"), ("qwen35-mother", "korean"))
FORMS = 3  # wordings of each fact, as in configs/arena/
PENALTY = 1e-3  # the arms' own (arm.ridge)


@torch.inference_mode()
def read_neurons(parent: LoadedModel, layer: int, texts: Sequence[str]) -> torch.Tensor:
    """Neurons of a layer at each text's last token.

    Args:
        parent: the model that reads.
        layer: index of the layer.
        texts: n texts.

    Returns:
        (n, width) float32.
    """
    probes = [Probe(text=text, language="xx", domain="prose", doc=str(i)) for i, text in enumerate(texts)]
    tokenized = tokenize_probes(probes, parent.tokenizer, max_tokens=128, device="cpu")
    neurons: dict[int, torch.Tensor] = {}
    for batch in tokenized.batches:
        with capture(parent, {layer: ("a",)}) as seen:
            final_states(parent.model, batch)
        for row, document in enumerate(batch.documents.tolist()):
            neurons[document] = seen[layer, "a"][row, int(batch.text[row].nonzero()[-1])].float()
    return torch.stack([neurons[i] for i in range(len(texts))])


def score_readout(parent: LoadedModel, layer: int, facts: Sequence[Fact], seed: int) -> tuple[float, float]:
    """Fit a readout of one layer and score it.

    Args:
        parent: the model whose neurons are read.
        layer: index of the layer.
        facts: whose values are told apart.
        seed: of the choice of training wordings.

    Returns:
        Accuracy among an item's choices: in the wordings it was fitted on, and in those of the test.
    """
    values = sorted({value for fact in facts for value in (fact.value, *fact.wrong)})
    dice = random.Random(seed)
    training = [(fact, text) for fact in facts for text in dice.sample(fact_stems(fact), FORMS)]
    test = [(fact, text) for fact in facts for text in fact.wordings(test=True)]
    a = read_neurons(parent, layer, [text for _, text in training])  # (texts, width)
    labels = torch.tensor([values.index(fact.value) for fact, _ in training])
    targets = torch.nn.functional.one_hot(labels, len(values)).double()  # (texts, values)
    weights = ridge(a.T.double() @ a.double(), a.T.double() @ targets, PENALTY).float()  # (values, width)
    accuracies = []
    for wordings in (training, test):
        scores = read_neurons(parent, layer, [text for _, text in wordings]) @ weights.T  # (texts, values)
        right = [
            max((fact.value, *fact.wrong), key=lambda value, row=row: float(row[values.index(value)])) == fact.value
            for (fact, _), row in zip(wordings, scores, strict=True)
        ]
        accuracies.append(sum(right) / len(right))
    return accuracies[0], accuracies[1]


def main() -> None:
    """Print the accuracy of a readout of every layer of three nursery models."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.fact_readout", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    world = World()
    for name, subject in PAIRS:
        parent = load(find_model(f"nursery:{name}", offline=True), device="cpu", dtype="float32")
        facts = world.korean_facts if subject == "korean" else world.science_facts
        print(f"{name}, {subject}: accuracy of a readout in training / test wordings, by layer")
        for info in parent.anatomy.layers:
            if info.ffn is not None:
                training, test = score_readout(parent, info.index, facts, options.seed)
                print(f"  layer {info.index}: {training:.3f} / {test:.3f}", flush=True)


if __name__ == "__main__":
    main()
