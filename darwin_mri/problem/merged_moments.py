"""Moments of the child's own stream (RegMean++, arXiv 2508.03121): measured layer by layer, while the child is made.

A layer's inputs depend on the layers before it. Here these are the child's at equal ratios, so that the moments do not
depend on the genes that a search tries; only the layer itself has the weights of the parent that is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from darwin_mri.batch_sizes import scan_tokens
from darwin_mri.checkpoints import LoadedModel, device_memory
from darwin_mri.checkpoints.model import stored_tensors
from darwin_mri.config import Config
from darwin_mri.errors import InputError
from darwin_mri.merging.merge import Merge
from darwin_mri.merging.moments import read_header
from darwin_mri.merging.regressing import regularisation_of
from darwin_mri.merging.regression import Regression, make_shares
from darwin_mri.merging.sources import FolderSource
from darwin_mri.mri.moments import MomentSums, group_of, read_inputs, write_moments
from darwin_mri.probes import TokenizedProbes, select_tokenized
from darwin_mri.problem.moments import MERGED, chosen_groups, moment_options, moments_path
from darwin_mri.problem.parents import Parents, tokenize_for_scan
from darwin_mri.problem.repair_texts import shuffle_words
from darwin_mri.records.moments import group_name
from darwin_mri.records.roles import moments_file
from darwin_mri.run import Run

Sums = dict[str, Tensor]
"""Name in a file of moments -> sum."""


def measure_merged(run: Run, parents: Parents, merge: Merge, *, null: bool = True) -> None:
    """Write the moments of every parent on the child's stream, and on that of shuffled words; a resumed run keeps them.

    Args:
        run: gets a file for each parent; has those of their own streams, which say what texts each is best at.
        parents: the father is resident, and has its own weights afterwards.
        merge: of the parents; its moments are not asked.
        null: measure those of shuffled words too.

    Raises:
        InputError: a stream is not finite.
    """
    headers = [read_header(run.path(moments_file(role))) for role in parents.sources]
    groups = chosen_groups(run.config, headers)
    for shuffled in (False, True)[: 1 + null]:
        paths = [run.path(moments_path(role, MERGED, shuffled=shuffled)) for role in parents.sources]
        if run.keep and all(path.is_file() for path in paths):
            continue
        probes = shuffle_words(parents.probes, run.config.seed) if shuffled else parents.probes
        ref, tokenizer = parents.father.source.ref, parents.father.tokenizer
        texts = tokenize_for_scan(ref, tokenizer, probes, run.config.scan, str(parents.father.device))
        work = _Work(run.config, parents.father, merge, [_some_texts(texts, own, parents) for own in groups])
        title = "moments of the child's stream" + (", shuffled words" if shuffled else "")
        with (
            run.progress.stage(title, work.documents * len(work.layers)) as advance,
            _own_weights_afterwards(parents.father),
            torch.no_grad(),
        ):
            work.merge_outside()
            for layer in work.layers:
                work.measure(layer, advance)
                work.merge_layer(layer)
        for path, header, names, sums in zip(paths, headers, groups, work.sums, strict=True):
            kept = tuple(group for group in header.groups if not names or group.name in names)
            fields = {"groups": kept, "inputs": tuple(work.inputs.values()), "kind": "full", "shuffled": shuffled}
            write_moments(path, header.model_copy(update=fields), sums.__getitem__)


class _Work:
    """The layers that are done, and what was measured in them."""

    def __init__(self, config: Config, father: LoadedModel, merge: Merge, texts: Sequence[TokenizedProbes]) -> None:
        self.father, self.merge_of, self.texts = father, merge, texts
        self.options = replace(moment_options(config, father), kind="full")
        self.regularisation = regularisation_of(merge.settings)
        self.inputs = read_inputs(father, texts[0], self.options)
        self.parameters = stored_tensors(father.model)
        self.sources = [source for source in (merge.father, *merge.others) if isinstance(source, FolderSource)]
        self.sums: list[Sums] = [{} for _ in texts]
        self.share = 1.0 / len(texts)
        self.layers = self._layers()

    @property
    def documents(self) -> int:
        """Texts of all parents."""
        return sum(len(part.probes) for part in self.texts)

    def _layers(self) -> list[list[str]]:
        """Names in memory of the inputs of each layer, in the order of the forward."""
        layers: dict[str, list[str]] = {}
        prefix = f"{self.father.anatomy.prefix}."
        for name in self.inputs:
            layers.setdefault(name.partition(prefix)[2].partition(".")[0], []).append(name)
        return list(layers.values())

    def merge_outside(self) -> None:
        """Make embeddings and the rest outside the layers the child's: the mean of the parents'."""
        inside = {name for layer in self.layers for name in self._tensors_of(layer)}
        for name in self.parameters:
            if name not in inside and name in self.merge_of.father.disk_names and self._is_floating(name):
                self.parameters[name].copy_(self._mean(name))

    def measure(self, layer: Sequence[str], advance: Callable[[int], None]) -> None:
        """The layer's inputs, with each parent's own weights in it, on that parent's texts."""
        for source, texts, sums in zip(self.sources, self.texts, self.sums, strict=True):
            for name in self._tensors_of(layer):
                self.parameters[name].copy_(source.tensor(name))
            measurement = MomentSums(self.father, texts, self.options, self.inputs, advance)
            sums.update(measurement.measure(layer))

    def merge_layer(self, layer: Sequence[str]) -> None:
        """Make the layer the child's, by the moments just measured; what is no linear map is averaged."""
        moments = {tensor: self.inputs[name].name for name in layer for tensor in self.inputs[name].maps}
        others = len(self.sources) - 1
        for name in self._tensors_of(layer):
            father, *rest = (source.tensor(name) for source in self.sources)
            disk = self.merge_of.on_disk(name)
            if disk in moments:
                own = [self.regularisation.apply(self._moment(place, moments[disk])) for place in range(others + 1)]
                function = Regression(father, tuple(rest), make_shares(own, disk), self.merge_of.father.linear[disk])
                self.parameters[name].copy_(function.child((self.share,) * others))
            else:
                self.parameters[name].copy_(self._mean(name))

    def _mean(self, name: str) -> Tensor:
        """A tensor as all parents at equal ratios have it, where no moment says otherwise."""
        return torch.stack([source.tensor(name).float() for source in self.sources]).mean(0)

    def _is_floating(self, name: str) -> bool:
        return self.parameters[name].is_floating_point()

    def _moment(self, place: int, input_name: str) -> Tensor:
        """C of one parent's texts."""
        sums = self.sums[place]
        parts = [
            value
            for key, value in sums.items()
            if key.partition("|")[0] == input_name and not key.endswith("|magnitude")
        ]
        tokens = sum(len(ids) for ids in self.texts[place].ids)
        return torch.stack(parts).sum(0).double() / tokens

    def _tensors_of(self, layer: Sequence[str]) -> list[str]:
        """All tensors of the layer that a child may change."""
        prefix = f"{self.father.anatomy.prefix}."
        before, _, rest = layer[0].partition(prefix)
        start = f"{before}{prefix}{rest.partition('.')[0]}."
        known = self.merge_of.father.disk_names
        names = [n for n in self.parameters if n.startswith(start) and n in known and self._is_floating(n)]
        if not names:
            raise InputError(f"layer of {layer[0]}: its tensors cannot be merged one by one")
        return names


@contextmanager
def _own_weights_afterwards(father: LoadedModel) -> Iterator[None]:
    """While open the model's weights may be written to; in the end they are what they were."""
    kept: Mapping[str, Tensor] = {name: value.detach().clone() for name, value in stored_tensors(father.model).items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in stored_tensors(father.model).items():
                value.copy_(kept[name])


def _some_texts(tokenized: TokenizedProbes, groups: Sequence[str], parents: Parents) -> TokenizedProbes:
    """The texts of some groups, of all when none is named."""
    keep = [i for i, probe in enumerate(tokenized.probes) if not groups or group_name(*group_of(probe)) in groups]
    return select_tokenized(
        tokenized, keep, device=parents.device, token_budget=scan_tokens(device_memory(parents.device))
    )
