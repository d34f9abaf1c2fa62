"""A child as a PEFT LoRA adapter of one of its parents: each matrix's change by its best approximation of a low rank.

By Eckart and Young (1936) the singular vectors of the largest values leave the smallest Frobenius error of that rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darwin_mri.checkpoints.atomic_folder import NOTE, Purpose, move_into_place, partial_folder, refuse_occupied
from darwin_mri.checkpoints.meta import loading_class, meta_model
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.survey import survey
from darwin_mri.checkpoints.verify import ADAPTER
from darwin_mri.checkpoints.writing import as_bytes, write_files
from darwin_mri.errors import InputError

LARGE = 2048  # the shorter side from which on singular vectors are found by random projections
EXTRA, PASSES = 32, 6  # columns beyond the rank, and power iterations, of those
PREFIX = "base_model.model."


@dataclass(frozen=True)
class AdapterFit:
    """How well an adapter holds a child.

    Attributes:
        errors: matrix -> Frobenius norm of what is lost over that of the change.
        whole: parameters that are stored as they are, without an error.
        total: the same ratio over all changes together.
    """

    errors: dict[str, float]
    whole: tuple[str, ...]
    total: float

    @property
    def sentence(self) -> str:
        """Total and worst error in words."""
        worst = max(self.errors, key=lambda name: self.errors[name], default="")
        most = f", worst {self.errors[worst]:.3g} ({worst})" if worst else ""
        return f"relative Frobenius error {self.total:.3g}{most}; {len(self.whole)} parameters are whole"


def write_adapter(base: Path, child: Path, out: Path, *, ref: str, rank: int) -> AdapterFit:
    """Write what a child adds to a model as a PEFT folder.

    Args:
        base: the folder the adapter is for.
        child: a child with the same tensors.
        out: the adapter's folder; absent, empty or an earlier output.
        ref: the base's public name.
        rank: of every matrix, or its shorter side where that is less.

    Returns:
        The errors, which the folder's note has too.

    Raises:
        InputError: ``out`` is in use; or a changed tensor is one that no adapter of a plain module holds.
        DarwinError: the disk has no room.
    """
    refuse_occupied(base.resolve(), out)
    layout, readers = survey(base).layout, [CheckpointReader(folder) for folder in (base, child)]
    known = survey(base).known_config
    modules = dict(meta_model(loading_class(known, ref), known, ref).named_modules())
    tied = set(layout.tied.values())
    content: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    norms: dict[str, tuple[float, float]] = {}  # matrix -> (what is lost, the change)
    whole: dict[str, list[str]] = {}
    for name, disk in layout.stored.items():
        own, new = (reader.tensor(disk).float() for reader in readers)
        if torch.equal(own, new):
            continue
        module, _, part = name.rpartition(".")
        if module not in modules or "[" in name:
            raise InputError(f"{name} has changed, which no adapter holds (it is assembled): leave out --as-adapter")
        if name in tied or not _is_linear(modules[module]) or part != "weight":
            whole.setdefault(module, []).append(name)
            continue
        delta = (new - own).T if type(modules[module]).__name__ == "Conv1D" else new - own
        up, down = _factors(delta, rank)
        content |= {f"{PREFIX}{module}.lora_A.weight": down, f"{PREFIX}{module}.lora_B.weight": up}
        ranks[module] = len(down)
        norms[name] = float((delta - up @ down).norm()), float(delta.norm())
    for module, names in whole.items():
        for name in layout.stored:
            if name.rpartition(".")[0] == module:
                content[PREFIX + name] = readers[1].tensor(layout.stored[name]).clone()
                names.append(name)
        for end in (".lora_A.weight", ".lora_B.weight"):  # a linear module whose bias changed is stored whole
            content.pop(f"{PREFIX}{module}{end}", None)
        ranks.pop(module, None)
        norms.pop(f"{module}.weight", None)
    for twin, source in layout.tied.items():  # peft asks for both names, and ties them
        if PREFIX + source in content:
            content[PREFIX + twin] = content[PREFIX + source].clone()
    if not ranks and not whole:
        raise InputError(f"the child is {ref} itself: there is nothing for an adapter to hold")
    stored = tuple(sorted({name for names in whole.values() for name in names}))
    lost, changed = (math.hypot(*sizes) for sizes in zip(*norms.values(), strict=True)) if norms else (0.0, 1.0)
    fit = AdapterFit({name: left / size for name, (left, size) in norms.items()}, stored, lost / changed)
    _write(
        out,
        content,
        {**_config(ref, rank, ranks, sorted(whole)), "ensure_weight_tying": not tied.isdisjoint(stored)},
        fit,
    )
    return fit


def _is_linear(module: Any) -> bool:
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"


def _factors(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(out, r) and (r, in) whose product is the best approximation of a matrix, each with the root of its size."""
    rank = min(rank, *delta.shape)
    if min(delta.shape) > LARGE and rank + EXTRA < min(delta.shape):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            left, values, right = torch.svd_lowrank(delta, q=rank + EXTRA, niter=PASSES)
        right = right.T
    else:
        left, values, right = torch.linalg.svd(delta, full_matrices=False)
    roots = values[:rank].sqrt()
    return (left[:, :rank] * roots).contiguous(), (right[:rank] * roots[:, None]).contiguous()


def _config(ref: str, rank: int, ranks: dict[str, int], whole: list[str]) -> dict[str, Any]:
    """adapter_config.json with a scale of 1 for every matrix."""
    other = {module.replace(".", r"\."): own for module, own in ranks.items() if own != rank}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": ref,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(ranks),
        "modules_to_save": whole or None,
        "rank_pattern": other,
        "alpha_pattern": other,
    }


def _write(out: Path, content: dict[str, Tensor], config: dict[str, Any], fit: AdapterFit) -> None:
    from safetensors.torch import save

    weights = save(content, metadata={"format": "pt"})
    note = {"schema": 1, "errors": fit.errors, "whole": list(fit.whole), "total": fit.total}
    files: dict[str, Path | bytes] = {
        "adapter_model.safetensors": weights,
        ADAPTER: as_bytes(config),
        NOTE: as_bytes(note),
    }
    with partial_folder(out.absolute(), len(weights), Purpose("the adapter")) as partial:
        write_files(partial, files)
        move_into_place(partial, out.absolute())
