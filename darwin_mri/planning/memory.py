"""How much memory each stage of a run takes, from shapes alone, and what gives way where it is short.

The rule, in this order: batches are short on a small device; another parent waits in host memory while the father is
scanned, where the arm lets it, and the father waits there while another model is checked or scored; slopes are taken
layer by layer; the search keeps what fits of what does not depend on the ratio on the device, what fits of the rest in
host memory, and computes what is left again for each candidate; a batch that does not fit is halved. Where even that is
not enough, ``darwin-mri plan`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from darwin_mri.batch_sizes import (
    ARM_TOKENS,
    ENGINE_CACHE,
    GRADIENT_TOKENS,
    HARNESS_TOKENS,
    KEPT_SHARE,
    LONG_HARNESS_TOKENS,
    NEURON_POSITIONS,
    scan_tokens,
    scored_tokens,
)
from darwin_mri.checkpoints.survey import LAYER, Survey
from darwin_mri.config import JOINT, Config
from darwin_mri.config_methods import FITTED
from darwin_mri.planning.activations import (
    FROZEN_GRAPH,
    GRAPH,
    forward,
    gradient_logits,
    graph_bytes,
    harness_batch,
    masks,
    scan_batch,
    scores,
    slope_tokens,
)

PROBE_GROUPS = 9  # language and domain groups of the built-in probes, where the languages are not chosen
HEALTH_TOKENS = 16 * 80  # of a forward of the health check: what a parent wrote on from prompts; probes are fewer
FFN_COPIES = 8  # matrices in fp32 of a donor that is built from weights, with what they come from
REFIT_MATRICES = 4  # (neurons, neurons) in fp64: the sum, the system, its factor, and a product on its way
DIRECTIONS = 2  # bytes per value of a map that regression keeps beside: two matrices for each input
WHOLE = ("nuslerp", "multislerp", "karcher")  # methods that a search keeps the parents' tensors for
ADDING = ("task_arithmetic", "dare_linear", "della_linear", "breadcrumbs")  # methods without an election
MASKS = {"dare_linear": 1, "dare_ties": 1, "della": 4, "della_linear": 4, "breadcrumbs": 1, "breadcrumbs_ties": 1}
ONE_MODEL_ARMS = ("raw", "folded")  # arms that read the mother's weights only; operators read them from the files


def probe_groups(config: Config) -> int:
    """Groups of language and domain among the probes."""
    return len(config.scan.languages) + 2 if config.scan.languages else PROBE_GROUPS


def moment_files(config: Config) -> int:
    """Files of moments of each parent: on the texts and, where the method merges with them, on shuffled words."""
    if config.moments is None:
        return 0
    merges = config.method == "regression" and config.settings.get("moments", "probes") not in ("identity", "deltas")
    return 1 + merges


def moment_values(config: Config, survey: Survey) -> int:
    """Values of one group's moments: of the mixer's input and output and the FFN's input; of the neurons squares."""
    hidden, ffn, layers = survey.anatomy.hidden_size, survey.anatomy.ffn_size, len(survey.anatomy.layers)
    widest = config.scan.moments_width or 2 * hidden
    full = config.moments == "full"
    return layers * sum(width**2 if full and width <= widest else width for width in (hidden, hidden, hidden, ffn))


def moment_bytes(config: Config, surveys: Sequence[Survey]) -> int:
    """Bytes on disk of all parents' moments."""
    values = sum(moment_values(config, survey) for survey in surveys)
    return 4 * probe_groups(config) * moment_files(config) * values


def can_wait(config: Config) -> bool:
    """Whether another parent may be in host memory while the father is on the device.

    The arm ``competence`` may: the mother writes, alone, before the father is refitted, and one kind of
    target alone needs the mother's states.
    """
    if config.cross and config.method == "competence":
        return config.arm.target != "states" or config.arm.place == "subject"
    return not config.cross or config.method in ONE_MODEL_ARMS


def fits_beside(config: Config, surveys: Sequence[Survey], free: int, memory: int | None) -> bool:
    """Whether all parents fit on an accelerator side by side while they are scanned and donors are built.

    Args:
        config: of the run.
        surveys: of the parents, the father's first.
        free: bytes the device has left.
        memory: bytes it has in all.

    Returns:
        True too where no parent can wait.
    """
    each = 4 if config.dtype == "float32" else 2
    stages = stage_bytes(config, surveys, each, memory)
    return not can_wait(config) or max(stages[name] for name in ("scan", "donors") if name in stages) <= free


def stage_bytes(
    config: Config,
    surveys: Sequence[Survey],
    each: int,
    memory: int | None,
    *,
    short: bool = False,
    kept: int | None = None,
) -> Mapping[str, int]:
    """Bytes that each stage holds at its fullest.

    Args:
        config: of the run.
        surveys: of the parents, the father's first.
        each: bytes of a parameter as it is loaded.
        memory: bytes of the accelerator that the models are on, where a search keeps what is smaller (``Blend.kept``);
            None for a CPU.
        short: what is left once all that can has given way: on an accelerator one model at a time (one parent where
            ``can_wait``), slopes layer by layer, and nothing kept by the search.
        kept: bytes that a search keeps; None for all it can use, or for none where ``short``.

    Returns:
        Stage -> bytes.
    """
    accelerator = memory is not None
    father, held = surveys[0], [survey.parameters * each for survey in surveys]
    # Several others are scanned one at a time, each beside the father.
    pair = held[0] + max(held[1:], default=0)
    beside = max(held) if short and accelerator and can_wait(config) else pair
    alone = beside < pair
    scored = scored_tokens(memory)
    stages = {"scan": _scan(config, surveys, held if alone else [pair] * len(held), each, memory)}
    if config.cross:
        stages["donors"] = beside + _donor_bytes(config, father, each, memory)
    if config.prior.preset in FITTED or (config.prior.preset != "flat" and config.prior.protect):
        stages["prior"] = held[0] + prior_bytes(config, father, each, short=short)
    if kept is None:
        kept = 0 if short else _all_kept(config, father, accelerator)
    mask = max(masks(config, survey, each, scored, accelerator) for survey in surveys)
    stages["search"] = held[0] + kept + forward(father, each, scored) + mask
    if config.search.engine == "vllm":  # the father waits in host memory, and nothing is kept
        cache = 0 if short else ENGINE_CACHE
        stages["search"] = held[0] + (forward(father, each, scored) + mask if accelerator else held[0] + cache)
    if config.repair:
        parts = max(held) if short and accelerator else held[0] + sum(held)
        texts = 0 if accelerator else int(config.repair.memory_gb * 2**30)
        stages["repair"] = parts + texts + _repair_sums(father) + forward(father, each, scan_tokens(memory))
    # The child is as large as the father, which stays beside the model that is read, or waits in host memory.
    read = max(held) if short and accelerator else held[0] + max(held)
    stages["health"] = read + max(forward(survey, each, HEALTH_TOKENS) for survey in surveys)
    harness = (LONG_HARNESS_TOKENS if accelerator else HARNESS_TOKENS) if config.bench.harness else 0
    batch = max(
        harness_batch(survey, each, harness) if harness else forward(survey, each, scored) + mask for survey in surveys
    )
    # Null children are made as a search makes its candidates.
    stages["bench"] = max(read, held[0] + kept) + batch
    return stages


def _donor_bytes(config: Config, father: Survey, each: int, memory: int | None) -> int:
    """Bytes beside the models while an arm builds donors."""
    hidden, width = father.anatomy.hidden_size, father.anatomy.ffn_size
    copies = FFN_COPIES * 4 * hidden * width
    if config.method == "competence":
        matrices = REFIT_MATRICES + (config.arm.hold == "null-space")
        read = max(forward(father, each, ARM_TOKENS), gradient_logits(father, ARM_TOKENS))  # targets go by gradient
        read += scores(father, ARM_TOKENS, config.arm.max_tokens)
        if config.arm.place != "answer":
            read += GRADIENT_TOKENS * graph_bytes(father, each, FROZEN_GRAPH[each])
        return copies + 8 * matrices * width**2 + read
    return copies + (0 if config.method in ONE_MODEL_ARMS else int(config.arm.memory_gb * 2**30))


def held_bytes(config: Config, surveys: Sequence[Survey], each: int, memory: int) -> dict[str, int]:
    """Bytes that each stage holds at its fullest on an accelerator of a given size: the faster way where it has room.

    Args:
        config: of the run.
        surveys: of the parents, the father's first.
        each: bytes of a parameter as it is loaded.
        memory: bytes of the accelerator.

    Returns:
        Stage -> bytes.
    """
    father = surveys[0]
    kept = min(_all_kept(config, father, True), int(KEPT_SHARE * max(0, memory - father.parameters * each)))
    needed = stage_bytes(config, surveys, each, memory, kept=0)
    roomy, held = (dict(stage_bytes(config, surveys, each, memory, short=short, kept=kept)) for short in (False, True))
    for stages in (("scan", "donors"), ("prior",), ("repair",), ("health", "bench")):  # each is decided as one
        own = [name for name in stages if name in needed]
        if own and max(needed[name] for name in own) <= memory:
            held |= {name: roomy[name] for name in own}
    return held


def prior_bytes(config: Config, father: Survey, each: int, *, short: bool = False) -> int:
    """Bytes that slopes of all genes take beside the father.

    Args:
        config: of the run.
        father: says what the genes move.
        each: bytes of a parameter as it is loaded.
        short: layer by layer.

    Returns:
        Of directions, of the weights that stand in for the father's, and of what a backward pass keeps.
    """
    tokens, depth = slope_tokens(config), len(father.anatomy.layers)
    logits = gradient_logits(father, tokens)
    if not short:
        moved = ffn_parameters(father) if config.cross else father.parameters
        return moved * (4 * len(config.ratio_roles) + each) + tokens * graph_bytes(father, each, GRAPH[each]) + logits
    widest = father.anatomy.hidden_size * father.anatomy.ffn_size  # the largest matrix of a layer
    layer = layer_parameters(father) // depth
    # The stream into each layer; then the logits, or one layer's activations and weights with the gradient of one and
    # the directions of every parent.
    weights = layer * each + widest * (each + 4 * len(config.ratio_roles))
    values = tokens * graph_bytes(father, each, GRAPH[each], layers=1)
    return tokens * depth * father.anatomy.hidden_size * each + max(logits, weights + values)


def kept_bytes(config: Config, accelerator: bool, filed: float) -> float:
    """Bytes that a search keeps per value a gene moves: origin and contributions in fp32, or the inputs as filed.

    Args:
        config: of the run.
        accelerator: whether the search runs on one.
        filed: bytes of a value on disk.

    Returns:
        Bytes per value, as ``Blend.kept_bytes`` counts them.
    """
    others, base = len(config.ratio_roles), config.base not in (None, config.father)
    if config.method == "regression" and config.settings.get("moments", "probes") != "identity":
        return filed + 4 * others + DIRECTIONS
    if config.method in WHOLE:
        return (1 + others + (base and config.method != "karcher")) * filed
    interpolates = config.cross or config.method in ("linear", "slerp", "regression", *JOINT)
    beside = interpolates or (config.method in ADDING and config.density_father == 1)  # the father stays whole
    contributions = filed + 4 * (others if beside else others + 1)
    if not accelerator or config.method in JOINT or (beside and not interpolates):
        return contributions
    parents = 1 + others + (base and not interpolates)
    masks = others * (config.density < 1) + (config.density_father < 1)
    return min(contributions, parents * filed + MASKS.get(config.method, 0) * masks)


def ffn_parameters(survey: Survey) -> int:
    """Parameters of all plain FFNs."""
    hidden = survey.anatomy.hidden_size
    return sum((3 if layer.ffn.gate else 2) * layer.ffn.width * hidden for layer in survey.anatomy.layers if layer.ffn)


def layer_parameters(survey: Survey) -> int:
    """Parameters of the matrices that every token is multiplied with."""
    shapes = [survey.tensors[name].shape for name in survey.layout.text_tensors.values() if LAYER.match(name)]
    return sum(prod(shape) for shape in shapes if len(shape) >= 2)


def _scan_sums(survey: Survey) -> int:
    """Second moments of two sites, in fp32."""
    return 4 * len(survey.anatomy.layers) * 2 * survey.anatomy.hidden_size**2


def _paired(config: Config, survey: Survey) -> int:
    """Values at paired positions, in fp32."""
    hidden, ffn, layers = survey.anatomy.hidden_size, survey.anatomy.ffn_size, len(survey.anatomy.layers)
    return 4 * layers * (config.scan.positions * hidden + NEURON_POSITIONS * ffn)


def _repair_sums(survey: Survey) -> int:
    """Second moments of the widest map's inputs and with its outputs in fp64, the system that is solved, its factor."""
    widest, hidden = max(survey.anatomy.ffn_size, survey.anatomy.hidden_size), survey.anatomy.hidden_size
    return 8 * (4 * widest**2 + 4 * widest * hidden)


def _all_kept(config: Config, father: Survey, accelerator: bool) -> int:
    """All that a search can use of what does not depend on the ratio."""
    moved = ffn_parameters(father) if config.cross else father.parameters
    return int(moved * kept_bytes(config, accelerator, father.size / max(1, father.parameters)))


def _scan(config: Config, surveys: Sequence[Survey], held: Sequence[int], each: int, memory: int | None) -> int:
    """The fullest moment of a scan: one parent after the other, then each beside the father.

    Args:
        config: of the run.
        surveys: of the parents, the father's first.
        held: bytes of the models that are there while each is scanned.
        each: bytes of a parameter.
        memory: bytes of the accelerator; None for a CPU.

    Returns:
        Bytes.
    """
    paired = [_paired(config, survey) for survey in surveys]
    moments = []
    for number, (survey, models, own) in enumerate(zip(surveys, held, paired, strict=True)):
        values = own + (paired[0] if number else 0)  # the father's wait for the others
        moments.append(models + values + _scan_sums(survey) + scan_batch(config, survey, each, memory))
        if number:
            moments.append(held[0] + values + _similarities(config, surveys[0], survey))
    return max(moments)


def _similarities(config: Config, father: Survey, other: Survey) -> int:
    """Products of paired positions with each other in fp64, of every layer: as they are, centred, and shuffled."""
    return 8 * config.scan.positions**2 * (2 * len(father.anatomy.layers) + 3 * len(other.anatomy.layers))
