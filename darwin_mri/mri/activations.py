"""The one pass that channels 1, 3 and 4 share: probes run once, and what each layer does is added up on the device.

Per layer and site only sums survive a batch: a table with one row per resampling unit (so that groups and bootstrap
resamples are sums of rows), per-dimension sums, and for h_out and f one second-moment matrix. Accumulation is float32
or wider whatever the model's dtype; padding and prefix tokens are left out; nothing leaves the device until the pass is
over. The size of all this depends on the model and on ``sums.BUCKETS``, not on the number of probes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.errors import BrokenModel
from darwin_mri.mri.recorder import Recorder
from darwin_mri.mri.sums import LayerSums, Units
from darwin_mri.probes import TokenizedProbes, document_nll, observe


@dataclass(frozen=True)
class Activations:
    """What one pass left.

    Attributes:
        tokenized: the probes that were run.
        units: resampling units, rows of the tables.
        cells: (language, domain) of the rows of ``LayerSums.firing`` and ``routed``.
        passages: (pair, language) -> row of ``LayerSums.pooled``.
        layers: sums of each layer.
        nll: (probes,) negative log-likelihood of each text, in nats.
        sampled: per layer f at the wanted positions, (positions, hidden); None where it has no FFN.
        neurons: per layer a at the first of these positions, (fewer positions, width).
    """

    tokenized: TokenizedProbes
    units: Units
    cells: tuple[tuple[str, str], ...]
    passages: dict[tuple[str, str], int]
    layers: tuple[LayerSums, ...]
    nll: np.ndarray
    sampled: tuple[torch.Tensor | None, ...]
    neurons: tuple[torch.Tensor | None, ...]

    def mean(self, layer: int, site: str) -> torch.Tensor | None:
        """The mean over all tokens of a site, (width,); None where the layer has no such site."""
        sums = self.layers[layer].sites.get(site)
        return None if sums is None else sums.total / sums.table[:, 0].sum().clamp_min(1).float()

    def for_pair(self) -> Activations:
        """The same with no more of the sums than a comparison with another parent reads, in host memory."""
        return replace(self, layers=tuple(layer.lean() for layer in self.layers))


@torch.inference_mode()
def measure_activations(
    parent: LoadedModel,
    tokenized: TokenizedProbes,
    *,
    positions: Sequence[tuple[int, int]] = (),
    neuron_positions: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> Activations:
    """Run every batch once with hooks on and return the sums.

    Args:
        parent: the model that is measured.
        tokenized: the probes in its tokens, on its device.
        positions: (probe index, token index) pairs whose FFN increment is kept, for FFN similarity.
        neuron_positions: of these, how many also keep their neurons.
        advance: called with the number of documents done.

    Returns:
        Sums per layer and site, the loss of each text, and the values at the wanted positions.

    Raises:
        BrokenModel: the loss on a text is not finite.
    """
    device = str(parent.device)
    experts = {info.index: info.moe.count for info in parent.anatomy.layers if info.moe is not None}
    recorder = Recorder(tokenized, len(parent.anatomy.layers), device, positions, neuron_positions, experts)
    nll = torch.zeros(len(tokenized.probes), device=device, dtype=torch.float64)
    with observe(parent, recorder):
        for number, batch in enumerate(tokenized.batches):
            recorder.start(number, batch)
            nll[batch.documents] = document_nll(parent.model, batch).double()
            recorder.finish()
            advance(len(batch.ids))
    broken = torch.nonzero(~nll.isfinite()).flatten().tolist()
    if broken:
        text = tokenized.probes[broken[0]].doc
        raise BrokenModel(
            f"{parent.source.ref}: the loss on probe {text} is not finite: check its weights and config.json"
        )
    return Activations(
        tokenized=tokenized,
        units=recorder.units,
        cells=recorder.cells,
        passages=recorder.passages,
        layers=tuple(recorder.layers),
        nll=nll.cpu().numpy(),
        sampled=recorder.kept("f"),
        neurons=recorder.kept("a"),
    )
