"""Probe texts as a model reads them: token batches with a row per document, and the loss of each document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from darwin_mri.batch_sizes import logit_positions
from darwin_mri.checkpoints.anatomy import decoder_of
from darwin_mri.errors import InputError
from darwin_mri.probes.alignment import encode_with_ends
from darwin_mri.probes.texts import Probe

ENOUGH = 4096  # padded tokens from which on a batch counts as large
SLACK = 1.25  # of its shortest row's length: what the longest row of a large batch may have


@dataclass(frozen=True)
class Batch:
    """A padded batch, and where its text is, worked out on the host so that no forward waits for the device.

    Flat positions count row-major through (rows, length).

    Attributes:
        ids: (rows, length) token ids.
        attention: (rows, length), 1 where there is a token, 0 in padding.
        text: (rows, length) boolean, the text's own tokens: no prefix token, no padding.
        documents: (rows,) each row's index into the tokenised probes.
        positions: (tokens,) flat positions of the text's tokens.
        owner: (tokens,) the probe each of them belongs to.
        offsets: where each row begins among ``positions``.
        predicted: flat positions of the text's tokens that have a token before them.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    text: torch.Tensor
    documents: torch.Tensor
    positions: torch.Tensor
    owner: torch.Tensor
    offsets: tuple[int, ...]
    predicted: torch.Tensor

    @classmethod
    def of(
        cls, ids: torch.Tensor, attention: torch.Tensor, text: torch.Tensor, documents: torch.Tensor, device: Any
    ) -> Batch:
        """A batch on ``device`` from tensors on the host.

        Args:
            ids: (rows, length) token ids.
            attention: (rows, length), 1 where there is a token.
            text: (rows, length) boolean, the text's own tokens.
            documents: (rows,) each row's index into the tokenised probes.
            device: where the batch is used.

        Returns:
            The batch with its flat positions.
        """
        length, counts = ids.shape[1], text.sum(1)
        known = text.clone()
        known[:, 0] = False
        known[:, 1:] &= attention[:, :-1].bool()
        positions, predicted = (mask.flatten().nonzero().flatten() for mask in (text, known))
        return cls(
            ids=ids.to(device),
            attention=attention.to(device),
            text=text.to(device),
            documents=documents.to(device),
            positions=positions.to(device),
            owner=documents[positions // length].to(device),
            offsets=tuple((counts.cumsum(0) - counts).tolist()),
            predicted=predicted.to(device),
        )


@dataclass(frozen=True)
class TokenizedProbes:
    """All probes tokenised once for one model.

    Attributes:
        probes: the texts, without those too short to predict a token.
        prefix: special tokens that the tokenizer puts before every text.
        ids: token ids of each text, without the prefix.
        ends: ``ends[i][t]`` is the character where token t of probe i ends.
        bytes_read: (probes,) UTF-8 bytes behind the tokens that are predicted (all but a first token without a prefix),
            so that NLL per byte compares across tokenizers.
        batches: every text in one row of one of them.
    """

    probes: tuple[Probe, ...]
    prefix: tuple[int, ...]
    ids: tuple[tuple[int, ...], ...]
    ends: tuple[tuple[int, ...], ...]
    bytes_read: torch.Tensor
    batches: tuple[Batch, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all texts, without prefixes."""
        return sum(len(row) for row in self.ids)


def require_tokens(model: Any, ids: Iterable[Sequence[int]]) -> None:
    """Refuse tokens that the model has no embedding for: on a GPU they would end the whole process.

    Raises:
        InputError: the tokenizer belongs to another model.
    """
    require_tokens_below(embedding_rows(model), ids)


def embedding_rows(model: Any) -> int:
    """How many tokens a model has embeddings for."""
    return int(model.get_input_embeddings().weight.shape[0])


def require_tokens_below(rows: int, ids: Iterable[Sequence[int]]) -> None:
    """As ``require_tokens``, for a model of so many embeddings."""
    highest = max((max(row, default=0) for row in ids), default=0)
    if highest >= rows:
        raise InputError(
            f"the tokenizer gives token {highest} where the model has {rows} embeddings:"
            " it belongs to another model, fetch the folder again"
        )


def prefix_tokens(tokenizer: Any) -> tuple[int, ...]:
    """Special tokens the tokenizer puts before a text by itself (Gemma's <bos>; nothing for Qwen)."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start])
    return ()


def tokenize_probes(
    probes: Sequence[Probe],
    tokenizer: Any,
    *,
    max_tokens: int,
    device: str,
    token_budget: int = 4096,
    pad_left: bool = False,
) -> TokenizedProbes:
    """Tokenise probes and sort them into batches by length.

    Args:
        probes: the texts; those too short to predict a token are left out.
        tokenizer: the model's.
        max_tokens: texts are cut after so many.
        device: where batches are used.
        token_budget: padded tokens of a batch at most; one text may be longer.
        pad_left: pad before the text instead of after it.

    Returns:
        The texts, their tokens and their batches.
    """
    prefix = prefix_tokens(tokenizer)
    encoded = [encode_with_ends(tokenizer, probe.text, max_tokens) for probe in probes]
    kept = [i for i, (ids, _) in enumerate(encoded) if len(ids) + len(prefix) >= 2]
    probes = tuple(probes[i] for i in kept)
    ids = tuple(tuple(encoded[i][0]) for i in kept)
    ends = tuple(tuple(encoded[i][1]) for i in kept)
    read_bytes = []
    for probe, end in zip(probes, ends, strict=True):
        first = 0 if prefix else end[0]  # without a prefix the first token is context only
        read_bytes.append(max(1, len(probe.text[first : end[-1]].encode())))
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    groups = _groups(order, ids, len(prefix), token_budget)
    batches = tuple(_batch(group, ids, prefix, device, pad_left) for group in groups)
    return TokenizedProbes(probes, prefix, ids, ends, torch.tensor(read_bytes, dtype=torch.float64), batches)


def _groups(order: list[int], ids: Sequence[Sequence[int]], prefix: int, budget: int) -> Iterator[list[int]]:
    group: list[int] = []
    for index in order:  # ascending length: the newest row is the longest
        length = len(ids[index]) + prefix
        full = (len(group) + 1) * length > budget
        # A batch that keeps a device busy takes no row that pads all others much further.
        if group and (full or (len(group) * length >= ENOUGH and length > SLACK * (len(ids[group[0]]) + prefix))):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _batch(
    group: list[int], ids: Sequence[Sequence[int]], prefix: tuple[int, ...], device: str, pad_left: bool = False
) -> Batch:
    length = max(len(ids[i]) for i in group) + len(prefix)
    tokens = torch.zeros(len(group), length, dtype=torch.long)
    attention = torch.zeros_like(tokens)
    text = torch.zeros(len(group), length, dtype=torch.bool)
    for row, index in enumerate(group):
        full = [*prefix, *ids[index]]
        start = length - len(full) if pad_left else 0
        tokens[row, start : start + len(full)] = torch.tensor(full)
        attention[row, start : start + len(full)] = 1
        text[row, start + len(prefix) : start + len(full)] = True
    return Batch.of(tokens, attention, text, torch.tensor(group), device)


def select_tokenized(
    tokenized: TokenizedProbes, keep: Sequence[int], *, device: str, token_budget: int = 4096
) -> TokenizedProbes:
    """Some of the tokenised probes, in batches of their own.

    Args:
        tokenized: all of them.
        keep: indices into ``tokenized.probes``.
        device: where batches are used.
        token_budget: padded tokens of a batch at most; one text may be longer.

    Returns:
        These texts in the order of ``keep``.
    """
    ids, prefix = tuple(tokenized.ids[i] for i in keep), tokenized.prefix
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    return TokenizedProbes(
        probes=tuple(tokenized.probes[i] for i in keep),
        prefix=prefix,
        ids=ids,
        ends=tuple(tokenized.ends[i] for i in keep),
        bytes_read=tokenized.bytes_read[list(keep)],
        batches=tuple(_batch(group, ids, prefix, device) for group in _groups(order, ids, len(prefix), token_budget)),
    )


def batch_together(tokenized: TokenizedProbes, keep: Sequence[int], *, device: str) -> Batch:
    """Some of the tokenised probes in one batch, whatever their lengths.

    Args:
        tokenized: all of them.
        keep: indices into ``tokenized.probes``.
        device: where the batch is used.

    Returns:
        These texts by length; its ``documents`` count along ``keep``.
    """
    ids = tuple(tokenized.ids[i] for i in keep)
    return _batch(sorted(range(len(ids)), key=lambda i: len(ids[i])), ids, tokenized.prefix, device)


def final_states(model: Any, batch: Batch, forward: Callable[..., Any] | None = None) -> torch.Tensor:
    """The decoder's last hidden state, after the final norm.

    The decoder, not the full model: Gemma 4 drops tokens in its KV-shared layers when ``logits_to_keep`` is passed, and
    logits over a large vocabulary would be the largest activation of all.

    Args:
        model: a causal language model, or a wrapper around one.
        batch: what it reads.
        forward: replaces the decoder (used with substituted weights); same arguments.

    Returns:
        (rows, length, hidden) in the model's dtype.
    """
    decoder = forward or decoder_of(model)
    return decoder(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False).last_hidden_state


def document_nll(model: Any, batch: Batch, forward: Callable[..., Any] | None = None) -> torch.Tensor:
    """Summed negative log-likelihood of each row's text tokens.

    Args:
        model: a causal language model, or a wrapper around one.
        batch: what it reads.
        forward: replaces the decoder (used with substituted weights); same arguments.

    Returns:
        (rows,) float32, in nats.
    """
    # (rows x length, hidden) and (rows x length,)
    hidden, ids = final_states(model, batch, forward).flatten(0, 1), batch.ids.flatten()
    losses = token_nll(model, hidden[batch.predicted - 1], ids[batch.predicted])
    # Row by row rather than with index_add, whose order of adding is another each time on a GPU.
    table = torch.zeros(batch.ids.numel(), device=hidden.device)
    return table.index_put((batch.predicted,), losses).view(batch.ids.shape).sum(1)


def token_nll(model: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of tokens, with the logits of a bounded number of them at once, gradients included.

    Args:
        model: with the output head.
        hidden: (tokens, hidden) final states that predict them.
        targets: (tokens,) token ids.

    Returns:
        (tokens,) float32, in nats.
    """

    def losses(states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(project(model, states), ids, reduction="none")

    size = logit_positions(model.config.get_text_config().vocab_size)
    parts = list(zip(hidden.split(size), targets.split(size), strict=True))
    if len(parts) > 1 and hidden.requires_grad:  # a part's logits are computed again when its gradient is
        return torch.cat([_again(losses, *part) for part in parts])
    return torch.cat([losses(*part) for part in parts])


def _again(function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
    value: Any = checkpoint(function, *tensors, use_reentrant=False, preserve_rng_state=False)
    return value


def project(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits in float32 of final hidden states, with the config's soft cap where there is one (Gemma 2, 3n and 4)."""
    logits = model.get_output_embeddings()(hidden).float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits
