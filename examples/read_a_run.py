"""Read a finished run from its records alone: no model, no torch, any machine.

    python examples/read_a_run.py [FOLDER]

FOLDER is a run; the committed example ``reports/nursery/david`` when it is not given. Prints who the parents were, the
largest genes of the winner, the layers that the prior kept from changing, and the sentence on hybrid vigor.
"""

import sys
from pathlib import Path

from darwin_mri import Comparison, Genome, Prior

DAVID = Path(__file__).parents[1] / "reports" / "nursery" / "david"


def main() -> None:
    """Print what a run found."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DAVID
    genome = Genome.load(folder / "genome.json")
    prior = Prior.load(folder / "prior.json")
    comparison = Comparison.load(folder / "comparison.json")
    print(f"{genome.father} x {genome.mother} by {genome.method}, {len(genome.genes)} genes")
    largest = sorted(genome.genes.items(), key=lambda gene: -abs(gene[1]))[:5]
    print("largest genes: " + ", ".join(f"{name} {value:.2f}" for name, value in largest))
    frozen = ", ".join(map(str, prior.frozen)) or "none"
    print(f"frozen layers, to protect {', '.join(prior.protect)}: {frozen}")
    if comparison.vigor is not None:
        print(comparison.vigor.sentence)


if __name__ == "__main__":
    main()
