"""Two small parents, trained in seconds: each learned half of a list of pairs by heart.

Every word has one partner; text is word, partner, word, partner. The father knows the partners of the first half, and
has read the second half with random partners: it knows the words but not the answers. The mother has another
architecture, hidden size and order of the vocabulary; it knows the second half and has never read the first.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from darwin_mri.checkpoints import LoadedModel, ModelSource, find_anatomy, quiet
from darwin_mri.probes import Probe

WORDS = [
    first + second
    for first in ("ka", "lo", "mi", "zu", "pe")
    for second in ("dan", "tor", "vik", "sel", "nor", "gim", "bas", "hul")
]
PARTNERS = ["red", "blue", "green", "black", "white", "grey"]
KNOWN, NEW = WORDS[::2], WORDS[1::2]
PARTNER = {word: random.Random(f"school:{word}").choice(PARTNERS) for word in WORDS}
SPECIALS = ["<pad>", "<eos>", "<unk>"]


def tokenizer(seed: int) -> Any:
    """One token per word, in an order of its own."""
    words = [*WORDS, *PARTNERS]
    random.Random(seed).shuffle(words)
    vocabulary = {word: index for index, word in enumerate([*SPECIALS, *words])}
    words_alone = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words_alone.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    words_alone.add_special_tokens(SPECIALS)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words_alone, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def text(rng: random.Random, words: list[str], unsure: list[str], pairs: int = 8) -> str:
    """Pairs in running text; the unsure words get any partner."""
    out = []
    for word in rng.choices([*words, *unsure], k=pairs):
        out += [word, rng.choice(PARTNERS) if word in unsure else PARTNER[word]]
    return " ".join(out)


def train(config: Any, seed: int, words: list[str], unsure: list[str], steps: int) -> LoadedModel:
    """A model of this configuration after a few steps of AdamW on such text."""
    rng, tokens = random.Random(seed), tokenizer(seed)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = transformers.AutoModelForCausalLM.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1.0, (step + 1) / 10) * (1 - step / steps)
        ids = torch.tensor(tokens([text(rng, words, unsure) for _ in range(24)])["input_ids"])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().requires_grad_(False)
    source = ModelSource("trained", Path("trained"), None)
    return LoadedModel(source, "", model, tokens, find_anatomy(model))


COMMON = {
    "vocab_size": len(SPECIALS) + len(WORDS) + len(PARTNERS),
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def father(steps: int = 90) -> LoadedModel:
    config = transformers.LlamaConfig(hidden_size=48, intermediate_size=256, num_hidden_layers=3, **COMMON)
    return train(config, 1, KNOWN, NEW, steps)


def mother(steps: int = 90) -> LoadedModel:
    config = transformers.Qwen3_5TextConfig(
        hidden_size=40,
        intermediate_size=96,
        num_hidden_layers=2,
        layer_types=["linear_attention", "full_attention"],
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        **COMMON,
    )
    return train(config, 2, NEW, [], steps)


def score(parent: LoadedModel, words: list[str]) -> float:
    """Share of words whose partner is the likeliest of all partners."""
    ids = torch.tensor([[parent.tokenizer.convert_tokens_to_ids(word)] for word in words])
    partners = torch.tensor([parent.tokenizer.convert_tokens_to_ids(partner) for partner in PARTNERS])
    with torch.inference_mode():
        best = parent.model(input_ids=ids).logits[:, -1, partners].argmax(-1).tolist()
    return sum(PARTNERS[index] == PARTNER[word] for index, word in zip(best, words, strict=True)) / len(words)


def prompts() -> tuple[Probe, ...]:
    """Every word alone, without an answer; what the father knows is in the language to protect."""
    return tuple(Probe(word, "ko" if word in KNOWN else "en", "knowledge", word) for word in WORDS)


def texts(count: int = 40) -> tuple[Probe, ...]:
    """Text without the mother's knowledge, on which the father must stay as it is."""
    rng = random.Random(9)
    return tuple(Probe(text(rng, KNOWN, NEW), "en", "prose", str(number)) for number in range(count))


def shuffle(marks: torch.Tensor) -> torch.Tensor:
    """The places of targets in a random order, for a null arm."""
    return marks[torch.randperm(len(marks), generator=torch.Generator().manual_seed(1))]
