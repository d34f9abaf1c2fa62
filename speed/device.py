"""What a GPU does with a parent of the real shapes: ratios against their goals, and absolute figures beside what the device was measured to do.

    python -m speed.device --out FILE [--small]        ``python -m speed`` does it too where there is a GPU

The father is Gemma 4 E4B with random values, made on the device; items and texts are stand-ins of the real lengths.
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
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerBase

from darwin_mri.benchmarks import load_benchmark, sample_items
from darwin_mri.checkpoints import find_anatomy, find_model, load_tokenizer
from darwin_mri.merging import Candidate, Merge, Settings
from darwin_mri.mri.activations import measure_activations
from darwin_mri.mri.importance import ablation_nll
from darwin_mri.probes import Reading, document_nll, load_probes, read, select_probes
from darwin_mri.records import Anatomy
from darwin_mri.stages.memory import scan_tokens
from speed.measure import pairs, row
from speed.scoring import scoring_row
from speed.shapes import PARENTS, configuration
from speed.standins import write_standins

ROUNDS = 5
GOALS = {"scan": 1.15, "candidate": 0.8, "musr": 5.0, "click": 3.0}


@dataclass(frozen=True)
class Parent:
    """A parent of random values on the device."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    rate: float  # the device's measured FLOP/s in a bf16 matrix product
    bandwidth: float  # and bytes per second, read and written, in a copy


def device_rows(small: bool = False) -> Iterator[dict[str, Any]]:
    """Every row, each with its absolute figures in ``detail``; none without a GPU."""
    if not torch.cuda.is_available():
        return
    parent = random_parent("father", small)
    yield scan_row(parent)
    yield candidate_row(parent, "linear")
    yield candidate_row(parent, "dare_ties")
    with tempfile.TemporaryDirectory(prefix="darwin-mri-speed-") as folder:
        data = write_standins(Path(folder), parent.tokenizer)
        for benchmark, count in (("click", 96), ("musr", 24)):
            items = sample_items(load_benchmark(benchmark, data), count, 1)
            yield scoring_row("GPU", parent.model, parent.tokenizer, items, GOALS[benchmark])


def random_parent(role: str, small: bool) -> Parent:
    """A parent made on the device, and the device's own limits."""
    config = AutoConfig.for_model(**configuration(role, small))
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = model.eval().requires_grad_(False)
    tokenizer = load_tokenizer(find_model(f"nursery:{PARENTS[role][1]}"))
    return Parent(model, tokenizer, find_anatomy(model), matrix_rate(), bandwidth())


def matrix_rate(side: int = 8192) -> float:
    """FLOP/s of a bf16 product of two square matrices of random values."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b)


def bandwidth(count: int = 2**31) -> float:
    """Bytes read and written per second by a copy on the device."""
    a = torch.randn(count // 2, device="cuda", dtype=torch.bfloat16)
    b = torch.empty_like(a)
    return 2 * a.nbytes / seconds(lambda: b.copy_(a))


def seconds(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median seconds of a call, the device waited for."""
    times = []
    for turn in range(rounds + 2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if turn > 1:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def probe_reading(parent: Parent, documents: int = 16) -> Reading:
    """What a scan of the real pair reads: four languages, 128 tokens a text."""
    probes = select_probes(load_probes(), ("ko", "en", "ja", "zh"), documents, 1)
    return read(probes, parent.tokenizer, max_tokens=128, device="cuda", token_budget=scan_tokens("cuda"))


def forward_flops(parent: Parent, reading: Reading) -> float:
    """2 FLOP per weight and token, padding included, and the head's for every token that is predicted."""
    inside = sum(
        p.numel() for name, p in parent.model.named_parameters()
        if name.startswith(f"{parent.anatomy.prefix}.") and p.dim() == 2
    )  # fmt: skip
    head = parent.model.get_output_embeddings().weight.numel()
    return 2 * sum(inside * batch.ids.numel() + head * len(batch.predicted) for batch in reading.batches)


def scan_row(parent: Parent) -> dict[str, Any]:
    """Channels 1, 3, 4 against a plain forward with the loss over the same tokens; and a whole scan's ablations."""
    reading = probe_reading(parent)

    @torch.inference_mode()
    def plain() -> None:
        for batch in reading.batches:
            document_nll(parent.model, batch)

    ours, theirs = pairs(lambda: measure_activations(parent.model, parent.anatomy, reading), plain)
    found = measure_activations(parent.model, parent.anatomy, reading)
    began = time.perf_counter()
    ablation_nll(parent.model, parent.anatomy, found, "f")
    ablated = time.perf_counter() - began
    share = forward_flops(parent, reading) / theirs / parent.rate
    detail = (
        f"{1e3 * ours:.0f} ms / {1e3 * theirs:.0f} ms, {reading.tokens} tokens in {len(reading.batches)} batches; the forward at "
        f"{forward_flops(parent, reading) / theirs / 1e12:.0f} TFLOP/s, {share:.0%} of {parent.rate / 1e12:.0f}; "
        f"ablating the FFN of each of {len(parent.anatomy.layers)} layers {ablated:.1f} s"
    )
    return row("GPU: scan, one pass", "plain forward and loss, same tokens", ours / theirs, GOALS["scan"], lower=True, detail=detail)  # fmt: skip


class _Held:
    """Tensors in memory where a merge expects a folder's."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors = tensors
        self.disk_names = {name: name for name in tensors}

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def dtype(self, name: str) -> torch.dtype:
        return self.tensors[name].dtype


def candidate_row(parent: Parent, method: str) -> dict[str, Any]:
    """All FFNs of a candidate, and of how much of a copy's bandwidth that makes use. dare_ties: the father is the base."""
    names = [
        f"{parent.anatomy.prefix}.{layer.index}.{part}.weight"
        for layer in parent.anatomy.layers if layer.ffn
        for part in (layer.ffn.gate, layer.ffn.up, layer.ffn.down) if part
    ]  # fmt: skip
    own = dict(parent.model.named_parameters())
    father: Any = _Held({name: own[name].detach().cpu() for name in names})
    mother = _Held({name: torch.randn_like(own[name]).mul_(0.02).cpu() for name in names})
    base = father if method == "dare_ties" else None
    merge = Merge(father, mother, base, method, Settings(density=0.9), 1)
    candidate = Candidate(parent.model, {name: (name,) for name in names}, merge)
    copies, turn = [own[name].detach().clone() for name in names], iter(range(1_000_000))

    def copy() -> None:
        for name, target in zip(names, copies, strict=True):
            target.copy_(own[name].detach())

    def apply() -> None:
        candidate.apply(dict.fromkeys(names, 0.1 + 0.01 * (next(turn) % 7)))

    apply()
    assert not candidate.kept_out, "no room to keep the parents: the figure would be another"
    ours, theirs = pairs(apply, copy)
    candidate.restore()
    values = sum(own[name].numel() for name in names)
    moved, copied = values * (6 if method == "linear" else 7), values * 4  # read and written: a mask is one byte
    share = moved / ours / (copied / theirs)
    detail = (
        f"{1e3 * ours:.1f} ms / {1e3 * theirs:.1f} ms for {values / 1e9:.2f}e9 values; {moved / ours / 1e12:.2f} of "
        f"{parent.bandwidth / 1e12:.2f} TB/s; {theirs / ours:.2f} of a copy's speed by time"
    )
    return row(
        f"GPU: a candidate, {method}", "bytes per second of a copy", share, GOALS["candidate"], lower=False, detail=detail
    )  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m speed.device", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--small", action="store_true", help="scaled down")
    arguments = parser.parse_args()
    rows = []
    for found in device_rows(arguments.small):
        rows.append(found)
        print(f"{found['name']:<28} {found['ratio']:>7.2f}  goal {found['goal']:<5} {found['detail']}", flush=True)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
