"""What parents of one architecture compute or keep differently although their weights fit: refused, or told.

A configuration's field is compared as transformers reads it, with its family's defaults. A field that is not known to
leave the computation alone counts as one that changes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from darwin_mri.checkpoints.survey import Survey
from darwin_mri.checkpoints.vocabulary import Vocabulary

# Fields of text configurations that do not change what a model in evaluation mode computes from its weights. Tied
# weights are compared as tensors, token ids as tokens.
HARMLESS = (
    "_*", "architectures", "auto_map", "bos_token_id", "chunk_size_feed_forward", "classifier_*", "dtype",
    "torch_dtype", "eos_token_id", "id2label", "label2id", "num_labels", "finetuning_task", "gradient_checkpointing",
    "initializer_*", "init_*", "is_decoder", "is_encoder_decoder", "keys_to_ignore_at_inference", "name_or_path",
    "output_attentions", "output_hidden_states", "output_router_logits", "pad_token_id", "pretraining_tp",
    "problem_type", "sep_token_id", "tie_word_embeddings", "tokenizer_class", "transformers_version",
    "unsloth*", "use_bfloat16", "use_cache", "*dropout*", "*_pdrop", "layerdrop",
    "router_aux_loss_coef", "router_jitter_noise", "router_z_loss_coef", "rescale_prenorm_residual",
    "max_window_layers", "quantization_config", "summary_*",
)  # fmt: skip
# Fields that say to which head, pair of rotated values, neuron or branch a weight belongs, or which function follows
# it: where they differ, elements of two weights at one place mean different things.
STRUCTURAL = (
    "model_type", "*hidden_size", "*num_hidden_layers", "n_embd", "n_layer", "*intermediate_size", "n_inner",
    "vocab_size",
    "*num_attention_heads", "n_head", "*num_key_value_heads", "*num_kv_heads", "*head_dim", "*head_dims",
    "hidden_act", "hidden_activation", "activation_function", "mlp_hidden_act", "*rotary_dim", "*rotary_pct",
    "*partial_rotary_factor", "*mrope_section", "rope_interleave*", "use_parallel_residual", "parallel_attn",
    "new_decoder_architecture", "multi_query", "alibi", "position_embedding_type", "linear_*_heads", "mamba_*",
)  # fmt: skip
UNION = " (tokenizer: union gives both one vocabulary)"
SHOWN = 3  # names that one sentence lists


def structural_fault(father: Survey, other: Survey, ref: str, ignored: Collection[str] = ()) -> str | None:
    """The first field that gives the two models' weights other meanings, in one sentence.

    Args:
        father: the father's survey.
        other: that of another parent or the base.
        ref: what the sentence calls it.
        ignored: fields that may differ.

    Returns:
        The sentence; None where there is no such field.
    """
    for name, (own, theirs) in _unlike(father, other).items():
        if name not in ignored and _is_structural(name, own, theirs):
            advice = UNION if name == "vocab_size" else ""
            return f"{ref} has {name} {_shown(theirs, own)}, the father {_shown(own, theirs)}{advice}"
    return None


def computation_notes(father: Survey, other: Survey, ref: str) -> tuple[str, ...]:
    """Sentences on the fields that change what the same weights compute; the child has the father's.

    Args:
        father: the father's survey.
        other: that of another parent or the base.
        ref: what the sentences call it.

    Returns:
        One sentence per field.
    """
    return tuple(
        f"{ref}'s weights are for {name} {_shown(theirs, own)}, the child computes with the father's"
        f" {_shown(own, theirs)}"
        for name, (own, theirs) in _unlike(father, other).items()
        if not _is_structural(name, own, theirs)
    )


def token_fault(father: Survey, other: Survey, ref: str) -> str | None:
    """Why the rows of two embeddings do not mean the same tokens, in one sentence.

    Args:
        father: the father's survey.
        other: that of another parent or the base.
        ref: what the sentence calls it.

    Returns:
        The sentence; None where every token that both know has one id, or where a folder has no tokenizer.
    """
    if father.vocabulary is None or other.vocabulary is None:
        return None
    own, theirs = father.vocabulary.ids, other.vocabulary.ids
    moved = sorted((token for token in own.keys() & theirs.keys() if own[token] != theirs[token]), key=lambda t: own[t])
    if not moved:
        return None
    first = moved[0]
    return (
        f"{ref}'s tokenizer gives {len(moved):,} tokens other ids than the father's (first: {first!r} is"
        f" {theirs[first]}, the father's {own[first]}), so rows of the embeddings mean other tokens{UNION}"
    )


def token_notes(father: Survey, other: Survey, ref: str) -> tuple[str, ...]:
    """Sentences on the tokens that have a row in both embeddings and that one of the tokenizers does not know.

    Args:
        father: the father's survey.
        other: that of another parent or the base.
        ref: what the sentences call it.

    Returns:
        The sentences; the child keeps the father's tokenizer.
    """
    if father.vocabulary is None or other.vocabulary is None:
        lacking = "the father" if father.vocabulary is None else ref
        return (f"tokenizers are not compared: {lacking} has none that lists its tokens",)
    rows = int(father.text_config.vocab_size)
    notes = []
    for owner, has, lacks, who in (
        ("father", father.vocabulary, other.vocabulary, ref),
        (ref, other.vocabulary, father.vocabulary, "the child, which keeps the father's tokenizer"),
    ):
        tokens = _only_in(has, lacks, rows)
        if tokens:
            shown = _listed([repr(token) for token in tokens])
            notes.append(f"{len(tokens):,} tokens of the {owner} are unknown to {who}: {shown}")
    return tuple(notes)


def _only_in(has: Vocabulary, lacks: Vocabulary, rows: int) -> list[str]:
    """Tokens with a row in the embedding that another tokenizer does not know, by id."""
    return sorted((t for t, n in has.ids.items() if n < rows and t not in lacks.ids), key=lambda t: has.ids[t])


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def _unlike(father: Survey, other: Survey) -> dict[str, tuple[Any, Any]]:
    """Field -> (the father's value, the other's) of the fields that may change the computation and differ."""
    own, theirs = (_flat(survey.text_config.to_dict()) for survey in (father, other))
    names = ["model_type", *(name for name in {**own, **theirs} if not _matches(name, HARMLESS))]
    return {name: (own.get(name), theirs.get(name)) for name in names if own.get(name) != theirs.get(name)}


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping) and not _matches(f"{prefix}{name}", HARMLESS):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a field's own name, without those of the mappings around it, is among some patterns."""
    return any(fnmatchcase(name.rpartition(".")[2], pattern) for pattern in patterns)


def _is_structural(name: str, own: Any, theirs: Any) -> bool:
    """Whether a difference is refused; a field that one side leaves open has its family's default there."""
    return _matches(name, STRUCTURAL) and own is not None and theirs is not None


def _shown(value: Any, against: Any) -> Any:
    """A value as a sentence shows it: of a long list, the first entry that differs."""
    if not isinstance(value, (list, tuple)) or len(value) <= SHOWN:
        return value
    pairs = zip(value, against, strict=False) if isinstance(against, (list, tuple)) else ()
    place = next((number for number, (one, other) in enumerate(pairs) if one != other), 0)
    return f"[... {value[place]} at {place}, {len(value)} values]"
