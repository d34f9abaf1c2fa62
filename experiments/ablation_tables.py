"""How well fast ablation estimates exact ablation, on the whole table of one model: many orders, shares, attributions.

    python -m experiments.ablation_tables MODEL --documents 16 --tokens 64 --out table.npz

Attribution is first order, or the change carried on through some more layers and the model's gradient from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darwin_mri.batch_sizes import GRADIENT_FORWARDS, PASS_FORWARDS, SCAN_FORWARDS, STATISTICS_FORWARDS
from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.mri.ablation import Ablator, ForwardShares, find_components
from darwin_mri.mri.activations import measure_activations
from darwin_mri.mri.attribution import Component, first_order, require_gradients
from darwin_mri.mri.scan_ablation import Ablated
from darwin_mri.mri.subsampling import fit, make_design
from darwin_mri.probes import Batch, TokenizedProbes, document_nll, load_probes, select_probes, tokenize_probes
from speed.ablating import LEADING, compare, group_weights

DEPTHS = (1, 2, 4, 8)  # layers after the ablated one through which a change is carried
SHARES = (0.3, 0.5, 0.75)
ORDERS = 16


def main() -> None:
    """Measure the table, then print how estimates from parts of it agree with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--documents", type=int, default=16, help="of each language and domain")
    parser.add_argument("--tokens", type=int, default=64, help="of each document")
    parser.add_argument("--out", type=Path, required=True, help="file of the table; read where it exists")
    options = parser.parse_args()
    parent = load(find_model(options.model), device="cpu", dtype="float32")
    probes = select_probes(load_probes(), None, options.documents, 1)
    tokenized = tokenize_probes(probes, parent.tokenizer, max_tokens=options.tokens, device="cpu")
    components = find_components(parent, ("f", "m"))
    if not options.out.exists():
        table: dict[str, Any] = measure_table(parent, tokenized, components)
        np.savez(options.out, **table)
    table = dict(np.load(options.out))
    restarts = ForwardShares(parent, True).exact(components)
    budget = SCAN_FORWARDS - PASS_FORWARDS - STATISTICS_FORWARDS - GRADIENT_FORWARDS
    cases = [(budget / restarts, name) for name in ("none", "0", *map(str, DEPTHS))] + [(s, "0") for s in SHARES]
    for share, name in cases:
        print(f"{share:.3f} measured, attribution {name}: {agree(table, tokenized, components, share, name)}")


def measure_table(
    parent: LoadedModel, tokenized: TokenizedProbes, components: list[Component]
) -> dict[str, np.ndarray]:
    """Arrays (components, documents) in nats: rises of exact ablation and attributions; plain losses (documents,)."""
    activations = measure_activations(parent, tokenized)
    out = {str(depth): np.zeros((len(components), len(tokenized.ids))) for depth in DEPTHS}
    rise = np.zeros_like(out["1"])
    ablator = Ablator(parent, activations, tokenized.batches)
    for number, batch in enumerate(tokenized.batches):
        plain = _outputs_and_gradients(parent, batch)
        ablator.restarts = type(ablator.restarts)(parent, tokenized.batches)  # from the first layer again
        for row, component in enumerate(components):
            with _watch(parent, component[1], plain, batch, {depth: out[str(depth)][row] for depth in DEPTHS}):
                rise[row] += ablator.nll(component, [number])
    rise -= activations.nll
    for depth in DEPTHS:  # where the change reaches the end, it is exact
        ends = [row for row, (_, index) in enumerate(components) if index + depth >= len(parent.layers)]
        out[str(depth)][ends] = rise[ends]
    return {**out, "0": first_order(parent, activations, components), "rise": rise, "plain": activations.nll}


def _stream(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


def _outputs_and_gradients(parent: LoadedModel, batch: Batch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each layer's hidden state (rows, length, hidden), and the gradient of the summed loss by it."""
    kept: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        value = _stream(output)
        value.retain_grad()
        kept.append(value)

    handles = [parent.layers[0].register_forward_pre_hook(require_gradients, with_kwargs=True)]
    handles += [layer.register_forward_hook(keep) for layer in parent.layers]
    with torch.enable_grad():
        document_nll(parent.model, batch).sum().backward()
    for handle in handles:
        handle.remove()
    parent.model.zero_grad(set_to_none=True)
    return [(value.detach(), value.grad) for value in kept if value.grad is not None]


@contextmanager
def _watch(
    parent: LoadedModel,
    index: int,
    plain: list[tuple[torch.Tensor, torch.Tensor]],
    batch: Batch,
    rows: dict[int, np.ndarray],
) -> Iterator[None]:
    """While open, the change that reaches the layers ``depth`` after ``index`` is multiplied with their gradients."""

    def report(depth: int) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            value, gradient = plain[index + depth]
            product = ((_stream(output) - value) * gradient).sum(-1)  # (rows, length)
            each = torch.where(batch.attention.bool(), product, 0.0).double().sum(1)
            rows[depth][batch.documents] = each.numpy()  # the last call is the ablated one

        return parent.layers[index + depth].register_forward_hook(hook)

    handles = [report(depth) for depth in rows if index + depth < len(parent.layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def agree(
    table: dict[str, np.ndarray], tokenized: TokenizedProbes, components: list[Component], share: float, name: str
) -> str:
    """Agreement of estimates from a share of the documents with the whole table, over seeded orders."""
    tokens = np.array([len(row) for row in tokenized.ids], dtype=float)
    weights, languages = group_weights(tokenized.probes)
    exact = _by_part(components, table["rise"])
    groups = {"f": weights, "m": weights[languages:]}  # as ``compare`` takes them
    rho, same, inside, shared, orders = [], 0, [], [], 0
    for seed in range(1, ORDERS + 1):
        design = make_design(tokenized.probes, table["plain"], seed)
        chosen = design.first(tokens, share)
        if not len(chosen):
            continue  # a scan would be exact
        measured = np.zeros(table["rise"].shape, dtype=bool)
        measured[:, chosen] = True
        estimate = fit(design, table["rise"], measured, None if name == "none" else table[name])
        fast = {
            part: Ablated(losses.nll, estimate, tuple(enumerate(_rows(components, part))))
            for part, losses in _by_part(components, estimate.rise).items()
        }
        found, equal, share_inside = compare(fast, exact, weights, languages)
        shared += [_shared(exact[part].nll @ own.T, fast[part].nll @ own.T) for part, own in groups.items()]
        rho, same, orders = rho + found, same + equal, orders + 1
        inside.append(share_inside)
    if not orders:
        return "this share holds less than one document of each language and domain"
    return (
        f"{orders} orders, rho {np.mean(rho):.3f}, lowest {min(rho):.2f}, same five leading layers"
        f" {same / len(rho):.0%}, shared ones {np.concatenate(shared).mean():.0%}, exact in the interval"
        f" {np.mean(inside):.0%}"
    )


def _shared(truth: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """(groups,) share of the leading layers of both, of (layers, groups)."""
    first, second = (np.argsort(-side, axis=0)[:LEADING].T for side in (truth, estimate))
    return np.array([len(set(a) & set(b)) / LEADING for a, b in zip(first.tolist(), second.tolist(), strict=True)])


def _rows(components: list[Component], part: str) -> list[int]:
    return [row for row, (name, _) in enumerate(components) if name == part]


def _by_part(components: list[Component], rises: np.ndarray) -> dict[str, Ablated]:
    return {part: Ablated(rises[_rows(components, part)]) for part in ("f", "m")}


if __name__ == "__main__":
    main()
