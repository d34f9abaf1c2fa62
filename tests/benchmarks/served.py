"""Real models behind a real server: transformers' own, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from darwin_mri.checkpoints import find_model
from tests.toys import IDS, VOCABULARY, byte_tokenizer

TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}\n#{% endif %}"
)


def chatting_nursery(folder: Path) -> Path:
    """A copy of a nursery model with a chat template, which it was never trained on: what it writes is its own."""
    shutil.copytree(find_model("nursery:gemma4-base").folder, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


def letter_writer(folder: Path, letter: str = "B") -> Path:
    """A Llama that answers any message with one letter: '#' -> letter -> end, and else repeats the token before.

    Attention and FFN write nothing, embeddings are orthogonal, and the head maps each token's embedding to the token
    that follows it.
    """
    width = 8 * (VOCABULARY // 8 + 1)
    shape: dict[str, Any] = {**IDS, "vocab_size": VOCABULARY, "hidden_size": width}
    config = LlamaConfig(
        **shape,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    mark, answer = (tokenizer.encode(text)[0] for text in ("#", letter))
    with torch.no_grad():
        layer: Any = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(VOCABULARY, width))
        head = torch.eye(VOCABULARY, width)
        head[:, mark] = 2 * torch.eye(VOCABULARY)[answer]
        head[:, answer] = 2 * torch.eye(VOCABULARY)[IDS["eos_token_id"]]
        model.lm_head.weight.copy_(head)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Server:
    """``transformers serve`` on a free loopback port; it loads whatever model folder a request names."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.home / "hub").mkdir(parents=True, exist_ok=True)
        code = "from transformers.cli.transformers import app; app()"
        words = ["serve", "--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu"]
        environment = {**os.environ, "HF_HOME": str(self.home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=30)
            self.process = None
