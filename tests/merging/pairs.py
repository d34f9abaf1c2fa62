"""Parents of two architectures in memory, for tests of the cross-architecture arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from darwin_mri.checkpoints import LoadedModel, ModelSource, load
from darwin_mri.config import ArmConfig
from darwin_mri.merging.arms import Context
from darwin_mri.probes import Probe

SETTINGS = set(ArmConfig.model_fields) - {"prompts"}  # the context's prompts are texts, the settings' a folder


def source(folder: Path) -> ModelSource:
    return ModelSource(folder.name, folder, None)


def loaded(folder: Path) -> LoadedModel:
    return load(source(folder), "0", device="cpu", dtype="float32")


def texts(count: int, length: int, seed: int = 0) -> tuple[Probe, ...]:
    """Random printable text: pico models know no language anyway."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(32, 127, (count, length), generator=generator).tolist()
    return tuple(Probe("".join(map(chr, row)), "en", "prose", f"t{number}") for number, row in enumerate(codes))


def context(father: LoadedModel, mother: LoadedModel, read: tuple[Probe, ...] = (), **changes: Any) -> Context:
    """A context with the proportional map; ``changes`` are fields of the context or of its settings."""
    layers = [len(parent.anatomy.layers) for parent in (father, mother)]
    layer_map = tuple(index * layers[1] // layers[0] for index in range(layers[0]))
    settings = {name: changes.pop(name) for name in list(changes) if name in SETTINGS}
    return Context(father, mother, changes.pop("layer_map", layer_map), ArmConfig(**settings), texts=read, **changes)
