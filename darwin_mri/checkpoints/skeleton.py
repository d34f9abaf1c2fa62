"""A model's tensors from its configuration alone: to plan a run before a weight is downloaded, or without the hub.

The package records the configurations of the pair this project was started for (``shapes/``), as far as they are
published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwin_mri.checkpoints.source import HUB_ID
from darwin_mri.checkpoints.survey import Survey, TensorInfo
from darwin_mri.checkpoints.verify import PICKLES, read_json_object
from darwin_mri.checkpoints.vocabulary import read_vocabulary

SHAPES = Path(__file__).with_name("shapes")
STORED = {"float32": ("F32", 4), "bfloat16": ("BF16", 2), "float16": ("F16", 2)}


@dataclass(frozen=True)
class Configuration:
    """A configuration without weights.

    Attributes:
        config: as in config.json.
        folder: where a tokenizer may be; None where there is none.
        note: where the configuration comes from, and what it leaves open.
    """

    config: Mapping[str, Any]
    folder: Path | None
    note: str


def configuration_alone(ref: str) -> Configuration | None:
    """The configuration of a folder without weights, or the recorded one of a hub id; None where there is neither."""
    folder = Path(ref).expanduser()
    if folder.is_dir():
        weights = any(path.suffix in (".safetensors", *PICKLES) for path in folder.iterdir())
        if weights or not (folder / "config.json").is_file():
            return None
        return Configuration(read_json_object(folder, "config.json"), folder, "from config.json alone")
    match = HUB_ID.fullmatch(ref)
    for path in sorted(SHAPES.glob("*.json")):
        recorded = json.loads(path.read_text(encoding="utf-8"))
        if match and match["name"] in recorded["describes"]:
            return Configuration(recorded["config"], None, f"recorded with this package: {recorded['note']}")
    return None


def survey_configuration(configuration: Configuration, ref: str) -> Survey:
    """What the headers of such a model would say: names, shapes and dtypes of the tensors it is saved with.

    The model is made on torch's meta device, which holds no values; that takes torch and transformers, and some
    seconds.

    Raises:
        CheckpointError: transformers does not know the configuration.
    """
    from darwin_mri.checkpoints.meta import whole_meta_model

    model, config = whole_meta_model(configuration.config, ref)
    dtype, size = STORED[str(config.dtype or config.get_text_config().dtype or "float32").removeprefix("torch.")]
    tensors = {
        name: TensorInfo(dtype, tuple(value.shape), value.numel() * size)
        for name, value in saved_tensors(model).items()
    }
    folder = configuration.folder or Path(ref)
    vocabulary = read_vocabulary(configuration.folder) if configuration.folder else None
    return Survey(folder, dict(configuration.config), tensors, (), vocabulary)


def saved_tensors(model: Any) -> dict[str, Any]:
    """What a model's folder holds: parameters and stored buffers by name, without those tied to another."""
    return {name: value for name, value in model.state_dict().items() if name not in model.all_tied_weights_keys}
