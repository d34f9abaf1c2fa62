"""The published genomes: bounds, the trust gene, frozen layers, and what reaches the tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from darwin_mri.breeding import DarwinSpace, Gene, Space
from darwin_mri.breeding.darwin import SNAP
from darwin_mri.records import Prior, PriorGene

LAYERS, UPPER = 12, 1.5
GENES = [(f"L{i}.{part}", i) for i in range(LAYERS) for part in ("ffn", "mixer")] + [("outside", None)]
INNER = Space(
    "layers",
    tuple(Gene(name, layer, (f"{name}.a", f"{name}.b"), component=name.split(".")[-1]) for name, layer in GENES),
)


def prior(frozen: tuple[int, ...] = (3,)) -> Prior:
    genes = tuple(
        PriorGene(
            name=name,
            layer=layer,
            mean=0.0 if layer in frozen else 0.1 * n % UPPER,
            sigma=0.1,
            trust=0.6,
            frozen=layer in frozen,
        )
        for n, (name, layer) in enumerate(GENES)
    )
    return Prior(
        preset="response",
        informative=True,
        protect=("ko",),
        tolerance=0.01,
        frozen=frozen,
        layers=(),
        genes=genes,
        upper=UPPER,
    )


def space(name: str, sparse: bool = True, frozen: tuple[int, ...] = (3,)) -> DarwinSpace:
    return DarwinSpace(name, INNER, prior(frozen), LAYERS, sparse)


@pytest.mark.parametrize(("name", "size"), [("darwin14", 14), ("darwin-v6", 16)])
def test_size_bounds_and_start(name: str, size: int) -> None:
    start = space(name).start(prior())
    assert len(start.names) == size and not start.frozen.any()
    assert (start.low <= start.mean).all() and (start.mean <= start.high).all() and (start.sigma > 0).all()
    assert dict(zip(start.names, start.mean, strict=True))["tau"] == pytest.approx(0.6)
    father = dict(zip(start.names, start.opening[-1], strict=True))
    assert {own["ratio"] for own in space(name).values(father).values()} == {0.0}
    dense = space(name, sparse=False).start(prior())
    assert {n for n, still in zip(dense.names, dense.frozen, strict=True) if still} == (
        {"rho_a", "rho_b", "method_weight"} if name == "darwin-v6" else {"rho_a", "rho_b"}
    )
    assert space(name, frozen=tuple(range(LAYERS))).start(prior(tuple(range(LAYERS)))).frozen.tolist() == [False] * size


def genes_of(name: str, **own: float) -> dict[str, float]:
    genome = space(name)
    start = genome.start(prior())
    return {**dict(zip(start.names, map(float, start.mean), strict=True)), **own}


def test_the_trust_gene_mixes_prior_and_genome() -> None:
    genome, means = space("darwin14"), {gene.name: gene.mean for gene in prior().genes}
    prior_alone = genome.values(genes_of("darwin14", tau=1.0))
    assert all(own["ratio"] == pytest.approx(means[tensor[:-2]]) for tensor, own in prior_alone.items())
    ones = dict.fromkeys(("gamma", "alpha_attn", "alpha_ffn", "alpha_emb", *genome.blocks), 1.0)
    genome_alone = genome.values(genes_of("darwin14", tau=0.0, **ones))
    assert {own["ratio"] for tensor, own in genome_alone.items() if not tensor.startswith("L3.")} == {UPPER}
    half = genome.values(genes_of("darwin14", tau=0.5, **ones))
    assert half["L5.ffn.a"]["ratio"] == pytest.approx((means["L5.ffn"] + UPPER) / 2)
    less = genome.values(genes_of("darwin14", tau=0.5, **ones) | {"lambda": 0.1})
    assert less["L5.ffn.a"]["ratio"] == pytest.approx(0.9 * (means["L5.ffn"] + UPPER) / 2)


def test_a_gene_moves_its_component_or_its_depth_only() -> None:
    genome = space("darwin14")
    before = genome.values(genes_of("darwin14", tau=0.0))
    for gene, touched in (
        ("alpha_ffn", lambda t: ".ffn." in t),
        ("alpha_attn", lambda t: ".mixer." in t),
        ("alpha_emb", lambda t: t.startswith("outside")),
        ("r5", lambda t: t.startswith(("L10.", "L11."))),
    ):
        after = genome.values(genes_of("darwin14", tau=0.0, **{gene: 0.9}))
        moved = {tensor for tensor in after if after[tensor]["ratio"] != before[tensor]["ratio"]}
        assert moved == {tensor for tensor in after if touched(tensor) and not tensor.startswith("L3.")}


@given(st.lists(st.floats(0, 1), min_size=16, max_size=16), st.sampled_from(["darwin14", "darwin-v6"]))
def test_ratios_stay_in_the_box_and_the_null_child_has_one_ratio(shares: list[float], name: str) -> None:
    genome = space(name)
    start = genome.start(prior())
    vector = start.low + (start.high - start.low) * np.array(shares[: len(start.names)])
    values = genome.values(dict(zip(start.names, map(float, vector), strict=True)))
    assert set(values) == {tensor for gene in INNER.genes for tensor in gene.tensors}
    for tensor, own in values.items():
        assert 0.0 <= float(own["ratio"]) <= UPPER + 1e-9
        if tensor.startswith("L3."):
            assert own == {"ratio": 0.0}
        if name == "darwin-v6" and own["ratio"]:
            assert float(own["ratio"]) >= 0.15 * UPPER - 1e-9
    uniform = genome.values(genome.uniform(start, dict(zip(start.names, map(float, vector), strict=True))))
    share = min(1.0, np.mean([float(values[gene.tensors[0]]["ratio"]) for gene in INNER.genes]) / UPPER)
    assume(name == "darwin14" or all(abs(share - edge) > 1e-6 for edge in SNAP))
    if name == "darwin-v6":
        share = 0.0 if share < SNAP[0] else 1.0 if share > SNAP[1] else share
    for tensor, own in uniform.items():
        assert float(own["ratio"]) == pytest.approx(0.0 if tensor.startswith("L3.") else share * UPPER, abs=1e-9)


def test_the_method_weight_draws_densities_toward_one() -> None:
    values = space("darwin-v6").values(genes_of("darwin-v6", rho_a=0.8, rho_b=0.2, method_weight=0.5))
    own = values["L5.ffn.a"]
    assert (own["density"], own["density_father"]) == (pytest.approx(0.6), pytest.approx(0.9))
