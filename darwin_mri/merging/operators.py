"""Merge operators for two parents of one architecture: pure functions from tensors to a tensor.

Everywhere ``ratio`` r is how much of the mother the child takes, F, M, B are father, mother and their common base, and
dF = F - B, dM = M - B are task vectors. Inputs may be of any floating dtype; arithmetic is fp32, block by block so that
temporaries stay in cache; the result is rounded once, to ``dtype``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.masks import keep_mask, magprune, trim_level, uniform

METHODS: tuple[str, ...] = ("linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della")
NEEDS_BASE: frozenset[str] = frozenset({"ties", "dare_ties", "della"})
RESCALES: tuple[str, ...] = ("inverse_density", "l1", "none")
BLOCK = 2**16  # elements: three fp32 inputs and the temporaries of a block fit in a core's cache
NEARLY_PARALLEL = 0.9995  # |cosine| above which the slerp's sine is too small to divide by


def round_once(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in ``dtype``, rounded to nearest even; call it once, on the finished fp32 result."""
    return tensor.to(dtype)


def linear(father: Tensor, mother: Tensor, ratio: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """(1 - r) F + r M, computed as F + r (M - F): the weighted average of model soups (arXiv 2203.05482)."""
    return _add_scaled(father, mother, father, ratio, dtype)


def slerp(father: Tensor, mother: Tensor, ratio: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """sin((1 - r) w) / sin(w) F + sin(r w) / sin(w) M, w the angle between F and M as flat vectors (Shoemake 1985).

    Falls back to ``linear`` where the vectors are nearly parallel or opposite, or one of them is zero.
    """
    dot = father_square = mother_square = 0.0
    for f, m in _blocks(father, mother):
        dot += float(torch.dot(f, m))
        father_square += float(torch.dot(f, f))
        mother_square += float(torch.dot(m, m))
    norms = math.sqrt(father_square * mother_square)
    cosine = dot / norms if norms > 0 else 1.0
    if not abs(cosine) < NEARLY_PARALLEL:
        return linear(father, mother, ratio, dtype)
    angle = math.acos(cosine)
    share_father = math.sin((1 - ratio) * angle) / math.sin(angle)
    share_mother = math.sin(ratio * angle) / math.sin(angle)
    return _by_blocks(lambda f, m: (f * share_father).add_(m * share_mother), dtype, father, mother)


def task_arithmetic(
    father: Tensor, mother: Tensor, base: Tensor | None, ratio: float, dtype: torch.dtype = torch.float32
) -> Tensor:
    """F + r dM: the mother's task vector added to a father kept whole (arXiv 2212.04089, task vectors and addition).

    r may exceed 1. Without a base B = F, and this is F + r (M - F).
    """
    return _add_scaled(father, mother, father if base is None else base, ratio, dtype)


def dare_linear(
    father: Tensor, mother: Tensor, base: Tensor | None, ratio: float, mask: Tensor, factor: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """F + r c (m * dM): drop and rescale the mother's vector (arXiv 2311.03099, m ~ Bernoulli(density), c = 1/density).

    The father is kept whole. Without a base B = F.

    Args:
        mask: m, True where an element is kept, from ``keep_mask``.
        factor: c, from ``rescale_factor``.
    """
    return _add_scaled(father, mother, father if base is None else base, ratio, dtype, mask, factor)


def ties(
    father: Tensor, mother: Tensor, base: Tensor, ratio: float, density_father: float, density_mother: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """B + merged(trim(dF), r trim(dM)): trim, elect sign, disjoint merge (arXiv 2306.01708, algorithm 1).

    Trimming keeps the ``density`` largest magnitudes of each task vector; for the merge see ``disjoint_mean``.
    At r = 1 this is the paper's TIES with lambda = 1.
    """
    level_father = trim_level(_magnitudes(father, base), density_father) if density_father < 1 else 0.0
    level_mother = trim_level(_magnitudes(mother, base), density_mother) if density_mother < 1 else 0.0

    def kernel(f: Tensor, m: Tensor, b: Tensor) -> Tensor:
        trimmed = torch.hardshrink(m - b, level_mother)
        return disjoint_mean(torch.hardshrink(f - b, level_father), trimmed.mul_(ratio), ratio).add_(b)

    return _by_blocks(kernel, dtype, father, mother, base)


def masked_ties(
    father: Tensor, mother: Tensor, base: Tensor, ratio: float, weight_father: Tensor, weight_mother: Tensor,
    factor_father: float = 1.0, factor_mother: float = 1.0, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """B + merged(c_F m_F * dF, r c_M m_M * dM): TIES' election and mean with random masks in place of trimming.

    With ``keep_mask`` masks this is DARE-TIES (arXiv 2311.03099 with 2306.01708); with ``magprune`` weights it
    is DELLA (arXiv 2406.11617: drop, elect, fuse).

    Args:
        weight_father, weight_mother: m, boolean masks or fp32 weights of the tensor's shape.
        factor_father, factor_mother: c, scalars.
    """

    def kernel(f: Tensor, m: Tensor, b: Tensor, keep_f: Tensor, keep_m: Tensor) -> Tensor:
        scaled = (m - b).mul_(keep_m).mul_(ratio * factor_mother)
        return disjoint_mean((f - b).mul_(keep_f).mul_(factor_father), scaled, ratio).add_(b)

    return _by_blocks(kernel, dtype, father, mother, base, weight_father, weight_mother)


def disjoint_mean(father: Tensor, mother: Tensor, ratio: float) -> Tensor:
    """TIES' sign election by summed mass and mean over the parents that agree (arXiv 2306.01708, steps 2 and 3).

    The elected sign is sgn(father + mother). Where both parents have it the result is their mean weighted 1 : r;
    where one has it, that parent's value as it stands. At r = 1 this is the paper's mean; towards r = 0 it tends to
    the father, where a mean divided by the mother's weight alone would hand her value over whole at any r > 0.

    Args:
        father: trimmed or masked dF.
        mother: r times the trimmed or masked dM.
        ratio: r, the mother's weight beside the father's 1.
    """
    elected = (father + mother).sign_()
    both = (father.sign() * mother.sign()).clamp_(min=0)
    # Magnitudes of what agrees with the elected sign. Arithmetic, as where() on random conditions costs 20 times more.
    agreeing = (father * elected).clamp_(min=0).add_((mother * elected).clamp_(min=0))
    return agreeing.mul_(elected).mul_(both.mul_(1 / (1 + ratio) - 1).add_(1))


def rescale_factor(vector: Tensor, origin: Tensor, mask: Tensor, density: float, rescale: str) -> float:
    """What a masked task vector ``vector - origin`` is multiplied with to make up for what was dropped.

    ``inverse_density``: 1 / density (DARE: keeps the mean); ``l1``: L1 norm before over L1 norm after; ``none``: 1.
    """
    if rescale == "none" or density >= 1:
        return 1.0
    if rescale == "inverse_density":
        return 1 / density if density > 0 else 0.0
    before = after = 0.0
    for v, o, keep in _blocks(vector, origin, mask):
        magnitude = (v - o).abs_()
        before += float(magnitude.sum())
        after += float(torch.dot(magnitude, keep))
    return before / after if after > 0 else 0.0


def merge_tensor(
    method: str, *, father: Tensor, mother: Tensor, base: Tensor | None, ratio: float, density_father: float = 1.0,
    density_mother: float = 1.0, seed: int, name: str, rescale: str = "inverse_density", epsilon: float = 0.1,
    dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """One tensor of the child by a named method.

    Args:
        method: one of METHODS. Those of NEEDS_BASE compare two task vectors, so without a base they are refused; the
            others take B = F (task_arithmetic, dare_linear) or use no base (linear, slerp).
        father, mother, base: tensors of one shape and device, any floating dtype.
        ratio: r >= 0, how much of the mother. Exactly 0 returns a copy of the father wherever he is kept whole.
        density_father, density_mother: share of each task vector that is kept, in [0, 1]. linear, slerp and
            task_arithmetic use neither; dare_linear keeps the father whole and uses the mother's only.
        seed, name: the run's seed and the tensor's name, on which (with the parent) random masks depend.
        rescale: one of RESCALES, for dare_linear, dare_ties and della.
        epsilon: della's window of probabilities.
        dtype: of the result; the fp32 arithmetic is rounded to it once.

    Raises:
        ConfigError: unknown method or rescale, missing base, ratio or density out of range.
        InputError: the tensors differ in shape or are not floating.
    """
    _check_numbers(method, rescale, ratio, (density_father, density_mother), name)
    _check_tensors(method, father, mother, base, name)
    if ratio == 0 and (method not in NEEDS_BASE or density_father >= 1):
        return father.detach().to(dtype, copy=True)
    if ratio == 1 and method in ("linear", "slerp"):
        return mother.detach().to(dtype, copy=True)
    if method in ("linear", "slerp"):
        return (linear if method == "linear" else slerp)(father, mother, ratio, dtype)
    if method == "task_arithmetic":
        return task_arithmetic(father, mother, base, ratio, dtype)

    def drop(parent: str, vector: Tensor, origin: Tensor, density: float) -> tuple[Tensor, float]:
        if method == "della" and 0 < density < 1:
            draws = uniform(father.shape, seed, name, parent)
            return magprune(vector.float() - origin.float(), density, epsilon, draws, rescale), 1.0
        mask = keep_mask(father.shape, density, seed, name, parent).to(father.device)
        return mask, rescale_factor(vector, origin, mask, density, rescale)

    if method == "dare_linear":
        mask, factor = drop("mother", mother, father if base is None else base, density_mother)
        return dare_linear(father, mother, base, ratio, mask, factor, dtype)
    if base is None:
        raise ConfigError(f"{method} of tensor '{name}' needs a base model: give one, or use dare_linear")
    if method == "ties":
        return ties(father, mother, base, ratio, density_father, density_mother, dtype)
    mask_father, factor_father = drop("father", father, base, density_father)
    mask_mother, factor_mother = drop("mother", mother, base, density_mother)
    return masked_ties(father, mother, base, ratio, mask_father, mask_mother, factor_father, factor_mother, dtype)


def _check_numbers(method: str, rescale: str, ratio: float, densities: tuple[float, float], name: str) -> None:
    """Refuse settings that no operator can mean."""
    if method not in METHODS:
        raise ConfigError(f"merge method '{method}' is unknown: choose one of {', '.join(METHODS)}")
    if rescale not in RESCALES:
        raise ConfigError(f"rescale '{rescale}' is unknown: choose one of {', '.join(RESCALES)}")
    if not 0 <= ratio < math.inf:
        raise ConfigError(f"ratio {ratio} for tensor '{name}' must be a number of at least 0")
    for parent, density in zip(("father", "mother"), densities, strict=True):
        if not 0 <= density <= 1:
            raise ConfigError(f"the {parent}'s density {density} for tensor '{name}' must be between 0 and 1")


def _check_tensors(method: str, father: Tensor, mother: Tensor, base: Tensor | None, name: str) -> None:
    """Refuse tensors that do not belong to one architecture."""
    for parent, tensor in (("father", father), ("mother", mother), ("base", base)):
        if tensor is None:
            continue
        if tensor.shape != father.shape:
            shapes = f"{tuple(tensor.shape)}, not the father's {tuple(father.shape)}"
            raise InputError(f"tensor '{name}' of the {parent} has shape {shapes}: {method} needs one architecture")
        if not tensor.is_floating_point():
            raise InputError(f"tensor '{name}' of the {parent} is {tensor.dtype}: only floating tensors are merged")


def _add_scaled(
    father: Tensor, vector: Tensor, origin: Tensor, ratio: float, dtype: torch.dtype, mask: Tensor | None = None,
    factor: float = 1.0,
) -> Tensor:  # fmt: skip
    """F + r c (m * (vector - origin)), one rounding per operation: fused kernels round by device and length."""
    if mask is None:
        return _by_blocks(lambda f, v, o: (v - o).mul_(ratio).add_(f), dtype, father, vector, origin)
    return _by_blocks(
        lambda f, v, o, keep: (v - o).mul_(keep).mul_(factor).mul_(ratio).add_(f), dtype, father, vector, origin, mask
    )


def _magnitudes(vector: Tensor, origin: Tensor) -> Tensor:
    """|vector - origin| in fp32, flat."""
    return _by_blocks(lambda v, o: (v - o).abs_(), torch.float32, vector, origin).flatten()


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Aligned flat fp32 blocks, copies or views; on an accelerator the whole, as launches would cost more there."""
    flats = [tensor.detach().reshape(-1) for tensor in tensors]
    count = flats[0].numel()
    step = BLOCK if flats[0].device.type == "cpu" else max(count, 1)
    for start in range(0, count, step):
        yield tuple(_fp32(flat[start : start + step]) for flat in flats)


def _fp32(block: Tensor) -> Tensor:
    """fp32 of a block; a mask goes through its bytes, which convert seven times faster than booleans."""
    return block.view(torch.uint8).float() if block.dtype == torch.bool else block.float()


def _by_blocks(kernel: Callable[..., Tensor], dtype: torch.dtype, *tensors: Tensor) -> Tensor:
    """A tensor of the first one's shape, filled block by block with what the kernel returns, rounded to ``dtype``."""
    out = torch.empty(tensors[0].shape, dtype=dtype, device=tensors[0].device)
    flat, start = out.view(-1), 0
    for blocks in _blocks(*tensors):
        flat[start : start + blocks[0].numel()].copy_(kernel(*blocks))
        start += blocks[0].numel()
    return out
