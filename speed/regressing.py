"""Cost of moments and of the method regression at Gemma 4 E4B's shapes, extrapolated from measured sizes.

``python -m speed.regressing`` measures one input at growing widths on one thread: adding up products over 4,096 tokens
(2 n w^2 operations in fp32), the directions of two parents (Cholesky factor, two triangular solves, eigenvectors: about
12 w^3 in fp64), the shares of three parents (Cholesky factor and two solves: 5 w^3 / 3 each beside w^3 / 3) and one
candidate of a map with four times as many outputs (8 w^3 in fp32 for two parents). It scales the last measured rate by
operations. Memory is exact. n is the number of tokens, w the width of the input.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from darwin_mri.merging.regression import Regression, Shares, Solved, make_shares

WIDTHS = (320, 640, 1280)
REAL, LAYERS, INPUTS = 2560, 42, 3  # full moments of a layer: the mixer's input and output, the FFN's input
MAPS = 10240 * 2 + 2048 + 2 * 512 + 2560  # rows of the maps of a layer that read them: FFN and attention
TOKENS, TEXT, GROUPS = 4096, 13_000, 9  # a default scan reads 13,000 tokens in nine groups


def timed(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def moment(width: int, seed: int) -> Tensor:
    """A moment of random inputs, fp64."""
    x = torch.randn(2 * width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x.T @ x / len(x)


def measure(width: int) -> tuple[float, float, float, float]:
    """Seconds of adding up, of two parents' directions, of three parents' shares, and of one candidate."""
    rows = torch.randn(TOKENS, width)
    total = torch.zeros(width, width, dtype=torch.float64)
    gathered = timed(lambda: total.add_((rows.T @ rows).double()))
    moments = [moment(width, seed) for seed in range(3)]
    shares: list[Shares] = []
    directions = timed(lambda: shares.append(make_shares(moments[:2])))
    father, *others = torch.randn(3, 4 * width, width)
    solved = Solved(tuple(moments))
    three = timed(lambda: solved.join(solved.prepare([o[:1] for o in (others[0], others[1])]), (0.3, 0.3)))
    function = Regression(father, (others[0],), shares[0]).kept(torch.device("cpu"))
    target = torch.empty(4 * width, width)
    candidate = timed(lambda: function.write(target, (0.4,), torch.float32))
    return gathered, directions, three, candidate


def main() -> None:
    """Print the measured sizes and the extrapolation."""
    torch.set_num_threads(1)
    print("width   moments of 4,096 tokens   directions of two   shares of three   candidate, 4 x width rows")
    figures = (0.0,) * 4
    for width in WIDTHS:
        figures = measure(width)
        print(f"{width:<8}{figures[0]:<26.3f}{figures[1]:<20.3f}{figures[2]:<18.3f}{figures[3]:.3f}")
    cube, square = (REAL / WIDTHS[-1]) ** 3, (REAL / WIDTHS[-1]) ** 2
    inputs = LAYERS * INPUTS
    texts = TEXT / TOKENS
    print(f"\n{REAL} wide, {LAYERS} layers of {INPUTS} inputs, {TEXT:,} tokens, one thread, extrapolated:")
    print(f"moments of a parent         {inputs * figures[0] * square * texts:,.0f} s beside the forward passes")
    print(f"directions of two parents   {inputs * figures[1] * cube:,.0f} s, once")
    print(f"shares of three parents     {inputs * figures[2] * cube:,.0f} s for each candidate")
    candidate = LAYERS * MAPS / (4 * WIDTHS[-1]) * figures[3] * square
    print(f"candidate of two parents    {candidate:,.0f} s, {2 * LAYERS * MAPS * REAL**2 / 1e12:.1f} TFLOP")
    sums, kept = 8 * REAL**2 * GROUPS * INPUTS, LAYERS * (4 * MAPS * REAL + INPUTS * 2 * 4 * REAL**2)
    print(f"sums of one layer           {sums / 2**30:.2f} GiB in fp64, {GROUPS} groups")
    print(f"file of a parent            {4 * REAL**2 * GROUPS * inputs / 2**30:.1f} GiB")
    print(f"kept for a search           {kept / 2**30:.1f} GiB beside the father")


if __name__ == "__main__":
    main()
