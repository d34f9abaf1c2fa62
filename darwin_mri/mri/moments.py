"""Channel 7: second moments of the inputs of every linear map, by group of texts, streamed into a file.

The sums are exact: products in fp32 per batch, added up in fp64, written in fp32. Layers are measured in groups that
fit in memory together, each by one pass over the texts that ends after its last layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.checkpoints.linear_maps import linear_modules
from darwin_mri.checkpoints.survey import survey
from darwin_mri.checkpoints.writing import Form, write_tensors
from darwin_mri.errors import InputError
from darwin_mri.probes import (
    Batch,
    Probe,
    TokenizedProbes,
    describe_probes,
    document_nll,
    final_states,
    select_tokenized,
)
from darwin_mri.records import MomentGroup, MomentInput, MomentsHeader
from darwin_mri.records.moments import MOMENTS_KEY, group_name

Group = tuple[str, str, str]
"""(language, domain, topic)."""
STRUCTURE_TOKENS = 64  # of the one forward that tells which maps read the same input


@dataclass(frozen=True)
class MomentOptions:
    """How moments are measured.

    Attributes:
        kind: ``full``: products of all pairs of dimensions; ``diagonal``: squares alone.
        widest: inputs wider than this get squares alone.
        memory: bytes of the sums that are held at once.
        max_tokens: that were read of each text, for the header.
        shuffled: whether the words of the texts were shuffled, for the header.
    """

    kind: str
    widest: int
    memory: int
    max_tokens: int
    shuffled: bool = False


def measure_moments(
    parent: LoadedModel,
    tokenized: TokenizedProbes,
    path: Path,
    options: MomentOptions,
    advance: Callable[[int], None] = lambda _: None,
) -> MomentsHeader:
    """Measure the moments of a model and write them.

    Args:
        parent: the model, on the device it is read on.
        tokenized: the texts in its tokens, on its device.
        path: the file.
        options: what is measured, and how much memory it may take.
        advance: called with the number of documents done; ``moment_work`` in all.

    Returns:
        The file's header.

    Raises:
        InputError: an input of some map is not finite.
    """
    inputs = read_inputs(parent, tokenized, options)
    return MomentSums(parent, tokenized, options, inputs, advance).write(path)


def moment_work(parent: LoadedModel, tokenized: TokenizedProbes, options: MomentOptions) -> int:
    """How much there is to read.

    Args:
        parent: the model.
        tokenized: the texts in its tokens.
        options: as for ``measure_moments``.

    Returns:
        Document reads of all passes.
    """
    parts = _parts(read_inputs(parent, tokenized, options), len(_groups(tokenized)), options.memory)
    return len(tokenized.probes) * len(parts)


def read_inputs(parent: LoadedModel, tokenized: TokenizedProbes, options: MomentOptions) -> dict[str, MomentInput]:
    """Which inputs the linear maps have, by the name in memory of the first map that reads each.

    Maps whose inputs are one tensor in memory, as those of queries, keys and values, share one.

    Args:
        parent: the model.
        tokenized: texts in its tokens, of which the shortest is read.
        options: which inputs are measured in full.

    Returns:
        The inputs, in the order of the forward.
    """
    modules, on_disk = linear_modules(parent.model, parent.anatomy), survey(parent.source.folder).layout.stored
    # In the order of the forward; held, so that no two live inputs have one place in memory.
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def see(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if args:
                seen.setdefault(name, args[0])

        return see

    with _hooked({name: (module, keep(name)) for name, module in modules.items()}), torch.inference_mode():
        shortest = min(range(len(tokenized.ids)), key=lambda i: len(tokenized.ids[i]))
        one = select_tokenized(tokenized, [shortest], device=str(parent.device), token_budget=STRUCTURE_TOKENS)
        final_states(parent.model, one.batches[0])
    readers: dict[tuple[Any, ...], list[str]] = {}
    for name, x in seen.items():
        # An expert of its own reads some of the tokens: what it is given cannot be told apart by text.
        if name in on_disk and x.numel() == one.batches[0].ids.numel() * x.shape[-1]:
            readers.setdefault((x.data_ptr(), x.shape, x.stride()), []).append(name)
    inputs = {}
    for names in readers.values():
        width = seen[names[0]].shape[-1]
        full = options.kind == "full" and width <= options.widest
        maps = tuple(on_disk[name] for name in names)
        inputs[names[0]] = MomentInput(name=maps[0], maps=maps, width=width, full=full)
    return inputs


class MomentSums:
    """Sums of one model's inputs over texts, part by part.

    Args:
        parent: the model, whose weights may change between parts.
        tokenized: the texts in its tokens, on its device.
        options: what is measured.
        inputs: as ``read_inputs`` gives them.
        advance: called with the number of documents done.
    """

    def __init__(
        self,
        parent: LoadedModel,
        tokenized: TokenizedProbes,
        options: MomentOptions,
        inputs: Mapping[str, MomentInput],
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.parent, self.tokenized, self.options = parent, tokenized, options
        self.inputs, self.advance = inputs, advance
        self.groups = _groups(tokenized)
        number = {group: i for i, group in enumerate(self.groups)}
        self.group_of = torch.tensor([number[group_of(probe)] for probe in tokenized.probes], device=parent.device)
        self.modules = linear_modules(parent.model, parent.anatomy)

    def write(self, path: Path) -> MomentsHeader:
        """Measure part by part, and write each when it is done; as ``measure_moments``."""
        parts = _parts(self.inputs, len(self.groups), self.options.memory)
        nll = torch.zeros(len(self.groups), dtype=torch.float64, device=self.parent.device)
        sums = self.measure(parts[0], nll)  # with the losses, which the header has
        header = self.header(nll)
        later = {f"{self.inputs[part[0]].name}|{header.groups[0].name}": part for part in parts[1:]}

        def compute(name: str) -> Tensor:
            if name in later:
                sums.update(self.measure(later[name]))
            return sums.pop(name)

        write_moments(path, header, compute)
        return header

    def header(self, nll: Tensor) -> MomentsHeader:
        """What the file says of itself, with the loss of every group, (groups,) in nats."""
        if not bool(nll.isfinite().all()):
            raise InputError(
                f"{self.parent.source.ref}: the loss of a probe text is not finite: check the model's weights"
            )
        place, lengths = self.group_of.tolist(), [len(ids) for ids in self.tokenized.ids]
        return MomentsHeader(
            ref=self.parent.source.ref,
            digest=self.parent.digest,
            kind=self.options.kind,  # pyright: ignore[reportArgumentType]
            probes=describe_probes(self.tokenized.probes, self.tokenized.tokens).digest,
            max_tokens=self.options.max_tokens,
            shuffled=self.options.shuffled,
            groups=tuple(
                MomentGroup(
                    language=group[0],
                    domain=group[1],
                    topic=group[2],
                    tokens=sum(length for own, length in zip(place, lengths, strict=True) if own == number),
                    bytes=int(self.tokenized.bytes_read[[own == number for own in place]].sum()),
                    nll=float(nll[number]),
                )
                for number, group in enumerate(self.groups)
            ),
            inputs=tuple(self.inputs.values()),
        )

    def measure(self, part: Sequence[str], nll: Tensor | None = None) -> dict[str, Tensor]:
        """Sums of some inputs over all texts.

        Args:
            part: their names in memory, in the order of the forward, which ends after the last of them.
            nll: gets the loss of every group added, (groups,) in nats; the forward goes to its end for it.

        Returns:
            Name in the file -> fp32 sum, on the host.

        Raises:
            InputError: an input is not finite.
        """
        sums: dict[str, Tensor] = {}
        names = [group_name(*group) for group in self.groups]
        batch: Batch | None = None

        def add(name: str) -> Callable[..., None]:
            own = self.inputs[name]

            def observe(module: nn.Module, args: tuple[Tensor, ...]) -> None:
                assert batch is not None
                rows = args[0].reshape(-1, own.width)[batch.positions].float()  # (tokens, width)
                group_of = self.group_of[batch.owner]
                for number, group in enumerate(names):
                    chosen = rows[group_of == number]
                    product = chosen.T @ chosen if own.full else chosen.square().sum(0)
                    for key, value in ((f"{own.name}|{group}", product), (_magnitude(own, group), chosen.abs().sum(0))):
                        sums[key] = sums[key] + value if key in sums else value.double()
                if name == part[-1] and nll is None:
                    raise _Finished

            return observe

        with _hooked({name: (self.modules[name], add(name)) for name in part}), torch.inference_mode():
            for batch in self.tokenized.batches:
                with suppress(_Finished):
                    if nll is None:
                        final_states(self.parent.model, batch)
                    else:
                        losses = document_nll(self.parent.model, batch).double()
                        nll.index_add_(0, self.group_of[batch.documents], losses)
                self.advance(len(batch.ids))
        for name in part:
            own = self.inputs[name]
            if not all(bool(sums[f"{own.name}|{group}"].isfinite().all()) for group in names):
                raise InputError(
                    f"{self.parent.source.ref}: the input of {own.name} is not finite: check the model's weights"
                )
        return {key: value.float().cpu() for key, value in sums.items()}


def write_moments(path: Path, header: MomentsHeader, compute: Callable[[str], Tensor]) -> None:
    """Write a file of moments.

    Args:
        path: the file.
        header: of the file, which says what tensors there are.
        compute: name -> fp32 sum; called once per name, in the order of inputs and groups.
    """
    forms: dict[str, Form] = {}
    for own in header.inputs:
        for group in header.groups:
            forms[f"{own.name}|{group.name}"] = (torch.float32, (own.width,) * (2 if own.full else 1))
            forms[_magnitude(own, group.name)] = (torch.float32, (own.width,))
    metadata = {MOMENTS_KEY: header.model_dump_json(by_alias=True)}
    write_tensors(path, forms, compute, metadata, f"the moments of {header.ref}")


def _magnitude(own: MomentInput, group: str) -> str:
    return f"{own.name}|{group}|magnitude"


class _Finished(Exception):
    """The last layer that is measured has been read: the rest of the forward is not needed."""


@contextmanager
def _hooked(hooks: Mapping[str, tuple[nn.Module, Callable[..., None]]]) -> Iterator[None]:
    """While open, each module's input is handed to its function."""
    handles = [module.register_forward_pre_hook(function) for module, function in hooks.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def group_of(probe: Probe) -> Group:
    """The group that a text is counted in."""
    return probe.language, probe.domain, probe.topic


def _groups(tokenized: TokenizedProbes) -> tuple[Group, ...]:
    return tuple(sorted({group_of(probe) for probe in tokenized.probes}))


def _parts(inputs: Mapping[str, MomentInput], groups: int, memory: int) -> list[list[str]]:
    """Inputs in order, in parts whose sums fit in memory together."""
    parts: list[list[str]] = []
    held = 0
    for name, own in inputs.items():
        size = 8 * groups * (own.width ** (2 if own.full else 1) + own.width)
        if not parts or held + size > memory:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += size
    return parts
