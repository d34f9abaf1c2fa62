"""What reports say of words, from records: in the terminal and on a page, whatever a vocabulary holds."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from darwin_mri.records import Channel, Estimate, PairScan, PairWords, Scan, Word, Words
from darwin_mri.report.renderers.html import render_tables
from darwin_mri.report.renderers.terminal import print_scan
from darwin_mri.report.sections.words import pair_tables, scan_tables, word_tables
from tests.report.test_experts import dense

HOSTILE = "</td><script>alert(1)</script>[bold]\x1b[31m\u202e"
CLEAR = Channel(reliability=0.9, p_value=0.005, informative=True)
SILENT = Channel(
    reliability=0.1, p_value=0.4, informative=False, note="no signal: reliability 0.10, permutation p 0.400"
)
FEW = Channel(reliability=0.0, p_value=1.0, informative=False, note="too few documents for an interval (3)")


def said(strength: float, *tokens: str) -> Words:
    def shift(value: float) -> Estimate:
        return Estimate(value=value, low=value - 0.1, high=value + 0.1)

    up = tuple(Word(token=token, shift=shift(2.0)) for token in tokens)
    down = (Word(token="␣the", shift=shift(-1.0)),)
    return Words(strength=shift(strength), reliability=0.9, p_value=0.005, promoted=up, suppressed=down)


def telling() -> Scan:
    weak, strong = {"language:ko": said(0.2, "␣early")}, {"language:ko": said(0.5, "␣나무", HOSTILE)}
    layers = [
        layer.model_copy(update={"words": own}) for layer, own in zip(dense().layers, (weak, strong), strict=True)
    ]
    channels = {"words:language:ko": CLEAR, "words:domain:math": SILENT, "words:domain:code": FEW}
    return dense().model_copy(update={"layers": tuple(layers), "channels": channels})


def siblings() -> PairScan:
    model: Any = dense().model
    words = tuple(
        PairWords(index=i, f={"all": said(0.1, "␣ink")}, h_out={"all": said(i + 1.0, "␣wagon")}) for i in (0, 1)
    )
    channels = {"similarity": CLEAR, "words:h_out:all": CLEAR, "words:f:all": CLEAR}
    square = ((1.0, 0.0), (0.0, 1.0))
    return PairScan(
        father=model, mother=model, cka=square, layer_map=(0, 1), map_proportional=(0, 1), reference_ratio=0.5,
        channels=channels, words=words,
    )  # fmt: skip


def test_a_language_and_a_domain_of_one_name_are_told_apart() -> None:
    both = {"language:code": said(0.2, "␣def"), "domain:code": said(0.3, "␣class"), "language:ko": said(0.1, "␣나무")}
    layers = tuple(layer.model_copy(update={"words": both}) for layer in dense().layers)
    channels = {f"words:{group}": CLEAR for group in both}
    groups, by_layer = scan_tables(dense().model_copy(update={"layers": layers, "channels": channels}))
    assert [row.cells[0] for row in groups.rows] == ["code (language)", "code (domain)", "ko"]
    assert by_layer.columns == ("layer", "code (language)", "code (domain)", "ko")


def test_the_strongest_layer_speaks_for_a_group_and_silence_is_said() -> None:
    groups, layers = scan_tables(telling())
    assert [row.cells[0] for row in groups.rows] == ["ko", "math", "code"]
    assert groups.rows[0].cells[1:3] == ("1", "0.50 [0.40, 0.60]")
    assert groups.rows[0].cells[3].startswith("␣나무") and groups.rows[0].cells[4] == "␣the"
    assert groups.rows[1].cells[3] == "no signal" and groups.rows[2].cells[3].startswith("too few documents")
    assert layers.folded and [row.cells for row in layers.rows][0] == ("0", "␣early")
    assert scan_tables(dense()) == () and word_tables([None, dense()]) == ()


def test_siblings_are_compared_at_both_sites() -> None:
    stream, _, ffns, _ = pair_tables("mother", siblings())
    assert stream.caption == "What the mother's layers write that the father's do not"
    assert stream.rows[0].cells[:2] == ("all texts", "1") and stream.rows[0].cells[3] == "␣wagon"
    assert ffns.rows[0].cells[3] == "␣ink"


def test_a_vocabulary_can_do_no_harm() -> None:
    console = Console(file=io.StringIO(), width=160, color_system=None, _environ={})
    print_scan(console, {"father": telling()}, {"mother": siblings()})
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "␣wagon" in printed and "no signal" in printed and "[bold]" in printed
    assert "\x1b" not in printed and "\u202e" not in printed and "layer by layer" not in printed
    page = render_tables(scan_tables(telling()), "")
    assert "<script>" not in page and "\x1b" not in page and "\u202e" not in page and "&lt;script&gt;" in page


def test_records_keep_words(tmp_path: Any) -> None:
    telling().save(tmp_path / "scan.json")
    assert Scan.load(tmp_path / "scan.json") == telling()
    siblings().save(tmp_path / "pair.json")
    assert PairScan.load(tmp_path / "pair.json") == siblings()
