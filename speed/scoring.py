"""Scoring against lm-eval's HFLM: the same items of MuSR and CLIcK, the same answers, side by side in one run.

HFLM is given the better of two batch sizes: lm-eval's default of 1, and 8. Three models: the nursery's own, and two of
about 100 million random parameters. One of these has Gemma's vocabulary (as the family this project is for), the other
a small vocabulary, where there is less to save: HFLM projects every position onto the vocabulary, the scorer only those
that predict a choice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from darwin_mri.benchmarks import (
    FastEngine,
    HarnessEngine,
    Item,
    Scorer,
    answer_all,
    get_benchmark,
    load_benchmark,
    sample_items,
)
from darwin_mri.checkpoints import find_model, load_model, load_tokenizer
from darwin_mri.records import Answer
from speed.measure import make_row

ROUNDS = 2
GOALS = {"musr": 5.0, "click": 3.0}
# vocabulary, hidden size, FFN, layers
RANDOM = {"100M, Gemma's vocabulary": (262_144, 256, 1024, 24), "100M, small vocabulary": (32_768, 640, 2048, 14)}


def scoring_rows() -> list[dict[str, Any]]:
    """All rows; on the nursery's benchmarks where the real files are not beside the repository."""
    data = data_folder()
    names = {"musr": "musr_murder_mysteries", "click": "click"} if data else {k: f"nursery_{k}" for k in GOALS}
    source = find_model("nursery:gemma4-base")
    tokenizer = load_tokenizer(source)
    rows = []
    for title in ("nursery", *RANDOM):
        model = (
            load_model(source, device="cpu", dtype="float32") if title == "nursery" else random_model(*RANDOM[title])
        )
        for key, benchmark in names.items():
            size = {"musr": 12, "click": 200} if title == "nursery" else {"musr": 3, "click": 24}
            items = sample_items(load_benchmark(benchmark, data), size[key], 1)
            rows.append(scoring_row(title, model, tokenizer, items, GOALS[key]))
    return rows


def scoring_row(
    title: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[Item], goal: float
) -> dict[str, Any]:
    """Best time of the faster HFLM to the best of the scorer, tokenisation included in both.

    Args:
        title: of the model.
        model: that is asked.
        tokenizer: the model's.
        items: of one benchmark.
        goal: that the ratio should reach.

    Returns:
        The row.
    """
    protocol = get_benchmark(items[0].benchmark).protocol
    engines: dict[str, FastEngine | HarnessEngine] = {
        "scorer": FastEngine(Scorer(model, tokenizer, beyond_context=True))
    }
    # Eight rows of logits over Gemma's vocabulary, twice, would not fit in most hosts' memories.
    for size in (1, 8) if model.device.type == "cuda" or model.config.get_text_config().vocab_size < 100_000 else (1,):
        engine = HarnessEngine.in_memory(model, tokenizer, beyond_context=True)
        engine.fixed_rows = size
        engines[f"HFLM, batch {size}"] = engine
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    answers: dict[str, list[Answer]] = {}
    for engine in engines.values():
        answer_all(engine, items[:1], protocol)  # warm
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            began = time.perf_counter()
            answers[name] = answer_all(engine, items, protocol)
            seconds[name].append(time.perf_counter() - began)
    best = {name: min(times) for name, times in seconds.items()}
    scorer_seconds = best.pop("scorer")
    fastest = min(best, key=best.__getitem__)
    same = sum(a.choice == b.choice for a, b in zip(answers["scorer"], answers[fastest], strict=True))
    difference = max(
        abs(p - q)
        for a, b in zip(answers["scorer"], answers[fastest], strict=True)
        for p, q in zip(a.log_probabilities, b.log_probabilities, strict=True)
    )
    others = "; ".join(f"{name} {best[name]:.1f} s" for name in best)
    return make_row(
        f"scoring {items[0].benchmark}, {title}",
        f"lm-eval {fastest}",
        best[fastest] / scorer_seconds,
        goal,
        lower=False,
        detail=f"{scorer_seconds:.1f} s; {others}; {same} of {len(items)} choices equal,"
        f" log-probabilities to {difference:.0e}",
    )


def random_model(vocabulary: int, hidden: int, ffn: int, layers: int) -> PreTrainedModel:
    """A Qwen3 of random weights.

    Args:
        vocabulary: number of tokens.
        hidden: width of the residual stream.
        ffn: width of the FFN.
        layers: number of layers.

    Returns:
        The model, in evaluation mode.
    """
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        tie_word_embeddings=True,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 128,
        head_dim=64,
        max_position_embeddings=8192,
    )
    return Qwen3ForCausalLM(config).eval()


def data_folder() -> Path | None:
    """The folder with CLIcK and MuSR; None where there is none."""
    for folder in (os.environ.get("DARWIN_MRI_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        if folder and (Path(folder) / "click" / "click.jsonl").is_file():
            return Path(folder)
    return None
