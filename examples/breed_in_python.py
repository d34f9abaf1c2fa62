"""Breed a child from Python: read a config, shorten it, run the whole pipeline, print verdict and scores.

    python examples/breed_in_python.py [FOLDER]

FOLDER gets the run: records, child and report.html; a temporary folder is used when it is not given. Prints the
sentence on hybrid vigor, the composite accuracy of father, mother and child, and where the report is. With the short
settings below it takes about a minute on a CPU, and the scores are of few items: leave out SHORT for the real run.
"""

import sys
import tempfile
from pathlib import Path

import darwin_mri

CONFIG = Path(__file__).parents[1] / "configs" / "david.yaml"
SHORT = {  # laid over the config's own values
    "scan": {"languages": ["ko", "en"], "documents": 2, "max_tokens": 32, "positions": 64, "bootstrap": 100},
    "prior": {"items": 8, "steps": 0},
    "search": {"budget": 4, "population": 4, "items": 8, "finalists": 1},
    "bench": {"items": 16, "harness": False},  # the fast scorer in place of lm-eval
}


def main() -> None:
    """Run the pipeline and print what came out."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    config = darwin_mri.load_config(CONFIG, SHORT)
    # force: a child of so short a search is kept although it may fail its health check
    result = darwin_mri.breed(config, folder, overwrite=True, force=True)
    comparison = result.comparison
    if comparison.vigor is not None:
        print(comparison.vigor.sentence)
    for score in comparison.scores:
        if score.benchmark == "composite" and score.role in ("father", "mother", "child"):
            print(f"{score.role:<7} {score.value:.1%}")
    gates = result.health.gates
    print(f"health: {sum(gate.passed for gate in gates)} of {len(gates)} gates passed")
    print(f"report: {result.folder / 'report.html'}")


if __name__ == "__main__":
    main()
