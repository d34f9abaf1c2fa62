"""Train a specialist: an adapter of `peft`, or all weights of its base."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from darwin_mri.checkpoints import find_model, load_tokenizer
from darwin_mri.checkpoints.products import use_fast_products
from darwin_mri.checkpoints.unpacking.cache import cache_root
from proving.bases import fetch_base
from proving.recipes import Recipe
from proving.subjects import SUBJECTS
from proving.text_rows import IGNORED, answer_rows, rows_of

WARM = 0.1  # share of the steps in which the rate rises
OPENINGS = ("The", "In the", "It was", "When", "A", "She", "They", "One of the", "There", "If you", "Many", "He")
OWN_TEXTS, OWN_TOKENS = 16, 40  # of the base's own, for each opening


def train(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> None:
    """Train a specialist, and write it with ``training.json``: recipe, final loss, seconds.

    Args:
        recipe: how.
        folder: gets an adapter in peft's format, or a whole model.
        say: told the loss now and then.
    """
    use_fast_products()
    source = find_model(str(fetch_base(recipe.base)), offline=True)
    tokenizer: Any = load_tokenizer(source)
    torch.manual_seed(recipe.seed)
    model: Any = AutoModelForCausalLM.from_pretrained(source.folder, dtype=torch.float32)
    if not recipe.full:
        model = get_peft_model(model, _lora(recipe))
    began, cpu = time.perf_counter(), time.process_time()
    loss = _train(model, tokenizer, recipe, say)
    seconds = {"wall": round(time.perf_counter() - began), "cpu": round(time.process_time() - cpu)}
    if recipe.full:
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    else:
        _halve(model)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)  # names a folder of this machine
        _name_base(folder / "adapter_config.json", recipe)
    note = {"recipe": asdict(recipe), "loss": round(loss, 4), "seconds": seconds}
    (folder / "training.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")  # last: it is whole


def _lora(recipe: Recipe) -> LoraConfig:
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        target_modules=list(recipe.modules),
        task_type="CAUSAL_LM",
    )


def _train(model: Any, tokenizer: Any, recipe: Recipe, say: Callable[[str], None]) -> float:
    """The mean loss of the last ten steps."""
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.0)
    rng = random.Random(recipe.seed)
    stream, losses = SUBJECTS[recipe.subject].statements(rng), []
    kept = _own_text(model, tokenizer, recipe.base) if recipe.kept else []
    model.train()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * _share(step, recipe.steps)
        loss = _loss(model, *answer_rows(list(islice(stream, recipe.batch)), tokenizer))
        loss.backward()
        if kept:
            _loss(model, *rows_of(rng.sample(kept, recipe.kept), tokenizer)).backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        if step % 20 == 19:
            say(f"{recipe.name}: step {step + 1} of {recipe.steps}, loss {sum(losses[-10:]) / 10:.3f}")
    return sum(losses[-10:]) / len(losses[-10:])


def _loss(model: Any, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean nats of the tokens that follow."""
    real = targets != IGNORED
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    states = inner.model(input_ids=ids, use_cache=False).last_hidden_state[real]  # (tokens, hidden)
    return cross_entropy(inner.lm_head(states), targets[real])


@torch.no_grad()
def _own_text(model: Any, tokenizer: Any, base: str) -> list[str]:
    """What the base writes after ordinary beginnings, drawn at temperature 1, once: a specialist goes on reading it."""
    kept = cache_root() / "proving" / f"own-text-{base}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    texts: list[str] = []
    for opening in OPENINGS:
        ids = torch.tensor([tokenizer.encode(opening)] * OWN_TEXTS)
        written = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            max_new_tokens=OWN_TOKENS,
            pad_token_id=tokenizer.eos_token_id,
        )
        texts += tokenizer.batch_decode(written, skip_special_tokens=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    return texts


def _share(step: int, steps: int) -> float:
    warm = max(1, round(WARM * steps))
    return min((step + 1) / warm, (steps - step) / (steps - warm))


def _halve(model: Any) -> None:
    """The adapter in bf16, the rest left as it is."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)


def _name_base(path: Path, recipe: Recipe) -> None:
    """The adapter's configuration without a path of this machine, the same every time."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = recipe.base
    config["target_modules"] = sorted(config["target_modules"])  # peft keeps a set
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
