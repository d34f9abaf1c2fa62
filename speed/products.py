"""Forward and backward passes of SmolLM2 135M with float32 products by MKL and by oneDNN, in turn in one process."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from darwin_mri.checkpoints import find_model
from darwin_mri.checkpoints.loading import load_model
from darwin_mri.checkpoints.products import product_error
from proving.bases import fetch_base

LIBRARIES = {"MKL": "highest", "oneDNN": "medium"}  # library -> the setting that chooses it on AMD
ROUNDS = 5


def measure(rows: int, tokens: int) -> dict[str, dict[str, float]]:
    """Seconds per pass (least of five rounds) and largest error of a product, by library.

    Args:
        rows: of a batch.
        tokens: of a row.

    Returns:
        Library -> {"forward": s, "backward": s, "error": relative}.
    """
    model = load_model(find_model(str(fetch_base("smollm2")), offline=True), device="cpu", dtype="float32")
    model.requires_grad_(True)
    ids = torch.randint(0, 40_000, (rows, tokens), generator=torch.Generator().manual_seed(0))

    def forward() -> None:
        with torch.inference_mode():
            model(input_ids=ids)

    def backward() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        model.zero_grad()

    seconds = {library: {"forward": np.inf, "backward": np.inf} for library in LIBRARIES}
    for _ in range(ROUNDS):
        for library, setting in LIBRARIES.items():
            torch.set_float32_matmul_precision(setting)
            for name, call in (("forward", forward), ("backward", backward)):
                seconds[library][name] = min(seconds[library][name], _seconds(call))
            seconds[library]["error"] = product_error()
    return seconds


def _seconds(call: Callable[[], None]) -> float:
    began = time.process_time()
    call()
    return (time.process_time() - began) / torch.get_num_threads()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    print(json.dumps({"threads": torch.get_num_threads(), **measure(options.rows, options.tokens)}, indent=1))
