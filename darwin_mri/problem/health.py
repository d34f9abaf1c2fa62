"""The health check of a child beside its parents: one model after the other, so that a device holds two at most."""

from __future__ import annotations

from pathlib import Path

from darwin_mri.checkpoints import ModelSource, load_model, load_tokenizer, working_dtype
from darwin_mri.checkpoints.model import explain_out_of_memory
from darwin_mri.errors import GateError
from darwin_mri.merging.health import Reference, judge_child
from darwin_mri.merging.model_figures import (
    SampledText,
    bits_per_byte,
    known_prompts,
    losses_by_language,
    measure_figures,
    sample_texts,
)
from darwin_mri.probes import Probe
from darwin_mri.problem.parents import Parents
from darwin_mri.records import Health
from darwin_mri.records.roles import FATHER

ADVICE = "free memory on the device or use a larger one, then check again with darwin-mri check"


def examine_child(child: Path, parents: Parents, *, expect_change: bool) -> Health:
    """Measure father, other parents and child, and run the gates.

    Args:
        child: its folder.
        parents: the father is resident or is loaded; the others are loaded from disk, one at a time.
        expect_change: whether the genome moves any tensor.

    Returns:
        The gates.

    Raises:
        DarwinError: a model does not fit in memory.
        CheckpointError: the child or a parent does not load.
    """
    with explain_out_of_memory("the health check", ADVICE):
        father, probes = parents.father, parents.probes
        prompts = known_prompts(father.model, father.tokenizer, probes)
        figures = measure_figures(father.model, father.tokenizer, probes, prompts)
        bits, sampled = _read_others(parents, probes)
        reference = Reference(figures, bits, sampled, expect_change)
        source = ModelSource(child.name, child, None)
        with parents.room_for(source):
            model = load_model(source, device=parents.device, dtype=working_dtype(parents.device, parents.config.dtype))
            child_figures = measure_figures(model, father.tokenizer, probes, prompts)
            child_bits = [bits_per_byte(model, father.tokenizer, text.texts) for text in sampled]
            del model
    return judge_child((child, father.source.folder), child_figures, child_bits, reference)


def require_health(health: Health, run: str) -> None:
    """Raise GateError where a child fails a gate; ``run`` names the folder that the message points to."""
    failed = ", ".join(gate.name for gate in health.gates if not gate.passed)
    if not health.passed:
        raise GateError(
            f"the child fails its health check ({failed}): see {run}/health.json, or pass --force to accept it"
        )


def _read_others(parents: Parents, probes: tuple[Probe, ...]) -> tuple[dict[str, float], tuple[SampledText, ...]]:
    """The worst loss of the other parents by language, and what all parents wrote, with the worst loss on it."""
    if not parents.others:
        return {}, ()
    father, seed = parents.father, parents.config.seed
    texts = {FATHER: sample_texts(FATHER, father.model, father.tokenizer, probes, seed)}
    losses: dict[str, list[float | None]] = {FATHER: [bits_per_byte(father.model, father.tokenizer, texts[FATHER])]}
    by_language: dict[str, float] = {}
    dtype = working_dtype(parents.device, parents.config.dtype)
    for role, source in zip(parents.others, parents.other_sources, strict=True):
        with parents.room_for(source):
            model, tokenizer = load_model(source, device=parents.device, dtype=dtype), load_tokenizer(source)
            texts[role] = sample_texts(role, model, tokenizer, probes, seed)
            for author in (FATHER, role):
                losses.setdefault(author, []).append(bits_per_byte(model, tokenizer, texts[author]))
            for language, bits in losses_by_language(model, tokenizer, probes).items():
                by_language[language] = max(bits, by_language.get(language, 0.0))
            del model
        losses[role].append(bits_per_byte(father.model, father.tokenizer, texts[role]))
    sampled = tuple(
        SampledText(role, texts[role], max(bits for bits in losses[role] if bits is not None))
        for role in texts
        if texts[role] and None not in losses[role]
    )
    return by_language, sampled
