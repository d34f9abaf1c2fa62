"""Tensors with one row per token: embeddings, heads and their biases, per-layer embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from darwin_mri.checkpoints.layout import text_names
from darwin_mri.checkpoints.meta import loading_class, meta_model
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.survey import Survey

PER_LAYER = "per_layer"  # in the names of the embeddings that Gemma 3n and 4 add in each layer


def vocabulary_tables(survey: Survey) -> dict[str, str]:
    """Tensor on disk with one row per token -> its name in the text model.

    Args:
        survey: of the model.

    Returns:
        All of them, tied ones that are stored twice among them.

    Raises:
        CheckpointError: the folder does not load whole.
    """
    layout = survey.layout
    ref = survey.folder.name
    model: Any = meta_model(loading_class(survey.known_config, ref), survey.known_config, ref)
    modules = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    names = [
        f"{path}.{name}"
        for path, module in model.named_modules(remove_duplicate=False)
        if id(module) in modules or (isinstance(module, nn.Embedding) and PER_LAYER in path)
        for name, _ in module.named_parameters(recurse=False)
    ]
    text = text_names(model, names)
    tables = {layout.stored[name]: text[name] for name in names if name in layout.stored and name in text}
    return tables | {copy: tables[first] for copy, first in layout.copies.items() if first in tables}


def table_reader(
    surveys: Mapping[str, Survey], readers: Mapping[str, CheckpointReader]
) -> Callable[..., Tensor | None]:
    """A function (role, name in the text model) -> that table of a model; None where it has none."""

    def read(role: str, name: str) -> Tensor | None:
        layout = surveys[role].layout
        disk = layout.text_tensors.get(name) or layout.text_tensors.get(layout.text_ties.get(name, ""))
        return None if disk is None else readers[role].tensor(disk)

    return read
