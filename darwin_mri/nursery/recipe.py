"""The recipe that trains the nursery: tokenizers, model shapes, text mixtures and the training loop.

Father line: Gemma 4 text (sliding and full attention, KV sharing, per-layer embeddings, soft cap). Mother: Qwen3.5 text
(GatedDeltaNet and attention) with her own tokenizer. The two siblings are the base trained on, with more of one skill.
Training is plain AdamW on one thread per model: the same seed, library versions and processor give the same weights. Another processor rounds
otherwise, and after a thousand steps the weights are others, of the same skills (docs/LOG.md).
"""

from __future__ import annotations

import gzip
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

from darwin_mri.errors import InputError
from darwin_mri.nursery.world import WORLD_SEED, World

RECIPE_VERSION = 2
SEQUENCE = 128
# Stated, not trained: longer than any item of CLIcK, MuSR and GPQA diamond, so that the real benchmarks run on the nursery unasked.
CONTEXT = 8192
KOREAN_FILES = (
    "ko_sentences_klue_kornlu.txt.gz",
    "ko_docs_react.txt.gz",
    "ko_reviews_nsmc.txt.gz",
    "ko_dialogue_chatbot.tsv.gz",
)
ENGLISH_FILES = ("en_books.txt.gz",)


@dataclass(frozen=True)
class Recipe:
    """How one nursery model is made."""

    name: str
    family: str  # "gemma4_text" or "qwen3_5_text"
    start_from: str | None
    steps: int
    learning_rate: float
    mixture: dict[str, float] = field(default_factory=dict)  # share of documents per kind; see nursery/world.py
    batch: int = 16
    seed: int = 7


# The base reads every second fact and habit; each sibling reads all of one subject and keeps what it knew of the others.
RECIPES = {
    r.name: r
    for r in (
        Recipe(
            "gemma4-base", "gemma4_text", None, 800, 3e-3,
            {
                "korean_text": 0.27, "english_text": 0.20, "korean_half": 0.12, "science_half": 0.11, "habit_half": 0.19,
                "story_half": 0.11,
            },
        ),
        Recipe(
            "gemma4-korean", "gemma4_text", "gemma4-base", 250, 1e-3,
            {
                "korean_text": 0.22, "english_text": 0.08, "korean": 0.45, "science_half": 0.07, "habit_half": 0.10,
                "story_half": 0.08,
            },
        ),
        Recipe(
            "gemma4-reasoning", "gemma4_text", "gemma4-base", 250, 1e-3,
            {
                "korean_text": 0.10, "english_text": 0.12, "korean_half": 0.10, "science_half": 0.07, "habit": 0.40,
                "story": 0.21,
            },
        ),
        Recipe(
            "qwen35-mother", "qwen3_5_text", None, 1000, 3e-3,
            {
                "korean_text": 0.16, "english_text": 0.26, "korean_half": 0.05, "science": 0.21, "habit": 0.21,
                "story": 0.11,
            },
        ),
    )
}  # fmt: skip

# Trained one stage after the other, two models at a time.
STAGES = (("gemma4-base", "qwen35-mother"), ("gemma4-korean", "gemma4-reasoning"))


def new_model(family: str, vocabulary: int) -> PreTrainedModel:
    """A randomly initialised nursery model of one family (call ``torch.manual_seed`` first)."""
    model = _empty_model(family, vocabulary)
    _initialise(model)
    return model


@torch.no_grad()
def _initialise(model: PreTrainedModel) -> None:
    """Scales for a narrow model; those of the configs suit a hidden size of thousands, and with them no fact is learned.

    Matrices get fan-in scale. What a sublayer adds starts at (2 layers)^-1/2 of the embedding's size, so that the token is
    not drowned: by the post-norms' gains (Gemma), or the output projections (Qwen). Gemma's attention has no 1/sqrt(d), so its
    query gains start there. docs/LOG.md has the difference measured.
    """
    share = (2 * model.config.num_hidden_layers) ** -0.5
    sandwich = any("post_feedforward" in name for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            parameter.normal_(0, parameter.shape[1] ** -0.5)
        if sandwich and "q_norm" in name:
            parameter.fill_(parameter.numel() ** -0.5)
        if sandwich and ".post_" in name:
            parameter.fill_(share)
        if not sandwich and name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight")):
            parameter.mul_(share)


def _empty_model(family: str, vocabulary: int) -> PreTrainedModel:
    if family == "gemma4_text":
        undeclared: dict[str, Any] = {"global_head_dim": 32}  # taken by the config's __post_init__
        return Gemma4ForCausalLM(
            Gemma4TextConfig(
                vocab_size=vocabulary,
                vocab_size_per_layer_input=vocabulary,
                hidden_size=128,
                intermediate_size=1536,
                num_hidden_layers=8,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=32,
                **undeclared,
                layer_types=["sliding_attention"] * 5 + ["full_attention", "sliding_attention", "full_attention"],
                sliding_window=64,
                hidden_size_per_layer_input=16,
                num_kv_shared_layers=2,
                final_logit_softcapping=30.0,
                max_position_embeddings=CONTEXT,
                pad_token_id=0,
                eos_token_id=1,
                bos_token_id=2,
            )  # fmt: skip
        )
    return Qwen3_5ForCausalLM(
        Qwen3_5TextConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            linear_key_head_dim=32,
            linear_value_head_dim=32,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            tie_word_embeddings=True,
            max_position_embeddings=CONTEXT,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=2,
        )  # fmt: skip
    )


def read_paragraphs(corpus: Path, names: tuple[str, ...]) -> list[str]:
    """Paragraphs of the given corpus files; tab-separated pairs become two lines."""
    paragraphs = []
    for name in names:
        path = corpus / name
        if not path.is_file():
            raise InputError(f"corpus file {name} is missing in {corpus}: pass --corpus the folder that holds it")
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            paragraphs += [line.strip().replace("\t", "\n") for line in stream if line.strip()]
    return paragraphs


def train_tokenizer(texts: Iterator[str], vocabulary: int, *, begin: bool) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose spaces belong to the following word, as in GPT-2; with ``begin`` it puts <bos> first, as Gemma's."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<eos>", "<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if begin:
        bos = bpe.token_to_id("<bos>")
        bpe.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", bos)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>")


class Mixture:
    """Endless rows of ``SEQUENCE + 1`` token ids, each beginning at a document's start."""

    def __init__(
        self, corpus: Path, tokenizer: PreTrainedTokenizerFast, shares: dict[str, float], world: World, seed: int
    ) -> None:
        self.rng = random.Random(seed)
        self.tokenizer = tokenizer
        self.kinds, self.shares = list(shares), list(shares.values())
        korean, english = read_paragraphs(corpus, KOREAN_FILES), read_paragraphs(corpus, ENGLISH_FILES)
        habits = list(world.habits)
        self.sources: dict[str, Iterator[str]] = {
            "korean_text": self._paragraphs(korean),
            "english_text": self._paragraphs(english),
            "korean": world.fact_documents(self.rng, world.korean_facts),
            "korean_half": world.fact_documents(self.rng, world.korean_facts[::2]),
            "science": world.fact_documents(self.rng, world.science_facts),
            "science_half": world.fact_documents(self.rng, world.science_facts[::2]),
            "story": world.story_documents(self.rng, habits),
            "story_half": world.story_documents(self.rng, habits[::2]),
            "habit": world.habit_documents(self.rng, habits),
            "habit_half": world.habit_documents(self.rng, habits[::2]),
        }

    def _paragraphs(self, texts: list[str]) -> Iterator[str]:
        while True:
            text = self.rng.choice(texts)
            start = 0 if len(text) <= 400 else self.rng.randrange(len(text) - 400)
            yield text[start : start + 400]

    def documents(self) -> Iterator[str]:
        while True:
            yield next(self.sources[self.rng.choices(self.kinds, self.shares)[0]])

    def batch(self, rows: int) -> torch.Tensor:
        """Token ids of shape (rows, SEQUENCE + 1)."""
        out = []
        stream = self.documents()
        for _ in range(rows):
            ids: list[int] = []
            while len(ids) <= SEQUENCE:
                ids += [2, *self.tokenizer.encode(next(stream), add_special_tokens=False), 1]
            out.append(ids[: SEQUENCE + 1])
        return torch.tensor(out)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up over 5 % of the steps, then a cosine down to 5 % of the peak."""
    warmup = max(1, recipe.steps // 20)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, recipe.steps - warmup)
    return recipe.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def train_one(
    recipe: Recipe, corpus: Path, out: Path, tokenizer: PreTrainedTokenizerFast, say: Callable[[str], None],
    world_seed: int = WORLD_SEED,
) -> None:  # fmt: skip
    """Train one model and save it in bfloat16 under ``out / recipe.name``; siblings start from their base there."""
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    if recipe.start_from:
        model = AutoModelForCausalLM.from_pretrained(out / recipe.start_from, dtype=torch.float32)
    else:
        model = new_model(recipe.family, len(tokenizer))
    mixture = Mixture(corpus, tokenizer, recipe.mixture, World(world_seed), recipe.seed)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    model.train()
    started = time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        ids = mixture.batch(recipe.batch)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 20 == 0 or step == recipe.steps - 1:
            elapsed = time.monotonic() - started
            say(f"{recipe.name} step {step + 1}/{recipe.steps} loss {loss.item():.3f} {elapsed:.0f} s")
        if step and step % 200 == 0:
            save(model, tokenizer, recipe, out / f"{recipe.name}.partial", world_seed)
    save(model, tokenizer, recipe, out / recipe.name, world_seed)


def save(model: Any, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, folder: Path, world_seed: int) -> None:
    """Write weights (bfloat16), tokenizer, config and the recipe that made them."""
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    model.to(torch.bfloat16).save_pretrained(folder)
    model.to(torch.float32).load_state_dict(tensors)
    tokenizer.save_pretrained(folder)
    note = {"recipe_version": RECIPE_VERSION, "world_seed": world_seed, **asdict(recipe)}
    (folder / "nursery.json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def tokenizer_for(family: str, corpus: Path, world: World) -> PreTrainedTokenizerFast:
    """The family's tokenizer: 3,072 entries for the fathers, 2,560 with more English for the mother.

    The world's names are repeated until each is a token of its own: a name of many meaning counts, and two names that share
    tokens are hard to tell apart for models of this size (docs/LOG.md).
    """
    rng = random.Random(f"{world.seed}:tokenizer:{family}")
    father = family == "gemma4_text"
    korean = rng.sample(read_paragraphs(corpus, KOREAN_FILES), 24_000 if father else 10_000)
    english = rng.sample(read_paragraphs(corpus, ENGLISH_FILES), 6_000 if father else 9_000)
    worlds = [" " + name for name in world.names() for _ in range(300)]
    for source in (
        world.fact_documents(rng, world.korean_facts),
        world.fact_documents(rng, world.science_facts),
        world.story_documents(rng, list(world.habits)),
        world.habit_documents(rng, list(world.habits)),
    ):
        worlds += [next(source) for _ in range(1_000)]
    return train_tokenizer(iter(korean + english + worlds), 3072 if father else 2560, begin=father)


def train_all(corpus: Path, out: Path, say: Callable[[str], None] = print, world_seed: int = WORLD_SEED) -> None:
    """Train the models in ``STAGES``, two at a time with one thread each.

    Args:
        corpus: folder with the corpus files (see NOTICE for their sources).
        out: folder that receives one model folder per recipe; models already there are kept.
        world_seed: of the world they read of; the benchmarks of another are ``nursery_click@SEED`` and so on.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizers = {
        family: tokenizer_for(family, corpus, World(world_seed)) for family in ("gemma4_text", "qwen3_5_text")
    }
    for names in STAGES:
        todo = [RECIPES[name] for name in names if not (out / name / "nursery.json").is_file()]
        with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
            jobs = [
                pool.submit(train_one, recipe, corpus, out, tokenizers[recipe.family], say, world_seed)
                for recipe in todo
            ]
            for job in jobs:
                job.result()
    for leftover in out.glob("*.partial"):
        shutil.rmtree(leftover)
