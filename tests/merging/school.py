"""Two small parents that went to school: each learned half of a list of pairs by heart, in seconds.

The world is a list of words with one partner each; text is word, partner, word, partner. The father knows the partners of the
first half and has read the second half with random partners, so that he knows the words but not the answers; the mother, of
another architecture, hidden size and vocabulary order, knows the second half and has never read the first.
"""

from __future__ import annotations

import random
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from darwin_mri.checkpoints import find_anatomy, quiet
from darwin_mri.merging.arms import Side
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
    made = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate([*SPECIALS, *words])}, unk_token="<unk>")
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    made.add_special_tokens(SPECIALS)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def text(rng: random.Random, words: list[str], unsure: list[str], pairs: int = 8) -> str:
    """Pairs in running text; the unsure words get any partner."""
    said = []
    for word in rng.choices([*words, *unsure], k=pairs):
        said += [word, rng.choice(PARTNERS) if word in unsure else PARTNER[word]]
    return " ".join(said)


def taught(config: Any, seed: int, words: list[str], unsure: list[str], steps: int) -> Side:
    """A model of this configuration after a few steps of AdamW on such text."""
    rng, words_of = random.Random(seed), tokenizer(seed)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = transformers.AutoModelForCausalLM.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1.0, (step + 1) / 10) * (1 - step / steps)
        ids = torch.tensor(words_of([text(rng, words, unsure) for _ in range(24)])["input_ids"])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().requires_grad_(False)
    return Side(model, words_of, find_anatomy(model))


COMMON = {
    "vocab_size": len(SPECIALS) + len(WORDS) + len(PARTNERS), "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None, "max_position_embeddings": 64, "tie_word_embeddings": True,
}  # fmt: skip


def father(steps: int = 90) -> Side:
    config = transformers.LlamaConfig(hidden_size=48, intermediate_size=256, num_hidden_layers=3, **COMMON)
    return taught(config, 1, KNOWN, NEW, steps)


def mother(steps: int = 90) -> Side:
    config = transformers.Qwen3_5TextConfig(
        hidden_size=40, intermediate_size=96, num_hidden_layers=2, layer_types=["linear_attention", "full_attention"],
        linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=2, **COMMON,
    )  # fmt: skip
    return taught(config, 2, NEW, [], steps)


def score(side: Side, words: list[str]) -> float:
    """Share of words whose partner is the likeliest of all partners."""
    ids = torch.tensor([[side.tokenizer.convert_tokens_to_ids(word)] for word in words])
    partners = torch.tensor([side.tokenizer.convert_tokens_to_ids(partner) for partner in PARTNERS])
    with torch.inference_mode():
        best = side.model(input_ids=ids).logits[:, -1, partners].argmax(-1).tolist()
    return sum(PARTNERS[index] == PARTNER[word] for index, word in zip(best, words, strict=True)) / len(words)


def prompts() -> tuple[Probe, ...]:
    """Every word alone, without an answer; what the father knows is marked as protected."""
    return tuple(Probe(word, "ko" if word in KNOWN else "en", "knowledge", word) for word in WORDS)


def reading(count: int = 40) -> tuple[Probe, ...]:
    """Text without the mother's knowledge, to hold what the father does."""
    rng = random.Random(9)
    return tuple(Probe(text(rng, KNOWN, NEW), "en", "prose", str(number)) for number in range(count))
