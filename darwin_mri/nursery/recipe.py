"""The recipe that trains the nursery: tokenizers, model shapes, text mixtures and the training loop.

Father line: Gemma 4 text (sliding and full attention, KV sharing, per-layer embeddings, soft cap). Mother: Qwen3.5 text
(GatedDeltaNet and attention) with a tokenizer of its own. The two siblings are the base trained on, with more of one
skill. Training is plain AdamW on one thread per model: the same seed, library versions and processor give the same
weights. Another processor rounds otherwise, and after a thousand steps the weights are others, of the same skills
(docs/LOG.md).
"""

from __future__ import annotations

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
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from darwin_mri.children import end_with_parent
from darwin_mri.files import require_output
from darwin_mri.nursery.mixture import ENGLISH_FILES, KOREAN_FILES, Mixture, sample_paragraphs
from darwin_mri.nursery.shapes import new_model
from darwin_mri.nursery.world import WORLD_SEED, World

RECIPE_VERSION = 2


@dataclass(frozen=True)
class Recipe:
    """How one nursery model is trained.

    Attributes:
        name: of the model and its folder.
        family: "gemma4_text" or "qwen3_5_text".
        start_from: model that training goes on from; None for a new one.
        steps: of the optimizer.
        learning_rate: its peak.
        mixture: kind of document -> its share; the kinds are the sources of ``Mixture``.
        batch: rows of a step.
        seed: of the weights and the documents.
    """

    name: str
    family: str
    start_from: str | None
    steps: int
    learning_rate: float
    mixture: dict[str, float] = field(default_factory=dict)
    batch: int = 16
    seed: int = 7


# The base reads every second fact and habit; each sibling reads all of one subject and keeps what the base knows of
# the others.
RECIPES = {
    r.name: r
    for r in (
        Recipe(
            "gemma4-base",
            "gemma4_text",
            None,
            800,
            3e-3,
            {
                "korean_text": 0.27,
                "english_text": 0.20,
                "korean_half": 0.12,
                "science_half": 0.11,
                "habit_half": 0.19,
                "story_half": 0.11,
            },
        ),
        Recipe(
            "gemma4-korean",
            "gemma4_text",
            "gemma4-base",
            250,
            1e-3,
            {
                "korean_text": 0.22,
                "english_text": 0.08,
                "korean": 0.45,
                "science_half": 0.07,
                "habit_half": 0.10,
                "story_half": 0.08,
            },
        ),
        Recipe(
            "gemma4-reasoning",
            "gemma4_text",
            "gemma4-base",
            250,
            1e-3,
            {
                "korean_text": 0.10,
                "english_text": 0.12,
                "korean_half": 0.10,
                "science_half": 0.07,
                "habit": 0.40,
                "story": 0.21,
            },
        ),
        Recipe(
            "qwen35-mother",
            "qwen3_5_text",
            None,
            1000,
            3e-3,
            {
                "korean_text": 0.16,
                "english_text": 0.26,
                "korean_half": 0.05,
                "science": 0.21,
                "habit": 0.21,
                "story": 0.11,
            },
        ),
    )
}

# Trained one stage after the other, two models at a time.
STAGES = (("gemma4-base", "qwen35-mother"), ("gemma4-korean", "gemma4-reasoning"))


def train_tokenizer(texts: Iterator[str], vocabulary: int, *, begin: bool) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE whose spaces belong to the following word, as in GPT-2.

    Args:
        texts: to train on.
        vocabulary: number of tokens.
        begin: put <bos> before every text, as Gemma's does.

    Returns:
        The tokenizer.
    """
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


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up over 5 % of the steps, then a cosine down to 5 % of the peak."""
    warmup = max(1, recipe.steps // 20)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, recipe.steps - warmup)
    return recipe.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def train_one(
    recipe: Recipe,
    corpus: Path,
    out: Path,
    tokenizer: PreTrainedTokenizerFast,
    say: Callable[[str], None],
    world_seed: int = WORLD_SEED,
) -> None:
    """Train one model and save it in bfloat16.

    Args:
        recipe: of the model.
        corpus: folder with the corpus files.
        out: folder of all models: the model goes to ``out / recipe.name``, and what it starts from is read there.
        tokenizer: of its family.
        say: called with a line of progress now and then.
        world_seed: of the world that its texts are about.
    """
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
        ids = mixture.batch(recipe.batch)  # (batch, SEQUENCE + 1)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits  # (batch, SEQUENCE, vocabulary)
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
    """Write a model folder.

    Args:
        model: in float32; it is written in bfloat16 and left as it was.
        tokenizer: the model's.
        recipe: goes into nursery.json.
        folder: to write.
        world_seed: goes into nursery.json.
    """
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    model.to(torch.bfloat16).save_pretrained(folder)
    model.to(torch.float32).load_state_dict(tensors)
    tokenizer.save_pretrained(folder)
    note = {"recipe_version": RECIPE_VERSION, "world_seed": world_seed, **asdict(recipe)}
    (folder / "nursery.json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def tokenizer_for(family: str, corpus: Path, world: World) -> PreTrainedTokenizerFast:
    """The family's tokenizer: 3,072 entries for the fathers, 2,560 with more English for the mother.

    The world's names are repeated until each is a token of its own: two names that share tokens are hard to tell apart
    for models of this size (docs/LOG.md).

    Args:
        family: "gemma4_text" for the fathers', else the mother's.
        corpus: folder with the corpus files.
        world: whose names and documents are read.

    Returns:
        The tokenizer.

    Raises:
        InputError: the corpus is too small.
    """
    rng = random.Random(f"{world.seed}:tokenizer:{family}")
    father = family == "gemma4_text"
    korean = sample_paragraphs(rng, corpus, KOREAN_FILES, 24_000 if father else 10_000)
    english = sample_paragraphs(rng, corpus, ENGLISH_FILES, 6_000 if father else 9_000)
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
        say: called with a line of progress now and then.
        world_seed: of the world that their texts are about; its benchmarks are ``nursery_click@SEED`` and so on.
    """
    require_output(out, (f"{name}/*" for names in STAGES for name in names))
    tokenizers = {
        family: tokenizer_for(family, corpus, World(world_seed)) for family in ("gemma4_text", "qwen3_5_text")
    }
    for names in STAGES:
        todo = [RECIPES[name] for name in names if not (out / name / "nursery.json").is_file()]
        with ProcessPoolExecutor(2, get_context("spawn"), end_with_parent) as pool:
            jobs = [
                pool.submit(train_one, recipe, corpus, out, tokenizers[recipe.family], say, world_seed)
                for recipe in todo
            ]
            for job in jobs:
                job.result()
    for leftover in out.glob("*.partial"):
        shutil.rmtree(leftover)
