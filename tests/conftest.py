"""Settings every test needs before a library reads them: no hub, no tokenizer threads, no clock, a cache of its own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["DARWIN_MRI_CACHE"] = tempfile.mkdtemp(prefix="darwin_mri-cache-")
atexit.register(shutil.rmtree, os.environ["DARWIN_MRI_CACHE"], ignore_errors=True)
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# A busy machine must not fail a property, and the same commit must always test the same examples.
settings.register_profile("darwin_mri", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("darwin_mri")
