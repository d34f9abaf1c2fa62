"""What a GPU does with a parent of the real shapes: ratios against their goals, and absolute figures.

    python -m speed.device --out FILE [--small]        ``python -m speed`` does it too where there is a GPU

The father is Gemma 4 E4B with random values, made on the device; items and texts are stand-ins of the real lengths.
Beside the absolute figures stands what the device was measured to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from darwin_mri.batch_sizes import scan_tokens
from darwin_mri.benchmarks import load_benchmark, sample_items
from darwin_mri.checkpoints import LoadedModel, device_memory, find_anatomy, find_model, load_tokenizer
from darwin_mri.merging import Candidate, Merge, Settings
from darwin_mri.mri.ablation import ablation_nll
from darwin_mri.mri.activations import measure_activations
from darwin_mri.probes import TokenizedProbes, document_nll, load_probes, select_probes, tokenize_probes
from speed.measure import make_row, time_pair
from speed.reading import reading_row
from speed.scoring import scoring_row
from speed.shapes import PARENTS, configuration
from speed.standins import write_standins

DEVICE = "cuda"
ROUNDS = 5
GOALS = {"scan": 1.15, "candidate": 0.8, "musr": 5.0, "click": 3.0}


@dataclass(frozen=True)
class DeviceLimits:
    """What the device was measured to do.

    Attributes:
        rate: FLOP/s of a bf16 matrix product.
        bandwidth: bytes per second, read and written, of a copy.
    """

    rate: float
    bandwidth: float


def device_rows(small: bool = False) -> Iterator[dict[str, Any]]:
    """Every row, each with its absolute figures in ``detail``; none without a GPU."""
    if not torch.cuda.is_available():
        return
    father = make_parent("father", small)
    limits = DeviceLimits(matrix_rate(), bandwidth())
    yield scan_row(father, limits)
    yield candidate_row(father, limits, "linear")
    yield candidate_row(father, limits, "dare_ties")
    with tempfile.TemporaryDirectory(prefix="darwin-mri-speed-") as folder:
        data = write_standins(Path(folder), father.tokenizer)
        for benchmark, count in (("click", 96), ("musr", 24)):
            items = sample_items(load_benchmark(benchmark, data), count, 1)
            yield scoring_row("GPU", father.model, father.tokenizer, items, GOALS[benchmark])
            yield reading_row(f"{benchmark}, GPU", father.model, father.tokenizer, items, limits.rate)


def make_parent(role: str, small: bool) -> LoadedModel:
    """A parent of random values, made on the device."""
    config = AutoConfig.for_model(**configuration(role, small))
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = model.eval().requires_grad_(False)
    source = find_model(f"nursery:{PARENTS[role][1]}")  # the tokenizer's; its weights are not read
    return LoadedModel(source, "", model, load_tokenizer(source), find_anatomy(model))


def matrix_rate(side: int = 8192) -> float:
    """FLOP/s of a bf16 product of two square matrices of random values."""
    a, b = (torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / median_seconds(lambda: a @ b)


def bandwidth(count: int = 2**31) -> float:
    """Bytes read and written per second by a copy on the device, of a tensor of ``count`` bytes."""
    a = torch.randn(count // 2, device=DEVICE, dtype=torch.bfloat16)
    b = torch.empty_like(a)
    return 2 * a.nbytes / median_seconds(lambda: b.copy_(a))


def median_seconds(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median seconds of a call, until the device has done its work; two more rounds warm up."""
    times = []
    for turn in range(rounds + 2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if turn > 1:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def tokenize_scan_probes(parent: LoadedModel, documents: int = 16) -> TokenizedProbes:
    """What a scan of the real pair reads: four languages, 128 tokens a text."""
    probes = select_probes(load_probes(), ("ko", "en", "ja", "zh"), documents, 1)
    budget = scan_tokens(device_memory(DEVICE))
    return tokenize_probes(probes, parent.tokenizer, max_tokens=128, device=DEVICE, token_budget=budget)


def forward_flops(parent: LoadedModel, tokenized: TokenizedProbes) -> float:
    """2 FLOP per weight and token, padding included, and the head's for every token that is predicted."""
    prefix = f"{parent.anatomy.prefix}."
    matrices = (p for name, p in parent.model.named_parameters() if name.startswith(prefix) and p.dim() == 2)
    inside = sum(matrix.numel() for matrix in matrices)
    head = parent.model.get_output_embeddings().weight.numel()
    return 2 * sum(inside * batch.ids.numel() + head * len(batch.predicted) for batch in tokenized.batches)


def scan_row(parent: LoadedModel, limits: DeviceLimits) -> dict[str, Any]:
    """Channels 1, 3, 4 against a plain forward with the loss over the same tokens; and a whole scan's ablations."""
    tokenized = tokenize_scan_probes(parent)

    @torch.inference_mode()
    def forward() -> None:
        for batch in tokenized.batches:
            document_nll(parent.model, batch)

    scan_seconds, forward_seconds = time_pair(lambda: measure_activations(parent, tokenized), forward)
    activations = measure_activations(parent, tokenized)
    began = time.perf_counter()
    ablation_nll(parent, activations, "f")
    ablation_seconds = time.perf_counter() - began
    rate = forward_flops(parent, tokenized) / forward_seconds
    detail = (
        f"{1e3 * scan_seconds:.0f} ms / {1e3 * forward_seconds:.0f} ms, {tokenized.tokens} tokens"
        f" in {len(tokenized.batches)} batches; the forward at {rate / 1e12:.0f} TFLOP/s,"
        f" {rate / limits.rate:.0%} of {limits.rate / 1e12:.0f};"
        f" ablating the FFN of each of {len(parent.anatomy.layers)} layers {ablation_seconds:.1f} s"
    )
    return make_row(
        "GPU: scan, one pass",
        "plain forward and loss, same tokens",
        scan_seconds / forward_seconds,
        GOALS["scan"],
        lower=True,
        detail=detail,
    )


class MemorySource:
    """Tensors in memory where a merge expects a folder's (``FolderSource``).

    Args:
        tensors: by parameter name.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors = tensors
        self.disk_names = {name: name for name in tensors}
        self.assemblies = ()

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor of a parameter name."""
        return self.tensors[name]

    def dtype(self, name: str) -> torch.dtype:
        """Its dtype."""
        return self.tensors[name].dtype


def candidate_row(parent: LoadedModel, limits: DeviceLimits, method: str) -> dict[str, Any]:
    """All FFNs of a candidate, and how much of a copy's bandwidth that makes use of.

    Args:
        parent: the father, on the device.
        limits: of the device.
        method: linear or dare_ties; for the latter the father is the base.

    Returns:
        The row.
    """
    names = [
        f"{parent.anatomy.prefix}.{layer.index}.{part}.weight"
        for layer in parent.anatomy.layers
        if layer.ffn
        for part in (layer.ffn.gate, layer.ffn.up, layer.ffn.down)
        if part
    ]
    parameters = dict(parent.model.named_parameters())
    father: Any = MemorySource({name: parameters[name].detach().cpu() for name in names})
    mother = MemorySource({name: torch.randn_like(parameters[name]).mul_(0.02).cpu() for name in names})
    base = father if method == "dare_ties" else None
    merge = Merge(father, (mother,), base, method, Settings(density=0.9), 1)
    candidate = Candidate(parent.model, {name: (name,) for name in names}, merge)
    copies, turn = [parameters[name].detach().clone() for name in names], iter(range(1_000_000))

    def copy() -> None:
        for name, target in zip(names, copies, strict=True):
            target.copy_(parameters[name].detach())

    def apply() -> None:
        candidate.apply(dict.fromkeys(names, 0.1 + 0.01 * (next(turn) % 7)))

    apply()
    assert not candidate.kept_out, "no room to keep the parents: the figure would be another"
    apply_seconds, copy_seconds = time_pair(apply, copy)
    candidate.restore()
    values = sum(parameters[name].numel() for name in names)
    # Bytes read and written, per value: bf16 tensors, and a mask of one byte.
    moved, copied = values * (6 if method == "linear" else 7) / apply_seconds, values * 4 / copy_seconds
    detail = (
        f"{1e3 * apply_seconds:.1f} ms / {1e3 * copy_seconds:.1f} ms for {values / 1e9:.2f}e9 values;"
        f" {moved / 1e12:.2f} of {limits.bandwidth / 1e12:.2f} TB/s;"
        f" {copy_seconds / apply_seconds:.2f} of a copy's speed by time"
    )
    return make_row(
        f"GPU: a candidate, {method}",
        "bytes per second of a copy",
        moved / copied,
        GOALS["candidate"],
        lower=False,
        detail=detail,
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m speed.device", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--small", action="store_true", help="scaled down")
    arguments = parser.parse_args()
    rows = []
    for row in device_rows(arguments.small):
        rows.append(row)
        print(f"{row['name']:<28} {row['ratio']:>7.2f}  goal {row['goal']:<5} {row['detail']}", flush=True)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
