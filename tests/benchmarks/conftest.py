"""Pico models of three real families with byte-level BPE tokenizers trained on the nursery's world."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

from darwin_mri.benchmarks import ChoiceItem, sample_items
from darwin_mri.nursery.world import World
from tests.choices import as_choices, load_choices

Respond = Callable[[dict[str, Any]], tuple[int, Any]]  # a request's body -> status, reply
ServeJson = Callable[[Respond], str]
VOCABULARY = 900
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 4,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}


def training_documents(per_source: int) -> list[str]:
    rng, world = random.Random(5), World()
    sources = (
        world.fact_documents(rng, world.korean_facts),
        world.fact_documents(rng, world.science_facts),
        world.story_documents(rng, list(world.habits)),
    )
    return [document for source in sources for document in islice(source, per_source)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train_tokenizer(*, bos: bool, split_words: bool = True) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split_words)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>", "<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(training_documents(300), trainer)
    if bos:
        bpe.post_processor = processors.TemplateProcessing("<bos> $A", "<bos> $A $B", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(bos=False)


@pytest.fixture(scope="session")
def bos_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(bos=True)


def _gemma4() -> PreTrainedModel:
    """Sliding window shorter than every context, KV sharing, per-layer embeddings and a soft cap that bites."""
    full_attention: dict[str, Any] = {"global_head_dim": 16}
    config = Gemma4TextConfig(
        **SHAPE,
        **full_attention,
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size_per_layer_input=8,
        layer_types=["sliding_attention", "full_attention"] * 2,
        sliding_window=6,
        num_kv_shared_layers=2,
        final_logit_softcapping=3.0,
    )
    return Gemma4ForCausalLM(config)


def _qwen3_5() -> PreTrainedModel:
    config = Qwen3_5TextConfig(
        **SHAPE,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        linear_num_key_heads=1,
        linear_num_value_heads=2,
        tie_word_embeddings=True,
    )
    assert set(config.layer_types or ()) == {"linear_attention", "full_attention"}
    return Qwen3_5ForCausalLM(config)


def _llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SHAPE))


MAKERS = {"gemma4": _gemma4, "qwen3_5": _qwen3_5, "llama": _llama}


def make_model(family: str, seed: int = 0) -> PreTrainedModel:
    """Weights large enough that positions, masks and caps show in the log-probabilities."""
    torch.manual_seed(seed)
    model = MAKERS[family]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.25)
    return model.eval()


@pytest.fixture(scope="session", params=sorted(MAKERS))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return make_model(request.param)


@pytest.fixture(scope="session")
def mixed_items() -> tuple[ChoiceItem, ...]:
    """24 items of all three kinds, with several lengths, 4 and 5 choices, and stories with two questions."""
    return tuple(
        item
        for name in ("nursery_click", "nursery_musr", "nursery_gpqa")
        for item in as_choices(sample_items(load_choices(name), 8, 3))
    )


@pytest.fixture
def serve_json() -> Iterator[ServeJson]:
    """Start a server on loopback that serves one model and replies to requests by a function; its URL."""
    servers = []

    def start(respond: Respond) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(200, {"data": [{"id": "served"}]})

            def do_POST(self) -> None:
                self.reply(*respond(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

            def reply(self, status: int, data: Any) -> None:
                sent = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
