"""How much is computed at once: bounds of memory, shared by the code that computes and the plan that counts."""

BATCH_TOKENS = 4096  # of a forward of the scan on a CPU, and of a backward pass of the blend response
LARGE_DEVICE = 40 * 2**30  # bytes of memory from which on an accelerator reads long batches
LONG_BATCH_TOKENS = 16384  # of a forward of the scan on such an accelerator
ARM_TOKENS = 2048  # of a forward over the texts of an arm
WRITING_ROWS, WRITING_TOKENS = 128, 16384  # prompts that a parent of a crossing completes at once, and their tokens
SCORED_TOKENS = 8192  # of a batch of the scorer
LONG_SCORED_TOKENS = 32768  # on a large accelerator, where it must be worth the launches of two forwards
MASK_VALUES = 2**24  # of a mask of the scorer on a CPU: 64 MiB in fp32
LONG_MASK_VALUES = 2**27  # and on an accelerator: 256 MiB in bf16; one for each kind of attention
MOST_LOGITS = 2**26  # values of logits at once: 268 MB in fp32
LOGIT_POSITIONS = 2048  # positions projected to the vocabulary at once where it is small
NEURON_POSITIONS = 256  # paired positions that also keep their neurons, for the best neuron match
GRADIENT_TOKENS = 512  # of a backward pass of the scan, which keeps what every layer computes
SHORT_GRADIENT_TOKENS = 256  # the same on a small accelerator
SCAN_FORWARDS = 8.0  # that a scan takes by estimate and check, in plain forwards with the loss over the same tokens
PASS_FORWARDS = 1.2  # of these the pass that adds up activations takes,
STATISTICS_FORWARDS = 0.5  # what is derived from its sums, on a model of 3 million weights,
GRADIENT_FORWARDS = 2.0  # and one forward and backward without gradients of weights
KEPT_SHARE = 0.6  # of the memory that is free where a search's model is, for what it keeps; the rest is for forwards
TEXT_BLOCKS = 12  # blocks of probe documents: the unit of resampling of the freezing rule
RESPONSE_BLOCKS = 8  # blocks of items: the unit of resampling of the fitness response
HARNESS_TOKENS = 1024  # of a batch of lm-eval on a CPU: longer ones only leave its caches
LONG_HARNESS_TOKENS = 65536  # and on an accelerator
HARNESS_LOGITS = 2 * 10**9  # bytes: lm-eval keeps rows x tokens x vocabulary in fp32, twice
ENGINE_CACHE = 4 * 2**30  # bytes of keys and values of vLLM on a CPU, and no more than a quarter of what is free


def scan_tokens(memory: int | None) -> int:
    """Padded tokens of one forward of the scan on a device with so many bytes; None for a CPU."""
    return LONG_BATCH_TOKENS if memory is not None and memory >= LARGE_DEVICE else BATCH_TOKENS


def gradient_tokens(memory: int | None) -> int:
    """Tokens of a backward pass of the scan, as ``scan_tokens``."""
    return GRADIENT_TOKENS if memory is None or memory >= LARGE_DEVICE else SHORT_GRADIENT_TOKENS


def scored_tokens(memory: int | None) -> int:
    """Most tokens of a batch of the scorer, as ``scan_tokens``."""
    return LONG_SCORED_TOKENS if memory is not None and memory >= LARGE_DEVICE else SCORED_TOKENS


def logit_positions(vocabulary: int) -> int:
    """Positions that are projected to a vocabulary at once."""
    return max(1, min(LOGIT_POSITIONS, MOST_LOGITS // vocabulary))


def mask_values(device: str) -> int:
    """Most values of a mask of the scorer."""
    return MASK_VALUES if device == "cpu" else LONG_MASK_VALUES
