"""The nearest state from which a token follows: the smallest move of the last residual state that predicts the token.

The target is found on the state alone, as MEMIT finds its z (arXiv 2210.07229, section 4.3): steps along
d log p(token) / d state through the final norm and the vocabulary, until the token has ``TARGET_PROBABILITY``. No
weight has a gradient. A mapped embedding points to where a token is predicted on average; the nearest state needs a
much smaller change of the layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.merging.arms.shapes import unit
from darwin_mri.probes import project

TARGET_PROBABILITY = 0.9
STEP = 0.08  # of the state's size
STEPS = 40
ROWS = 256  # states at once: bounds the logits in memory


class FinalGain:
    """The final norm's gain per coordinate, by regression of what the decoder returns on its unit-sized last state."""

    def __init__(self, hidden: int, device: torch.device) -> None:
        self.uv = torch.zeros(hidden, dtype=torch.float64, device=device)
        self.uu = torch.zeros(hidden, dtype=torch.float64, device=device)

    def add(self, stream: Tensor, normed: Tensor) -> None:
        """Rows of the residual stream after the last layer (n, hidden) with the same rows after the final norm."""
        u = unit(stream.float())
        self.uv += (u * normed.float()).sum(0, dtype=torch.float64)
        self.uu += u.square().sum(0, dtype=torch.float64)

    @property
    def value(self) -> Tensor:
        """The gain (hidden,) fp32."""
        return (self.uv / self.uu.clamp_min(1e-12)).float()


def nearest_states(father: LoadedModel, states: Tensor, tokens: Tensor, gain: Tensor) -> Tensor:
    """States near the given ones from which the tokens follow with ``TARGET_PROBABILITY``.

    Args:
        father: the model whose final norm and vocabulary are used.
        states: residual stream after the last layer, (n, hidden) fp32.
        tokens: the next tokens that shall follow, (n,).
        gain: of the final norm, (hidden,).

    Returns:
        (n, hidden); after ``STEPS`` steps a state stays where it is, whatever its token's probability.
    """
    parts = [
        _nearest(father, states[i : i + ROWS].clone(), tokens[i : i + ROWS].clone(), gain.clone())
        for i in range(0, len(states), ROWS)
    ]
    return torch.cat(parts) if parts else states.clone()


@torch.inference_mode(False)
@torch.enable_grad()
def _nearest(father: LoadedModel, states: Tensor, tokens: Tensor, gain: Tensor) -> Tensor:
    moved = states.clone()
    gain, tokens = gain.clone(), tokens.clone()
    for _ in range(STEPS):
        losses, slope = _slope(father, moved, tokens, gain)
        unlikely = (losses > -torch.log(torch.tensor(TARGET_PROBABILITY)))[:, None]
        if not bool(unlikely.any()):
            break
        size = states.norm(dim=-1, keepdim=True)
        moved = moved - unlikely * STEP * size * slope / slope.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return moved


def _slope(father: LoadedModel, states: Tensor, tokens: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens' losses (n,) and their gradients (n, hidden) by the states."""
    moving = states.detach().requires_grad_(True)
    normed = (unit(moving) * gain).to(father.model.get_output_embeddings().weight.dtype)
    logits = project(father.model, normed)  # (n, vocabulary)
    losses = torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
    return losses.detach(), torch.autograd.grad(losses.sum(), moving)[0]
