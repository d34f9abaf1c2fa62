"""Score two models on one benchmark, and compare them item by item.

    python examples/score_two_models.py [FOLDER]

FOLDER gets the answers and ``comparison.json``; a temporary folder is used when it is not given, and answers that are
there already are not computed again. Prints the accuracy of each model with its 95 % interval, then the difference
between both: paired on items, so that questions that are hard for both do not blur it. Takes less than a minute on a
CPU.
"""

import sys
import tempfile
from pathlib import Path

import darwin_mri

MODELS = ["nursery:gemma4-korean", "nursery:gemma4-reasoning"]  # Hub ids or folders work as well
CONFIG = darwin_mri.BenchConfig(
    tasks=("nursery_click",),
    items=120,  # a sample of the benchmark; leave it out for all items
    harness=False,  # the fast scorer in place of lm-eval: the same answers, sooner
)


def main() -> None:
    """Score both models and print scores and contrast."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    comparison = darwin_mri.bench(MODELS, CONFIG, folder, darwin_mri.ScoreOptions(seed=1, offline=True))
    for score in comparison.scores:
        if score.measured_whole and score.benchmark == "nursery_click":
            print(f"{score.model:<26} {score.value:.1%} [{score.low:.1%}, {score.high:.1%}] of {score.n} items")
    for contrast in comparison.contrasts:
        if contrast.benchmark == "nursery_click":
            interval = f"[{contrast.low:+.1%}, {contrast.high:+.1%}], p = {contrast.p_value:.2g}"
            print(f"{MODELS[0]} minus {MODELS[1]}: {contrast.difference:+.1%} {interval}")
            print(f"better on {contrast.wins} of {contrast.n} items, worse on {contrast.losses}")


if __name__ == "__main__":
    main()
