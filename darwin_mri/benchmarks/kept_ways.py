"""The measured way to read a model's batches, kept in the user's cache.

Two ways differ in the last bits of a score. A run that is resumed, its workers, and the same run once more must
therefore read alike, whatever the clock says the second time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from darwin_mri.benchmarks.ways import Way
from darwin_mri.checkpoints.unpacking.cache import cache_root


def shape_key(model: Any, decoder: Any) -> str:
    """A hash of what a measured time depends on: the model's shapes and dtype, the device, the libraries.

    Args:
        model: the whole of it.
        decoder: its text decoder.
    """
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device.type)
    config = {name: value for name, value in decoder.config.to_dict().items() if name != "_name_or_path"}
    facts = [config, str(model.dtype), decoder.config._attn_implementation, device]
    text = json.dumps([*facts, torch.__version__, transformers.__version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def kept_way(key: str, ways: Sequence[Way], measure: Callable[[], Way]) -> Way:
    """The way that was measured first, by whichever process of this user.

    Args:
        key: of the model where it is.
        ways: that may be taken.
        measure: chooses one; called where none of them is kept.

    Returns:
        The way; where the cache cannot be written, the one measured now.
    """
    file = cache_root() / "ways" / key
    known = _read(file, ways)
    if known is not None:
        return known
    measured = measure()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent) as aside:
            aside.write(measured)
            aside.flush()
            os.link(aside.name, file)  # fails where another process was first
    return _read(file, ways) or measured


def _read(file: Path, ways: Sequence[Way]) -> Way | None:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return None
    return next((way for way in ways if way == text), None)
