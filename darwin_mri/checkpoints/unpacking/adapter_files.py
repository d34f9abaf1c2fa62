"""What a PEFT folder says: its configuration, as far as it is understood, and its tensors by module."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.source import ModelSource
from darwin_mri.checkpoints.verify import ADAPTER, PICKLES, read_json_object
from darwin_mri.errors import CheckpointError

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
# Fields that change neither what the tensors mean nor which there are: how training began and what it left out.
OF_TRAINING = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying",
        "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
        "layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core",
        "modules_to_save", "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules",
        "task_type",
    }
)  # fmt: skip
READ = frozenset(
    {
        "alpha_pattern", "lora_alpha", "lora_bias", "peft_type", "r", "rank_pattern", "trainable_token_indices",
        "use_dora", "use_rslora",
    }
)  # fmt: skip
# Others take something away from the base's weights before training.
PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
PARTS = re.compile(
    r"(?P<module>.+?)\.(?:base_layer\.)*"
    r"(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_[AB]|lora_magnitude_vector(?:\.weight)?"
    r"|token_adapter\.trainable_tokens_delta|trainable_tokens_delta)"
)
NAMES = {
    "lora_A.weight": "down",
    "lora_embedding_A": "down",
    "lora_B.weight": "up",
    "lora_embedding_B": "up",
    "lora_B.bias": "bias",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "token_adapter.trainable_tokens_delta": "rows",
    "trainable_tokens_delta": "rows",
}


@dataclass(frozen=True)
class Adapter:
    """One PEFT adapter.

    Attributes:
        ref: its public name.
        config: adapter_config.json.
        parts: module of the model in memory -> what is learned for it: ``down`` (rank, in), ``up`` (out, rank),
            ``bias``, ``magnitude`` or ``rows``.
        whole: parameter of the model in memory -> its new value.
    """

    ref: str
    config: Mapping[str, Any]
    parts: Mapping[str, Mapping[str, Tensor]]
    whole: Mapping[str, Tensor]

    def scale(self, module: str, rank: int) -> float:
        """What the product of a module's two matrices is multiplied with; alpha / r, or alpha / sqrt(r) for rsLoRA.

        Raises:
            CheckpointError: adapter_config.json gives the module another rank than its matrices have.
        """
        stated = self._by_pattern("rank_pattern", module, self.config.get("r", 8))
        alpha = self._by_pattern("alpha_pattern", module, self.config.get("lora_alpha", 8))
        if not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise CheckpointError(f"{self.ref}: lora_alpha {alpha!r} of {module} is no finite number")
        if stated != rank:
            raise CheckpointError(
                f"{self.ref}: {ADAPTER} gives {module} rank {stated!r}, its matrices have rank {rank}"
            )
        if not rank:
            return 0.0
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank

    def token_rows(self, module: str) -> list[int]:
        """The tokens whose embeddings were trained; raises CheckpointError where they are no list of numbers."""
        indices: Any = self.config.get("trainable_token_indices") or []
        if isinstance(indices, dict):
            indices = self._by_pattern("trainable_token_indices", module, [])
        rows = cast("list[object]", indices) if isinstance(indices, list) else [indices]
        if not isinstance(indices, list) or not all(isinstance(row, int) for row in rows):
            raise CheckpointError(f"{self.ref}: trainable_token_indices of {module} in {ADAPTER} is no list of numbers")
        return cast("list[int]", rows)

    def _by_pattern(self, field: str, module: str, default: Any) -> Any:
        """The value of the first of a field's patterns that fits the end of a module's name, as PEFT looks it up."""
        patterns = self.config.get(field) or {}
        try:
            found = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module))
            return next(found, default)
        except (AttributeError, re.error):
            raise CheckpointError(f"{self.ref}: {field} in {ADAPTER} gives no patterns of names their values") from None


def read_adapter(source: ModelSource) -> Adapter:
    """Read an adapter's folder.

    Raises:
        CheckpointError: it is no PEFT folder, its weights are no safetensors, or it computes what is not implemented.
    """
    folder, ref = source.folder, source.ref
    if not (folder / ADAPTER).is_file():
        raise CheckpointError(f"{ref} is no adapter: it has no {ADAPTER}")
    config = read_json_object(folder, ADAPTER)
    _refuse_unknown(config, ref)
    if not (folder / WEIGHTS).is_file():
        pickled = any(path.suffix in PICKLES for path in folder.iterdir())
        why = "pickled weights are not read: save it as safetensors" if pickled else "fetch the adapter again"
        raise CheckpointError(f"{ref} has no {WEIGHTS}: {why}")
    parts: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    reader = CheckpointReader(folder, WEIGHTS)
    for key in reader.names():
        tensor = reader.tensor(key)
        name = key.removeprefix(PREFIX)
        match = PARTS.fullmatch(name)
        if match:
            parts.setdefault(match["module"], {})[NAMES[match["part"]]] = tensor
        elif "lora_" in name:
            raise CheckpointError(f"{ref}: tensor {key} is of a kind of LoRA that is not implemented")
        else:
            whole[re.sub(r"\.(?:modules_to_save|base_layer|original_module)(?=\.)", "", name)] = tensor
    if not parts and not whole:
        raise CheckpointError(f"{ref}: {WEIGHTS} holds no tensors: fetch the adapter again")
    return Adapter(ref, config, parts, whole)


def _refuse_unknown(config: Mapping[str, Any], ref: str) -> None:
    """Refuse by name what an adapter's configuration asks for and nobody here computes."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{ref}: peft_type {kind!r} is not implemented (only LORA, with rsLoRA and DoRA)")
    for name, value in sorted(config.items()):
        if name not in OF_TRAINING | READ and value:
            raise CheckpointError(f"{ref}: {name} in {ADAPTER} changes the computation and is not implemented")
    if config.get("init_lora_weights") not in PLAIN_STARTS:
        raise CheckpointError(
            f"{ref}: init_lora_weights {config['init_lora_weights']!r} changes the base's weights and is not"
            " implemented: save the adapter converted to plain LoRA (path_initial_model_for_weight_conversion)"
        )
