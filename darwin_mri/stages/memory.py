"""How much memory each stage of a run takes, from shapes alone, and what gives way where it is short. Nothing here loads torch.

The rule, in this order: the second parent waits in host memory while the first is scanned, where the arm lets it; the search keeps what
fits of what does not depend on the ratio and makes the rest anew for each candidate; a batch that does not fit is halved. Where even that
cannot do, ``darwin-mri plan`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from darwin_mri.checkpoints.survey import Survey
from darwin_mri.config import Config

TOKENS = {"nursery_click": 20, "nursery_gpqa": 20, "nursery_musr": 50, "click": 250, "musr": 1100, "gpqa": 350}
OTHER_TOKENS = 300  # per item of a benchmark not listed
CHOICES = 4
BATCH_TOKENS = 4096  # of a forward of the scan on a CPU, and of a backward pass of the response
LONG_BATCH_TOKENS = 16384  # of a forward of the scan on an accelerator
SCORED_TOKENS = 32768  # of a batch of the scorer on one
LOGITS_AT_ONCE = 2048  # positions projected to the vocabulary at once
NEURON_POSITIONS = 256
RESPONSE_BLOCKS = 8
# Values per token and layer that a backward pass keeps, in hidden and FFN sizes; measured on Gemma 4 and Qwen 3.5 (docs/PERFORMANCE.md).
GRAPH_HIDDEN, GRAPH_FFN = 22, 5
OFFLOADABLE = ("raw", "folded")  # arms that read the mother's weights only; operators read hers from the files


def item_tokens(name: str) -> int:
    """Tokens of one item of a benchmark, in the mean."""
    return TOKENS.get(name, OTHER_TOKENS)


def scan_tokens(device: str) -> int:
    """Tokens of one forward of the scan."""
    return BATCH_TOKENS if device == "cpu" else LONG_BATCH_TOKENS


def can_wait(config: Config) -> bool:
    """Whether the mother may be in host memory while the father is on the device."""
    return not config.cross or config.method in OFFLOADABLE


def stage_bytes(
    config: Config, father: Survey, mother: Survey, each: int, *, accelerator: bool, short: bool = False
) -> Mapping[str, int]:
    """Bytes that each stage holds at its fullest.

    Args:
        each: bytes of a parameter as it is loaded.
        accelerator: whether they are on one, where a search keeps what is smaller (``Blend.kept``).
        short: what is left once all that can has given way: on an accelerator one parent at a time where ``can_wait``, and
            nothing kept by the search.
    """
    held = {role: found.parameters * each for role, found in (("father", father), ("mother", mother))}
    moved = ffn_parameters(father) if config.cross else father.parameters
    both = max(held.values()) if short and accelerator and can_wait(config) else sum(held.values())
    sums = sum(_scan_sums(config, found) for found in (father, mother))
    tokens = LONG_BATCH_TOKENS if accelerator else BATCH_TOKENS
    stages = {"scan": both + sums + max(_batch(found, each, tokens) for found in (father, mother))}
    if config.cross:
        arm = 0 if config.method in OFFLOADABLE else int(config.arm.memory_gb * 2**30)
        stages["donors"] = both + sums + arm
    if config.prior.preset == "response" or (config.prior.preset != "flat" and config.prior.protect):
        # The directions in fp32, and the weights that stand in for the father's, in his dtype.
        stages["prior"] = held["father"] + moved * (4 + each) + _graph(config, father, each)
    kept = 0 if short else int(moved * kept_bytes(config, accelerator, father.size / max(1, father.parameters)))
    stages["search"] = held["father"] + kept + _batch(father, each, SCORED_TOKENS if accelerator else BATCH_TOKENS)
    return stages


def kept_bytes(config: Config, accelerator: bool, filed: float) -> float:
    """Per value that a gene moves, of a search (``Blend.kept``): the origin with the contributions in fp32, or the inputs as they are filed.

    Args:
        filed: bytes of a value on disk.
    """
    interpolates = config.cross or config.method in ("linear", "slerp")
    masks = sum(density < 1 for density in (config.density, config.density_father))
    one = interpolates or (config.method in ("task_arithmetic", "dare_linear") and config.density_father == 1)
    contributions = filed + 4 * (1 if one else 2)
    if not accelerator or (one and not interpolates):
        return contributions
    parents = 2 if interpolates or config.base == config.father else 3
    mask = {"dare_linear": 1, "dare_ties": 1, "della": 4}.get(config.method, 0)
    return min(contributions, parents * filed + mask * masks)


def ffn_parameters(found: Survey) -> int:
    """Parameters of all plain FFNs."""
    hidden = found.anatomy.hidden_size
    return sum((3 if layer.ffn.gate else 2) * layer.ffn.width * hidden for layer in found.anatomy.layers if layer.ffn)


def _scan_sums(config: Config, found: Survey) -> int:
    """Second moments of two sites and the values at paired positions, in fp32."""
    hidden, ffn, layers = found.anatomy.hidden_size, found.anatomy.ffn_size, len(found.anatomy.layers)
    return 4 * layers * (2 * hidden**2 + config.scan.positions * hidden + NEURON_POSITIONS * ffn)


def _batch(found: Survey, each: int, tokens: int) -> int:
    """A forward's largest activations: a few copies of the neurons in fp32, and logits with their soft cap and softmax."""
    vocabulary = int(found.text_config.get("vocab_size") or 0)
    stream = tokens * found.anatomy.hidden_size * each * 8
    return stream + tokens * found.anatomy.ffn_size * 4 * 4 + LOGITS_AT_ONCE * vocabulary * 4 * 3


def _graph(config: Config, found: Survey, each: int) -> int:
    """What a backward pass keeps: over a batch of texts at most, or some items, or one item that is longer than a batch."""
    tokens = min(config.scan.documents * config.scan.max_tokens, BATCH_TOKENS) if config.prior.protect else 0
    if config.prior.preset == "response":
        items = -(-config.prior.items // RESPONSE_BLOCKS)
        longest = max(CHOICES * item_tokens(name) for name in config.fitness)
        tokens = max(tokens, longest, min(items * longest, BATCH_TOKENS))
    values = GRAPH_HIDDEN * found.anatomy.hidden_size + GRAPH_FFN * found.anatomy.ffn_size
    return tokens * len(found.anatomy.layers) * values * each
