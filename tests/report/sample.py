"""A sample run folder written from records: made-up numbers in the shape of a nursery run, the same at every call."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

from darwin_mri.records import (
    Alert,
    Channel,
    ChildFiles,
    Comparison,
    Contrast,
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
    Score,
    Vigor,
    write_text,
)

FATHER, MOTHER, CHILD = "nursery:gemma4-korean", "nursery:qwen35-mother", "genesis-nursery"
LANGUAGES, DOMAINS = ("ko", "en", "ja", "de"), ("prose", "math", "code", "knowledge", "reasoning")
NULLS = ("uniform", "prior-mean", "random", "shuffled-donor")
BENCHMARKS = {"nursery_click": (240, 0.25), "nursery_musr": (180, 0.34), "nursery_gpqa": (96, 0.25)}
FILES = (
    "manifest.json", "inputs.json", "scan/father.json", "scan/mother.json", "scan/pair.json", "prior.json", "ledger.jsonl",
    "genome.json", "comparison.json", "health.json", "child.json",
)  # fmt: skip


def write_sample(
    run: Path, layers: int = 8, mother_layers: int = 6, *, father: str = FATHER, child: str = CHILD
) -> Path:
    """Write a whole run; ``father`` and ``child`` may be hostile names."""
    rng = random.Random(7)
    layer_map = tuple(round(i * (mother_layers - 1) / max(layers - 1, 1)) for i in range(layers))
    fathers, mothers = _model(father, "gemma4", layers, 1), _model(MOTHER, "qwen3_5", mother_layers, 2)
    frozen = tuple(i for i in range(layers) if i in (3, 4))
    _manifest(child).save(run / "manifest.json")
    _inputs(father).save(run / "inputs.json")
    make_scan(fathers, rng, ("sliding_attention",) * 5 + ("full_attention",)).save(run / "scan/father.json")
    make_scan(mothers, rng, ("linear_attention",) * 3 + ("full_attention",)).save(run / "scan/mother.json")
    _pair(fathers, mothers, layer_map, rng).save(run / "scan/pair.json")
    _prior(layers, layer_map, frozen, rng).save(run / "prior.json")
    write_text(
        run / "ledger.jsonl",
        "".join(json.dumps(line.model_dump(mode="json")) + "\n" for line in make_ledger(layers, rng)),
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
        shards={"model.safetensors": "c" * 64}, changed=tuple(f"model.layers.{i}.mlp.down_proj.weight" for i in range(layers)), tensors=94,
        genealogy=("gemma4-base", "gemma4-korean", child),
    ).save(run / "child.json")  # fmt: skip
    return run


def _model(ref: str, family: str, layers: int, salt: int) -> ModelInfo:
    mixers = ("sliding_attention", "full_attention") if family == "gemma4" else ("linear_attention", "full_attention")
    return ModelInfo(
        ref=ref, digest=str(salt) * 64, family=family, layers=layers, hidden_size=128, ffn_size=512, mixers=mixers, parameters=4_200_000
    )  # fmt: skip


def _manifest(child: str) -> Manifest:
    return Manifest(
        created="2026-11-20T09:30:00Z", argv=("darwin-mri", "breed", "--config", "configs/genesis.yaml", "--out", "/home/someone/runs/it"),
        config={"name": child, "method": "folded", "search": {"space": "ffn", "budget": 60}}, commit="0123456789abcdef", dirty=False,
        versions={"darwin_mri": "0.1.0", "torch": "2.13.0"}, device="cpu", seed=1, seconds={"scan": 12.3, "search": 40.1}, status="done",
    )  # fmt: skip


def _inputs(father: str) -> Inputs:
    files = (FileDigest(name="model.safetensors", size=8_400_000, sha256="a" * 64),)
    return Inputs(
        parents=(
            ParentInput(role="father", ref=father, revision=None, digest="1" * 64, files=files, family="gemma4", genealogy=("gemma4-base",)),
            ParentInput(role="mother", ref=MOTHER, revision="abc123", digest="2" * 64, files=files, family="qwen3_5"),
        )
    )  # fmt: skip


def _estimate(value: float, width: float) -> Estimate:
    return Estimate(value=value, low=value - width, high=value + width)


def make_scan(model: ModelInfo, rng: random.Random, pattern: Sequence[str]) -> Scan:
    """A scan with every channel; one of them, language:de, is said to carry no signal."""
    layers = []
    for index in range(model.layers):
        depth = index / max(model.layers - 1, 1)
        h_out = {"rms": 1 + 6 * depth + rng.random(), "mean": 0.01, "std": 1.0, "kurtosis": 3 + 40 * rng.random() * depth, "max_abs": 10 + 900 * depth**2,
                 "outliers": float(int(6 * depth)), "block_influence": 0.3 * (1 - depth) + 0.05 * rng.random(), "participation_ratio": 30 - 20 * depth}  # fmt: skip
        f = {"rms": 0.4, "increment_ratio": 0.2 + 0.5 * rng.random(), "participation_ratio": 12.0}
        activation = {
            "h_out": {"all": h_out, "language:ko": {"rms": 2.0}}, "f": {"all": f}, "m": {"all": {"increment_ratio": 0.1 + 0.3 * rng.random()}},
            "a": {"all": {"firing": 0.2 + 0.2 * rng.random(), "dead": 0.02 * rng.random()}},
        }  # fmt: skip
        raw = {k: _estimate(0.04 + 0.5 * math.exp(-4 * depth) + 0.05 * rng.random(), 0.02) for k in LANGUAGES}
        mean = sum(e.value for e in raw.values()) / len(raw)
        bump = 0.12 * math.exp(-((depth - 0.5) ** 2) / 0.02)
        sensitivity = {k: _estimate(raw[k].value - mean + (bump if k == "ko" else -bump / 3), 0.02) for k in LANGUAGES}
        language = LanguageScan(
            sensitivity=sensitivity, raw_rise=raw, specific_neurons={k: rng.randrange(20) for k in LANGUAGES},
            alignment={k: _estimate(0.2 + 0.4 * depth, 0.05) for k in LANGUAGES if k != "en"},
        )  # fmt: skip
        importance = {name: _estimate(0.03 + 0.3 * rng.random() * (1 - depth), 0.02) for name in DOMAINS}
        layers.append(
            LayerScan(
                index=index,
                mixer=pattern[index % len(pattern)],
                activation=activation,
                language=language,
                importance=importance,
            )
        )
    names = [f"language:{k}" for k in LANGUAGES] + [f"importance:{name}" for name in DOMAINS]
    channels = {n: Channel(reliability=0.9 - 0.02 * i, p_value=0.005, informative=True) for i, n in enumerate(names)}
    channels["language:de"] = Channel(reliability=0.11, p_value=0.43, informative=False, note="no signal")
    probes = ProbesInfo(digest="d" * 64, languages=LANGUAGES, domains=DOMAINS, documents=96, tokens=9216)
    return Scan(model=model, probes=probes, layers=tuple(layers), channels=channels, bits_per_byte={"language:ko": 2.1})


def _pair(father: ModelInfo, mother: ModelInfo, layer_map: tuple[int, ...], rng: random.Random) -> PairScan:
    cka = tuple(
        tuple(round(0.15 + 0.7 * math.exp(-((i / father.layers - j / mother.layers) ** 2) / 0.04) + 0.1 * rng.random(), 4) for j in range(mother.layers))
        for i in range(father.layers)
    )  # fmt: skip
    response = tuple(
        Response(gene=f"ffn.{i}", loss=loss, slope=-0.02 + 0.01 * i, slope_reference=0.03, harm=0.01 * i, low=0.008 * i, high=0.013 * i)
        for i in range(father.layers) for loss in ("fitness", "language:ko")
    )  # fmt: skip
    return PairScan(
        father=father, mother=mother, cka=cka, layer_map=layer_map, map_proportional=tuple(i * mother.layers // father.layers for i in range(father.layers)),
        reference_ratio=0.33, response=response, channels={"response:fitness": Channel(reliability=0.8, p_value=0.01, informative=True)},
    )  # fmt: skip


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
        preset="response", informative=True, protect=("ko",), tolerance=0.01, frozen=frozen, layers=tuple(rows), genes=tuple(genes), upper=0.5
    )  # fmt: skip


def make_ledger(layers: int, rng: random.Random, lines: int = 60) -> list[LedgerLine]:
    """Sixty evaluations in generations of ten; one failed, one was raced out."""
    found = []
    for number in range(lines):
        generation = number // 10
        status = "failed" if number == 17 else "raced" if number == 23 else "ok"
        fitness = None if status == "failed" else round(0.41 + 0.022 * generation**0.7 + 0.02 * rng.gauss(0, 1), 6)
        found.append(LedgerLine(
            evaluation=number, generation=generation, candidate=number % 10, genes={f"ffn.{i}": round(rng.random() / 2, 4) for i in range(layers)},
            fitness=fitness, scores={} if fitness is None else {"nursery_click": fitness, "nursery_musr": fitness}, items=160, seconds=0.8,
            status=status, reason="" if status == "ok" else "non-finite logits in layer 3" if status == "failed" else "stopped early",
            sigma=round(0.3 * 0.88**generation, 4),
        ))  # fmt: skip
    return found


def _genome(
    father: str, layers: int, layer_map: tuple[int, ...], frozen: tuple[int, ...], rng: random.Random
) -> Genome:
    ratios = tuple(0.0 if i in frozen else round(0.3 * rng.random(), 4) for i in range(layers))
    genes = {f"ffn.{i}": ratio for i, ratio in enumerate(ratios) if i not in frozen}
    nulls = {name: dict.fromkeys(genes, 0.15) for name in NULLS}
    return Genome(
        space="ffn", method="folded", seed=1, father=father, mother=MOTHER, genes=genes, ratios=ratios, nulls=nulls, layer_map=layer_map,
        search_score=0.492, retest_score=0.471,
    )  # fmt: skip


def _score(model: str, role: str, benchmark: str, value: float, n: int, chance: float, part: str = "all") -> Score:
    half = 1.96 * math.sqrt(value * (1 - value) / n)
    correct = round(value * n)
    return Score(
        model=model, role=role, benchmark=benchmark, slice=part, evidence="measured", protocol="cloze-logprob-sum v1", correct=float(correct),
        n=n, clusters=n // 2, value=correct / n, low=max(0.0, value - half), high=min(1.0, value + half), chance=chance,
    )  # fmt: skip


def make_comparison(father: str = FATHER, child: str = CHILD) -> Comparison:
    """Father strong on click, mother on musr; the child a little above both, four nulls below, a published 27B row."""
    means = {"father": (0.71, 0.47, 0.36), "mother": (0.44, 0.58, 0.38), "child": (0.74, 0.56, 0.365),
             "null:uniform": (0.69, 0.50, 0.35), "null:prior-mean": (0.72, 0.52, 0.36), "null:random": (0.66, 0.47, 0.33), "null:shuffled-donor": (0.64, 0.45, 0.34)}  # fmt: skip
    models = {"father": father, "mother": MOTHER, "child": child}
    weights = {"nursery_click": 0.6, "nursery_musr": 0.4}
    scores, contrasts = [], []
    for role, values in means.items():
        model = models.get(role, child)
        for (benchmark, (n, chance)), value in zip(BENCHMARKS.items(), values, strict=True):
            scores.append(_score(model, role, benchmark, value, n, chance))
            if role in models:
                parts = ("문화", "역사") if benchmark == "nursery_click" else ("murder", "objects")
                scores += [
                    _score(model, role, benchmark, value + shift, n // 2, chance, part)
                    for part, shift in zip(parts, (0.04, -0.04), strict=True)
                ]
        composite = sum(w * v for w, v in zip(weights.values(), values, strict=False))
        scores.append(
            _score(model, role, "composite", composite, 420, 0.286).model_copy(
                update={"correct": None, "value": composite}
            )
        )
    for other, values in means.items():
        for benchmark, index in {"nursery_click": 0, "nursery_musr": 1, "nursery_gpqa": 2, "composite": None}.items():
            n = 420 if index is None else BENCHMARKS[benchmark][0]
            here, there = (
                sum(w * v for w, v in zip(weights.values(), row, strict=False)) if index is None else row[index]
                for row in (means["child"], values)
            )
            if other == "child":
                continue
            difference, half = here - there, 1.96 * math.sqrt(0.2 / n)
            p_value = min(1.0, math.exp(-3.0 * (difference / half) ** 2))
            headline = other in ("father", "mother") and benchmark != "nursery_gpqa"
            contrasts.append(Contrast(
                name=f"child - {other}", benchmark=benchmark, difference=difference, low=difference - half, high=difference + half, p_value=p_value,
                p_holm=min(1.0, 2 * p_value) if headline else None, p_mcnemar=p_value, n=n, wins=int(n * 0.12), losses=int(n * 0.1), detectable=half * 1.43,
            ))  # fmt: skip
    published = Score(
        model="K-AI 27B", role="baseline", benchmark="nursery_click", slice="all", evidence="published", protocol="unknown", correct=None, n=None,
        value=0.794, low=None, high=None, chance=0.25, source="board", split="unknown",
    )  # fmt: skip
    vigor = Vigor(
        mid_parent=0.1095, better_parent=0.054, better_parent_low=0.0112, better_parent_high=0.0968, p_value=0.012, claimed=True,
        sentence="Hybrid vigor: the child beats both parents (child 66.8 %, father 61.4 %, mother 49.6 % on the composite).",
    )  # fmt: skip
    alerts = (
        Alert(
            level="warning",
            text="nursery_gpqa has only 96 items: a difference from the father under 12.8 points could not have been seen.",
        ),
    )
    return Comparison(
        scores=(*scores, published), contrasts=tuple(contrasts), vigor=vigor, alerts=alerts, composite=weights,
        headline=("nursery_click", "nursery_musr", "nursery_gpqa", "composite"),
    )  # fmt: skip
