"""How a change of the residual stream is read in tokens: the final norm's gain, and the output head."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from darwin_mri.checkpoints import LoadedModel, effective_gain
from darwin_mri.checkpoints.anatomy import decoder_of
from darwin_mri.errors import InputError
from darwin_mri.probes.hooks import observe

CHUNK = 16384  # tokens of the vocabulary at once
PLAUSIBLE = 1e-7  # least mean probability of a token that is shown
RMS_RESIDUAL = 1e-2  # above it a norm also takes the mean away
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
SPACE, EMPTY = "\N{OPEN BOX}", "\N{EMPTY SET}"
LONGEST = 24  # characters of a token that are shown
PROBE = 4  # tokens of the forward that finds the final norm


class NoReadoutError(InputError):
    """The stream of this model is not read by one norm and one linear head."""


@dataclass(frozen=True)
class Readout:
    """From directions of the residual stream to logits: the derivative of final norm and head at the mean last state.

    The change of the logits by d is W (g * (d - z (z . d) / z . z)) / s, with the head W, the norm's gain g, the state
    z and the scale s; of a norm that takes the mean away, d and z are less their mean. A longer or shorter state is
    read as no change, as by the norm. The model's own scaling or soft cap of logits is left out.

    Attributes:
        head: W, (vocabulary, hidden), in the model's dtype.
        gain: g / s, (hidden,) fp32.
        scale: s.
        state: z / |z|, (hidden,) fp32.
        centred: whether the norm takes the mean away.
    """

    head: torch.Tensor
    gain: torch.Tensor
    scale: float
    state: torch.Tensor
    centred: bool

    def scaled(self, directions: torch.Tensor) -> torch.Tensor:
        """Directions (..., hidden) as the head takes them, fp32."""
        directions = directions.to(self.gain)
        if self.centred:
            directions = directions - directions.mean(-1, keepdim=True)
        along = directions @ self.state
        return (directions - along[..., None] * self.state) * self.gain

    def logits(self, directions: torch.Tensor) -> torch.Tensor:
        """Change of the logits less its mean over the vocabulary, (rows, vocabulary) of directions (rows, hidden)."""
        scaled = self.scaled(directions)
        logits = torch.cat([scaled @ part.float().T for part in self.head.split(CHUNK)], dim=-1)
        return logits - logits.mean(-1, keepdim=True)

    def of_tokens(self, directions: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The same for some tokens, (rows, tokens)."""
        return self.scaled(directions) @ (self.head[ids].float() - self.mean).T

    def plausible(self, states: torch.Tensor) -> torch.Tensor:
        """(vocabulary,) whether a token's mean probability at some last states, (rows, hidden), reaches ``PLAUSIBLE``.

        Rows of the head that no text asks for are held by nothing: a difference moves their logits at will.
        """
        if self.centred:
            states = states - states.mean(-1, keepdim=True)
        unit = states / states.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
        logits = [unit @ (part.float() * (self.gain * self.scale)).T for part in self.head.split(CHUNK)]
        return torch.cat(logits, dim=-1).softmax(-1).mean(0) >= PLAUSIBLE

    @cached_property
    def mean(self) -> torch.Tensor:
        """The mean row of the head, (hidden,) fp32."""
        return self.head.sum(0, dtype=torch.float32) / len(self.head)

    @cached_property
    def metric(self) -> torch.Tensor:
        """(hidden, hidden) fp32: x^T M y is the covariance over the vocabulary of the logits of scaled x and y."""
        total = torch.zeros(self.head.shape[1], self.head.shape[1], device=self.head.device)
        for part in self.head.split(CHUNK):
            rows = part.float() - self.mean
            total.addmm_(rows.T, rows)
        return total / len(self.head)


@torch.inference_mode()
def find_readout(parent: LoadedModel, state: torch.Tensor, scale: float) -> Readout:
    """The final norm, found by data flow in one tiny forward, and the head.

    Args:
        parent: the model.
        state: (hidden,) mean of the residual stream after the last layer, on the probes.
        scale: the rms of that stream.

    Returns:
        The readout.

    Raises:
        NoReadoutError: other modules lie between the last layer and the head.
    """
    head = parent.model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    width = parent.anatomy.hidden_size
    if weight is None or weight.dim() != 2 or weight.shape[1] != width:
        raise NoReadoutError("no linear output head of the stream's width")
    norm = _final_norm(parent)
    if norm is None:
        raise NoReadoutError("no single norm between the last layer and the output head")
    gain, residual = effective_gain(norm, width)
    centred = residual > RMS_RESIDUAL
    if centred:
        own = getattr(norm, "weight", None)
        gain = torch.ones_like(gain) if own is None else own.detach().float()
        state = state - state.mean()
    state = state.float().to(gain.device) / state.norm().clamp_min(1e-12)
    scale = max(scale, 1e-12)
    return Readout(weight.detach(), gain / scale, scale, state, centred)


def _final_norm(parent: LoadedModel) -> nn.Module | None:
    """The child of the decoder that takes what the last layer leaves and gives what the decoder returns."""
    decoder = decoder_of(parent.model)
    last, left = len(parent.layers) - 1, list[torch.Tensor]()
    seen: list[tuple[nn.Module, Any, Any]] = []

    def take(index: int, site: str, value: torch.Tensor) -> None:
        if index == last and site == "h_out":
            left.append(value)

    handles = [
        child.register_forward_hook(lambda module, args, output: seen.append((module, args, output)))
        for child in decoder.children()
        if not isinstance(child, nn.ModuleList)
    ]
    try:
        with observe(parent, take):
            ids = torch.arange(PROBE, device=parent.device)[None]
            returned = decoder(input_ids=ids, use_cache=False).last_hidden_state
    finally:
        for handle in handles:
            handle.remove()
    for module, args, output in seen:
        given = args[0] if args else None
        if not (isinstance(given, torch.Tensor) and isinstance(output, torch.Tensor) and left):
            continue
        if given.data_ptr() == left[-1].data_ptr() and output.data_ptr() == returned.data_ptr():
            return module
    return None


def token_text(tokenizer: Any, number: int) -> str:
    """A token as people read it: spaces visible, bytes decoded, what prints as nothing escaped.

    Args:
        tokenizer: transformers' tokenizer.
        number: the token's id; a row that no token uses has none.
    """
    own = tokenizer.convert_ids_to_tokens([number])[0]
    if own is None:
        return f"<unused {number}>"
    # Beside another token, since decoders drop a first token's leading space.
    before = tokenizer.decode([number], clean_up_tokenization_spaces=False)
    twice = tokenizer.decode([number, number], clean_up_tokenization_spaces=False)
    text = twice[len(before) :] if twice.startswith(before) else before
    if "\N{REPLACEMENT CHARACTER}" in text:
        text = _bytes_of(own)
    return readable(text)


def readable(text: str) -> str:
    """Text with its spaces visible and every character that prints as nothing escaped, cut where it is long."""
    shown = "".join(_shown(character) for character in text) or EMPTY
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _shown(character: str) -> str:
    if character == " ":
        return SPACE
    if unicodedata.category(character) in UNSEEN:
        return character.encode("unicode_escape").decode("ascii") if not character.isascii() else repr(character)[1:-1]
    return character


def _bytes_of(token: str) -> str:
    r"""A token of byte-level BPE that is no whole character, its bytes past ASCII as \xNN; others as they are."""
    table = _byte_table()
    if not all(character in table for character in token):
        return token
    return "".join(chr(table[c]) if table[c] < 128 else f"\\x{table[c]:02x}" for c in token)


def _byte_table() -> dict[str, int]:
    """Character -> byte of byte-level BPE (GPT-2): printing bytes stand for themselves, the others follow from 256."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(256 + i): byte for i, byte in enumerate(rest)}
