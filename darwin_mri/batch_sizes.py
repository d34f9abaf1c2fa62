"""How much is computed at once: bounds of memory, shared by the code that computes and the plan that counts."""

BATCH_TOKENS = 4096  # of a forward of the scan on a CPU, and of a backward pass of the blend response
LONG_BATCH_TOKENS = 16384  # of a forward of the scan on an accelerator
SCORED_TOKENS = 32768  # of a batch of the scorer on an accelerator
LOGIT_POSITIONS = 2048  # positions projected to the vocabulary at once, which may have 262,144 tokens
NEURON_POSITIONS = 256  # paired positions that also keep their neurons, for the best neuron match
RESPONSE_BLOCKS = 8  # blocks of items: the unit of resampling of the fitness response
HARNESS_TOKENS = 1024  # of a batch of lm-eval on a CPU: longer ones only leave its caches
LONG_HARNESS_TOKENS = 65536  # and on an accelerator
HARNESS_LOGITS = 2 * 10**9  # bytes: lm-eval keeps rows x tokens x vocabulary in fp32, twice
ENGINE_CACHE = 4 * 2**30  # bytes of keys and values of vLLM on a CPU, and no more than a quarter of what is free


def scan_tokens(device: str) -> int:
    """Padded tokens of one forward of the scan."""
    return BATCH_TOKENS if device == "cpu" else LONG_BATCH_TOKENS
