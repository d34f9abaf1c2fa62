"""Train specialists and measure them; those that are there stay as they are.

    python -m proving.train [NAME ...] [--out FOLDER]

With no name, every recipe. An adapter takes about ten minutes on one core (``training.json`` says how long it took).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from darwin_mri.errors import DarwinError


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from proving.recipes import RECIPES
    from proving.specialists import ADAPTERS

    parser = argparse.ArgumentParser(prog="python -m proving.train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(RECIPES)}; all when none is given")
    parser.add_argument("--out", type=Path, default=ADAPTERS, help="folder of the specialists' folders")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in RECIPES]:
        parser.error(f"{unknown[0]}: there is no such recipe; choose among {', '.join(RECIPES)}")
    from proving.bases import fetch_base
    from proving.measuring import measure_specialist
    from proving.training import train

    for name in given.names or RECIPES:
        recipe, folder = RECIPES[name], given.out / name
        try:
            if not (folder / "training.json").is_file():
                train(recipe, folder, say)
            if not (folder / "measured.json").is_file():
                model = str(folder) if recipe.full else f"{fetch_base(recipe.base)}+{folder}"
                figures = measure_specialist(recipe, model)
                (folder / "measured.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
                say(f"{name}: {json.dumps(figures)}")
        except DarwinError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


def say(text: str) -> None:
    """A line of progress."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
