"""Cost of the closed-form solves of the arm competence at Gemma 4 E4B's shapes, extrapolated from measured sizes.

``python -m speed.solves`` measures one layer at growing widths on one thread: gathering second moments of neurons over
4,096 tokens (2 n w (w + h) operations in fp32) and the ridge solve (w^3 / 3 + 2 w^2 h in fp64). It scales the last
measured rate by operations; n is the number of tokens, w the number of neurons, h the width of the residual stream.
Memory is exact: the sum of a a^T and the system to solve, both w x w in fp64, their factor, and w x h twice.
"""

from __future__ import annotations

import time

import torch

from darwin_mri.merging.arms.moments import Moment, ridge

SIZES = ((768, 3072), (512, 2048), (256, 1024))  # (hidden, neurons), the largest first measured last
REAL = (2560, 10240)
LAYERS = 21  # the last half of 42
TOKENS = 4096
TEXT = 100_000  # tokens of text that an arm reads


def gather_operations(hidden: int, width: int, tokens: int) -> float:
    """Operations of gathering second moments: a a^T and a d^T for every token."""
    return 2.0 * tokens * width * (width + hidden)


def solve_operations(hidden: int, width: int) -> float:
    """Operations of one ridge solve: Cholesky factor and two triangular solves."""
    return width**3 / 3 + 2.0 * width**2 * hidden


def memory(hidden: int, width: int) -> float:
    """Bytes alive in the solve of one layer."""
    return 8.0 * (3 * width**2 + 2 * width * hidden)


def measure(hidden: int, width: int) -> tuple[float, float]:
    """CPU seconds of gathering ``TOKENS`` tokens and of one solve."""
    a, targets = torch.randn(TOKENS, width), torch.randn(TOKENS, hidden)
    aa, ad = Moment(width, width, a.device), Moment(width, hidden, a.device)
    began = time.process_time()
    aa.add(a, a)
    ad.add(a, targets)
    gathered = time.process_time() - began
    began = time.process_time()
    ridge(aa.sum, ad.sum, 1e-3)
    return gathered, time.process_time() - began


def main() -> None:
    """Print the measured sizes and the extrapolation."""
    torch.set_num_threads(1)
    rates = (0.0, 0.0)
    print("hidden  FFN     gather 4,096 tokens   solve      memory")
    for hidden, width in reversed(SIZES):
        gathered, solved = measure(hidden, width)
        rates = gather_operations(hidden, width, TOKENS) / gathered, solve_operations(hidden, width) / solved
        print(f"{hidden:<8}{width:<8}{gathered:<22.2f}{solved:<11.2f}{memory(hidden, width) / 2**30:.2f} GiB")
    gathered = gather_operations(*REAL, TEXT) / rates[0]
    solved = solve_operations(*REAL) / rates[1]
    print(f"rates of the largest: {rates[0] / 1e9:.0f} GFLOP/s fp32, {rates[1] / 1e9:.1f} GFLOP/s fp64, one thread")
    print(
        f"{REAL[0]} x {REAL[1]}, {TEXT} tokens, extrapolated: {gathered:.0f} s to gather and {solved:.0f} s to solve"
        f" a layer, {LAYERS * (gathered + solved) / 3600:.1f} h of one thread for {LAYERS} layers;"
        f" {memory(*REAL) / 2**30:.1f} GiB at a time"
    )
    operations = LAYERS * (gather_operations(*REAL, TEXT) + solve_operations(*REAL))
    print(f"{operations / 1e15:.2f} PFLOP in all, forwards of the parents apart")


if __name__ == "__main__":
    main()
