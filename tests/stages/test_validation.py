"""``scan --validate``: a gene's truth is what writing its child and scoring it gives; the figures follow from it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy.stats import spearmanr

from darwin_mri import cli, pipeline
from darwin_mri.benchmarks import Scorer, gold_probability, split_items
from darwin_mri.checkpoints import find_model, load_model, load_tokenizer
from darwin_mri.config import load_config
from darwin_mri.records import Genome, PairScan, Validation
from tests.choices import as_choices, load_choices
from tests.family import small


@pytest.fixture(scope="module")
def validated(family: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Validation]:
    """(config file, run folder, record) of one scan from the command line."""
    root = tmp_path_factory.mktemp("validated")
    config, out = root / "pair.yaml", root / "run"
    config.write_text(yaml.safe_dump(small(family).model_dump(mode="json", exclude_none=True, exclude_defaults=True)))
    words = ["scan", "--config", str(config), "--validate", "--offline", "--quiet", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["darwin-mri", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    assert not stopped.value.code
    record = PairScan.load(out / "scan/pair.json").validation
    assert record is not None
    return config, out, record


def test_every_gene_and_every_preset_is_measured(validated: tuple[Path, Path, Validation]) -> None:
    _, out, record = validated
    genes = {gene["name"] for gene in json.loads((out / "prior.json").read_text())["genes"]}
    assert set(record.gain) == genes and set(record.harm) == {"ko"}
    assert [fit.preset for fit in record.presets] == ["response", "v5", "v6", "paper"]


def test_the_rank_correlation_is_that_of_the_kept_numbers(validated: tuple[Path, Path, Validation]) -> None:
    for fit in validated[2].presets:
        names = [name for name in validated[2].gain if name in fit.prediction]
        predictions, truths = [fit.prediction[n] for n in names], [validated[2].gain[n].value for n in names]
        rho: Any = spearmanr(predictions, truths)
        assert fit.same_items == pytest.approx(rho.statistic, abs=1e-9)
        assert fit.spearman is not None and fit.low is not None and fit.high is not None
        assert -1 <= fit.low <= fit.spearman <= fit.high <= 1


def test_the_truth_of_a_gene_is_that_of_its_written_child(
    validated: tuple[Path, Path, Validation], tmp_path: Path
) -> None:
    path, _, record = validated
    config = load_config(path, {})
    assert config.search.space is not None
    gene = max(record.gain, key=lambda name: abs(record.gain[name].value))
    genome = Genome(
        space=config.search.space,
        method=config.method,
        seed=config.seed,
        father=config.father,
        mother=config.mother,
        base=config.base,
        genes={name: config.reference_ratio * (name == gene) for name in record.gain},
        ratios=(),
    )
    pipeline.merge(config, genome, tmp_path / "child", offline=True)
    tokenizer, fitness = load_tokenizer(find_model(config.father, offline=True)), {}
    for role, folder in (("father", config.father), ("child", str(tmp_path / "child"))):
        scorer = Scorer(load_model(find_model(folder, offline=True), device="cpu", dtype="float32"), tokenizer)
        fitness[role] = 0.0
        for name, weight in config.weights.items():
            items = as_choices(split_items(load_choices(name), config.seed, config.bench.search_share).search)
            gold = gold_probability(items, scorer.log_probabilities(scorer.prepare(items)))
            fitness[role] += weight * float(gold.mean())
    # The record weighs its blocks of items alike, though some hold one item more: a difference of the second order.
    assert record.gain[gene].value == pytest.approx(fitness["child"] - fitness["father"], rel=0.1)
