"""A sample run folder written from records: made-up numbers in the shape of a nursery run, the same at every call."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

from darwin_mri.records import (
    Channel,
    ChildFiles,
    Estimate,
    FileDigest,
    Genome,
    Health,
    HealthGate,
    Inputs,
    LanguageScan,
    LayerScan,
    LedgerLine,
    Manifest,
    ModelInfo,
    PairScan,
    ParentInput,
    Prior,
    PriorGene,
    PriorLayer,
    ProbesInfo,
    Response,
    Scan,
    write_text,
)
from tests.report.sample_scores import CHILD, FATHER, MOTHER, NULLS, make_comparison, write_answers

LANGUAGES, DOMAINS = ("ko", "en", "ja", "de"), ("prose", "math", "code", "knowledge", "reasoning")
FILES = (
    "manifest.json",
    "inputs.json",
    "scan/father.json",
    "scan/mother.json",
    "scan/pair.json",
    "prior.json",
    "ledger.jsonl",
    "genome.json",
    "comparison.json",
    "health.json",
    "child.json",
    "answers/",
)


def write_sample(
    run: Path,
    layers: int = 8,
    mother_layers: int = 6,
    *,
    father: str = FATHER,
    child: str = CHILD,
    languages: Sequence[str] = LANGUAGES,
    evaluations: int = 60,
) -> Path:
    """Write a whole run; ``father`` and ``child`` may be hostile names, ``evaluations`` come in generations of ten."""
    rng = random.Random(7)
    layer_map = tuple(round(i * (mother_layers - 1) / max(layers - 1, 1)) for i in range(layers))
    fathers, mothers = _model(father, "gemma4", layers, 1), _model(MOTHER, "qwen3_5", mother_layers, 2)
    frozen = tuple(i for i in range(layers) if i in (3, 4))
    _manifest(child).save(run / "manifest.json")
    _inputs(father).save(run / "inputs.json")
    make_scan(fathers, rng, ("sliding_attention",) * 5 + ("full_attention",), languages).save(run / "scan/father.json")
    make_scan(mothers, rng, ("linear_attention",) * 3 + ("full_attention",), languages).save(run / "scan/mother.json")
    _pair(fathers, mothers, layer_map, rng).save(run / "scan/pair.json")
    _prior(layers, layer_map, frozen, rng).save(run / "prior.json")
    write_text(
        run / "ledger.jsonl",
        "".join(json.dumps(line.model_dump(mode="json")) + "\n" for line in make_ledger(layers, rng, evaluations)),
    )
    _genome(father, layers, layer_map, frozen, rng).save(run / "genome.json")
    make_comparison(father, child).save(run / "comparison.json")
    gates = (
        HealthGate(name="finite weights", passed=True, value=1.0, limit="all"),
        HealthGate(name="norm ratio", passed=True, value=1.034, limit="0.5 to 2"),
        HealthGate(name="repetition", passed=True, value="none", limit="no loop of 8 tokens"),
    )
    Health(passed=True, gates=gates).save(run / "health.json")
    ChildFiles(
        shards={"model.safetensors": "c" * 64},
        changed=tuple(f"model.layers.{i}.mlp.down_proj.weight" for i in range(layers)),
        tensors=94,
        genealogy=(f"david = nursery:gemma4-base x {father} (dare_ties)", f"{child} = david/child x {MOTHER} (folded)"),
    ).save(run / "child.json")
    write_answers(run / "answers")
    return run


def _model(ref: str, family: str, layers: int, salt: int) -> ModelInfo:
    mixers = ("sliding_attention", "full_attention") if family == "gemma4" else ("linear_attention", "full_attention")
    return ModelInfo(
        ref=ref,
        digest=str(salt) * 64,
        family=family,
        layers=layers,
        hidden_size=128,
        ffn_size=512,
        mixers=mixers,
        parameters=4_200_000,
    )


def _manifest(child: str) -> Manifest:
    return Manifest(
        created="2026-11-20T09:30:00Z",
        argv=("darwin-mri", "breed", "--config", "configs/genesis.yaml", "--out", "/home/someone/runs/it"),
        config={"name": child, "method": "folded", "search": {"space": "ffn", "budget": 60}},
        commit="0123456789abcdef",
        dirty=False,
        versions={"darwin_mri": "0.1.0", "torch": "2.13.0"},
        device="cpu",
        seed=1,
        seconds={"scan": 12.3, "search": 40.1},
        status="done",
    )


def _inputs(father: str) -> Inputs:
    files = (FileDigest(name="model.safetensors", size=8_400_000, sha256="a" * 64),)
    return Inputs(
        parents=(
            ParentInput(
                role="father",
                ref=father,
                revision=None,
                digest="1" * 64,
                files=files,
                family="gemma4",
                genealogy=("david = nursery:gemma4-base x nursery:gemma4-korean (dare_ties)",),
                license="apache-2.0",
            ),
            ParentInput(
                role="mother",
                ref=MOTHER,
                revision="abc123",
                digest="2" * 64,
                files=files,
                family="qwen3_5",
                license="apache-2.0",
            ),
        ),
        notes=("mother's weights are for rope_theta 1000000.0, the child computes with the father's 10000.0",),
    )


def _estimate(value: float, width: float) -> Estimate:
    return Estimate(value=value, low=value - width, high=value + width)


def make_scan(
    model: ModelInfo, rng: random.Random, pattern: Sequence[str], languages: Sequence[str] = LANGUAGES
) -> Scan:
    """A scan with every channel; one of them, language:de, carries no signal."""
    layers = []
    for index in range(model.layers):
        depth = index / max(model.layers - 1, 1)
        h_out = {
            "rms": 1 + 6 * depth + rng.random(),
            "mean": 0.01,
            "std": 1.0,
            "kurtosis": 3 + 40 * rng.random() * depth,
            "max_abs": 10 + 900 * depth**2,
            "outliers": float(int(6 * depth)),
            "block_influence": 0.3 * (1 - depth) + 0.05 * rng.random(),
            "participation_ratio": 30 - 20 * depth,
        }
        f = {"rms": 0.4, "increment_ratio": 0.2 + 0.5 * rng.random(), "participation_ratio": 12.0}
        activation = {
            "h_out": {"all": h_out, "language:ko": {"rms": 2.0}},
            "f": {"all": f},
            "m": {"all": {"increment_ratio": 0.1 + 0.3 * rng.random()}},
            "a": {"all": {"firing": 0.2 + 0.2 * rng.random(), "dead": 0.02 * rng.random()}},
        }
        raw = {k: _estimate(0.04 + 0.5 * math.exp(-4 * depth) + 0.05 * rng.random(), 0.02) for k in languages}
        mean = sum(e.value for e in raw.values()) / len(raw)
        bump = 0.12 * math.exp(-((depth - 0.5) ** 2) / 0.02)
        sensitivity = {k: _estimate(raw[k].value - mean + (bump if k == "ko" else -bump / 3), 0.02) for k in languages}
        language = LanguageScan(
            sensitivity=sensitivity,
            raw_rise=raw,
            specific_neurons={k: rng.randrange(20) for k in languages},
            alignment={k: _estimate(0.2 + 0.4 * depth, 0.05) for k in languages if k != "en"},
        )
        importance = {name: _estimate(0.03 + 0.3 * rng.random() * (1 - depth), 0.02) for name in DOMAINS}
        layers.append(
            LayerScan(
                index=index,
                mixer=pattern[index % len(pattern)],
                activation=activation,
                weights={
                    f"mlp.{name}_proj.weight": {
                        "std": 0.02,
                        "stable_rank": 20 + 10 * rng.random(),
                        "entropy": 0.8 + 0.1 * rng.random(),
                    }
                    for name in ("gate", "up", "down")
                },
                language=language,
                importance=importance,
            )
        )
    names = [f"language:{k}" for k in languages] + [f"importance:{name}" for name in DOMAINS]
    channels = {n: Channel(reliability=0.9 - 0.02 * i, p_value=0.005, informative=True) for i, n in enumerate(names)}
    channels["language:de"] = Channel(reliability=0.11, p_value=0.43, informative=False, note="no signal")
    probes = ProbesInfo(digest="d" * 64, languages=tuple(languages), domains=DOMAINS, documents=96, tokens=9216)
    return Scan(model=model, probes=probes, layers=tuple(layers), channels=channels, bits_per_byte={"language:ko": 2.1})


def _pair(father: ModelInfo, mother: ModelInfo, layer_map: tuple[int, ...], rng: random.Random) -> PairScan:
    cka = tuple(
        tuple(
            round(0.15 + 0.7 * math.exp(-((i / father.layers - j / mother.layers) ** 2) / 0.04) + 0.1 * rng.random(), 4)
            for j in range(mother.layers)
        )
        for i in range(father.layers)
    )
    response = tuple(
        Response(
            gene=f"ffn.{i}",
            loss=loss,
            slope=-0.02 + 0.01 * i,
            slope_reference=0.03,
            harm=0.01 * i,
            low=0.008 * i,
            high=0.013 * i,
        )
        for i in range(father.layers)
        for loss in ("fitness", "protect:ko")
    )
    return PairScan(
        father=father,
        mother=mother,
        cka=cka,
        layer_map=layer_map,
        map_proportional=tuple(i * mother.layers // father.layers for i in range(father.layers)),
        reference_ratio=0.33,
        response=response,
        channels={"response:fitness": Channel(reliability=0.8, p_value=0.01, informative=True)},
    )


def _prior(layers: int, layer_map: tuple[int, ...], frozen: tuple[int, ...], rng: random.Random) -> Prior:
    genes, rows = [], []
    for index in range(layers):
        fixed, trust = index in frozen, 0.2 + 0.75 * rng.random()
        mean, sigma = (0.0, 0.0) if fixed else (0.05 + 0.25 * rng.random(), 0.5 * (0.3 * (1 - trust) + 0.03))
        stability = 0.93 if fixed else round(0.4 * rng.random(), 3)
        genes.append(
            PriorGene(
                name=f"ffn.{index}",
                layer=index,
                mean=mean,
                sigma=sigma,
                trust=trust,
                frozen=fixed,
                frozen_stability=stability,
            )
        )
        rows.append(
            PriorLayer(
                index=index,
                mother_layer=layer_map[index],
                mean=mean,
                sigma=sigma,
                trust=trust,
                frozen=fixed,
                frozen_stability=stability,
            )
        )
    return Prior(
        preset="response",
        informative=True,
        protect=("ko",),
        tolerance=0.01,
        frozen=frozen,
        layers=tuple(rows),
        genes=tuple(genes),
        upper=0.5,
    )


def make_ledger(layers: int, rng: random.Random, lines: int = 60) -> list[LedgerLine]:
    """Sixty evaluations in generations of ten; one failed, one was raced out."""
    ledger = []
    for number in range(lines):
        generation = number // 10
        status = "failed" if number == 17 else "raced" if number == 23 else "ok"
        fitness = None if status == "failed" else round(0.41 + 0.022 * generation**0.7 + 0.02 * rng.gauss(0, 1), 6)
        ledger.append(
            LedgerLine(
                evaluation=number,
                generation=generation,
                candidate=number % 10,
                genes={f"ffn.{i}": round(rng.random() / 2, 4) for i in range(layers)},
                fitness=fitness,
                scores={} if fitness is None else {"nursery_click": fitness, "nursery_musr": fitness},
                items=160,
                seconds=0.8,
                status=status,
                reason=""
                if status == "ok"
                else "non-finite logits in layer 3"
                if status == "failed"
                else "stopped early",
                sigma=round(0.3 * 0.88**generation, 4),
            )
        )
    return ledger


def _genome(
    father: str, layers: int, layer_map: tuple[int, ...], frozen: tuple[int, ...], rng: random.Random
) -> Genome:
    ratios = tuple(0.0 if i in frozen else round(0.3 * rng.random(), 4) for i in range(layers))
    genes = {f"ffn.{i}": ratio for i, ratio in enumerate(ratios) if i not in frozen}
    nulls = {name: dict.fromkeys(genes, 0.15) for name in NULLS}
    return Genome(
        space="ffn",
        method="folded",
        seed=1,
        father=father,
        mother=MOTHER,
        genes=genes,
        ratios=ratios,
        nulls=nulls,
        layer_map=layer_map,
        search_score=0.492,
        retest_score=0.471,
    )
