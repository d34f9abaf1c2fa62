"""Text files may begin with a byte order mark, as some editors save them: every kind that a user gives is read."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from darwin_mri.arena import load_arena
from darwin_mri.checkpoints.origin import stated_license
from darwin_mri.config import load_config
from darwin_mri.merging.mergekit import read_documents
from darwin_mri.probes import load_probes
from darwin_mri.records import Genome
from darwin_mri.report import load_run
from tests.commands import spawn
from tests.toys import pico_llama


def marked(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    return path


def test_every_text_of_a_user_is_read(tmp_path: Path) -> None:
    pair = {"father": "a", "mother": "b"}
    assert load_config(marked(tmp_path / "config.yaml", yaml.safe_dump(pair)), {}).father == "a"
    assert (
        load_arena(marked(tmp_path / "arena.yaml", yaml.safe_dump({**pair, "arms": {"raw": {"method": "raw"}}}))).father
        == "a"
    )
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in "ab"]
    recipe = yaml.safe_dump({"merge_method": "linear", "models": models})
    assert read_documents(marked(tmp_path / "recipe.yaml", recipe))[0].refs[0] == "a"
    genome = Genome(space="ffn", method="linear", seed=1, father="a", mother="b", genes={}, ratios=())
    assert Genome.load(marked(tmp_path / "genome.json", genome.to_json())) == genome
    marked(tmp_path / "card" / "README.md", "---\nlicense: mit\n---\n# Model\n")
    assert stated_license(tmp_path / "card") == "mit"


def test_probes_are_read_from_the_first_line_on(tmp_path: Path) -> None:
    row = {"text": "오늘은 날씨가 좋다.", "language": "ko", "domain": "prose", "doc": "a"}
    marked(tmp_path / "own.jsonl", json.dumps(row, ensure_ascii=False))
    (probe,) = load_probes(tmp_path)
    assert (probe.text, probe.language) == (row["text"], "ko")


def test_a_ledger_that_was_edited_keeps_its_first_line(tmp_path: Path) -> None:
    line = {"evaluation": 0, "generation": 0, "candidate": 0, "genes": {}, "fitness": 0.5, "scores": {}, "items": 8}
    marked(tmp_path / "ledger.jsonl", json.dumps({**line, "seconds": 1.0, "status": "ok"}) + "\n")
    run = load_run(tmp_path)
    assert len(run.ledger) == 1 and not run.problems


def test_the_command_reads_marked_probes(tmp_path: Path) -> None:
    rows = [{"text": f"A fine day, number {i}.", "language": "en", "domain": "prose", "doc": f"d{i}"} for i in range(3)]
    marked(tmp_path / "probes" / "own.jsonl", "\n".join(map(json.dumps, rows)))
    model = pico_llama(tmp_path / "model")
    done = spawn("scan", model, "--probes", tmp_path / "probes", "--out", tmp_path / "scan", "--offline", "--quiet")
    assert done.returncode == 0, done.stderr[-300:]
