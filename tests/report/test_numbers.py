"""Every number on the page is one of the records, looked up in the JSON by rules written a second time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from darwin_mri.report import View, render_html


class Tables(HTMLParser):
    """Tables by caption, as rows of cell texts, and the hover texts of the charts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.titles: list[str] = []
        self.caption, self.cell, self.path = "", "", [""]
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.path.append(tag)
        if tag == "caption":
            self.caption = ""
        elif tag == "tr":
            self.tables.setdefault(self.caption, []).append([])
        elif tag in ("td", "th", "title"):
            self.cell = ""

    def handle_endtag(self, tag: str) -> None:
        while self.path and self.path.pop() != tag:
            pass
        if tag in ("td", "th"):
            self.tables[self.caption][-1].append(" ".join(self.cell.split()))
        elif tag == "title":
            self.titles.append(self.cell)

    def handle_data(self, data: str) -> None:
        if "caption" in self.path:
            self.caption += data
        elif "aria-hidden" not in self.path:
            self.cell += data


@pytest.fixture(scope="module")
def page(view: View) -> Tables:
    return Tables(render_html(view))


@pytest.fixture(scope="module")
def records(run: Path) -> dict[str, Any]:
    by_file = {p.relative_to(run).as_posix(): json.loads(p.read_text(encoding="utf-8")) for p in run.rglob("*.json")}
    ledger = (run / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    return by_file | {"ledger": [json.loads(line) for line in ledger]}


def num(value: float, digits: int, sign: bool = False) -> str:
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def pct(value: float) -> str:
    return num(100 * value, 1) + " %"


def p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.0005 else f"{value:.3f}"


def marked(text: str) -> str:
    """A cell without the role's mark."""
    return re.sub(r"^[●■◆▲×○] ", "", text)


def test_scores(page: Tables, records: dict[str, Any]) -> None:
    shown = {(row[0], marked(row[1])): row[3] for row in page.tables["Scores"][1:]}
    scores = [s for s in records["comparison.json"]["scores"] if s["slice"] == "all"]
    assert len(shown) == len(scores)
    for s in scores:
        role = s["role"].replace("null:", "null: ") if s["role"] != "baseline" else s["model"]
        expected = pct(s["value"])
        if s["low"] is not None:
            expected += f" [{num(100 * s['low'], 1)}, {num(100 * s['high'], 1)}]"
        expected += f" n = {s['n']}" if s["n"] else ""
        expected += "" if s["evidence"] == "measured" else f" {s['evidence']}"
        assert shown[s["benchmark"], role] == expected


def test_contrasts(page: Tables, records: dict[str, Any]) -> None:
    shown = {(row[0], marked(row[1])): row[2:] for row in page.tables["Contrasts"][1:]}
    contrasts = records["comparison.json"]["contrasts"]
    assert len(shown) == len(contrasts)
    for c in contrasts:
        difference, _, p_value, holm, counts, mcnemar, n, visible = shown[
            c["benchmark"], c["name"].removeprefix("child - ").replace("null:", "null: ")
        ]
        low, high = (num(100 * c[k], 1, sign=True) for k in ("low", "high"))
        assert difference == f"{num(100 * c['difference'], 1, sign=True)} pp [{low}, {high}]"
        assert (p_value, holm, mcnemar) == (p(c["p_value"]), p(c["p_holm"]), p(c["p_mcnemar"]))
        assert (counts, n) == (f"{c['wins']}/{c['losses']}", str(c["n"]))
        assert visible == num(100 * c["detectable"], 1)


def test_slices(page: Tables, records: dict[str, Any]) -> None:
    shown = {(row[0], row[1]): row[2:] for row in page.tables["Scores by slice"][1:]}
    for s in records["comparison.json"]["scores"]:
        if s["slice"] != "all":
            cell = shown[s["benchmark"], s["slice"]][("father", "mother", "child").index(s["role"])]
            assert cell == f"{pct(s['value'])} [{num(100 * s['low'], 1)}, {num(100 * s['high'], 1)}]"


@pytest.mark.parametrize("role", ["father", "mother"])
def test_the_mri(page: Tables, records: dict[str, Any], role: str) -> None:
    scan = records[f"scan/{role}.json"]
    rise = page.tables[f"{role}: rise of NLL per byte without each FFN, per cent"]
    language = page.tables[f"{role}: language sensitivity, per cent"]
    for number, layer in enumerate(scan["layers"], 1):
        known = {**layer["language"]["raw_rise"], **layer["importance"]}
        for name, cell in zip(rise[0][1:], rise[number][1:], strict=True):
            assert cell == estimate(known[name])
        for name, cell in zip(language[0][1:], language[number][1:], strict=True):
            assert cell == estimate(layer["language"]["sensitivity"][name])
        for name, cell in zip(language[0][1:], language[number][1:], strict=True):
            value = num(100 * layer["language"]["sensitivity"][name]["value"], 1, sign=True)
            assert cell.startswith(value) and f"{layer['index']}, {name}: {value} %" in page.titles


def estimate(e: dict[str, float]) -> str:
    value, low, high = (num(100 * e[k], 1, sign=True) for k in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def test_similarity(page: Tables, records: dict[str, Any]) -> None:
    pair = records["scan/pair.json"]
    for f, row in enumerate(pair["cka"]):
        assert page.tables["Layer map"][f + 1][1:3] == [str(pair["layer_map"][f]), num(row[pair["layer_map"][f]], 2)]
        for m, value in enumerate(row):
            assert f"{f}, {m}: {num(value, 2)}" in page.titles


def test_genome_and_frozen_layers(page: Tables, records: dict[str, Any]) -> None:
    genome, prior = records["genome.json"], records["prior.json"]
    genes = page.tables["Prior and found ratio: FFN genes"][1:]
    frozen = page.tables["Frozen layers"][1:]
    harm = {r["gene"]: r for r in records["scan/pair.json"]["response"] if r["loss"] == "protect:ko"}
    for layer, gene, line in zip(prior["layers"], genes, frozen, strict=True):
        i = layer["index"]
        assert gene[:5] == [
            str(i),
            num(layer["mean"], 3),
            num(layer["sigma"], 3),
            num(layer["trust"], 2),
            num(genome["ratios"][i], 3),
        ]
        assert line[4:6] == [num(layer["frozen_stability"], 2), num(layer["trust"], 2)]
        value, low, high = (num(harm[f"ffn.{i}"][k], 4, sign=True) for k in ("harm", "low", "high"))
        assert line[6] == f"{value} [{low}, {high}]"


def test_the_search(page: Tables, records: dict[str, Any]) -> None:
    best, items = 0.0, 0
    for row in page.tables["Course of the search by generation"][1:]:
        lines = [line for line in records["ledger"] if str(line["generation"]) == row[0]]
        fitness = [line["fitness"] for line in lines if line["status"] == "ok"]
        best, items = max(best, *fitness), items + sum(line["items"] for line in lines)
        assert row[1:] == [
            str(len(lines)),
            str(sum(line["status"] == "failed" for line in lines)),
            num(max(fitness), 4),
            num(median(fitness), 4),
            num(best, 4),
            num(lines[-1]["sigma"], 3),
            f"{items:,}".replace(",", " "),
        ]
    genome = records["genome.json"]
    fresh = [row[2] for row in page.tables["Search against held-out"][1:]]
    assert fresh == [num(genome["search_score"], 3), num(genome["retest_score"], 3)]


def test_items(page: Tables, run: Path) -> None:
    def credits(role: str, benchmark: str) -> dict[str, float]:
        lines = (run / "answers" / role / f"{benchmark}.jsonl").read_text(encoding="utf-8").splitlines()
        return {answer["key"]: answer["credit"] for answer in map(json.loads, lines)}

    kept = {(row[0], row[1]): row[2:] for row in page.tables["What the child kept"][1:]}
    for benchmark in ("nursery_click", "nursery_musr", "nursery_gpqa"):
        child, father, mother = (credits(role, benchmark) for role in ("child", "father", "mother"))
        only_mother = [key for key in child if mother[key] == 1 and father[key] == 0]
        right = sum(child[key] for key in only_mother)
        assert kept[benchmark, "only the mother right"] == [
            str(len(only_mother)),
            str(int(right)),
            pct(right / len(only_mother)),
        ]
        for parent, known in (("father", father), ("mother", mother)):
            won = sum(child[key] > known[key] for key in child)
            lost = sum(child[key] < known[key] for key in child)
            row = next(
                r for r in page.tables[f"Won and lost against the {parent}"] if r[:2] == [benchmark, "all items"]
            )
            assert row[2:] == [str(won), str(lost), str(len(child))]


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part)


# Columns of figures that are made of several numbers of the records; the tests above compute them again.
MADE = {
    "Prior and found ratio: FFN genes": {"moved, sigmas"},
    "Course of the search by generation": {"median", "items so far", "evaluations", "failed"},
    "Null children: what the result is measured against": {"genes", "mean gene"},
    "Seconds per stage": {"seconds"},
    "Parents": {"files", "size", "sha256"},
    "What the child kept": {"items", "child right", "share"},
    "Won and lost against the father": {"won", "lost", "items"},
    "Won and lost against the mother": {"won", "lost", "items"},
}


def test_no_table_holds_a_number_that_no_record_holds(page: Tables, records: dict[str, Any]) -> None:
    known: set[str] = {"0"}
    for value in numbers(list(records.values())):
        for scaled in (value, 100 * value):
            known |= {num(abs(scaled), digits) for digits in range(5)}
            if abs(scaled) >= 10_000:
                known.add(f"{scaled:.0e}".replace("e+0", "e"))
    checked = 0
    for caption, (head, *rows) in page.tables.items():
        if caption in ("Run", "Child") or caption.startswith("Health"):
            continue  # names, digests and versions, in which digits are no quantities
        for row in rows:
            for column, cell in zip(head, row, strict=True):
                if column in MADE.get(caption, ()) or column in (
                    "layer",
                    "model",
                    "mixer",
                    "slice",
                    "benchmark",
                    "father",
                    "child",
                    "role",
                    "evidence",
                    "channel",
                    "revision",
                    "method",
                    "mother",
                    "child minus",
                ):
                    continue
                for figure in re.findall(r"\d+(?:\.\d+)?(?:e\d+)?", cell):
                    assert figure in known, (caption, column, cell)
                    checked += 1
    assert checked > 800
