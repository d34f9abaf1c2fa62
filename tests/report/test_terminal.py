"""The terminal report: fixed width, no colour, outside text never read as markup."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from darwin_mri.records import LayerScan, ModelInfo, ProbesInfo, Scan
from darwin_mri.report import View, contrasts_table, load_run, print_report, print_scan, render_text, scores_table
from tests.report.sample import write_sample
from tests.report.sample_scores import make_comparison


def console(width: int = 110) -> Console:
    return Console(file=io.StringIO(), width=width, color_system=None, _environ={})


def printed(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def test_the_report_fits_and_holds_verdict_scores_and_command(view: View) -> None:
    text = render_text(view)
    assert max(map(cell_len, text.splitlines())) <= 110
    assert "Hybrid vigor: the child beats both parents." in text
    assert "66.8 % [62.3, 71.3]  n = 420" in text
    assert "darwin-mri breed --config configs/genesis.yaml" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_any_width_renders(view: View, width: int) -> None:
    on = console(width)
    print_report(on, view)
    assert "66.8 %" in printed(on)


def test_markup_and_control_characters_are_plain_text(tmp_path: Path) -> None:
    run = load_run(write_sample(tmp_path / "run", father="[bold red]father[/] \x1b[2J", child="[link=x]c[/link]"))
    on = console()
    print_scan(on, run.scans, run.pairs, run.prior)
    assert "[bold red]father[/] \N{REPLACEMENT CHARACTER}[2J" in printed(on)
    assert "\x1b" not in printed(on)


def test_print_scan_shows_each_layer_with_its_legend(run: Path) -> None:
    records = load_run(run)
    assert len(records.scans) == 2 and len(records.pairs) == 1 and records.prior is not None
    on = console(130)
    print_scan(on, records.scans, records.pairs, records.prior)
    text = printed(on)
    head = next(line for line in text.splitlines() if line.startswith("layer"))
    assert head.split() == [
        "layer",
        "mixer",
        "rms",
        "h",
        "influence",
        "|f|/|h|",
        "|m|/|h|",
        "ko",
        "en",
        "prose",
        "math",
        "code",
        "knowledge",
        "reasoning",
        "mother",
        "trust",
        "frozen",
    ]
    assert "No room" not in text
    assert "no signal: language:de" in text
    assert "frozen layers: 3–4 (protected: ko)" in text
    assert text.count("sliding") >= 6 and text.count("linear") >= 4
    assert "root mean square of the residual stream" in text


def test_a_narrow_terminal_goes_without_columns_and_says_which(run: Path) -> None:
    records, on = load_run(run), console(80)
    print_scan(on, records.scans, records.pairs, records.prior)
    lines = printed(on).splitlines()
    head = next(line for line in lines if line.startswith("layer"))
    assert head.split()[-3:] == ["mother", "trust", "frozen"] and "influence" not in head
    assert "No room for: |m|/|h|, |f|/|h|, influence, rms h" in printed(on)
    assert sum(line.startswith("    0 ") for line in lines) == 2  # one line for the layer in either parent's table


def test_a_scan_with_nothing_measured_still_prints() -> None:
    model = ModelInfo(ref="m", digest="0", family="f", layers=1, hidden_size=1, ffn_size=1, mixers=("other",))
    probes = ProbesInfo(digest="0", languages=(), domains=(), documents=0, tokens=0)
    on = console()
    scan = Scan(model=model, probes=probes, layers=(LayerScan(index=0, mixer="new_mixer"),), channels={})
    print_scan(on, {"father": scan})
    assert "new_mixer" in printed(on)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (scores_table(make_comparison()), "79.4 %  published"),
        (contrasts_table(make_comparison()), "+17.2 pp [+12.9, +21.5]"),
    ],
)
def test_tables_keep_their_numbers_whole(table: RenderableType, expected: str) -> None:
    on = console(100)
    on.print(table)
    assert expected in printed(on)


def test_importing_the_reports_loads_no_heavy_library() -> None:
    code = (
        "import sys, darwin_mri.report; heavy = {'torch', 'transformers', 'scipy', 'numpy', 'lm_eval', 'matplotlib'} &"
        " set(sys.modules); print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
