"""What passes of a model hold beside its weights, from shapes alone: activations, logits, masks."""

from __future__ import annotations

from darwin_mri.batch_sizes import (
    BATCH_TOKENS,
    HARNESS_LOGITS,
    LOGIT_POSITIONS,
    MOST_LOGITS,
    RESPONSE_BLOCKS,
    TEXT_BLOCKS,
    gradient_tokens,
    mask_values,
    scan_tokens,
)
from darwin_mri.checkpoints.survey import Survey
from darwin_mri.config import Config
from darwin_mri.config_methods import FITTED

TOKENS = {"nursery_click": 20, "nursery_gpqa": 20, "nursery_musr": 50, "click": 250, "musr": 1100, "gpqa": 350}
OTHER_TOKENS = 300  # per item of a benchmark not listed
CHOICES = 4
LETTERED = ("nursery_click", "nursery_gpqa", "nursery_musr", "click", "gpqa")  # choices of one token share a row
TEXT_KINDS = 3  # of texts in one language: prose, knowledge, reasoning
# Values per token and layer that a backward pass keeps, in hidden and FFN sizes: through weights that get a gradient,
# and through frozen ones; in half precision norms keep their values in fp32 beside. Measured on Gemma 4 and Qwen 3.5
# (docs/PERFORMANCE.md) and in fp32 counted (docs/LOG.md).
GRAPH, FROZEN_GRAPH = {2: (22, 5), 4: (19, 4)}, {2: (15, 3), 4: (9, 3)}
# Bytes per token and value of a linear attention's heads that its backward pass keeps without kernels of its own, by
# bytes of a parameter, and per head: pieces of CHUNK tokens times each other.
LINEAR, CHUNK, PIECES = {2: 75, 4: 100}, 64, 16
MASK_MARKS = 3  # bytes per value of a mask while it is made


def item_tokens(name: str) -> int:
    """Mean tokens of one item of a benchmark."""
    return TOKENS.get(name, OTHER_TOKENS)


def forward(survey: Survey, each: int, tokens: int) -> int:
    """A forward's largest activations: of an FFN, or afterwards logits with their soft cap and softmax.

    Args:
        survey: of the model.
        each: bytes of a parameter.
        tokens: of the batch.

    Returns:
        Bytes.
    """
    stream = tokens * survey.anatomy.hidden_size * each
    layer = 8 * stream + tokens * survey.anatomy.ffn_size * each * 4
    return max(layer, stream + 4 * 3 * min(MOST_LOGITS, min(tokens, LOGIT_POSITIONS) * _vocabulary(survey)))


def scan_batch(config: Config, survey: Survey, each: int, memory: int | None) -> int:
    """The larger of a forward's activations, with the neurons' copies in fp32, and what a backward pass keeps.

    Args:
        config: of the run.
        survey: of the parent.
        each: bytes of a parameter.
        memory: bytes of the accelerator; None for a CPU.

    Returns:
        Bytes.
    """
    tokens = scan_tokens(memory)
    copies = tokens * (8 * survey.anatomy.hidden_size * each + 4 * 4 * survey.anatomy.ffn_size)
    values = max(forward(survey, each, tokens), copies)
    if config.scan.ablation == "exact":
        return values
    tokens = max(gradient_tokens(memory), config.scan.max_tokens)  # one text at least
    kept = tokens * graph_bytes(survey, each, FROZEN_GRAPH[each])
    return max(values, kept + gradient_logits(survey, tokens))


def gradient_logits(survey: Survey, tokens: int) -> int:
    """Logits at once with their soft cap, softmax and gradient."""
    return 4 * 4 * min(MOST_LOGITS, min(tokens, LOGIT_POSITIONS) * _vocabulary(survey))


def graph_bytes(survey: Survey, each: int, kept: tuple[int, int], *, layers: int | None = None) -> int:
    """Bytes that a backward pass keeps of each token.

    Args:
        survey: of the model.
        each: bytes of a parameter.
        kept: values of a layer, in hidden and FFN sizes.
        layers: how many layers it keeps them of; all when None.

    Returns:
        Bytes.
    """
    config = survey.text_config
    kinds: list[str] = list(getattr(config, "layer_types", None) or ())
    heads, width = (getattr(config, f"linear_{name}", None) or 0 for name in ("num_value_heads", "value_head_dim"))
    depth = len(survey.anatomy.layers) if layers is None else layers
    linear = min(depth, kinds.count("linear_attention")) * heads * (LINEAR[each] * width + PIECES * CHUNK)
    return depth * (kept[0] * survey.anatomy.hidden_size + kept[1] * survey.anatomy.ffn_size) * each + linear


def masks(config: Config, survey: Survey, each: int, tokens: int, accelerator: bool) -> int:
    """Masks of a batch of the scorer, one for each kind of attention, and the marks that one is made of.

    Args:
        config: of the run.
        survey: of the model.
        each: bytes of a parameter.
        tokens: of the batch.
        accelerator: whether it is read on one.

    Returns:
        Bytes.
    """
    longest = max(map(item_tokens, config.fitness))
    values = min(tokens * longest, mask_values("cuda" if accelerator else "cpu"))
    kinds = len(set(getattr(survey.text_config, "layer_types", None) or ("full_attention",)))
    return values * (each * kinds + MASK_MARKS)


def scores(survey: Survey, tokens: int, longest: int) -> int:
    """Attention scores of one layer in fp32 with their softmax, where attention has no kernel that avoids them.

    Args:
        survey: of the model.
        tokens: of the batch.
        longest: tokens of a text at most.

    Returns:
        Bytes.
    """
    return 2 * 4 * tokens * longest * (getattr(survey.text_config, "num_attention_heads", None) or 1)


def harness_batch(survey: Survey, each: int, tokens: int) -> int:
    """As ``forward``, of lm-eval: it has the logits of every position, twice, and fewer rows where they are large.

    Args:
        survey: of the model.
        each: bytes of a parameter.
        tokens: of the batch, at most.

    Returns:
        Bytes.
    """
    tokens = min(tokens, HARNESS_LOGITS // max(1, 8 * _vocabulary(survey)))
    stream = tokens * survey.anatomy.hidden_size * each * 8
    return stream + tokens * survey.anatomy.ffn_size * 4 * 4 + tokens * _vocabulary(survey) * 8


def slope_tokens(config: Config) -> int:
    """Tokens of a backward pass: a block of texts, some items, or one item that is longer than a batch."""
    documents = -(-TEXT_KINDS * config.scan.documents // TEXT_BLOCKS)
    tokens = min(documents * config.scan.max_tokens, BATCH_TOKENS) if config.prior.protect else 0
    if config.prior.preset in FITTED:
        items = -(-config.prior.items // RESPONSE_BLOCKS)
        read = [item_tokens(name) * (1 if name in LETTERED else CHOICES) for name in config.fitness]
        tokens = max(tokens, *read, min(items * sum(read), BATCH_TOKENS))
    return tokens


def _vocabulary(survey: Survey) -> int:
    return int(survey.text_config.vocab_size)
