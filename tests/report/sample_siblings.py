"""A sample run of siblings: three to eight parents of one architecture and their base; numbers are made up."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from darwin_mri.records import (
    ChildFiles,
    Genome,
    Health,
    HealthGate,
    Inputs,
    Manifest,
    ModelInfo,
    PairScan,
    ParentInput,
    Prior,
    PriorGene,
    PriorLayer,
    Response,
    write_text,
)
from darwin_mri.records.roles import PARENTS, pair_file, scan_file
from tests.report.sample import LANGUAGES, make_ledger, make_scan
from tests.report.sample_scores import MOTHER, NULLS, make_comparison, write_answers

NOTE = "nursery:gemma4-parent3: dequantised from Q8_0"
CHILD, BASE = "siblings", "nursery:gemma4-base"
COMPONENTS = ("ffn", "mixer")
FROZEN, FROZEN_APART = 2, 4  # a layer frozen for every parent, and one for parent3 alone


def refs(count: int) -> dict[str, str]:
    """Role -> name of that many parents."""
    return {role: MOTHER if role == "mother" else f"nursery:gemma4-{role}" for role in PARENTS[:count]}


def write_siblings(
    run: Path, parents: int = 4, layers: int = 6, *, components: Sequence[str] = ("ffn",), identity: bool = True
) -> Path:
    """Write a whole run of siblings.

    Args:
        run: folder to write.
        parents: how many, from 3 to 8.
        layers: of each.
        components: of a layer, each with a gene per parent.
        identity: whether every layer map is; else that of the last parent is shifted by one layer.

    Returns:
        the folder.
    """
    rng, names = random.Random(3), refs(parents)
    others = list(names)[1:]
    models = {role: _model(ref, layers, number) for number, (role, ref) in enumerate(names.items())}
    _manifest(names).save(run / "manifest.json")
    Inputs(
        parents=tuple(
            ParentInput(role=role, ref=ref, revision=None, digest="1" * 64, files=(), family="gemma4", license="gemma")
            for role, ref in {**names, "base": BASE}.items()
        ),
        notes=(NOTE,),
    ).save(run / "inputs.json")
    for role, model in models.items():
        make_scan(model, rng, ("sliding_attention", "full_attention"), LANGUAGES).save(run / scan_file(role))
    for role in others:
        shift = 0 if identity or role != others[-1] else 1
        _pair(models, role, components, shift, rng).save(run / pair_file(role))
    genes = {role: _genes(role, layers, components, rng) for role in others}
    _prior(genes, layers).save(run / "prior.json")
    ledger = make_ledger(layers, rng, 20)
    write_text(run / "ledger.jsonl", "".join(json.dumps(line.model_dump(mode="json")) + "\n" for line in ledger))
    _genome(names, genes, layers, rng).save(run / "genome.json")
    further = {role: ref for role, ref in names.items() if role not in PARENTS[:2]}
    make_comparison(names["father"], CHILD, further).save(run / "comparison.json")
    gate = HealthGate(name="finite weights", passed=True, value=1.0, limit="all")
    Health(passed=True, gates=(gate,)).save(run / "health.json")
    ChildFiles(
        shards={"model.safetensors": "c" * 64},
        changed=("model.layers.0.mlp.down_proj.weight",),
        tensors=94,
        genealogy=(
            f"{names['father']} = {BASE} x nursery:gemma4-older (dare_ties)",
            f"{CHILD} = {' x '.join(names.values())} (task_arithmetic)",
        ),
    ).save(run / "child.json")
    write_answers(run / "answers", list(further))
    return run


def _model(ref: str, layers: int, number: int) -> ModelInfo:
    return ModelInfo(
        ref=ref,
        digest=str(number) * 64,
        family="gemma4",
        layers=layers,
        hidden_size=128,
        ffn_size=512,
        mixers=("sliding_attention", "full_attention"),
        parameters=4_200_000,
    )


def _manifest(names: dict[str, str]) -> Manifest:
    return Manifest(
        created="2026-11-27T09:30:00Z",
        argv=("darwin-mri", "breed", "--config", "siblings.yaml"),
        config={"name": CHILD, "parents": list(names.values()), "method": "task_arithmetic"},
        commit=None,
        dirty=None,
        versions={"darwin_mri": "0.1.0"},
        device="cpu",
        seed=1,
        status="done",
    )


def _genes(role: str, layers: int, components: Sequence[str], rng: random.Random) -> list[PriorGene]:
    genes = []
    for index in range(layers):
        frozen = index == FROZEN or (index, role) == (FROZEN_APART, "parent3")
        for component in components:
            trust = rng.random()
            genes.append(
                PriorGene(
                    name=f"L{index}.{component}.{role}",
                    layer=index,
                    parent=role,
                    mean=0.0 if frozen else 0.02 + 0.2 * rng.random(),
                    sigma=0.0 if frozen else 0.05,
                    trust=trust,
                    frozen=frozen,
                    frozen_stability=0.9 if frozen else 0.2 * rng.random(),
                )
            )
    outside = PriorGene(name=f"outside.{role}", layer=None, parent=role, mean=0.1, sigma=0.05, trust=0.5)
    return [*genes, outside]


def _prior(genes: dict[str, list[PriorGene]], layers: int) -> Prior:
    rows = []
    for role, own in genes.items():
        for index in range(layers):
            here = [gene for gene in own if gene.layer == index]
            rows.append(
                PriorLayer(
                    index=index,
                    parent=role,
                    mother_layer=index,
                    mean=sum(gene.mean for gene in here) / len(here),
                    sigma=here[0].sigma,
                    trust=sum(gene.trust for gene in here) / len(here),
                    frozen=here[0].frozen,
                    frozen_stability=max(gene.frozen_stability for gene in here),
                )
            )
    return Prior(
        preset="response",
        informative=True,
        protect=("ko",),
        tolerance=0.01,
        frozen=(FROZEN,),
        layers=tuple(rows),
        genes=tuple(gene for own in genes.values() for gene in own),
        upper=0.5,
    )


def _genome(names: dict[str, str], genes: dict[str, list[PriorGene]], layers: int, rng: random.Random) -> Genome:
    free = [gene for own in genes.values() for gene in own if not gene.frozen]
    found = {gene.name: round(0.3 * rng.random(), 4) for gene in free}
    ratios = [
        sum(found[gene.name] for gene in free if gene.layer == index and ".ffn." in gene.name)
        for index in range(layers)
    ]
    nulls = {name: dict.fromkeys(found, 0.15) for name in (*NULLS[:3], "per-parent")}
    return Genome(
        space="ffn",
        method="task_arithmetic",
        seed=1,
        father=names["father"],
        mother=names["mother"],
        parents=tuple(names.values()),
        base=BASE,
        genes=found,
        gene_parents={gene.name: gene.parent for gene in free},
        ratios=tuple(ratios),
        nulls=nulls,
        search_score=0.492,
        retest_score=0.471,
    )


def _pair(
    models: dict[str, ModelInfo], role: str, components: Sequence[str], shift: int, rng: random.Random
) -> PairScan:
    layers = models[role].layers
    cka = tuple(
        tuple(round(0.95 - 0.1 * abs(i - j) + 0.04 * rng.random(), 4) for j in range(layers)) for i in range(layers)
    )
    response = tuple(
        Response(
            gene=f"L{index}.{component}.{role}",
            loss=loss,
            slope=-0.02 + 0.01 * index,
            slope_reference=0.03,
            harm=0.004 * (index - 2) + 0.002 * rng.random(),
            low=0.004 * (index - 2) - 0.001,
            high=0.004 * (index - 2) + 0.003,
        )
        for index in range(layers)
        for component in components
        for loss in ("fitness", "protect:ko")
    )
    return PairScan(
        father=models["father"],
        mother=models[role],
        parent=role,
        cka=cka,
        layer_map=tuple(min(i + shift, layers - 1) for i in range(layers)),
        map_proportional=tuple(range(layers)),
        reference_ratio=0.11,
        response=response,
    )
