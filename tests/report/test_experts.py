"""What reports say of mixtures of experts, from records."""

from __future__ import annotations

from typing import Any

from darwin_mri.records import ExpertLoad, LayerScan, ModelInfo, Prior, PriorGene, ProbesInfo, Scan
from darwin_mri.report.model.elements import Figure
from darwin_mri.report.sections.experts import expert_tables
from darwin_mri.report.sections.genes import genome_section


def dense() -> Scan:
    sizes: dict[str, Any] = {"layers": 2, "hidden_size": 8, "ffn_size": 8, "mixers": ("full_attention",) * 2}
    model = ModelInfo(ref="dense", digest="0", family="llama", **sizes)
    probes = ProbesInfo(digest="0", languages=("ko",), domains=("prose",), documents=1, tokens=8)
    layers = tuple(LayerScan(index=index, mixer="full_attention") for index in range(2))
    return Scan(model=model, probes=probes, layers=layers, channels={})


def with_experts() -> Scan:
    load = ExpertLoad(
        experts=4,
        share={"all": (0.5, 1.0, 0.5, 0.0), "language:ko": (0.0, 1.0, 1.0, 0.0)},
        entropy={"all": 0.75, "language:ko": 0.5},
        imbalance={"all": 2.0, "language:ko": 2.0},
        difference={"language:ko": 0.25},
    )
    first, last = dense().layers
    return dense().model_copy(update={"layers": (first, last.model_copy(update={"experts": load}))})


def test_only_models_with_experts_have_a_table() -> None:
    (table,) = expert_tables(dense(), None, with_experts())
    assert table.columns == ("layer", "experts", "per token", "busiest", "max / mean", "entropy", "idle", "ko")
    assert [row.cells for row in table.rows] == [("1", "4", "2", "1 (100.0 %)", "2.00", "0.750", "1", "0.25")]
    assert expert_tables(dense()) == ()


def test_every_kind_of_gene_has_a_figure() -> None:
    kinds = ("experts", "mixer", "router", "shared")
    genes = [
        PriorGene(name=f"L{n}.{kind}", layer=n, mean=0.1, sigma=0.1, trust=0.5, component=kind)
        for n in range(3)
        for kind in kinds
    ]
    rest: dict[str, Any] = {"informative": False, "protect": (), "tolerance": 0.01, "frozen": (), "layers": ()}
    prior = Prior(preset="flat", genes=tuple(genes), upper=1.0, **rest)
    figures = [block.tables[0] for block in genome_section(prior, None).blocks if isinstance(block, Figure)]
    assert [table.caption for table in figures] == [f"Prior and found ratio: {kind} genes" for kind in kinds]
    assert all(len(table.rows) == 3 for table in figures)
